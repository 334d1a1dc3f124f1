import { check } from '@gossamer/tensor';
import { rawDensity } from '../../sparsity/allocation.ts';
import { countOf, proportionalShares } from '../../sparsity/apportion.ts';
import type { Layer } from '../../sparsity/layer.ts';
import { grouped, percent, table } from '../../text.ts';

// Multiply-adds of a transformed network, and the densities that make them those of the dense one.

/** What has become of one dense layer. */
export interface Transformed {
  readonly dense: Layer;
  /** The weights in its place; `masked` ones are sparse. */
  readonly parts: readonly { readonly layer: Layer; readonly masked: boolean }[];
  readonly note?: string;
}

/**
 * Where multiply-adds are made equal. `network`: one density for all masked layers, so that the whole network costs what
 * the dense one does. `layer`: every layer costs what it did. `none`: 1 − s everywhere, whatever the rest costs.
 */
export type Balance = 'network' | 'layer' | 'none';

/** Multiply-adds of a layer with all its weights, for one sample. */
export const multiplyAdds = (l: Layer): number => l.values.length * l.positions;

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const costOf = (parts: Transformed['parts'], masked: boolean): number =>
  sum(parts.filter(p => p.masked === masked).map(p => multiplyAdds(p.layer)));

/**
 * Density of each masked weight, by name; weights that come out dense are left out.
 *
 * @param allocation `er` and `erk` give the densities of a `network` their shape; their common factor is solved for equal
 *   multiply-adds, because at an equal share of weights they would cost more or less
 */
export function densities(
  layers: readonly Transformed[],
  { sparsity, balance, allocation }: { sparsity: number; balance: Balance; allocation: 'uniform' | 'er' | 'erk' },
): Map<string, number> {
  check(
    allocation === 'uniform' || balance === 'network',
    () =>
      `sparse-ift: allocation ${allocation} divides a budget among layers; it needs balance network, not ${balance}`,
  );
  const pairs = layers.flatMap(of => of.parts.filter(p => p.masked).map(({ layer }) => ({ layer, of })));
  if (pairs.length === 0) return new Map();
  const network = balance === 'network' ? networkDensities(layers, allocation) : undefined;
  const found = pairs.map(({ layer, of }) => {
    const density = network?.get(layer) ?? (balance === 'none' ? 1 - sparsity : share(multiplyAdds(of.dense), [of]));
    return [layer.name, density] as const;
  });
  return new Map(found.filter(([, density]) => density < 1));
}

/** Densities in proportion to the allocation's, cut off at 1, that spend what the dense network cost. */
function networkDensities(
  layers: readonly Transformed[],
  allocation: 'uniform' | 'er' | 'erk',
): ReadonlyMap<Layer, number> {
  const masked = layers.flatMap(l => l.parts.filter(p => p.masked).map(p => p.layer));
  const raw = (l: Layer) => (allocation === 'uniform' ? 1 : rawDensity({ ...l, units: l.values.length }, allocation));
  const receivers = masked.map(l => ({ weight: raw(l) * multiplyAdds(l), lower: 0, upper: multiplyAdds(l) }));
  const all = sum(masked.map(multiplyAdds));
  const budget = Math.min(1, share(sum(layers.map(l => multiplyAdds(l.dense))), layers)) * all;
  const costs = proportionalShares(receivers, budget);
  return new Map(masked.map((l, i) => [l, costs[i] / multiplyAdds(l)]));
}

/** What the dense parts leave for the masked ones of `layers`, as a share of these. */
function share(budget: number, layers: readonly Transformed[]): number {
  const parts = layers.flatMap(l => l.parts);
  const fixed = costOf(parts, false);
  check(
    fixed < budget,
    () =>
      `sparse-ift: what stays dense costs ${grouped(fixed)} of the ${grouped(budget)} multiply-adds of the dense network (${layers
        .flatMap(l => l.parts.filter(p => !p.masked).map(p => p.layer.name))
        .join(
          ', ',
        )}): nothing is left for the sparse layers; mask these, too, with balance 'layer', or lower the sparsity`,
  );
  return (budget - fixed) / costOf(parts, true);
}

export interface AuditPart {
  readonly name: string;
  readonly shape: readonly number[];
  readonly masked: boolean;
  readonly nonzeros: number;
  readonly density: number;
  readonly multiplyAdds: number;
}

export interface AuditRow {
  /** The dense layer, its shape and cost. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly dense: number;
  readonly parts: readonly AuditPart[];
  /** What the parts cost with their non-zeros only. */
  readonly now: number;
  readonly note?: string;
}

/** Multiply-adds of one sample through linear layers and convolutions, before and after. Plain data, for files. */
export interface Audit {
  readonly rows: readonly AuditRow[];
  readonly dense: number;
  readonly now: number;
  /** now / dense: 1 is iso-FLOP. */
  readonly ratio: number;
  /** Size of the space in which masks are searched: weights of the masked layers. */
  readonly maskable: number;
}

export function auditOf(layers: readonly Transformed[], density: ReadonlyMap<string, number>): Audit {
  const rows = layers.map(({ dense, parts, note }): AuditRow => {
    const own = parts.map(({ layer, masked }): AuditPart => {
      const size = layer.values.length;
      const nonzeros = size - countOf(1 - (density.get(layer.name) ?? 1), size);
      return {
        name: layer.name,
        shape: layer.shape,
        masked: masked && nonzeros < size,
        nonzeros,
        density: nonzeros / size,
        multiplyAdds: nonzeros * layer.positions,
      };
    });
    const now = sum(own.map(p => p.multiplyAdds));
    const row = { name: dense.name, shape: dense.shape, dense: multiplyAdds(dense), parts: own, now };
    return note === undefined ? row : { ...row, note };
  });
  const [dense, now] = [sum(rows.map(r => r.dense)), sum(rows.map(r => r.now))];
  const maskable = sum(layers.flatMap(l => l.parts.filter(p => p.masked).map(p => p.layer.values.length)));
  return { rows, dense, now, ratio: now / dense, maskable };
}

/** The audit as aligned text. */
export function auditTable({ rows, dense, now, ratio }: Audit): string {
  const cells = rows.flatMap(r =>
    r.parts.map((p, i) => [
      i === 0 ? r.name : '',
      i === 0 ? r.shape.join('×') : '',
      i === 0 ? grouped(r.dense) : '',
      r.parts.length === 1 && p.name === r.name ? '' : p.name.slice(commonPath(p.name, r.name)),
      p.shape.join('×'),
      p.masked ? percent(p.density, 2) : 'dense',
      grouped(p.multiplyAdds),
      i === 0 ? (r.note ?? '') : '',
    ]),
  );
  return table(
    [
      'layer',
      'dense shape',
      'multiply-adds',
      'part',
      'shape',
      { head: 'density', align: 'right' },
      'multiply-adds',
      '',
    ],
    [
      ...cells,
      null,
      ['total', '', grouped(dense), '', '', '', grouped(now), `${percent(ratio, 2)} of the dense network`],
    ],
  );
}

/** Length of the path that a part's name shares with its layer's. */
const commonPath = (part: string, layer: string): number => {
  const path = layer.slice(0, layer.lastIndexOf('.') + 1);
  return part.startsWith(path) ? path.length : 0;
};

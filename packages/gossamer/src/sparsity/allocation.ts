import { check } from '@gossamer/tensor';
import { apportion, countOf, type Receiver, type Rounding } from './apportion.ts';

/**
 * How a model's sparsity is divided among its layers.
 *
 * - `uniform`: every layer the same; round(s·n) of its units go
 * - `uniform+`: the first layer dense, the last at most 80 % sparse, the rest alike so that the total is met (Gale,
 *   Elsen & Hooker 2019)
 * - `er`: density ∝ (n_in + n_out) / (n_in·n_out) (Mocanu et al. 2018)
 * - `erk`: density ∝ Σ dims / Π dims over all dimensions of the weight, kernel included (Evci et al. 2020, RigL, §3 (1));
 *   in both, layers whose density would exceed 1 are dense and the others absorb the difference
 * - `global`: no division; all units compete in one ranking
 */
export type Allocation = 'uniform' | 'uniform+' | 'er' | 'erk' | 'global';

export interface AllocationOptions {
  /** Default `uniform`. */
  readonly allocation?: Allocation;
  /** Sparsities of single layers, 0…1, by name; they count in the total, and the others absorb the difference. */
  readonly fixed?: Readonly<Record<string, number>>;
  /**
   * Weights that every layer keeps (all of a smaller layer): a count, or a share of all weights such as `'0.05%'`.
   * A layer keeps as many of its units as this takes. Default 0.
   */
  readonly minimum?: number | `${number}%`;
  /** How s·n becomes the number of units that go, in a layer (`uniform`) or in total (all others); default `round`. */
  readonly rounding?: Rounding;
}

/** One layer's part in an allocation, counted in units of pruning (elements, filters, blocks, …). */
export interface Claimant {
  readonly name: string;
  readonly shape: readonly number[];
  readonly outAxis: number;
  readonly inAxis: number;
  readonly units: number;
  /** Fewest and most units that may stay; default 0 and `units`. */
  readonly lower?: number;
  readonly upper?: number;
}

/** Density of a layer up to the common factor ε: the raw ratio of ER or ERK. */
export function rawDensity({ shape, outAxis, inAxis }: Claimant, rule: 'er' | 'erk'): number {
  const dims = rule === 'erk' ? shape : inAxis < 0 ? [shape[outAxis]] : [shape[outAxis], shape[inAxis]];
  return dims.reduce((n, d) => n + d, 0) / dims.reduce((n, d) => n * d, 1);
}

/** Units kept, n − round(s·n), by the layers that have a sparsity of their own. Unknown layers are refused. */
export function fixedCounts(
  layers: readonly Claimant[],
  fixed: Readonly<Record<string, number>>,
  rounding?: Rounding,
): Map<string, number> {
  const byName = new Map(layers.map(l => [l.name, l]));
  return new Map(
    Object.entries(fixed).map(([name, s]) => {
      const l = byName.get(name);
      check(l, () => `sparsity of '${name}': no such layer; the layers are ${layers.map(l => l.name).join(', ')}`);
      check(s >= 0 && s <= 1, () => `sparsity ${s} of layer ${name} is outside 0…1`);
      const count = l.units - countOf(s, l.units, rounding);
      const { lower = 0, upper = l.units } = l;
      check(
        count >= lower && count <= upper,
        () =>
          `layer ${name}: sparsity ${s} keeps ${count} of ${l.units} units, but its minimum, pattern and previous mask allow ${lower} to ${upper}`,
      );
      return [name, count];
    }),
  );
}

/**
 * Units that each layer keeps, for every rule but `global`. `uniform` keeps n − round(s·n) in each layer; the others
 * add up to exactly N − round(s·N) over all layers. Bounds (`lower`, `upper`) are met, the rest is shared by the rule.
 * For `global`, only the layers in `fixed` have a count of their own.
 *
 * Refused, with the largest (smallest) sparsity possible: a total that the bounds cannot meet.
 */
export function allocate(layers: readonly Claimant[], sparsity: number, options: AllocationOptions = {}): number[] {
  const { allocation = 'uniform', rounding } = options;
  check(allocation !== 'global', 'allocate: global has no counts by layer; rank all layers together');
  const { pinned, free, total } = budget(layers, sparsity, options);
  const counts = new Map(pinned);
  const even = free.map(l => l.units - countOf(sparsity, l.units, rounding));
  const withinBounds = free.every((l, i) => even[i] >= (l.lower ?? 0) && even[i] <= (l.upper ?? l.units));
  if (allocation === 'uniform' && withinBounds && pinned.size === 0) return even;
  const byName = [...free].sort((a, b) => (a.name < b.name ? -1 : 1));
  const receivers = byName.map((l): Receiver => {
    const density = allocation === 'er' || allocation === 'erk' ? rawDensity(l, allocation) : 1;
    return { weight: density * l.units, lower: l.lower ?? 0, upper: l.upper ?? l.units };
  });
  apportion(receivers, total).forEach((n, i) => {
    counts.set(byName[i].name, n);
  });
  return layers.map(l => counts.get(l.name)!);
}

/** Counts of the layers with a sparsity of their own, the other layers, and how many units these keep together. */
export function budget<C extends Claimant>(layers: readonly C[], sparsity: number, options: AllocationOptions) {
  check(sparsity >= 0 && sparsity < 1, () => `sparsity ${sparsity} is outside 0 ≤ s < 1`);
  const { allocation = 'uniform', fixed = {}, rounding } = options;
  const pinned = fixedCounts(layers, fixed, rounding);
  const bounded = allocation === 'uniform+' ? boundEnds(layers) : layers;
  const free = bounded.filter(l => !pinned.has(l.name));
  const units = layers.reduce((n, l) => n + l.units, 0);
  const target =
    allocation === 'uniform' && pinned.size === 0
      ? layers.reduce((n, l) => n + l.units - countOf(sparsity, l.units, rounding), 0)
      : units - countOf(sparsity, units, rounding);
  const taken = [...pinned.values()].reduce((n, c) => n + c, 0);
  const lower = taken + free.reduce((n, l) => n + (l.lower ?? 0), 0);
  const upper = taken + free.reduce((n, l) => n + (l.upper ?? l.units), 0);
  check(
    target >= lower,
    () =>
      `sparsity ${sparsity} keeps ${target} of ${units} units, but minimum, fixed layers or pattern keep ${lower}: at most ${1 - lower / units} is feasible`,
  );
  check(
    target <= upper,
    () =>
      `sparsity ${sparsity} keeps ${target} of ${units} units, but fixed layers or the previous mask leave ${upper}: at least ${1 - upper / units} is needed`,
  );
  return { pinned, free, total: target - taken };
}

/** The bounds of `uniform+`: all of the first layer, a fifth of the last. */
function boundEnds<C extends Claimant>(layers: readonly C[]): C[] {
  return layers.map((l, i) => {
    const { lower = 0, upper = l.units } = l;
    const own = i === 0 ? l.units : i === layers.length - 1 ? l.units - countOf(0.8, l.units) : 0;
    return { ...l, lower: Math.min(upper, Math.max(lower, own)) };
  });
}

/** Weights that each layer keeps by `minimum`: the count itself, or floor(percent of all `weights`). */
export function minimumWeights(minimum: AllocationOptions['minimum'], weights: number): number {
  if (minimum === undefined) return 0;
  const percent = typeof minimum === 'string' ? /^(\d+(?:\.\d*)?|\.\d+)%$/.exec(minimum) : null;
  const count = percent ? countOf(Number(percent[1]) / 100, weights, 'floor') : minimum;
  check(
    typeof count === 'number' && Number.isInteger(count) && count >= 0,
    () => `minimum '${minimum}': expected a whole number of weights, or a percentage such as '0.05%'`,
  );
  return count;
}

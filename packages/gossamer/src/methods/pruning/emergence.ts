import { check } from '@gossamer/tensor';
import type { Layer } from '../../sparsity/layer.ts';

// How sparsity emerges during pre-training (Jaiswal et al. 2023, §4).

/** The prunable weights of one checkpoint. */
export interface WeightCheckpoint {
  readonly step: number;
  readonly layers: readonly Layer[];
}

export interface NearZero {
  readonly step: number;
  /** Share of all weights with |w| below the threshold. */
  readonly total: number;
  readonly layers: Readonly<Record<string, number>>;
  /** The same with each layer's weights divided by their root mean square: what decay alone shrinks does not show. */
  readonly normalized: number;
}

export interface Emergence {
  /** Below which a weight counts as near zero; and for normalised weights. */
  readonly threshold: number;
  readonly normalizedThreshold: number;
  readonly points: readonly NearZero[];
  /** Largest rise of the total between neighbouring checkpoints, its ratio to the median change, and where it ends. */
  readonly jump: Jump;
  readonly normalizedJump: Jump;
}

export interface Jump {
  readonly step: number;
  readonly size: number;
  /** Size over the median |change|; 1 is no jump at all. Infinite if half of the changes are 0. */
  readonly ratio: number;
}

/**
 * Counts near-zero weights at each checkpoint and looks for an abrupt rise.
 *
 * @param share the threshold is the magnitude below which this share of the first checkpoint's weights lies; default 1 %
 * @throws if checkpoints have different layers or shapes
 */
export function emergence(
  checkpoints: readonly WeightCheckpoint[],
  { share = 0.01 }: { share?: number } = {},
): Emergence {
  check(checkpoints.length > 2, () => `emergence: ${checkpoints.length} checkpoints; expected 3 or more`);
  check(share > 0 && share < 1, () => `emergence: share ${share}; expected more than 0 and less than 1`);
  const [first] = checkpoints;
  for (const { step, layers } of checkpoints) {
    const describe = (ls: readonly Layer[]) => ls.map(l => `${l.name} [${l.shape.join(', ')}]`).join(', ');
    check(
      describe(layers) === describe(first.layers),
      () => `emergence: step ${step} has the weights ${describe(layers)}, step ${first.step} ${describe(first.layers)}`,
    );
  }
  const plain = (l: Layer) => ({ name: l.name, values: l.values, scale: 1 });
  const scaled = (l: Layer) => ({ name: l.name, values: l.values, scale: 1 / rms(l.values) });
  const threshold = quantileOf(first.layers.map(plain), share);
  const normalizedThreshold = quantileOf(first.layers.map(scaled), share);
  const points = checkpoints.map(({ step, layers }): NearZero => {
    const sizes = layers.map(l => l.values.length);
    const all = sizes.reduce((a, b) => a + b, 0);
    const counts = layers.map(l => below(plain(l), threshold));
    return {
      step,
      total: counts.reduce((a, b) => a + b, 0) / all,
      layers: Object.fromEntries(layers.map((l, i) => [l.name, counts[i] / sizes[i]])),
      normalized: layers.reduce((n, l) => n + below(scaled(l), normalizedThreshold), 0) / all,
    };
  });
  return {
    threshold,
    normalizedThreshold,
    points,
    jump: jumpOf(points.map(p => ({ step: p.step, value: p.total }))),
    normalizedJump: jumpOf(points.map(p => ({ step: p.step, value: p.normalized }))),
  };
}

interface Scaled {
  readonly values: Float32Array;
  readonly scale: number;
}

const rms = (values: Float32Array): number =>
  Math.sqrt(values.reduce((s, v) => s + v * v, 0) / values.length) || Number.MIN_VALUE;

const below = ({ values, scale }: Scaled, threshold: number): number =>
  values.reduce((n, v) => n + (Math.abs(v) * scale < threshold ? 1 : 0), 0);

function quantileOf(layers: readonly Scaled[], share: number): number {
  const all = new Float32Array(layers.reduce((n, l) => n + l.values.length, 0));
  let at = 0;
  for (const { values, scale } of layers) for (const v of values) all[at++] = Math.abs(v) * scale;
  return all.sort()[Math.ceil(share * all.length) - 1];
}

function jumpOf(points: readonly { step: number; value: number }[]): Jump {
  const rises = points.slice(1).map((p, i) => ({ step: p.step, size: p.value - points[i].value }));
  const largest = rises.reduce((a, b) => (b.size > a.size ? b : a));
  const sizes = rises.map(r => Math.abs(r.size)).sort((a, b) => a - b);
  const middle = (sizes[Math.floor((sizes.length - 1) / 2)] + sizes[Math.ceil((sizes.length - 1) / 2)]) / 2;
  return { ...largest, ratio: largest.size === 0 ? 1 : largest.size / middle };
}

import { check, type NDArray } from '@gossamer/tensor';
import { averageSnapshots } from '../../train/average.ts';
import { softmaxRows } from '../../train/calibration.ts';
import type { Snapshot } from '../../train/snapshot.ts';

/** How far apart the copies of a soup lie. */
export interface Spread {
  /** ‖θ_i − θ_j‖₂ of every pair i < j. */
  readonly distances: readonly number[];
  /** Between θ_i and θ_j as vectors, in degrees, of the same pairs. */
  readonly angles: readonly number[];
  /** Largest distance of a copy from their mean. */
  readonly barycentre: number;
}

/** @param names tensors that count: the trainable ones, not running statistics */
export function spreadOf(copies: readonly Snapshot[], names: Iterable<string>): Spread {
  const list = [...names];
  const dot = (a: Snapshot, b: Snapshot): number => {
    let sum = 0;
    for (const name of list) {
      const [x, y] = [a.get(name), b.get(name)];
      check(x && y, () => `spreadOf: a snapshot has no '${name}'`);
      for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
    }
    return sum;
  };
  const distance = (a: Snapshot, b: Snapshot): number => {
    let sum = 0;
    for (const name of list) {
      const [x, y] = [a.get(name)!, b.get(name)!];
      for (let i = 0; i < x.length; i++) sum += (x[i] - y[i]) ** 2;
    }
    return Math.sqrt(sum);
  };
  const norms = copies.map(c => Math.sqrt(dot(c, c)));
  const pairs = copies.flatMap((_, i) => copies.slice(i + 1).map((_, j) => [i, i + 1 + j] as const));
  const mean = averageSnapshots(copies);
  return {
    distances: pairs.map(([i, j]) => distance(copies[i], copies[j])),
    angles: pairs.map(([i, j]) => {
      const cosine = dot(copies[i], copies[j]) / (norms[i] * norms[j]);
      return (180 / Math.PI) * Math.acos(Math.min(1, Math.max(-1, cosine)));
    }),
    barycentre: Math.max(...copies.map(c => distance(c, mean))),
  };
}

/** (1 − λ)·a + λ·b. Its batch-norm statistics are to be recalibrated before it is judged. */
export const interpolate = (a: Snapshot, b: Snapshot, lambda = 0.5): Snapshot =>
  averageSnapshots([a, b], [1 - lambda, lambda]);

/** Prediction ensemble: the mean of the copies' probabilities. It costs as many passes as there are copies. */
export function ensemble(logits: readonly NDArray[]): NDArray<Float32Array> {
  check(logits.length > 0, 'ensemble: no predictions');
  const sum = new Float64Array(logits[0].data.length);
  for (const one of logits) {
    check(
      one.data.length === sum.length,
      () => `ensemble: predictions of shapes [${logits[0].shape}] and [${one.shape}]`,
    );
    for (const [i, p] of softmaxRows(one).data.entries()) sum[i] += p;
  }
  return { dtype: 'float32', shape: logits[0].shape, data: Float32Array.from(sum, v => v / logits.length) };
}

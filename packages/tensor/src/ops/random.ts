import { sizeOf } from '../dtype.ts';
import { leafNode } from '../graph.ts';
import type { Random } from '../random.ts';
import { recorder } from '../record.ts';
import { Tensor } from '../tensor.ts';

/** A leaf that `fill` gives at once or, in a compiled function, anew for every call. */
export function drawn(shape: readonly number[], fill: () => Float32Array): Tensor {
  const r = recorder();
  const node = leafNode({ shape: [...shape], dtype: 'float32' }, r ? undefined : fill());
  r?.fresh(node, fill);
  return new Tensor(node);
}

/** Uniform numbers in [low, high). */
export const uniform = (random: Random, shape: readonly number[], low = 0, high = 1): Tensor =>
  drawn(shape, () => random.uniform(sizeOf(shape), low, high));

/** Normal numbers. */
export const normal = (random: Random, shape: readonly number[], mean = 0, std = 1): Tensor =>
  drawn(shape, () => random.normal(sizeOf(shape), mean, std));

/** 1 with probability `p`, else 0 (float32). */
export const bernoulli = (random: Random, shape: readonly number[], p = 0.5): Tensor =>
  drawn(shape, () => random.uniform(sizeOf(shape)).map(u => (u < p ? 1 : 0)));

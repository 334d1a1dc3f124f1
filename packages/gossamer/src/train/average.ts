import { check } from '@gossamer/tensor';
import type { Snapshot } from './snapshot.ts';

/**
 * Σ λ_i θ_i over all tensors — weights, biases, norms, running statistics — of networks of the same shape. Running
 * statistics of an average are not the average of running statistics: `recalibrateBatchNorm` measures them.
 *
 * @param weights λ, up to a common factor; default equal ones
 */
export function averageSnapshots(
  states: readonly Snapshot[],
  weights: readonly number[] = states.map(() => 1),
): Snapshot {
  check(states.length > 0, 'averageSnapshots: no snapshots to average');
  check(
    weights.length === states.length,
    () => `averageSnapshots: ${weights.length} weights for ${states.length} snapshots`,
  );
  const total = weights.reduce((a, b) => a + b, 0);
  check(
    weights.every(Number.isFinite) && total !== 0,
    () => `averageSnapshots: weights ${weights.join(', ')} do not add up to something`,
  );
  const [first] = states;
  for (const [i, state] of states.entries()) {
    check(
      state.size === first.size,
      () => `averageSnapshots: snapshot ${i} has ${state.size} tensors, the first ${first.size}`,
    );
    for (const [name, values] of first) {
      const other = state.get(name);
      check(
        other?.length === values.length,
        () =>
          `averageSnapshots: '${name}' has ${other?.length ?? 'no'} values in snapshot ${i}, ${values.length} in the first`,
      );
    }
  }
  return new Map(
    Array.from(first, ([name, { length }]) => {
      const sum = new Float64Array(length);
      for (const [i, state] of states.entries()) {
        const values = state.get(name)!;
        for (let k = 0; k < length; k++) sum[k] += weights[i] * values[k];
      }
      return [name, Float32Array.from(sum, v => v / total)];
    }),
  );
}

import { check, type Tensor } from '@gossamer/tensor';

/** ‖(g₁, g₂, …)‖₂ of all tensors together, a scalar. */
export function globalNorm(grads: readonly Tensor[]): Tensor {
  check(grads.length > 0, 'globalNorm: no tensors given');
  return grads
    .map(g => g.mul(g).sum())
    .reduce((a, b) => a.add(b))
    .sqrt();
}

/** Scales all gradients together so that their global norm is at most `max`; also returns the norm of before. */
export function clipByGlobalNorm(grads: readonly Tensor[], max: number): { grads: Tensor[]; norm: Tensor } {
  check(max > 0, () => `clipByGlobalNorm: limit ${max}: expected a positive number`);
  const norm = globalNorm(grads);
  // PyTorch's 1e-6 against division by zero, so that results compare.
  const factor = norm.add(1e-6).reciprocal().mul(max).minimum(1);
  return { grads: grads.map(g => g.mul(factor)), norm };
}

/** Limits every element to [−max, max]. */
export function clipByValue(grads: readonly Tensor[], max: number): Tensor[] {
  check(max > 0, () => `clipByValue: limit ${max}: expected a positive number`);
  return grads.map(g => g.clamp(-max, max));
}

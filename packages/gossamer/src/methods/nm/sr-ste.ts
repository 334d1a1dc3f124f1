// The straight-through estimator with a pull to zero on pruned weights, so that the mask comes to rest.
// Zhou, Ma, Zhu, Liu, Zhang, Yuan, Sun & Li 2021, "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch".

import { check } from '@gossamer/tensor';
import type { MethodInfo } from '../method.ts';
import { STE, type STEOptions } from './ste.ts';

export const method: MethodInfo = {
  slug: 'sr-ste',
  name: 'SR-STE',
  summary: 'Trains N:M sparse networks from scratch: dense weights behind a mask that follows them and settles.',
  paper: 'Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch (Zhou et al. 2021)',
  kind: 'sparsifier',
};

export interface SRSTEOptions extends STEOptions {
  /** λ_W of the paper; default 2e-4. With 0 it is {@link STE}. */
  readonly lambda?: number;
}

/**
 * W̃ = m ⊙ W and ∂L/∂W = ∂L/∂W̃ + λ_W·(1 − m) ⊙ W (eq. 9), with the mask m of the largest |w| of this moment.
 *
 * λ_W acts beside the weight decay of the optimiser: with a weight decay λ that is part of the gradient, pruned weights
 * decay with λ + λ_W.
 */
export class SRSTE extends STE {
  static override readonly options: readonly string[] = [...STE.options, 'lambda'];
  override readonly name = method.slug;

  constructor({ lambda = 2e-4, ...options }: SRSTEOptions) {
    check(lambda >= 0, () => `sr-ste: lambda ${lambda}; expected 0 or more`);
    super(options, lambda);
  }
}

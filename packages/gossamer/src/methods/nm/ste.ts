// Prunes anew at every step and lets the gradient pass the mask, so that pruned weights can return.
// Bengio, Léonard & Courville 2013, "Estimating or Propagating Gradients Through Stochastic Neurons"; as a way to train
// N:M sparse networks: Zhou et al. 2021, "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", §3.1.

import { check } from '@gossamer/tensor';
import type { PruneOptions } from '../../sparsity/index.ts';
import { keepLargest, type RemaskedOptions, RemaskedSparsifier, type Remasking } from '../../sparsity/remasked.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'ste',
  name: 'STE',
  summary: 'The plain baseline of N:M training: the mask follows the weights at every step, the gradient ignores it.',
  paper: 'Estimating or Propagating Gradients Through Stochastic Neurons (Bengio et al. 2013); Zhou et al. 2021',
  kind: 'sparsifier',
};

export interface STEOptions
  extends Pick<RemaskedOptions, 'exclude'>,
    Pick<PruneOptions, 'granularity' | 'allocation' | 'norm' | 'rounding' | 'minimum'> {
  /** Share of the weights that go, 0 ≤ s < 1; an N:M pattern has its own. */
  readonly sparsity?: number;
}

/**
 * W̃ = m ⊙ W with m the mask of the largest |w| of this moment — the n largest of every m in a row with
 * `granularity: 'n:m'` — and ∂L/∂W = ∂L/∂W̃ at every position.
 *
 * Weight decay of the optimiser acts on pruned weights, too.
 */
export class STE extends RemaskedSparsifier {
  static readonly options: readonly string[] = [
    'sparsity',
    'granularity',
    'allocation',
    'norm',
    'rounding',
    'minimum',
    'exclude',
  ] satisfies readonly (keyof STEOptions)[];
  readonly name: string = method.slug;
  readonly #options: PruneOptions;

  constructor({ exclude, ...options }: STEOptions, regularization = 0) {
    super({ gradient: 'straight-through', regularization, ...(exclude && { exclude }) });
    const { sparsity } = options;
    check(
      sparsity === undefined || (sparsity >= 0 && sparsity < 1),
      () => `straight-through pruning: sparsity ${sparsity}; expected 0 ≤ s < 1`,
    );
    this.#options = options;
  }

  protected override async remask(training: Training): Promise<Remasking> {
    return { mask: keepLargest(await this.maskedLayers(training), this.#options), decay: 0 };
  }
}

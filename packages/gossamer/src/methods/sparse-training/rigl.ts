// Trains sparse from the first step: connections of small magnitude make way for those of large gradient.
// Evci, Gale, Menick, Castro & Elsen 2020, "Rigging the Lottery: Making All Tickets Winners".

import { type DynamicOptions, DynamicSparseTraining, dynamicOptions } from '../../sparsity/dynamic.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'rigl',
  name: 'RigL',
  summary: 'Sparse from start to end at a fixed cost: drops small weights and grows where the gradient is large.',
  paper: 'Rigging the Lottery: Making All Tickets Winners (Evci et al. 2020)',
  kind: 'sparsifier',
};

export interface RigLOptions extends Partial<Omit<DynamicOptions, 'sparsity'>> {
  readonly sparsity: number;
  /** `gradient` (default): |∂L/∂w| of the coming mini-batch at dead positions, too. `random`: the paper's control, SET. */
  readonly grow?: DynamicOptions['grow'];
}

/**
 * Every ΔT steps until T_end, layer by layer, with k = f(t)·(1 − s_l)·N_l and f(t) = α/2·(1 + cos(t·π/T_end)) (§3):
 * the k live weights of smallest |θ| are dropped, then the k positions of highest |∇_Θ L| that are not live (just
 * dropped ones may return) are grown from zero. Defaults of the paper: ERK start, α 0.3, ΔT 100, T_end at 75 % of
 * the training. Unlike in the paper, the optimiser's step is taken at updates, too.
 */
export class RigL extends DynamicSparseTraining {
  static readonly options: readonly string[] = dynamicOptions;
  readonly name = method.slug;

  constructor(options: RigLOptions) {
    super({
      allocation: 'erk',
      fraction: 0.3,
      decay: 'cosine',
      interval: 100,
      until: 0.75,
      grow: 'gradient',
      ...options,
    });
  }
}

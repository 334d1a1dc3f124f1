// Sparsity rises along a cubic curve while the network trains.
// Zhu & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model compression".

import { check } from '@gossamer/tensor';
import { ScheduledPruning, type ScheduledPruningOptions, type Scorer, scorers } from '../../sparsity/scheduled.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'gradual-magnitude-pruning',
  name: 'Gradual magnitude pruning',
  summary: 'The standard pruner of a training run: sparsity rises smoothly to the target along a cubic curve.',
  paper: 'To prune, or not to prune: exploring the efficacy of pruning for model compression (Zhu & Gupta 2017)',
  kind: 'sparsifier',
};

export interface GradualMagnitudeOptions
  extends Pick<ScheduledPruningOptions, 'granularity' | 'exclude' | 'regrow' | 'maskState'> {
  /** Final sparsity s_f, 0 ≤ s_f < 1, of every pruned layer (of all together with `scope: 'global'`). */
  readonly sparsity: number;
  /** Initial sparsity s_i; default 0. */
  readonly initial?: number;
  /** First update t₀ in steps; default 0. */
  readonly start?: number;
  /**
   * Last update t₀ + nΔt in steps; default two thirds of the training, while the learning rate can still repair what
   * pruning breaks (§3: pruning that ends after the rate has decayed looks as if pruning hurt).
   */
  readonly end?: number;
  /** Steps Δt between updates; default 100 (100 to 1000 differ little, §3). */
  readonly interval?: number;
  /** Exponent of the schedule; default 3. 1 is the linear schedule. */
  readonly exponent?: number;
  /** `layer` (default): each layer at s_t. `global`: one ranking over all layers. */
  readonly scope?: 'layer' | 'global';
  /** Default magnitude; `random` is the paper's control. */
  readonly score?: Scorer | keyof typeof scorers;
  /** Block granularity averages |w| over a block. */
  readonly norm?: ScheduledPruningOptions['norm'];
}

/**
 * s_t = s_f + (s_i − s_f)·(1 − (t − t₀)/(nΔt))³ for t ∈ {t₀, t₀ + Δt, …, t₀ + nΔt} (eq. 1); at each t the weights of
 * smallest |w| are masked, layer by layer, and the mask is frozen afterwards. Masked weights keep their value and get no
 * update, so they may return while the schedule runs.
 */
export class GradualMagnitudePruning extends ScheduledPruning {
  override readonly name = method.slug;
  constructor(options: GradualMagnitudeOptions) {
    const { sparsity, interval, scope = 'layer', score = 'magnitude' } = options;
    check(sparsity >= 0 && sparsity < 1, () => `gradual magnitude pruning: sparsity ${sparsity}; expected 0 ≤ s < 1`);
    super({
      ...options,
      kind: 'cubic',
      ...(interval !== undefined && { every: interval }),
      allocation: scope === 'global' ? 'global' : 'uniform',
      norm: options.norm ?? 'mean',
      score: typeof score === 'string' ? scorers[score] : score,
    });
  }
}

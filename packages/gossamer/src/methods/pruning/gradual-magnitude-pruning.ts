// Sparsity rises along a cubic curve while the network trains.
// Zhu & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model compression".

import { check } from '@gossamer/tensor';
import type { Layer } from '../../sparsity/layer.ts';
import { ScheduledPruning, type ScheduledPruningOptions } from '../../sparsity/scheduled.ts';
import { type Scorer, scorers } from '../../sparsity/scorers.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'gradual-magnitude-pruning',
  name: 'Gradual magnitude pruning',
  summary: 'The standard pruner of a training run: sparsity rises smoothly to the target along a cubic curve.',
  paper: 'To prune, or not to prune: exploring the efficacy of pruning for model compression (Zhu & Gupta 2017)',
  kind: 'sparsifier',
};

export interface GradualMagnitudeOptions
  extends Pick<ScheduledPruningOptions, 'overrides' | 'granularity' | 'norm' | 'regrow' | 'maskState'> {
  /** Final sparsity s_f, s_i ≤ s_f < 1, of every pruned layer (of all together with `scope: 'global'`). */
  readonly sparsity: number;
  /** Initial sparsity s_i; default 0. */
  readonly initial?: number;
  /** First update t₀ in steps; default 0. */
  readonly start?: number;
  /**
   * Last update t₀ + nΔt in steps; default two thirds of the training, while the learning rate can still repair what
   * pruning breaks (§3: pruning that ends after the rate has decayed looks as if pruning hurt). It lands on s_f even if
   * end − start is no multiple of the interval.
   */
  readonly end?: number;
  /** The same by the number n of intervals. Give one of the two. */
  readonly updates?: number;
  /** Steps Δt between updates; default 100 (100 to 1000 differ little, §3), or the whole window if that is shorter. */
  readonly interval?: number;
  /** Exponent of the schedule; default 3. 1 is the linear schedule. */
  readonly exponent?: number;
  /** `layer` (default): each layer at s_t. `global`: one ranking over all layers. */
  readonly scope?: 'layer' | 'global';
  /** Layers left dense, as in {@link maskable}; `[]` prunes all. Default {@link smallLayers}; the trainer prints their share. */
  readonly exclude?: readonly string[];
  /** Default magnitude; `random` is the control that shows what the ranking is worth. */
  readonly score?: Scorer | keyof typeof scorers;
}

/**
 * s_t = s_f + (s_i − s_f)·(1 − (t − t₀)/(nΔt))³ for t ∈ {t₀, t₀ + Δt, …, t₀ + nΔt} (eq. 1).
 *
 * At each such step t the round(s_t · numel) weights of smallest |w| are masked in every layer, of equal ones those that
 * come last; afterwards the mask is frozen. Masked weights count as zero in the forward pass, keep their stored value and
 * get no update — not from momentum or weight decay either — so while the schedule runs they can return. With block
 * granularity (`block:4x4`), blocks are ranked by their average |w|.
 *
 * ```ts
 * const pruning = new GradualMagnitudePruning({ sparsity: 0.9, start: 500 });
 * await new Trainer({ model, task, train, optimizer, epochs: 10, sparsifiers: [pruning] }).run();
 * pruning.log; // what each update did
 * ```
 *
 * Throws a GossamerError for s_f ≥ 1, s_f < s_i, nΔt ≤ 0, a last update after the end of training (when that begins), and
 * two layers that hold one tensor. A tensor used several times (tied embeddings) is one layer and masked once.
 */
export class GradualMagnitudePruning extends ScheduledPruning {
  static override readonly options: readonly string[] = [
    'sparsity',
    'initial',
    'exclude',
    'granularity',
    'norm',
    'score',
    'scope',
    'regrow',
    'start',
    'end',
    'updates',
    'interval',
    'exponent',
  ] satisfies readonly (keyof GradualMagnitudeOptions)[];
  override readonly name = method.slug;

  constructor(options: GradualMagnitudeOptions) {
    const { sparsity, start = 0, end, updates, interval, scope = 'layer', score = 'magnitude' } = options;
    check(sparsity >= 0 && sparsity < 1, () => `gradual magnitude pruning: sparsity ${sparsity}; expected 0 ≤ s < 1`);
    check(
      end === undefined || updates === undefined,
      () => `gradual magnitude pruning: end ${end} and updates ${updates}; give one of them`,
    );
    const last = updates === undefined ? end : start + updates * (interval ?? 100);
    super({
      ...options,
      kind: 'cubic',
      exclude: options.exclude ?? smallLayers,
      ...(last !== undefined && { end: last }),
      ...(interval !== undefined && { every: interval }),
      allocation: scope === 'global' ? 'global' : 'uniform',
      norm: options.norm ?? 'mean',
      score: typeof score === 'string' ? scorers[score] : score,
    });
  }
}

/** A layer with less than this share of the weights is small. */
const small = 0.02;

/**
 * What is left dense by default, because pruning it hurts and saves nothing (§4.1): depth-wise convolutions and the first
 * convolution, each if it holds less than 2 % of the weights. In MobileNet these are about 1 % together. Biases and norms
 * are never pruned.
 */
export function smallLayers(layers: readonly Layer[]): string[] {
  const limit = small * layers.reduce((n, l) => n + l.values.length, 0);
  return layers
    .filter((l, i) => (l.kind === 'depthwise' || (l.kind === 'conv' && i === 0)) && l.values.length < limit)
    .map(l => l.name);
}

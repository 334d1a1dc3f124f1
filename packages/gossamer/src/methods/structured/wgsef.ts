// Drives groups of weights to exact zero until k of them live, whatever a group is: filters, neurons, single weights.
// Refael, Iarchuk, Huleihel & Lindenbaum, "Learning k-Level Structured Sparse Neural Networks Using Group Envelope
// Regularization", arXiv:2212.12921.

import { check } from '@gossamer/tensor';
import { countOf } from '../../sparsity/apportion.ts';
import { type Granularity, parseGranularity } from '../../sparsity/granularity.ts';
import { maskable, type Selection } from '../../sparsity/layer.ts';
import { channelsInTraining, groupFlops, type Partition, partitionLayers } from '../../sparsity/partition.ts';
import {
  envelope,
  type GroupBudget,
  type GroupMove,
  type GroupStep,
  ProximalSparsifier,
  withBudget,
} from '../../sparsity/proximal.ts';
import { anneal } from '../../sparsity/schedule.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'wgsef',
  name: 'WGSEF',
  summary: 'Trains until exactly k groups of weights live — filters, neurons, single weights — and the rest is zero.',
  paper: 'Learning k-Level Structured Sparse Neural Networks Using Group Envelope Regularization (Refael et al. 2022)',
  kind: 'sparsifier',
};

export interface WGSEFOptions {
  /** Share of the groups that go, 0 ≤ s < 1: k = m − round(s·m). This or `k`. */
  readonly sparsity?: number;
  /** Groups that live at the end, 1 ≤ k ≤ m. */
  readonly k?: number;
  /** Strength λ of the envelope; default 0.01. Too small a λ leaves more than k groups to the final projection. */
  readonly lambda?: number;
  /**
   * The groups. `filter` (default): whole channels that can be removed — the rows of all layers that write one, bias, scale and
   * shift of its normalisations; what gives the network's outputs is left alone. Any other partition divides each
   * layer's weight: `channel`, `filter-shape`, `kernel`, `block:4x1`, `layer`, `element`.
   */
  readonly granularity?: Granularity | string;
  /** d_j of each group: 1 (default), its number of weights, or its FLOPs; the last two divided by their mean. */
  readonly weights?: 'one' | 'size' | 'flops';
  /** `global` (default): one k over all layers. `uniform`: the same share in each layer, at least one group. */
  readonly allocation?: 'global' | 'uniform';
  /** Layers left alone: names, kinds, `first`, `last`, wildcards; default none. */
  readonly exclude?: readonly string[];
  /** Share of the training in which λ rises from 0; default 0. */
  readonly warmup?: number;
  /** Share of the training in which k falls from m to its final value; default 0. */
  readonly continuation?: number;
  /**
   * Share of the training after which the support is fixed, 0…1; default 0.9. If more than k groups live then, the k of
   * largest √d_j·‖w_j‖ stay; the rest of the training is without regularisation.
   */
  readonly until?: number;
  /** How the proximal step is solved; default `sort`. */
  readonly rootFinder?: 'sort' | 'random';
}

/**
 * Stochastic proximal gradient descent on ℓ(w) + λ𝒲_k(w): after each step of the optimiser with rate α,
 * w ← prox_{αλ𝒲_k}(w) ({@link envelopeProx}). Groups that lose become exact zeros; at least k always live.
 *
 * ```ts
 * const wgsef = new WGSEF({ sparsity: 0.75 });
 * await new Trainer({ model, task, train, optimizer, epochs: 20, sparsifiers: [wgsef] }).run();
 * const small = await shrink(model, inputs, { remove: deadChannels(wgsef.partition, wgsef.alive) });
 * ```
 */
export class WGSEF extends ProximalSparsifier {
  /** Names of the options, for `gossamer train --set`. */
  static readonly options: readonly string[] = [
    'sparsity',
    'lambda',
    'granularity',
    'weights',
    'allocation',
    'exclude',
    'warmup',
    'continuation',
    'until',
    'rootFinder',
  ];
  readonly name = method.slug;
  readonly #o: WGSEFOptions;
  #selection: Selection | undefined;
  #weights: Float64Array | undefined;

  /** Throws a GossamerError for options that no training could follow. */
  constructor(options: WGSEFOptions) {
    super(options.until);
    const { sparsity, k, lambda = 0.01, until = 0.9, warmup = 0, continuation = 0, allocation } = options;
    check(
      (sparsity === undefined) !== (k === undefined),
      () => `wgsef: sparsity ${sparsity}, k ${k}: give one of them`,
    );
    check(
      sparsity === undefined || (sparsity >= 0 && sparsity < 1),
      () => `wgsef: sparsity ${sparsity}; expected 0 ≤ s < 1`,
    );
    check(
      k === undefined || allocation !== 'uniform',
      'wgsef: with allocation uniform each layer has a k of its own; give sparsity',
    );
    check(
      allocation === undefined || allocation === 'global' || allocation === 'uniform',
      () => `wgsef: allocation ${allocation}; expected global or uniform`,
    );
    check(lambda > 0, () => `wgsef: λ ${lambda}; expected a number above 0`);
    for (const [name, share] of Object.entries({ warmup, continuation })) {
      check(share >= 0 && share <= until, () => `wgsef: ${name} ${share}; expected 0 ≤ share ≤ until ${until}`);
    }
    this.#o = options;
  }

  get selection(): Selection | undefined {
    return this.#selection;
  }

  protected async groups(training: Training): Promise<Partition> {
    const { granularity = 'filter', exclude = [], weights = 'one', k } = this.#o;
    check(['one', 'size', 'flops'].includes(weights), () => `wgsef: weights '${weights}'; expected one, size or flops`);
    const read = typeof granularity === 'string' ? parseGranularity(granularity) : granularity;
    const { layers, parameters } = training.layers;
    const chosen = { layers: maskable(layers, exclude).layers, parameters };
    const names = new Set(chosen.layers.map(l => l.name));
    const partition =
      read.kind === 'filter'
        ? await channelsInTraining(training, name => names.has(name))
        : partitionLayers(chosen, read);
    check(
      k === undefined || (Number.isInteger(k) && k >= 1 && k <= partition.count),
      () => `wgsef: k = ${k} of ${partition.count} groups; expected a whole number from 1 to ${partition.count}`,
    );
    const touched = layers.filter(l => partition.of.has(parameters.get(l.name)!));
    this.#selection = maskable(
      layers,
      layers.filter(l => !touched.includes(l)).map(l => l.name),
    );
    const cost = weights === 'size' ? Float64Array.from(partition.sizes) : groupFlops(partition, training.layers);
    this.#weights = weights === 'one' ? undefined : relative(cost);
    return partition;
  }

  /** Groups that may live, all together or in each scope, when the share `progress` of the training is over. */
  #level(progress: number): number | number[] {
    const { sparsity = 0, k, continuation = 0, allocation = 'global' } = this.#o;
    const { count, scopes } = this.partition;
    const of = (m: number): number => {
      const final = k ?? Math.max(1, m - countOf(sparsity, m));
      if (progress >= continuation) return final;
      return Math.round(anneal({ from: m, to: final, end: continuation, law: 'linear' }, progress));
    };
    return allocation === 'global' ? of(count) : scopes.map(s => of(s.end - s.start));
  }

  protected budget(): GroupBudget {
    return { k: this.#level(1), weights: this.#weights };
  }

  protected operate(step: Omit<GroupStep, 't'>, rate: number, { step: done, steps }: Training): GroupMove {
    const { lambda = 0.01, warmup = 0, rootFinder = 'sort' } = this.#o;
    const progress = done / steps;
    const strength = progress < warmup ? lambda * (progress / warmup) : lambda;
    const budget = { k: this.#level(progress), weights: this.#weights };
    const prox = withBudget(this.partition, budget, (k, weights) => envelope({ k, weights, rootFinder }));
    return prox({ ...step, t: rate * strength });
  }
}

/** Costs over their mean, so that λ means the same whatever they count. */
function relative(costs: Float64Array): Float64Array {
  const mean = costs.reduce((a, b) => a + b, 0) / costs.length;
  return costs.map(c => c / mean);
}

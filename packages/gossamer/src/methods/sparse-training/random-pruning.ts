// Draws a random mask at initialisation, with well-chosen densities of the layers, and trains what is left.
// Liu, Chen, Chen, Shen, Mocanu, Wang & Pechenizkiy 2022, "The Unreasonable Effectiveness of Random Pruning: Return of the
// Most Naive Baseline for Sparse Training".

import { check, Random } from '@gossamer/tensor';
import { rawDensity } from '../../sparsity/allocation.ts';
import { apportion, proportionalShares } from '../../sparsity/apportion.ts';
import { type DynamicOptions, DynamicSparseTraining } from '../../sparsity/dynamic.ts';
import {
  bernoulliMask,
  checkLayers,
  type Layer,
  type Mask,
  maskable,
  type PruneOptions,
  prune,
  randomScore,
} from '../../sparsity/index.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';
import { grasp } from '../pruning/grasp.ts';
import { snip } from '../pruning/snip.ts';

export const method: MethodInfo = {
  slug: 'random-pruning',
  name: 'Random pruning',
  summary:
    'A random mask before training with ERK or SNIP densities: the honest baseline, and enough in wide networks.',
  paper:
    'The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training (Liu et al. 2022)',
  kind: 'sparsifier',
};

/**
 * How densities ρ_l are divided, Σ ρ_l·n_l = ρ·Σ n_l:
 * - `uniform`: ρ_l = ρ
 * - `uniform+`: the first layer dense, the last at least 20 % dense, the rest alike
 * - `er`: ρ_l ∝ (n_in + n_out) / (n_in·n_out); `erk`: the same with the kernel's extents; capped at 1
 * - `snip-ratio`, `grasp-ratio`: those of a SNIP or GraSP mask; its positions are not used
 */
export type Ratio = 'uniform' | 'uniform+' | 'er' | 'erk' | 'snip-ratio' | 'grasp-ratio';

interface MaskOptions extends Pick<PruneOptions, 'granularity'> {
  /** Share S = 1 − ρ of the weights that go, 0 ≤ S < 1. */
  readonly sparsity: number;
  /** Sparsities of single layers, 0…1, by name; the others absorb the difference. */
  readonly fixed?: Readonly<Record<string, number>>;
  /** `exact` (default): round(ρ_l·n_l) positions without replacement. `bernoulli`: each lives with probability ρ_l. */
  readonly sampling?: 'exact' | 'bernoulli';
}

export interface RandomMaskOptions extends MaskOptions {
  /** Default `erk`. */
  readonly ratio?: Exclude<Ratio, 'snip-ratio' | 'grasp-ratio'>;
  /** A mask whose densities are taken over instead, with at least one weight for every output. */
  readonly like?: Mask;
  readonly exclude?: readonly string[];
  /** Default `new Random(0)`; the same draws the same mask, whatever the order of layers. */
  readonly random?: Random;
}

export interface RandomPruningOptions extends MaskOptions, Pick<DynamicOptions, 'exclude'> {
  /** Default `erk`. */
  readonly allocation?: Ratio;
  /** Divides the weights that are left by √ρ_l, so that activations keep their scale. Default false, as in the paper. */
  readonly rescale?: boolean;
  /**
   * Whether the mask stays as it is (default). Otherwise half of each layer's weights, falling along a cosine, are exchanged
   * every `interval` steps: SET with `grow: 'random'` (default), RigL with `gradient`.
   */
  readonly fixedMask?: boolean;
  /** Default 100. */
  readonly interval?: number;
  readonly grow?: DynamicOptions['grow'];
}

/** The random mask of a network; layers that `exclude` names stay dense and outside the count. */
export function randomPruning(
  all: readonly Layer[],
  {
    sparsity,
    ratio = 'erk',
    like,
    fixed = {},
    sampling = 'exact',
    granularity,
    exclude,
    random = new Random(0),
  }: RandomMaskOptions,
): Mask {
  checkSparsity(sparsity);
  const { layers } = maskable(all, exclude);
  if (sampling === 'bernoulli') {
    check(
      granularity === undefined || granularity === 'element',
      'random pruning: Bernoulli sampling draws single weights; leave the granularity out, or sample exactly',
    );
    const density = like ? densitiesLike(layers, like, fixed) : layerDensities(layers, sparsity, ratio, fixed);
    return bernoulliMask(layers, density, random);
  }
  const score = (l: Layer) => randomScore(l.values.length, random.fork(l.name));
  const units = { ...(granularity !== undefined && { granularity }) };
  if (!like) return prune(layers, score, { ...units, sparsity, allocation: ratio, fixed });
  const density = densitiesLike(layers, like, fixed);
  return prune(layers, score, {
    ...units,
    sparsity: Object.fromEntries(layers.map(l => [l.name, 1 - density[l.name]])),
  });
}

/** ρ_l of each layer as real numbers, with Σ ρ_l·n_l = (1 − S)·Σ n_l. Refuses what dense and fixed layers cannot meet. */
export function layerDensities(
  layers: readonly Layer[],
  sparsity: number,
  ratio: NonNullable<RandomMaskOptions['ratio']> = 'erk',
  fixed: Readonly<Record<string, number>> = {},
): Record<string, number> {
  checkSparsity(sparsity);
  checkLayers(layers);
  const size = (ls: readonly Layer[]) => ls.reduce((n, l) => n + l.values.length, 0);
  const free = layers.filter(l => !(l.name in fixed));
  const taken = layers.reduce((n, l) => n + (l.name in fixed ? (1 - fixed[l.name]) * l.values.length : 0), 0);
  const total = (1 - sparsity) * size(layers) - taken;
  const receivers = free.map(l => {
    const n = l.values.length;
    const first = ratio === 'uniform+' && l === layers[0];
    const last = ratio === 'uniform+' && l === layers.at(-1);
    const raw = ratio === 'er' || ratio === 'erk' ? rawDensity({ ...l, units: n }, ratio) : 1;
    return { weight: raw * n, lower: first ? n : last ? 0.2 * n : 0, upper: n };
  });
  const least = receivers.reduce((n, r) => n + r.lower, 0);
  check(
    total >= least && total <= size(free),
    () =>
      `random pruning: density ${1 - sparsity} keeps ${(1 - sparsity) * size(layers)} of ${size(layers)} weights, but dense and fixed layers leave ${taken + least} to ${taken + size(free)}`,
  );
  const shares = proportionalShares(receivers, total);
  return Object.fromEntries(
    layers.map(l => [l.name, l.name in fixed ? 1 - fixed[l.name] : shares[free.indexOf(l)] / l.values.length]),
  );
}

/** The densities of a mask, changed as little as it takes for every layer to have a weight for each output. */
function densitiesLike(
  layers: readonly Layer[],
  like: Mask,
  fixed: Readonly<Record<string, number>>,
): Record<string, number> {
  const free = layers.filter(l => !(l.name in fixed));
  const receivers = free.map(l => {
    const n = l.values.length;
    return { weight: Math.max(like.kept(l.name), 1e-3), lower: Math.min(n, l.shape[l.outAxis]), upper: n };
  });
  const total = free.reduce((n, l) => n + like.kept(l.name), 0);
  const least = receivers.reduce((n, r) => n + r.lower, 0);
  check(
    total >= least,
    () =>
      `random pruning: ${total} weights are too few for one at each of the ${least} outputs of ${free.map(l => l.name).join(', ')}`,
  );
  const counts = apportion(receivers, total);
  return Object.fromEntries(
    layers.map(l => [l.name, l.name in fixed ? 1 - fixed[l.name] : counts[free.indexOf(l)] / l.values.length]),
  );
}

function checkSparsity(sparsity: number): void {
  check(
    sparsity >= 0 && sparsity < 1,
    () => `random pruning: sparsity ${sparsity}, density ${1 - sparsity}; expected a density 0 < ρ ≤ 1`,
  );
}

/**
 * w ← m ⊙ w with a random m before the first step and after every one; the recipe of the dense training stays as it is.
 *
 * ```ts
 * const pruning = new RandomPruning({ sparsity: 0.8, allocation: 'snip-ratio' });
 * await new Trainer({ model, task, train, optimizer, epochs: 160, sparsifiers: [pruning] }).run();
 * ```
 *
 * Throws a GossamerError for densities outside 0…1 and, when the training begins, for one that dense or fixed layers
 * cannot meet, for two layers that hold one tensor, and for SNIP or GraSP ratios with too few weights for all outputs.
 */
export class RandomPruning extends DynamicSparseTraining {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'granularity',
    'allocation',
    'fixed',
    'sampling',
    'rescale',
    'fixedMask',
    'interval',
    'grow',
  ] satisfies readonly (keyof RandomPruningOptions)[];
  readonly name = method.slug;
  readonly #o: RandomPruningOptions;

  constructor(options: RandomPruningOptions) {
    const { sparsity, exclude, granularity, fixedMask = true, interval = 100, grow = 'random' } = options;
    checkSparsity(sparsity);
    super({
      sparsity,
      ...(exclude && { exclude }),
      // Only exchanges look at it; a function of the layer has none.
      ...(granularity !== undefined && typeof granularity !== 'function' && { granularity }),
      allocation: 'erk',
      fraction: fixedMask ? 0 : 0.5,
      decay: 'cosine',
      interval,
      until: 1,
      grow,
    });
    check(
      fixedMask || typeof granularity !== 'function',
      'random pruning: an exchange needs one granularity for all layers',
    );
    this.#o = options;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    if (!this.#o.rescale) return;
    for (const { name, values } of await this.maskedLayers(training)) {
      const scale = Math.sqrt(this.mask!.density(name));
      if (scale > 0) training.layers.parameters.get(name)!.set(values.map(w => w / scale));
    }
  }

  protected override async start(training: Training, layers: readonly Layer[]): Promise<Mask> {
    const { allocation = 'erk', sparsity, fixed, sampling, granularity } = this.#o;
    const given = {
      sparsity,
      ...(fixed && { fixed }),
      ...(sampling && { sampling }),
      ...(granularity !== undefined && { granularity }),
      random: training.random.fork('start'),
    };
    if (allocation !== 'snip-ratio' && allocation !== 'grasp-ratio') {
      return randomPruning(layers, { ...given, ratio: allocation });
    }
    const find = allocation === 'snip-ratio' ? snip : grasp;
    const names = new Set(layers.map(l => l.name));
    const like = await training.calibrate(seen =>
      find({ ...seen, layers: { ...seen.layers, layers: seen.layers.layers.filter(l => names.has(l.name)) } }, given),
    );
    return randomPruning(layers, { ...given, like });
  }
}

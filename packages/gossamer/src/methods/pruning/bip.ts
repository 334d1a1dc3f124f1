// Learns the mask through the weights that are retrained under it: pruning as bi-level optimisation, at first-order cost.
// Zhang, Yao, Ram, Zhao, Chen, Hong, Wang & Liu 2022, "Advancing Model Pruning via Bi-level Optimization".

import { check, realize, type Tensor, tensor } from '@gossamer/tensor';
import type { Batch } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import type { Allocation } from '../../sparsity/allocation.ts';
import { type Granularity, parseGranularity } from '../../sparsity/granularity.ts';
import type { Layer } from '../../sparsity/layer.ts';
import {
  LearnedMask,
  type LearnedMaskOptions,
  type LearnedMaskStart,
  learnedMaskOptions,
} from '../../sparsity/learned-mask.ts';
import { checkPretrained } from '../../sparsity/pretrained.ts';
import { type PruneOptions, prune } from '../../sparsity/prune.ts';
import { magnitude } from '../../sparsity/score.ts';
import { smartRatio } from '../../sparsity/smart-ratio.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';
import { fanIn } from './edge-popup.ts';

export const method: MethodInfo = {
  slug: 'bip',
  name: 'BiP',
  summary: 'Mask and retrained weights in one run from a pretrained network, at about the cost of a one-shot method.',
  paper: 'Advancing Model Pruning via Bi-level Optimization (Zhang et al. 2022)',
  kind: 'sparsifier',
};

export interface BiPOptions extends Omit<LearnedMaskOptions, 'granularity' | 'allocation' | 'minimum'> {
  /** Default `element`; `filter` and `channel` leave the first and the last layer dense unless `exclude` is given. */
  readonly granularity?: Granularity | string;
  /** Default `global` for elements, `uniform` for larger units. */
  readonly allocation?: Allocation | 'smart-ratio';
  /** Scores at first: the weights (default; the mask is then that of magnitude), or random ones of Kaiming's size. */
  readonly init?: 'magnitude' | 'kaiming';
  /** 1/γ, the weight of the implicit gradient; default 1. With 0 mask and weights take turns without it (ablation). */
  readonly inverseGamma?: number;
  /** Training steps between two mask steps, K; default 1. */
  readonly lowerSteps?: number;
  /** Mini-batches of the mask steps: of a second, independently shuffled loader (default), or the same (ablation). */
  readonly batches?: 'independent' | 'same';
  /** Whether the network may be one that was never trained. Default false. */
  readonly untrained?: boolean;
}

/**
 * dℓ/dm = (θ − (1/γ)·m⊙g_z) ⊙ g_z with g_z = ∇_z ℓ(z) at z = m⊙θ, at every position, masked ones too (eq. 8): how the
 * loss changes with the mask when the weights θ*(m) follow it. ∇_m ℓ = θ⊙g_z, and the implicit gradient
 * dθ* /dm = −(1/γ)·diag(g_z) meets ∇_θ ℓ = m⊙g_z; it is exact where the loss has no curvature in z.
 */
export const maskGradient = (theta: Tensor, mask: Tensor, g: Tensor, inverseGamma: number): Tensor =>
  (inverseGamma === 0 ? theta : theta.sub(mask.mul(g).mul(inverseGamma))).mul(g);

/**
 * min over m of ℓ(m⊙θ*(m)) with θ*(m) = argmin ℓ(m⊙θ) + (γ/2)‖θ‖², |m|₀ ≤ k. By turns (algorithm 1):
 * θ-step: the training's own step under the mask (SGD with weight decay; masked weights keep their values);
 * m-step: on another mini-batch, at the new θ, m̃ ← m̃ − β·dℓ/dm through |m̃|, and m = 1 at the k highest |m̃|.
 *
 * Defaults: m̃ = θ at first, β = 0.1 falling along a cosine, momentum 0.9 and decay 5e-4 as in the released code (without
 * momentum the mask hardly leaves that of magnitude in a short training); the mask stays for the last tenth of the
 * training (`until` 0.9), so that weights and batch statistics settle under it. No layer is ever left without a unit.
 */
export class BiP extends LearnedMask {
  static readonly options: readonly string[] = [
    ...learnedMaskOptions.filter(name => name !== 'minimum'),
    ...['init', 'inverseGamma', 'lowerSteps', 'batches', 'untrained'],
  ];
  readonly name = method.slug;
  readonly #o: BiPOptions;
  readonly #granularity: Granularity;
  #upper: DataLoader | undefined;

  constructor(options: BiPOptions) {
    const { granularity = 'element', inverseGamma = 1, lowerSteps = 1, init = 'magnitude' } = options;
    const { batches = 'independent', allocation, ...common } = options;
    const unit = typeof granularity === 'string' ? parseGranularity(granularity) : granularity;
    const structured = unit.kind === 'filter' || unit.kind === 'channel';
    super(
      {
        scoreDecay: 5e-4,
        until: 0.9,
        ...(structured && { exclude: ['first', 'last'] }),
        // A pattern keeps its share everywhere.
        ...(unit.kind !== 'nm' && { minimum: 1 }),
        ...common,
        ...(allocation !== 'smart-ratio' && {
          allocation: allocation ?? (unit.kind === 'element' ? 'global' : 'uniform'),
        }),
      },
      { rank: 'magnitude', frozen: false, gradient: 'learn' },
    );
    check(inverseGamma >= 0, () => `bip: 1/γ is ${inverseGamma}; expected 0 or more`);
    check(
      Number.isInteger(lowerSteps) && lowerSteps >= 1,
      () => `bip: ${lowerSteps} lower steps; expected a whole number ≥ 1`,
    );
    check(
      init === 'magnitude' || init === 'kaiming',
      () => `bip: scores start as '${init}'; expected magnitude or kaiming`,
    );
    check(
      batches === 'independent' || batches === 'same',
      () => `bip: batches '${batches}'; expected independent or same`,
    );
    this.#o = options;
    this.#granularity = unit;
  }

  protected start(layers: readonly Layer[], { random }: Training): LearnedMaskStart {
    this.#refuseEmpty(layers);
    const kaiming = (l: Layer) => {
      const size = Math.sqrt(2 / fanIn(l));
      return random
        .fork('scores')
        .fork(l.name)
        .normal(l.values.length)
        .map(v => v * size);
    };
    return { scores: new Map(layers.map(l => [l.name, this.#o.init === 'kaiming' ? kaiming(l) : l.values])) };
  }

  /** Refuses a sparsity at which the magnitude mask has a layer without a unit; later, every layer keeps one. */
  #refuseEmpty(layers: readonly Layer[]): void {
    if (this.#granularity.kind === 'nm') return;
    const mask = prune(layers, l => magnitude(l.values), {
      granularity: this.#granularity,
      ...this.shares(layers),
      rounding: 'floor',
    });
    const empty = mask.names.filter(name => mask.kept(name) === 0);
    check(
      empty.length === 0,
      () =>
        `bip: sparsity ${this.#o.sparsity} leaves nothing of ${empty.join(', ')}; use a lower sparsity, exclude the layer, or another allocation`,
    );
  }

  protected override shares(layers: readonly Layer[]): Pick<PruneOptions, 'sparsity' | 'allocation'> {
    return this.#o.allocation === 'smart-ratio'
      ? { sparsity: smartRatio(layers, this.#o.sparsity) }
      : super.shares(layers);
  }

  protected override async inspect(training: Training): Promise<void> {
    this.#upper = undefined;
    if (!this.#o.untrained) await checkPretrained(this.name, training);
  }

  protected override async learn(training: Training): Promise<void> {
    const { step, layers, denseGradients } = training;
    const { lowerSteps = 1, inverseGamma = 1 } = this.#o;
    if (step % lowerSteps !== 0) return;
    const gradients = await denseGradients(await this.#batch(training));
    const { scoreOptimizer, scoreParameters, mask } = this;
    const steps = Array.from(scoreParameters, ([name, score]) => {
      const { shape } = score;
      const m = tensor({ dtype: 'float32', shape, data: new Float32Array(mask!.get(name)) });
      const g = tensor({ dtype: 'float32', shape, data: gradients.get(name)! });
      // The ranks are |m̃|: a negative score must fall for its weight to rise.
      return maskGradient(layers.parameters.get(name)!, m, g, inverseGamma).mul(score.sign());
    });
    scoreOptimizer.step(steps);
    await realize(...scoreParameters.values(), ...scoreOptimizer.stateDict().values());
  }

  /** The mini-batch of the m-step that follows the θ-step number `step` − 1: as many into its own loader. */
  #batch({ data, step, random }: Training): Promise<Batch> {
    if (!this.#upper) {
      const [seed] = random.fork('upper level').integers(1, 0, 2 ** 31 - 1);
      const own = this.#o.batches === 'same' ? {} : { seed, shuffle: true };
      this.#upper = new DataLoader(data.dataset, { ...data.options, ...own });
    }
    const { length } = this.#upper;
    return this.#upper.batchAt(Math.floor((step - 1) / length), (step - 1) % length);
  }
}

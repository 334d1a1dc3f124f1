// Searches the mask of a pretrained network whose weights never change, from the magnitude mask, by few swaps at a time.
// Zhang, Lin, Zhou, Ji & Chao 2021, "Lottery Jackpots Exist in Pre-trained Models".

import { check } from '@gossamer/tensor';
import type { Allocation } from '../../sparsity/allocation.ts';
import { type Move, moveTowardsHighest } from '../../sparsity/grow.ts';
import type { Layer } from '../../sparsity/layer.ts';
import {
  LearnedMask,
  type LearnedMaskOptions,
  type LearnedMaskStart,
  learnedMaskOptions,
} from '../../sparsity/learned-mask.ts';
import { countOnes, Mask } from '../../sparsity/mask.ts';
import { checkPretrained } from '../../sparsity/pretrained.ts';
import { prune } from '../../sparsity/prune.ts';
import { magnitude } from '../../sparsity/score.ts';
import { type Scorer, scorers } from '../../sparsity/scorers.ts';
import type { SparsifierState, Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';
import { type SwapEffect, SwapProbe } from './jackpot-diagnostics.ts';

export const method: MethodInfo = {
  slug: 'lottery-jackpots',
  name: 'Lottery jackpots',
  summary: 'A mask for a pretrained network, found by mask search alone in a few epochs; no weight is ever changed.',
  paper: 'Lottery Jackpots Exist in Pre-trained Models (Zhang et al. 2021)',
  kind: 'sparsifier',
};

export interface LotteryJackpotsOptions
  extends Pick<LearnedMaskOptions, 'exclude' | 'scoreRate' | 'scoreMomentum' | 'scoreDecay' | 'norms'> {
  /** Share P of the searched layers' weights that are masked. */
  readonly sparsity: number;
  /** Share of each layer: that below one magnitude threshold for all (`global`, default), `uniform`, `erk` …; fixed. */
  readonly allocation?: Allocation;
  /** What the first mask keeps of each layer: the highest of a score, by name or function. Default `magnitude`. */
  readonly init?: keyof typeof scorers | Scorer;
  /** Score of a masked weight at first; 1 is that of the others. The nearer, the cheaper the first swaps. Default 0.99. */
  readonly maskedScore?: number;
  /**
   * Share r_t of the wanted swaps that are made at a step: falling as (1 − e/E)⁴ with the epoch e of E (`quartic`,
   * default), all (`none`), or a constant, 0 < r ≤ 1.
   */
  readonly restriction?: 'quartic' | 'none' | number;
  /**
   * Every so many steps, measures what the swaps did to the loss of the coming mini-batch beside the first-order
   * prediction ({@link LotteryJackpots.effects}). Default 0: never.
   */
  readonly probe?: number;
  /** Whether the network may be one that was never trained. Default false. */
  readonly untrained?: boolean;
}

/** What a search step did: swaps that the scores wanted, and swaps made, over all layers. */
export interface Swaps {
  readonly step: number;
  readonly wanted: number;
  readonly made: number;
}

/**
 * 1. Layer ratios from one magnitude threshold over all layers (but the last, which stays dense); b = the magnitude mask.
 * 2. Relaxed mask M = 1 where b = 1, 0.99 where b = 0 (eq. 6).
 * 3. M ← SGD(∂L/∂(W⊙b) ⊙ W) with W and biases frozen: straight through b, at masked positions too (eq. 4).
 * 4. In each layer, of the q positions that would enter the ones of highest M, the ⌈r_t·q⌉ highest replace the lowest
 *    that would leave (short restriction, eq. 8): the effects of many swaps at once do not add up.
 *
 * Defaults of the paper: M's learning rate 0.1 falling along a cosine, momentum 0.9, weight decay 5e-4; scales and shifts
 * of norms learn by the training's own optimiser, unless `norms` is `frozen`. Weights are the same to the bit at every
 * step; the trained model is W⊙b.
 */
export class LotteryJackpots extends LearnedMask {
  static readonly options: readonly string[] = [
    ...learnedMaskOptions.filter(name => !['granularity', 'norm', 'minimum', 'until'].includes(name)),
    ...['init', 'maskedScore', 'restriction', 'probe', 'untrained'],
  ];
  readonly name = method.slug;
  readonly #o: LotteryJackpotsOptions;
  readonly #probe = new SwapProbe();
  #log: Swaps[] = [];
  #effects: SwapEffect[] = [];

  constructor(options: LotteryJackpotsOptions) {
    const { maskedScore = 0.99, restriction = 'quartic', init = 'magnitude', probe = 0 } = options;
    super(
      { scoreDecay: 5e-4, exclude: ['last'], allocation: 'global', ...options },
      { rank: 'score', frozen: true, gradient: 'step' },
    );
    check(
      maskedScore <= 1,
      () => `lottery jackpots: maskedScore ${maskedScore}; expected 1 (the score of the others) or less`,
    );
    check(
      restriction === 'quartic' || restriction === 'none' || (Number(restriction) > 0 && Number(restriction) <= 1),
      () => `lottery jackpots: restriction ${restriction}; expected quartic, none, or a share 0 < r ≤ 1`,
    );
    check(
      typeof init === 'function' || init in scorers,
      () =>
        `lottery jackpots: init '${String(init)}'; expected a function or one of ${Object.keys(scorers).join(', ')}`,
    );
    check(
      Number.isInteger(probe) && probe >= 0,
      () => `lottery jackpots: probe ${probe}; expected a whole number of steps`,
    );
    this.#o = options;
  }

  /** Swaps of every step so far. */
  get log(): readonly Swaps[] {
    return this.#log;
  }

  /** What swaps did to the loss, where it was measured. */
  get effects(): readonly SwapEffect[] {
    return this.#effects;
  }

  override async update(training: Training): Promise<void> {
    const { step, steps } = training;
    const { probe = 0 } = this.#o;
    const update = () => super.update(training);
    if (probe > 0 && step > 0 && step % probe === 0) {
      this.#effects.push(await this.#probe.measure(training, () => this.mask!, update));
    } else await update();
    if (step === steps) await this.#probe.dispose();
  }

  protected async start(layers: readonly Layer[], training: Training): Promise<LearnedMaskStart> {
    const { init = 'magnitude', maskedScore = 0.99, sparsity, allocation = 'global' } = this.#o;
    const ratios = prune(layers, l => magnitude(l.values), { sparsity, allocation, rounding: 'floor' });
    const empty = ratios.names.filter(name => ratios.kept(name) === 0);
    check(
      empty.length === 0,
      () =>
        `lottery jackpots: sparsity ${sparsity} leaves nothing of ${empty.join(', ')}; use a lower sparsity, exclude the layer, or another allocation`,
    );
    const scorer: Scorer = typeof init === 'function' ? init : scorers[init];
    const byLayer = Object.fromEntries(ratios.names.map(name => [name, ratios.sparsity(name)]));
    const mask = prune(layers, await scorer(training), { sparsity: byLayer });
    this.#log = [];
    this.#effects = [];
    const relaxed = (l: Layer) => Float32Array.from(mask.get(l.name), b => (b === 1 ? 1 : maskedScore));
    return { mask, scores: new Map(layers.map(l => [l.name, relaxed(l)])) };
  }

  protected override async inspect(training: Training): Promise<void> {
    if (!this.#o.untrained) await checkPretrained(this.name, training);
  }

  protected override project(
    layers: readonly Layer[],
    ranks: ReadonlyMap<string, Float32Array>,
    { step, steps, data }: Training,
  ): Mask {
    const share = this.restrictionAt(step, steps, data.length);
    const moves = layers.map(l => moveTowardsHighest(this.mask!.get(l.name), ranks.get(l.name)!, share));
    const sum = (count: (m: Move) => number) => moves.reduce((n, m) => n + count(m), 0);
    this.#log.push({ step, wanted: sum(m => m.wanted), made: sum(m => countOnes(m.born)) });
    return new Mask(layers.map((l, i) => [l.name, { shape: l.shape, keep: moves[i].keep }] as const));
  }

  override state(): SparsifierState {
    return { ...super.state(), json: { log: this.#log, effects: this.#effects } };
  }

  override restore(state: SparsifierState): void {
    super.restore(state);
    const { log, effects } = state.json as { log: readonly Swaps[]; effects: readonly SwapEffect[] };
    this.#log = [...log];
    this.#effects = [...effects];
  }

  /** The share of the wanted swaps that is made after `step` steps. */
  restrictionAt(step: number, steps: number, epochSteps: number): number {
    const { restriction = 'quartic' } = this.#o;
    if (restriction === 'none') return 1;
    if (restriction !== 'quartic') return restriction;
    const epoch = Math.floor(Math.max(0, step - 1) / epochSteps);
    return (1 - (epoch * epochSteps) / steps) ** 4;
  }
}

import { check, type NDArray } from '@gossamer/tensor';
import type { Allocation } from './allocation.ts';
import type { Rounding } from './apportion.ts';
import { type ExchangeOptions, exchangeLayer } from './exchange.ts';
import type { Layer } from './layer.ts';
import { Mask } from './mask.ts';
import type { MaskedOptions } from './masked.ts';
import { prune } from './prune.ts';
import { checkReachesPattern, type MaskRule, RuledSparsifier } from './rules.ts';
import { anneal } from './schedule.ts';
import { magnitude, randomScore } from './score.ts';
import { type Scorer, scorers } from './scorers.ts';
import type { SparsifierState, Training } from './sparsifier.ts';

/**
 * What grows: the dead positions of highest
 * - `gradient`: |∂L/∂w| on the coming mini-batch, by the effective weight
 * - `momentum`: |v|, v ← 0.9·v + ∂L/∂w over the mini-batches of all updates so far
 * - `random`: uniform numbers, new at every update
 */
export const growths = ['gradient', 'momentum', 'random'] as const;
export type Growth = (typeof growths)[number];

export interface DynamicOptions extends Pick<MaskedOptions, 'exclude'>, ExchangeOptions {
  /** Sparsity of all layers together, 0 ≤ s < 1, counted in units of the granularity. */
  readonly sparsity: number;
  /** How the random mask of the start divides it among the layers; `global` makes no sense before training. */
  readonly allocation: Exclude<Allocation, 'global'>;
  /** Share of a layer's live units that moves at an update, 0…1: at the first step, and at the end of the exchanges. */
  readonly fraction: number;
  /** Default 0. */
  readonly finalFraction?: number;
  readonly decay: 'cosine' | 'constant';
  /** Steps between updates. */
  readonly interval: number;
  /** Share of the training after which the connections stay as they are, 0…1. */
  readonly until: number;
  readonly grow: Growth;
  /** How shares of units become counts, of what the start removes and of what an update moves; default `round`. */
  readonly rounding?: Rounding;
  /** What a live weight is worth; the lowest are dropped. Default magnitude. */
  readonly score?: Scorer;
}

const momentum = 0.9;
const momentumPrefix = 'growth momentum ';

/**
 * Dynamic sparse training in general: a random sparse start, and every few steps each layer drops its least important
 * connections and grows as many elsewhere, so that the number of weights never changes. It does so in units of any
 * granularity, and within any N:M pattern (see {@link exchangeLayer}). New connections start at zero, and so does their
 * state in the optimiser; one that is dropped and grown at the same update was never gone and keeps its value.
 */
export abstract class DynamicSparseTraining extends RuledSparsifier {
  readonly #o: DynamicOptions;
  readonly #momentum = new Map<string, Float32Array>();

  constructor(options: DynamicOptions) {
    super({ ...(options.exclude && { exclude: options.exclude }), stored: 'zero' });
    const { sparsity, fraction, finalFraction = 0, interval, until, grow } = options;
    const what = 'dynamic sparse training';
    check(sparsity >= 0 && sparsity < 1, () => `${what}: sparsity ${sparsity}; expected 0 ≤ s < 1`);
    check(fraction >= 0 && fraction <= 1, () => `${what}: fraction ${fraction} is outside 0…1`);
    check(finalFraction >= 0 && finalFraction <= 1, () => `${what}: final fraction ${finalFraction} is outside 0…1`);
    check(until >= 0 && until <= 1, () => `${what}: until ${until} is outside 0…1`);
    check(
      Number.isInteger(interval) && interval >= 1,
      () => `${what}: interval ${interval}; expected a whole number of steps`,
    );
    check(growths.includes(grow), () => `${what}: grow '${grow}'; expected ${growths.join(', ')}`);
    checkReachesPattern(options.granularity, sparsity);
    this.#o = options;
  }

  /** Share of the live units that moves at a step. */
  fractionAt(step: number, steps: number): number {
    const { fraction, finalFraction = 0, decay, until } = this.#o;
    const end = Math.round(until * steps);
    if (step >= end) return 0;
    return decay === 'constant' ? fraction : anneal({ from: fraction, to: finalFraction, end, law: 'cosine' }, step);
  }

  override async prepare(training: Training): Promise<void> {
    this.#momentum.clear();
    await super.prepare(training);
  }

  protected override start(training: Training, layers: readonly Layer[]): Promise<Mask> | Mask {
    return this.randomMask(training, layers, this.#o.sparsity);
  }

  /** Random units at the densities of `allocation`; the same for the same seed. */
  protected randomMask({ random }: Training, layers: readonly Layer[], sparsity: number): Mask {
    const start = random.fork('start');
    return prune(layers, l => randomScore(l.values.length, start.fork(l.name)), { ...this.#o, sparsity });
  }

  protected override target(_step: number): number {
    return this.#o.sparsity;
  }

  protected override rules(_training: Training): MaskRule[] {
    return [this.exchangeRule()];
  }

  /** Exchanges every `interval` steps, counted from step `from`; never before the first and after the last step. */
  protected exchangeRule(from = 0, interval = this.#o.interval): MaskRule {
    const { score = scorers.magnitude } = this.#o;
    return {
      isDue: (step, steps) =>
        step > from && step < steps && (step - from) % interval === 0 && this.fractionAt(step, steps) > 0,
      apply: async (mask, layers, training) => {
        const share = this.fractionAt(training.step, training.steps);
        const drop = await score(training);
        const grow = await this.#growth(training);
        return new Mask(
          layers.map(l => {
            const before = mask.get(l.name);
            const { keep } = exchangeLayer(l, before, share, this.worth(l, before, drop(l)), grow(l), this.#o);
            return [l.name, { shape: l.shape, keep }] as const;
          }),
        );
      },
    };
  }

  /** What the live weights are worth, from their scores; by default these. */
  protected worth(_layer: Layer, _keep: Uint8Array, scores: Float32Array): Float32Array {
    return scores;
  }

  async #growth({ random, step, denseGradients }: Training): Promise<(layer: Layer) => Float32Array> {
    const { grow } = this.#o;
    if (grow === 'random') return l => randomScore(l.values.length, random.fork('growth').fork(step).fork(l.name));
    const gradients = await denseGradients();
    if (grow === 'gradient') return l => magnitude(gradients.get(l.name)!);
    return l => {
      const g = gradients.get(l.name)!;
      const before = this.#momentum.get(l.name) ?? new Float32Array(g.length);
      const v = g.map((x, i) => momentum * before[i] + x);
      this.#momentum.set(l.name, v);
      return magnitude(v);
    };
  }

  override state(): SparsifierState {
    const { arrays, json } = super.state();
    const all: Record<string, NDArray> = { ...arrays };
    for (const [name, data] of this.#momentum) {
      all[momentumPrefix + name] = { dtype: 'float32', shape: [data.length], data };
    }
    return { arrays: all, json };
  }

  override restore({ arrays, json }: SparsifierState): void {
    const entries = Object.entries(arrays);
    const own = entries.filter(([name]) => !name.startsWith(momentumPrefix));
    super.restore({ arrays: Object.fromEntries(own), json });
    this.#momentum.clear();
    for (const [name, { data }] of entries) {
      if (!name.startsWith(momentumPrefix)) continue;
      this.#momentum.set(name.slice(momentumPrefix.length), data as Float32Array);
    }
  }
}

/** Names of the options of {@link DynamicSparseTraining} that a command line can give. */
export const dynamicOptions = [
  'sparsity',
  'exclude',
  'granularity',
  'norm',
  'rounding',
  'allocation',
  'fraction',
  'finalFraction',
  'decay',
  'interval',
  'until',
  'grow',
  'score',
] as const satisfies readonly (keyof DynamicOptions)[];

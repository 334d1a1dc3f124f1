import { check, type Random } from '@gossamer/tensor';
import type { Allocation } from './allocation.ts';
import { type Exchange, exchange } from './grow.ts';
import type { Layer } from './layer.ts';
import { Mask } from './mask.ts';
import { type MaskedOptions, MaskedSparsifier } from './masked.ts';
import { prune } from './prune.ts';
import { anneal } from './schedule.ts';
import { magnitude, randomScore } from './score.ts';
import type { Training } from './sparsifier.ts';

export interface DynamicOptions extends Pick<MaskedOptions, 'exclude'> {
  /** Sparsity of all layers together, from the first step to the last; 0 ≤ s < 1. */
  readonly sparsity: number;
  /** How it is divided among the layers; `global` makes no sense before training. */
  readonly allocation: Exclude<Allocation, 'global'>;
  /** Share of a layer's live weights that moves at an update, 0…1: at the first update, and how it goes on. */
  readonly fraction: number;
  readonly decay: 'cosine' | 'constant';
  /** Steps between updates. */
  readonly interval: number;
  /** Share of the training after which the connections stay as they are, 0…1. */
  readonly until: number;
}

/** Scores of all positions of a layer; the highest dead ones grow. */
export type Growth = (layer: Layer) => Float32Array;

/** Random scores, new at every step and independent of the order of layers. */
export const randomGrowth =
  ({ random, step }: { random: Random; step: number }): Growth =>
  l =>
    randomScore(l.values.length, random.fork('growth').fork(step).fork(l.name));

/**
 * Dynamic sparse training in general: a random sparse start, and every few steps each layer drops its least important
 * connections and grows as many elsewhere, so that the number of weights never changes. New connections start at zero,
 * and so does their state in the optimiser.
 */
export abstract class DynamicSparseTraining extends MaskedSparsifier {
  readonly #o: DynamicOptions;

  constructor(options: DynamicOptions) {
    super({ ...(options.exclude && { exclude: options.exclude }), stored: 'zero' });
    const { sparsity, fraction, interval, until } = options;
    check(sparsity >= 0 && sparsity < 1, () => `dynamic sparse training: sparsity ${sparsity}; expected 0 ≤ s < 1`);
    check(fraction >= 0 && fraction <= 1, () => `dynamic sparse training: fraction ${fraction} is outside 0…1`);
    check(until >= 0 && until <= 1, () => `dynamic sparse training: until ${until} is outside 0…1`);
    check(
      Number.isInteger(interval) && interval >= 1,
      () => `dynamic sparse training: interval ${interval}; expected a whole number of steps`,
    );
    this.#o = options;
  }

  /** What grows at this update. */
  protected abstract growth(training: Training): Promise<Growth> | Growth;

  /** Which of the live weights stay; by default those of largest magnitude. */
  protected exchange(layer: Layer, keep: Uint8Array, count: number, growth: Float32Array): Exchange {
    return exchange(keep, count, magnitude(layer.values), growth);
  }

  /** After an update: gives new connections a value. */
  protected born?(training: Training, born: ReadonlyMap<string, Uint8Array>): Promise<void>;

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    const { sparsity, allocation } = this.#o;
    const start = training.random.fork('start');
    const score = (l: Layer) => randomScore(l.values.length, start.fork(l.name));
    this.setMask(prune(await this.maskedLayers(training), score, { sparsity, allocation }));
  }

  /** Share of the live weights that moves at a step. */
  fractionAt(step: number, steps: number): number {
    const { fraction, decay, until } = this.#o;
    const end = Math.round(until * steps);
    if (step >= end) return 0;
    return decay === 'constant' ? fraction : anneal({ from: fraction, to: 0, end, law: 'cosine' }, step);
  }

  async update(training: Training): Promise<void> {
    const { step, steps } = training;
    const fraction = this.fractionAt(step, steps);
    if (step === 0 || step === steps || fraction === 0 || step % this.#o.interval !== 0) return;
    const layers = await this.maskedLayers(training);
    const growth = await this.growth(training);
    const exchanges = layers.map(l => {
      const count = Math.round(fraction * this.mask!.kept(l.name));
      return [l, this.exchange(l, this.mask!.get(l.name), count, growth(l))] as const;
    });
    this.setMask(new Mask(exchanges.map(([l, { keep }]) => [l.name, { shape: l.shape, keep }] as const)));
    await this.born?.(training, new Map(exchanges.map(([l, { born }]) => [l.name, born])));
  }
}

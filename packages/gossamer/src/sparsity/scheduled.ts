import { Random } from '@gossamer/tensor';
import type { Layer } from './layer.ts';
import { type MaskedOptions, MaskedSparsifier } from './masked.ts';
import { type PruneOptions, prune } from './prune.ts';
import { type ScheduleOptions, type SparsitySchedule, sparsitySchedule } from './schedule.ts';
import { gradientWeight, magnitude, randomScore } from './score.ts';
import type { Training } from './sparsifier.ts';

/** Importance of every element of a layer, higher stays; looked up once per mask update. */
export type Scorer = (training: Training) => Promise<(layer: Layer) => Float32Array> | ((layer: Layer) => Float32Array);

/** Scores that a training can offer, by name (for the command line). */
export const scorers = {
  /** |w| */
  magnitude: () => layer => magnitude(layer.values),
  /** Drawn once per layer, so that a growing sparsity removes nested sets. */
  random: ({ random }) => {
    const { key } = random;
    return layer => randomScore(layer.values.length, new Random({ key, counter: 0 }).fork(layer.name));
  },
  /** |w·g| on the coming mini-batch (SNIP without its normalisation, which ranks the same). */
  gradient: async ({ denseGradients }) => {
    const gradients = await denseGradients();
    return layer => gradientWeight(layer.values, gradients.get(layer.name)!);
  },
} satisfies Record<string, Scorer>;

export interface ScheduledPruningOptions
  extends MaskedOptions,
    Omit<ScheduleOptions, 'final' | 'trainingSteps'>,
    Omit<PruneOptions, 'sparsity' | 'within'> {
  /**
   * Sparsity at the end of the schedule. The schedule's `end` is by default at two thirds of the training, while the
   * learning rate can still repair what pruning breaks.
   */
  readonly sparsity: number;
  /** Default magnitude. */
  readonly score?: Scorer;
  /** Whether masked weights compete again at every update (default), or masks are nested. */
  readonly regrow?: boolean;
}

/**
 * Pruning while training, in general: score × granularity × allocation × schedule. Published methods are choices of
 * its options.
 */
export class ScheduledPruning extends MaskedSparsifier {
  readonly name: string = 'scheduled-pruning';
  readonly #o: ScheduledPruningOptions;
  #schedule: SparsitySchedule | undefined;

  constructor(options: ScheduledPruningOptions) {
    super(options);
    this.#o = options;
  }

  get schedule(): SparsitySchedule | undefined {
    return this.#schedule;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    const { sparsity: final, start = 0, end = Math.max(start + 1, Math.round((training.steps * 2) / 3)) } = this.#o;
    this.#schedule = sparsitySchedule({ ...this.#o, final, start, end, trainingSteps: training.steps });
  }

  async update(training: Training): Promise<void> {
    const { step } = training;
    if (!this.#schedule!.isUpdate(step)) return;
    const { score = scorers.magnitude, regrow = true, granularity = 'element' } = this.#o;
    const layers = await this.maskedLayers(training);
    const sparsity = this.#schedule!.at(step);
    this.setMask(
      prune(layers, await score(training), {
        ...this.#o,
        granularity,
        sparsity,
        ...(!regrow && { within: this.mask! }),
      }),
    );
  }
}

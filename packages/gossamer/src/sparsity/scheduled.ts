import { check, Random } from '@gossamer/tensor';
import type { Layer } from './layer.ts';
import { Mask } from './mask.ts';
import { type MaskedOptions, MaskedSparsifier } from './masked.ts';
import { type PruneOptions, prune } from './prune.ts';
import { type ScheduleOptions, type SparsitySchedule, sparsitySchedule } from './schedule.ts';
import { gradientWeight, magnitude, randomScore } from './score.ts';
import type { SparsifierState, Training } from './sparsifier.ts';

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
    Omit<PruneOptions, 'sparsity' | 'fixed' | 'within'> {
  /** Sparsity at the end of the schedule. */
  readonly sparsity: number;
  /**
   * Where the schedule starts and ends as shares of the training, unless `start` or `end` says so in steps; default 0 and
   * two thirds, while the learning rate can still repair what pruning breaks.
   */
  readonly window?: readonly [start: number, end: number];
  /**
   * Final sparsities of single layers, by name. Each gets there by a schedule of its own; what the other layers lose does
   * not depend on it.
   */
  readonly overrides?: Readonly<Record<string, number>>;
  /** Default magnitude. */
  readonly score?: Scorer;
  /** Whether masked weights compete again at every update (default), or masks are nested. */
  readonly regrow?: boolean;
}

/** What one mask update did. */
export interface MaskUpdate {
  readonly step: number;
  /** Where the schedule stands, s_t. */
  readonly target: number;
  /** Share of the masked layers' weights that is gone. */
  readonly sparsity: number;
  /** Live weights of each masked layer. */
  readonly nonzeros: Readonly<Record<string, number>>;
}

/**
 * Pruning while training, in general: score × granularity × allocation × schedule. Published methods are choices of
 * its options.
 */
export class ScheduledPruning extends MaskedSparsifier {
  readonly name: string = 'scheduled-pruning';
  readonly #o: ScheduledPruningOptions;
  #schedule: SparsitySchedule | undefined;
  #overrides = new Map<string, SparsitySchedule>();
  #log: readonly MaskUpdate[] = [];

  /** Throws a GossamerError for a schedule that no training could follow. */
  constructor(options: ScheduledPruningOptions) {
    super(options);
    this.#o = options;
    const { start = 0, every = 100, end = start + Math.max(1, every), window: [from, to] = [0, 1] } = options;
    check(0 <= from && from < to && to <= 1, () => `schedule: window ${from}…${to}; expected 0 ≤ start < end ≤ 1`);
    this.#schedules(start, end);
  }

  get schedule(): SparsitySchedule | undefined {
    return this.#schedule;
  }

  /** All mask updates so far. */
  get log(): readonly MaskUpdate[] {
    return this.#log;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    const { steps } = training;
    const [from, to] = this.#o.window ?? [0, 2 / 3];
    const { start = Math.round(from * steps), end = Math.max(start + 1, Math.round(to * steps)) } = this.#o;
    const { schedule, overrides } = this.#schedules(start, end, steps);
    const { names } = this.mask!;
    for (const name of overrides.keys()) {
      check(names.includes(name), () => `override of '${name}': no such layer; masked are ${names.join(', ')}`);
    }
    this.#schedule = schedule;
    this.#overrides = overrides;
    this.#log = [];
  }

  async update(training: Training): Promise<void> {
    const { step } = training;
    const schedule = this.#schedule!;
    if (![schedule, ...this.#overrides.values()].some(s => s.isUpdate(step))) return;
    const { score = scorers.magnitude, regrow = true, granularity = 'element' } = this.#o;
    const options = { ...this.#o, granularity, ...(!regrow && { within: this.mask! }) };
    const scores = await score(training);
    const layers = await this.maskedLayers(training);
    const target = schedule.at(step);
    const own = layers.filter(l => this.#overrides.has(l.name));
    const others = layers.filter(l => !this.#overrides.has(l.name));
    const entries = [
      ...(others.length > 0 ? prune(others, scores, { ...options, sparsity: target }).entries() : []),
      ...own.flatMap(l => [
        ...prune([l], scores, { ...options, sparsity: this.#overrides.get(l.name)!.at(step) }).entries(),
      ]),
    ];
    const mask = new Mask(entries);
    this.setMask(mask);
    const nonzeros = Object.fromEntries(layers.map(l => [l.name, mask.kept(l.name)]));
    this.#log = [...this.#log, { step, target, sparsity: mask.sparsity(), nonzeros }];
  }

  override state(): SparsifierState {
    return { ...super.state(), json: this.#log };
  }

  override restore(state: SparsifierState): void {
    super.restore(state);
    this.#log = state.json as readonly MaskUpdate[];
  }

  #schedules(start: number, end: number, trainingSteps?: number) {
    const { sparsity, overrides = {} } = this.#o;
    // Rounds end where their rate says.
    const until = this.#o.kind === 'iterative' ? {} : { end };
    const to = (final: number) => sparsitySchedule({ ...this.#o, start, ...until, final, trainingSteps });
    return {
      schedule: to(sparsity),
      overrides: new Map(Object.entries(overrides).map(([name, final]) => [name, to(final)])),
    };
  }
}

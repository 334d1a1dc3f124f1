import { check } from '@gossamer/tensor';
import type { Layer } from './layer.ts';
import { Mask } from './mask.ts';
import type { MaskedOptions } from './masked.ts';
import { type PruneOptions, prune } from './prune.ts';
import { checkReachesPattern, type MaskRule, RuledSparsifier } from './rules.ts';
import { type ScheduleOptions, type SparsitySchedule, sparsitySchedule } from './schedule.ts';
import { type Scorer, scorers } from './scorers.ts';
import type { Training } from './sparsifier.ts';

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

/**
 * Prunes by a schedule: at each of its updates the lowest scores go.
 *
 * @param options of {@link prune}, given the sparsity of the moment and the mask before it
 * @param overrides schedules of single layers, which are pruned apart from the others
 */
export function pruneRule(
  schedule: SparsitySchedule,
  score: Scorer,
  options: (sparsity: number, mask: Mask) => PruneOptions,
  overrides: ReadonlyMap<string, SparsitySchedule> = new Map(),
): MaskRule {
  const all = [schedule, ...overrides.values()];
  return {
    isDue: step => all.some(s => s.isUpdate(step)),
    apply: async (mask, layers, training) => {
      const scores = await score(training);
      const pruned = (part: readonly Layer[], { at }: SparsitySchedule) =>
        part.length > 0 ? [...prune(part, scores, options(at(training.step), mask)).entries()] : [];
      const others = layers.filter(l => !overrides.has(l.name));
      const own = layers.filter(l => overrides.has(l.name));
      return new Mask([...pruned(others, schedule), ...own.flatMap(l => pruned([l], overrides.get(l.name)!))]);
    },
  };
}

/**
 * Pruning while training, in general: score × granularity × allocation × schedule. Published methods are choices of
 * its options.
 */
export class ScheduledPruning extends RuledSparsifier {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'stored',
    'maskState',
    'granularity',
    'norm',
    'allocation',
    'minimum',
    'rounding',
    'kind',
    'initial',
    'start',
    'end',
    'window',
    'every',
    'exponent',
    'rate',
    'score',
    'regrow',
  ] satisfies readonly (keyof ScheduledPruningOptions)[];
  readonly name: string = 'scheduled-pruning';
  readonly #o: ScheduledPruningOptions;
  #schedule: SparsitySchedule | undefined;

  /** Throws a GossamerError for a schedule that no training could follow. */
  constructor(options: ScheduledPruningOptions) {
    super(options);
    this.#o = options;
    const { start = 0, every = 100, end = start + Math.max(1, every), window: [from, to] = [0, 1] } = options;
    check(0 <= from && from < to && to <= 1, () => `schedule: window ${from}…${to}; expected 0 ≤ start < end ≤ 1`);
    checkReachesPattern(options.granularity, options.sparsity);
    this.#schedules(start, end);
  }

  get schedule(): SparsitySchedule | undefined {
    return this.#schedule;
  }

  protected override target(step: number): number {
    return this.#schedule!.at(step);
  }

  protected override rules({ steps }: Training): MaskRule[] {
    const [from, to] = this.#o.window ?? [0, 2 / 3];
    const { start = Math.round(from * steps), end = Math.max(start + 1, Math.round(to * steps)) } = this.#o;
    const { schedule, overrides } = this.#schedules(start, end, steps);
    const { names } = this.mask!;
    for (const name of overrides.keys()) {
      check(names.includes(name), () => `override of '${name}': no such layer; masked are ${names.join(', ')}`);
    }
    this.#schedule = schedule;
    const { score = scorers.magnitude, regrow = true } = this.#o;
    const options = (sparsity: number, mask: Mask): PruneOptions => ({
      ...this.#o,
      sparsity,
      ...(!regrow && { within: mask }),
    });
    return [pruneRule(schedule, score, options, overrides)];
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

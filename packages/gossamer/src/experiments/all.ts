import type { Progress } from '../train/progress.ts';
import { silent } from '../train/progress.ts';
import type { RegisteredExperiment } from './discover.ts';
import { outdated } from './fingerprint.ts';
import { fingerprintOf, keptReport, type Report, type ReproduceOptions, reproduce } from './run.ts';

/** What became of one of all experiments. */
export interface Ended {
  readonly slug: string;
  /** `kept`: a former result still holds and nothing was run. */
  readonly state: 'done' | 'kept' | 'failed';
  /** Why it was run, or why not. */
  readonly reason: string;
  readonly report?: Report;
  readonly error?: string;
}

/** What an experiment takes whose former seconds are not known. */
const usualSeconds = { smoke: 10, standard: 420, full: 7200 } as const;

/**
 * Runs experiments one after another. One whose kept result in `out` came from the same code and options is not run again
 * unless `fresh`; one that fails does not stop the others.
 */
export async function reproduceAll(
  experiments: readonly RegisteredExperiment[],
  options: ReproduceOptions = {},
): Promise<Ended[]> {
  const { out, fresh = false, progress = silent } = options;
  const plan = await Promise.all(
    experiments.map(async experiment => {
      const now = await fingerprintOf(experiment, options);
      const kept = out === undefined ? undefined : await keptReport(out, experiment.slug);
      const reason = fresh ? 'asked for' : kept ? outdated(kept.fingerprint, now) : 'no kept result';
      const former = kept?.fingerprint?.mode === now.mode ? kept.seconds : usualSeconds[now.mode];
      return { experiment, kept, reason, seconds: Math.max(1, former) };
    }),
  );
  const overall = new Overall(
    plan.length,
    plan.filter(p => p.reason).map(p => p.seconds),
    progress,
  );
  const ended: Ended[] = [];
  try {
    for (const { experiment, kept, reason, seconds } of plan) {
      const { slug } = experiment;
      if (kept && reason === undefined) {
        const why = `code and options are those of the result of ${kept.date}`;
        progress.log(`${slug}: kept (${kept.verdict}), ${why}`);
        ended.push({ slug, state: 'kept', reason: why, report: kept });
        overall.next(0);
        continue;
      }
      progress.log(`${slug}: ${reason}`);
      const finished: ReproduceOptions['finished'] = outcome => overall.add(outcome.seconds, seconds);
      try {
        const report = await reproduce(experiment, { ...options, finished });
        ended.push({ slug, state: 'done', reason: reason!, report });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        progress.log(`${slug}: failed: ${message}`);
        ended.push({ slug, state: 'failed', reason: reason!, error: message });
      }
      overall.next(seconds);
    }
  } finally {
    overall.stop();
  }
  return ended;
}

/** A bar over all systems, as long as the seconds that they took before. */
class Overall {
  readonly #bar: ReturnType<Progress['start']>;
  readonly #systems: number;
  #ended = 0;
  #seconds = 0;
  #within = 0;

  constructor(systems: number, seconds: readonly number[], progress: Progress) {
    this.#systems = systems;
    const total = seconds.reduce((a, b) => a + b, 0);
    this.#bar = progress.start('all systems', Math.max(1, Math.round(total)), { unit: 's' });
  }

  /** Part of the system under way; no more than it took before. */
  add(seconds: number, expected: number): void {
    this.#within = Math.min(expected, this.#within + seconds);
    this.#show();
  }

  /** The system under way has ended. */
  next(expected: number): void {
    this.#ended++;
    this.#seconds += expected;
    this.#within = 0;
    this.#show();
  }

  stop(): void {
    this.#bar.stop();
  }

  #show(): void {
    this.#bar.update(Math.round(this.#seconds + this.#within), { systems: `${this.#ended}/${this.#systems}` });
  }
}

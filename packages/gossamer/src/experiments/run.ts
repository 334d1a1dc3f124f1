import { check, GossamerError, writeFile } from '@gossamer/tensor';
import { type Progress, silent } from '../train/progress.ts';
import type { Check, Context, Experiment, Findings, Job, Measures, Outcome, Verdict } from './experiment.ts';
import { verdictOf } from './experiment.ts';

export interface ReproduceOptions {
  readonly smoke?: boolean;
  readonly full?: boolean;
  /** Number of seeds, 0 … n − 1; default what the experiment says, 1 in a smoke run. */
  readonly seeds?: number;
  /** Folder of kept results: `<slug>.json`, figures, and finished jobs under `.jobs/`. Default none is written. */
  readonly out?: string;
  /** Run finished jobs again. */
  readonly fresh?: boolean;
  readonly progress?: Progress;
}

/** A result as it is kept under version control. */
export interface Report extends Omit<Findings, 'figures'> {
  readonly slug: string;
  readonly title: string;
  readonly claim: string;
  readonly verdict: Verdict | 'smoke run';
  readonly checks: readonly Check[];
  readonly figures: readonly string[];
  readonly command: string;
  readonly seeds: readonly number[];
  readonly seconds: number;
  readonly date: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: string;
  readonly outcomes: readonly Outcome[];
}

/** All experiments, found as files `experiments/<slug>.ts` that export `experiment`. */
export async function discoverExperiments(): Promise<Experiment[]> {
  const { readdir } = await import('node:fs/promises');
  const root = new URL('.', import.meta.url);
  const files = (await readdir(root)).filter(f => /\.[jt]s$/.test(f) && !/\.(test|d)\.[jt]s$/.test(f));
  const modules = await Promise.all(files.map(f => import(new URL(f, root).href)));
  return modules
    .flatMap(m => (m.experiment ? [m.experiment as Experiment] : []))
    .sort((a, b) => a.slug.localeCompare(b.slug));
}

export async function findExperiment(slug: string): Promise<Experiment> {
  const all = await discoverExperiments();
  const found = all.find(e => e.slug === slug);
  check(found, () => `no experiment '${slug}'; there are ${all.map(e => e.slug).join(', ')}`);
  return found;
}

/** Runs an experiment and returns what is kept of it. With `out`, a killed run goes on where it was. */
export async function reproduce(experiment: Experiment, options: ReproduceOptions = {}): Promise<Report> {
  const { smoke = false, full = false, out, fresh = false, progress = silent } = options;
  const count = options.seeds ?? (smoke ? 1 : experiment.seeds);
  check(Number.isInteger(count) && count >= 1, () => `reproduce: ${count} seeds; expected 1 or more`);
  const seeds = Array.from({ length: count }, (_, i) => i);
  const mode = smoke ? 'smoke' : full ? 'full' : 'standard';
  const kept = await JobStore.open(
    out && `${out}/.jobs/${experiment.slug}-v${experiment.version}-${mode}.jsonl`,
    fresh,
  );
  const used: Outcome[] = [];
  const run = async (jobs: readonly Job[]): Promise<Outcome[]> => {
    const bar = progress.start(experiment.slug, jobs.length, { unit: 'runs' });
    const outcomes: Outcome[] = [];
    try {
      for (const job of jobs) {
        bar.update(outcomes.length, { arm: `${job.arm} ${Object.values(job.condition).join(' ')}` });
        outcomes.push(kept.find(job) ?? (await kept.add(job, await timed(job))));
      }
      bar.update(outcomes.length, {});
    } finally {
      bar.stop();
    }
    used.push(...outcomes);
    return outcomes;
  };
  const context: Context = { smoke, full, seeds, progress, run };
  const findings = await experiment.run(context);
  const report: Report = {
    slug: experiment.slug,
    title: experiment.title,
    claim: experiment.claim,
    verdict: smoke ? 'smoke run' : verdictOf(findings.checks),
    checks: findings.checks,
    tables: findings.tables,
    notes: findings.notes ?? [],
    figures: (findings.figures ?? []).map(f => `${experiment.slug}-${f.name}.svg`),
    command: commandOf(experiment.slug, mode),
    seeds,
    seconds: Math.round(used.reduce((s, o) => s + o.seconds, 0)),
    date: new Date().toISOString().slice(0, 10),
    ...(await environment()),
    outcomes: used,
  };
  if (out) {
    for (const [i, figure] of (findings.figures ?? []).entries()) {
      await writeFile(`${out}/${report.figures[i]}`, [new TextEncoder().encode(figure.svg)]);
    }
    await writeFile(`${out}/${experiment.slug}.json`, [
      new TextEncoder().encode(`${JSON.stringify(report, null, 1)}\n`),
    ]);
  }
  return report;
}

/** The command that gives the same numbers: with another number of threads, sums round differently. */
function commandOf(slug: string, mode: 'smoke' | 'full' | 'standard'): string {
  const threads = process.env.GOSSAMER_THREADS;
  const flag = mode === 'standard' ? '' : ` --${mode}`;
  return `${threads ? `GOSSAMER_THREADS=${threads} ` : ''}gossamer reproduce ${slug}${flag}`;
}

async function timed(job: Job): Promise<{ measures: Measures; seconds: number }> {
  const start = performance.now();
  const measures = await job.run();
  return { measures, seconds: (performance.now() - start) / 1000 };
}

async function environment(): Promise<{ versions: Record<string, string>; machine: string }> {
  const os = await import('node:os');
  const { createRequire } = await import('node:module');
  const { env } = createRequire(import.meta.url)('onnxruntime-common') as { env: { versions: { common: string } } };
  const [cpu] = os.cpus();
  return {
    versions: { node: process.versions.node, onnxruntime: env.versions.common },
    machine: `${os.availableParallelism()} × ${cpu?.model.trim() ?? 'unknown'}`,
  };
}

/** Finished jobs, one JSON line each; a line torn by a crash is ignored. */
class JobStore {
  readonly #path: string | undefined;
  readonly #outcomes: Map<string, Outcome>;

  private constructor(path: string | undefined, outcomes: Map<string, Outcome>) {
    this.#path = path;
    this.#outcomes = outcomes;
  }

  static async open(path: string | undefined, fresh: boolean): Promise<JobStore> {
    const outcomes = new Map<string, Outcome>();
    if (path !== undefined) {
      const fs = await import('node:fs/promises');
      await fs.mkdir(path.slice(0, path.lastIndexOf('/')), { recursive: true });
      if (fresh) await fs.rm(path, { force: true });
      const text = await fs.readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '';
        throw new GossamerError(`${path}: ${error.message}`);
      });
      for (const line of text.split('\n')) {
        try {
          const outcome = JSON.parse(line) as Outcome;
          outcomes.set(keyOf(outcome), outcome);
        } catch {
          // The last line of a killed run; its job is done again.
        }
      }
    }
    return new JobStore(path, outcomes);
  }

  find(job: Job): Outcome | undefined {
    return this.#outcomes.get(keyOf(job));
  }

  async add(job: Job, { measures, seconds }: { measures: Measures; seconds: number }): Promise<Outcome> {
    const outcome: Outcome = { arm: job.arm, condition: job.condition, measures, seconds };
    this.#outcomes.set(keyOf(outcome), outcome);
    if (this.#path !== undefined) {
      const { appendFile } = await import('node:fs/promises');
      await appendFile(this.#path, `\n${JSON.stringify(outcome)}\n`);
    }
    return outcome;
  }
}

const keyOf = ({ arm, condition }: { arm: string; condition: object }): string => JSON.stringify([arm, condition]);

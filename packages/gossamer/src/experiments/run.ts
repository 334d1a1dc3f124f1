import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { check, writeFile } from '@gossamer/tensor';
import { type Progress, silent } from '../train/progress.ts';
import type { RegisteredExperiment } from './discover.ts';
import type { Check, Context, Findings, Job, Measures, Outcome, Verdict } from './experiment.ts';
import { verdictOf } from './experiment.ts';
import { codeHash, type Fingerprint } from './fingerprint.ts';
import { JobStore } from './job-store.ts';
import { withHelpers } from './parallel/with-helpers.ts';

export interface ReproduceOptions {
  readonly smoke?: boolean;
  readonly full?: boolean;
  /** Number of seeds, 0 … n − 1; default what the experiment says, 1 in a smoke run. */
  readonly seeds?: number;
  /** Folder of kept results: `<slug>.json` and figures. Default none is written. */
  readonly out?: string;
  /** Folder of finished jobs, with which a stopped run goes on; default `.jobs` in `out`. */
  readonly store?: string;
  /** Processes that share the jobs; default 1. The results are the same. */
  readonly jobs?: number;
  /** Where in the list of jobs this process begins, 0…1, when several share them; default 0. */
  readonly place?: number;
  /** Run finished jobs again. */
  readonly fresh?: boolean;
  readonly progress?: Progress;
  /** Called for every job that this process has run. */
  readonly finished?: (outcome: Outcome) => void;
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
  /** Of all jobs together, whenever and by whom they were run. */
  readonly seconds: number;
  readonly date: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: string;
  readonly fingerprint: Fingerprint;
  readonly outcomes: readonly Outcome[];
}

/** Runs an experiment and returns what is kept of it. With `out`, a killed run goes on where it was. */
export async function reproduce(experiment: RegisteredExperiment, options: ReproduceOptions = {}): Promise<Report> {
  const { out, jobs = 1, progress = silent } = options;
  check(Number.isInteger(jobs) && jobs >= 1, () => `reproduce: ${jobs} processes; expected 1 or more`);
  const fingerprint = await fingerprintOf(experiment, options);
  if (out !== undefined) await refuseToReplace(out, experiment.slug, fingerprint);
  const shared = options.store ?? (out === undefined ? undefined : join(out, '.jobs'));
  if (jobs === 1) return run(experiment, options, fingerprint, shared);
  const store = shared ?? (await mkdtemp(join(tmpdir(), 'gossamer-jobs-')));
  const { smoke = false, full = false } = options;
  const { file } = experiment;
  try {
    // Finished jobs are forgotten before a helper looks for them.
    await openStore(experiment, store, fingerprint, options.fresh);
    return await withHelpers(jobs, { file, store, smoke, full, seeds: fingerprint.seeds }, progress, () =>
      run(experiment, { ...options, fresh: false }, fingerprint, store),
    );
  } finally {
    if (shared === undefined) await rm(store, { recursive: true, force: true });
  }
}

/** What a result of this experiment with these options would come from. */
export async function fingerprintOf(
  experiment: RegisteredExperiment,
  { smoke = false, full = false, seeds = smoke ? 1 : experiment.seeds }: ReproduceOptions,
): Promise<Fingerprint> {
  check(Number.isInteger(seeds) && seeds >= 1, () => `reproduce: ${seeds} seeds; expected 1 or more`);
  check(!(smoke && full), 'reproduce: both smoke and full; expected one of them or none');
  return {
    code: await codeHash(experiment.file),
    mode: smoke ? 'smoke' : full ? 'full' : 'standard',
    seeds,
    threads: process.env.GOSSAMER_THREADS ?? 'all',
  };
}

/** The kept result of an experiment, or nothing if there is none that can be read. */
export async function keptReport(folder: string, slug: string): Promise<Report | undefined> {
  return readFile(join(folder, `${slug}.json`), 'utf8').then(
    text => JSON.parse(text) as Report,
    () => undefined,
  );
}

/** Seconds decide nothing and must not take the place of hours. */
async function refuseToReplace(out: string, slug: string, { mode }: Fingerprint): Promise<void> {
  if (mode !== 'smoke') return;
  const kept = await keptReport(out, slug);
  check(
    !kept || kept.verdict === 'smoke run',
    () => `${join(out, `${slug}.json`)} holds a result that a smoke run would replace; give another --out`,
  );
}

const openStore = (
  { slug, version }: RegisteredExperiment,
  store: string | undefined,
  { mode }: Fingerprint,
  fresh?: boolean,
): Promise<JobStore> => JobStore.open(store && join(store, `${slug}-v${version}-${mode}.jsonl`), fresh);

async function run(
  experiment: RegisteredExperiment,
  { smoke = false, full = false, out, fresh, place = 0, progress = silent, finished }: ReproduceOptions,
  fingerprint: Fingerprint,
  store: string | undefined,
): Promise<Report> {
  const { slug, title, claim } = experiment;
  const seeds = Array.from({ length: fingerprint.seeds }, (_, i) => i);
  const kept = await openStore(experiment, store, fingerprint, fresh);
  const used: Outcome[] = [];
  const context: Context = {
    smoke,
    full,
    seeds,
    progress,
    async run(jobs) {
      const outcomes = await share(slug, jobs, kept, { place, progress, finished });
      used.push(...outcomes);
      return outcomes;
    },
  };
  const { checks, tables, notes = [], figures = [] } = await experiment.run(context);
  const report: Report = {
    slug,
    title,
    claim,
    verdict: smoke ? 'smoke run' : verdictOf(checks),
    checks,
    tables,
    notes,
    figures: figures.map(f => `${slug}-${f.name}.svg`),
    command: commandOf(slug, fingerprint),
    seeds,
    seconds: Math.round(used.reduce((s, o) => s + o.seconds, 0)),
    ...(await measuredWhere(out, slug, used)),
    fingerprint,
    outcomes: used,
  };
  if (out !== undefined) {
    const write = (name: string, text: string) => writeFile(join(out, name), [new TextEncoder().encode(text)]);
    for (const [i, { svg }] of figures.entries()) await write(report.figures[i], svg);
    await write(`${slug}.json`, `${JSON.stringify(report, null, 1)}\n`);
  }
  return report;
}

/** When and on what the outcomes were measured: as a kept result says that has them all, else now and here. */
async function measuredWhere(
  out: string | undefined,
  slug: string,
  outcomes: readonly Outcome[],
): Promise<Pick<Report, 'date' | 'versions' | 'machine'>> {
  const former = out === undefined ? undefined : await keptReport(out, slug);
  const known = new Set(former?.outcomes.map(o => JSON.stringify(o)));
  if (former && outcomes.every(o => known.has(JSON.stringify(o)))) {
    const { date, versions, machine } = former;
    return { date, versions, machine };
  }
  return { date: new Date().toISOString().slice(0, 10), ...environment() };
}

/** Between two looks at what other processes have finished, when all that is left is theirs. */
const pauseMs = 200;

/** Does jobs that nobody has done or is at, until all are done. */
async function share(
  label: string,
  jobs: readonly Job[],
  kept: JobStore,
  { place, progress, finished }: { place: number; progress: Progress; finished?: (outcome: Outcome) => void },
): Promise<Outcome[]> {
  // Processes begin at different places, so that neighbours, which often share a trained network, meet in one of them.
  const first = Math.floor(place * jobs.length);
  const order = [...jobs.slice(first), ...jobs.slice(0, first)];
  await kept.refresh();
  const before = jobs.filter(job => kept.find(job)).length;
  const bar = progress.start(label, jobs.length, { unit: 'runs', done: before });
  try {
    for (;;) {
      const open = order.filter(job => !kept.find(job));
      if (open.length === 0) break;
      const job = await kept.claim(open);
      bar.update(jobs.length - open.length, { arm: job ? nameOf(job) : 'waiting for other processes' });
      if (job) {
        try {
          const outcome = await kept.add(job, await timed(job));
          finished?.(outcome);
        } finally {
          await kept.release(job);
        }
      } else {
        await setTimeout(pauseMs);
      }
      await kept.refresh();
    }
    bar.update(jobs.length, {});
  } finally {
    bar.stop();
  }
  return jobs.map(job => kept.find(job)!);
}

const nameOf = ({ arm, condition }: Job): string => `${arm} ${Object.values(condition).join(' ')}`;

async function timed(job: Job): Promise<{ measures: Measures; seconds: number }> {
  const start = performance.now();
  const measures = await job.run();
  return { measures, seconds: (performance.now() - start) / 1000 };
}

/** The command that gives the same numbers. */
function commandOf(slug: string, { mode, threads }: Fingerprint): string {
  const flag = mode === 'standard' ? '' : ` --${mode}`;
  return `${threads === 'all' ? '' : `GOSSAMER_THREADS=${threads} `}gossamer reproduce ${slug}${flag}`;
}

function environment(): { versions: Record<string, string>; machine: string } {
  const { env } = createRequire(import.meta.url)('onnxruntime-common') as { env: { versions: { common: string } } };
  const [cpu] = cpus();
  return {
    versions: { node: process.versions.node, onnxruntime: env.versions.common },
    machine: `${availableParallelism()} × ${cpu?.model.trim() ?? 'unknown'}`,
  };
}

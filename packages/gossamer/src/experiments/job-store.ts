import { createHash } from 'node:crypto';
import { appendFile, link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { dirname } from 'node:path';
import { GossamerError } from '@gossamer/tensor';
import type { Job, Measures, Outcome } from './experiment.ts';

/**
 * Finished jobs of an experiment, one JSON line each, and who is at which of the others. Processes that share the file
 * share the work: a job is claimed before it is run, and what one has finished, all use. Killed at any moment, the next
 * run goes on: a line torn by a crash is ignored, and so is the claim of a process that is no more.
 */
export class JobStore {
  readonly #path: string | undefined;
  readonly #outcomes = new Map<string, Outcome>();
  /** Bytes of the file that have been read. */
  #read = 0;

  private constructor(path: string | undefined) {
    this.#path = path;
  }

  /**
   * @param path the file of finished jobs; without one, they are kept in memory
   * @param fresh forget what is finished
   */
  static async open(path?: string, fresh = false): Promise<JobStore> {
    const store = new JobStore(path);
    if (path === undefined) return store;
    await mkdir(`${path}.claims`, { recursive: true });
    if (fresh) await rm(path, { force: true });
    await store.refresh();
    return store;
  }

  find(job: Job): Outcome | undefined {
    return this.#outcomes.get(keyOf(job));
  }

  /** Reads what other processes have finished meanwhile. */
  async refresh(): Promise<void> {
    if (this.#path === undefined) return;
    const path = this.#path;
    const unlessMissing = (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw new GossamerError(`${path}: ${error.message}`, { cause: error });
    };
    const found = await stat(path).catch(unlessMissing);
    if (!found || found.size === this.#read) return;
    const text = (await readFile(path, 'utf8').catch(unlessMissing)) ?? '';
    this.#read = Buffer.byteLength(text);
    for (const line of text.split('\n')) {
      try {
        const outcome = JSON.parse(line, finite) as Outcome;
        // What this process has measured itself stays as it is.
        if (!this.#outcomes.has(keyOf(outcome))) this.#outcomes.set(keyOf(outcome), outcome);
      } catch {
        // An empty line, or the last one of a killed process; its job is done again.
      }
    }
  }

  /**
   * Claims the first of these jobs that nobody is at, and returns it. It is this process's until it is released, or until
   * the process ends.
   */
  async claim(jobs: readonly Job[]): Promise<Job | undefined> {
    for (const job of jobs) if (await this.#claimed(job)) return job;
    return undefined;
  }

  async release(job: Job): Promise<void> {
    if (this.#path !== undefined) await rm(this.#claimOf(job), { force: true });
  }

  async add(job: Job, { measures, seconds }: { measures: Measures; seconds: number }): Promise<Outcome> {
    const outcome: Outcome = { arm: job.arm, condition: job.condition, measures, seconds };
    this.#outcomes.set(keyOf(outcome), outcome);
    if (this.#path !== undefined) await appendFile(this.#path, `\n${JSON.stringify(outcome)}\n`);
    return outcome;
  }

  #claimOf(job: Job): string {
    return `${this.#path}.claims/${createHash('sha256').update(keyOf(job)).digest('hex').slice(0, 24)}`;
  }

  async #claimed(job: Job): Promise<boolean> {
    if (this.#path === undefined) return true;
    const claim = this.#claimOf(job);
    // Linking a finished file, unlike creating one, leaves no moment at which the claim has no owner.
    const own = `${dirname(claim)}/${process.pid}.owner`;
    await writeFile(own, String(process.pid));
    try {
      if (!(await linked(own, claim))) {
        if (await isHeld(claim)) return false;
        await rm(claim, { force: true });
        if (!(await linked(own, claim))) return false;
      }
    } finally {
      await rm(own, { force: true });
    }
    // The last owner may have finished it between the look at the file and the claim.
    await this.refresh();
    if (!this.find(job)) return true;
    await this.release(job);
    return false;
  }
}

const keyOf = ({ arm, condition }: { arm: string; condition: object }): string => JSON.stringify([arm, condition]);

/** JSON writes a measure that is no number as null. */
const finite = (_key: string, value: unknown): unknown => (value === null ? Number.NaN : value);

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Whether the process that made this claim still runs. */
async function isHeld(claim: string): Promise<boolean> {
  try {
    const [{ mtimeMs }, text] = await Promise.all([stat(claim), readFile(claim, 'utf8')]);
    // After a restart of the machine, process numbers mean others.
    if (mtimeMs < Date.now() - 1000 * uptime()) return false;
    process.kill(Number(text), 0);
    return true;
  } catch (error) {
    // Another user's process runs as well.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { reproduceAll } from './all.ts';
import type { RegisteredExperiment } from './discover.ts';
import { type Report, reproduce } from './run.ts';

const root = mkdtempSync(join(tmpdir(), 'gossamer-reproduce-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const folder = () => mkdtempSync(join(root, `${folders++}-`));

/**
 * An experiment as a file, so that other processes can load it. Every job writes its process into a log and takes `ms`; a
 * second round depends on the first, and needs all of it. If there is a file `together`, the first job waits until another
 * process has done one.
 */
async function experimentOf(
  dir: string,
  { slug = 'sums', jobs = 6, ms = 30, failing = -1 } = {},
): Promise<RegisteredExperiment & { log: () => { pid: number; job: string }[] }> {
  const log = join(dir, `${slug}.log`);
  const path = join(dir, `${slug}.mjs`);
  writeFileSync(log, '');
  writeFileSync(
    path,
    `import { appendFileSync, existsSync, readFileSync } from 'node:fs';
const others = () => readFileSync(${JSON.stringify(log)}, 'utf8').includes('pid');
const job = (arm, i, seed, value) => ({ arm, condition: { i, seed }, run: async () => {
  do await new Promise(done => setTimeout(done, ${ms}));
  while (arm + i + seed === 'first00' && existsSync(${JSON.stringify(join(dir, 'together'))}) && !others());
  if (i === ${failing} && arm === 'first') throw new Error('job ${failing} fails');
  appendFileSync(${JSON.stringify(log)}, JSON.stringify({ pid: process.pid, job: arm + i + seed }) + '\\n');
  return { value, third: value / 3, none: Number.NaN };
} });
export const experiment = { slug: '${slug}', title: 'T', claim: 'C', version: 1, seeds: 2, async run({ seeds, run, smoke }) {
  const count = smoke ? 1 : ${jobs};
  const list = f => seeds.flatMap(seed => Array.from({ length: count }, (_, i) => f(i, seed)));
  const first = await run(list((i, seed) => job('first', i, seed, i + seed)));
  const sum = first.reduce((s, o) => s + o.measures.value, 0);
  const second = await run(list((i, seed) => job('second', i, seed, sum + i)));
  const found = String(second.reduce((s, o) => s + o.measures.third, 0));
  return { tables: [], checks: [{ rule: 'sums', holds: true, found }], figures: [{ name: 'a', svg: '<svg/>' }] };
} };
`,
  );
  const file = pathToFileURL(path).href;
  const { experiment } = await import(file);
  const lines = () => readFileSync(log, 'utf8').trim().split('\n').filter(Boolean);
  return { ...experiment, file, log: () => lines().map(line => JSON.parse(line)) };
}

/** What does not depend on when and by whom it was measured. */
const lasting = ({ seconds: _, outcomes, ...rest }: Report) => ({
  ...rest,
  outcomes: outcomes.map(({ seconds: _seconds, ...o }) => o),
});

describe('reproduce', () => {
  it('runs each job once, whatever the number of processes, with the same result', async () => {
    const dir = folder();
    const experiment = await experimentOf(dir, { ms: 10 });
    const alone = await reproduce(experiment);
    expect(experiment.log().length).toBe(24);
    writeFileSync(join(dir, 'sums.log'), '');
    writeFileSync(join(dir, 'together'), '');
    const together = await reproduce(experiment, { out: dir, jobs: 3 });
    const seen = experiment.log();
    expect(new Set(seen.map(s => s.job)).size).toBe(24);
    expect(seen.length).toBe(24);
    expect(new Set(seen.map(s => s.pid)).size).toBeGreaterThan(1);
    expect(lasting(together)).toEqual(lasting(alone));
    expect(together.outcomes[0].measures.none).toBeNaN();
    expect(readdirSync(join(dir, '.jobs/sums-v1-standard.jsonl.claims'))).toEqual([]);
  });

  it('goes on where a killed run was, and ignores torn lines and the claims of the dead', async () => {
    const dir = folder();
    const experiment = await experimentOf(dir, { ms: 100 });
    const script = join(dir, 'killed.mjs');
    const run = new URL('run.ts', import.meta.url).href;
    writeFileSync(
      script,
      `import { appendFileSync, readFileSync } from 'node:fs';
import { reproduce } from ${JSON.stringify(run)};
import { experiment } from ${JSON.stringify(experiment.file)};
const store = ${JSON.stringify(join(dir, '.jobs/sums-v1-standard.jsonl'))};
setInterval(() => {
  if (readFileSync(${JSON.stringify(join(dir, 'sums.log'))}, 'utf8').split('\\n').length < 5) return;
  appendFileSync(store, '{"arm":"fir');
  process.kill(process.pid, 'SIGKILL');
}, 5);
await reproduce({ ...experiment, file: ${JSON.stringify(experiment.file)} }, { out: ${JSON.stringify(dir)}, jobs: 2 });
`,
    );
    expect(() => execFileSync(process.execPath, [script], { stdio: 'pipe' })).toThrow();
    const before = experiment.log().length;
    expect(before).toBeGreaterThanOrEqual(4);
    expect(before).toBeLessThan(24);
    const report = await reproduce(experiment, { out: dir });
    // At most the job of each process that was killed is run twice.
    expect(experiment.log().length).toBeLessThanOrEqual(26);
    expect(new Set(experiment.log().map(s => s.job)).size).toBe(24);
    expect(lasting(report)).toEqual(lasting(await reproduce(experiment)));
  });

  it('writes report and figures, and reports what it came from', async () => {
    const dir = folder();
    const report = await reproduce(await experimentOf(dir), { out: dir, seeds: 1 });
    expect(JSON.parse(readFileSync(join(dir, 'sums.json'), 'utf8')).fingerprint).toEqual(report.fingerprint);
    expect(report.fingerprint).toMatchObject({ mode: 'standard', seeds: 1 });
    expect(readFileSync(join(dir, 'sums-a.svg'), 'utf8')).toBe('<svg/>');
  });

  it('keeps the date of what was measured, unless something is measured anew', async () => {
    const dir = folder();
    const experiment = await experimentOf(dir);
    const { date, outcomes } = await reproduce(experiment, { out: dir, seeds: 1 });
    const path = join(dir, 'sums.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace(date, '2020-02-02'));
    expect(await reproduce(experiment, { out: dir, seeds: 1 })).toMatchObject({ date: '2020-02-02', outcomes });
    expect((await reproduce(experiment, { out: dir, seeds: 2 })).date).toBe(date);
  });

  it('fails with the error of the job, with helpers, too', async () => {
    for (const jobs of [1, 2]) {
      const experiment = await experimentOf(folder(), { failing: 3 });
      await expect(reproduce(experiment, { jobs })).rejects.toThrow('job 3 fails');
    }
  });

  it('refuses senseless numbers, and a smoke run in the place of a result', async () => {
    const dir = folder();
    const experiment = await experimentOf(dir);
    await expect(reproduce(experiment, { seeds: 0 })).rejects.toThrow('0 seeds');
    await expect(reproduce(experiment, { jobs: 0 })).rejects.toThrow('0 processes');
    await expect(reproduce(experiment, { smoke: true, full: true })).rejects.toThrow('both smoke and full');
    await reproduce(experiment, { out: dir });
    await expect(reproduce(experiment, { out: dir, smoke: true })).rejects.toThrow('give another --out');
  });
});

describe('reproduceAll', () => {
  it('runs again only what has no result of this code and these options, and goes on after a failure', async () => {
    const dir = folder();
    const good = await experimentOf(dir, { slug: 'good', jobs: 1, ms: 1 });
    const bad = await experimentOf(dir, { slug: 'bad', jobs: 1, ms: 1, failing: 0 });
    const late = await experimentOf(dir, { slug: 'late', jobs: 1, ms: 1 });
    const states = async (options: object) =>
      (await reproduceAll([good, bad, late], { out: dir, ...options })).map(e => `${e.slug} ${e.state}: ${e.reason}`);
    expect(await states({})).toEqual([
      'good done: no kept result',
      'bad failed: no kept result',
      'late done: no kept result',
    ]);
    const kept = expect.stringMatching(/^(good|late) kept: code and options are those of the result of 20/);
    expect(await states({})).toEqual([kept, 'bad failed: no kept result', kept]);
    expect((await states({ seeds: 3 }))[0]).toBe('good done: kept are 2 seeds, not 3');
    writeFileSync(join(dir, 'good.mjs'), `${readFileSync(join(dir, 'good.mjs'), 'utf8')}export const more = 1;\n`);
    expect((await states({ seeds: 3 }))[0]).toBe('good done: the code has changed');
    expect((await states({ seeds: 3 }))[0]).toMatch('good kept');
    expect((await states({ seeds: 3, fresh: true }))[0]).toBe('good done: asked for');
  });
});

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { predict } from '../../methods/sparse-training/scaling-law.ts';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const base = ['run', 'sparse-pretraining-scaling'];
const truth = { E: 1.5, A: 30, alpha: 0.3, B: 200, beta: 0.4 };

/** Dense runs, and runs that lose half of their weights after a third of the tokens. */
async function writeRuns(name: string): Promise<string> {
  const lines = [1e5, 3e5, 1e6, 3e6].flatMap(n =>
    [1e6, 4e6, 2e7].flatMap(d => [
      { name: `dense ${n}`, parameters: n, tokens: d, loss: predict(truth, n, d) },
      { tokens: d, loss: predict(truth, (2 / 3) * n, d), active: [[0, n] as const, [d / 3, n / 2] as const] },
    ]),
  );
  const path = join(folder, name);
  await writeFile(path, `${lines.map(l => JSON.stringify(l)).join('\n')}\n\n`);
  return path;
}

describe('gossamer run sparse-pretraining-scaling', () => {
  it('fits a law to runs, plans and predicts with it', async () => {
    const runs = await writeRuns('runs.jsonl');
    const out = join(folder, 'law.json');
    const fitted = await gossamer(...base, 'fit', runs, '-o', out, '--bootstrap', '10', '--json', '-q');
    expect([fitted.code, fitted.stderr]).toEqual([0, '']);
    const { law, relativeError, runs: rows } = JSON.parse(fitted.stdout);
    expect(law.alpha).toBeCloseTo(truth.alpha, 2);
    expect(law.beta).toBeCloseTo(truth.beta, 2);
    expect(relativeError).toBeLessThan(1e-3);
    expect(rows).toHaveLength(24);
    expect(JSON.parse(await readFile(out, 'utf8')).law).toEqual(law);

    const planned = await gossamer(...base, 'plan', '--law', out, '--final-size', '1e6', '--compute', '1e14', '--json');
    const { options } = JSON.parse(planned.stdout);
    expect(options).toHaveLength(5);
    for (const o of options) expect((6 * o.averageSize * o.tokens) / 1e14).toBeCloseTo(1, 9);

    const tokens = ['--of', 'tokens', '--sparsity', '0.8'];
    const byTokens = ['plan', '--law', out, '--final-size', '1e6', '--compute', '1e14', ...tokens, '--json'];
    expect(JSON.parse((await gossamer(...base, ...byTokens)).stdout).options[0].averageSize).toBeCloseTo(2.5e6, 0);
    const final = join(folder, 'final.json');
    await gossamer(...base, 'fit', runs, '-o', final, '--size', 'final', '--bootstrap', '10', '-q');
    const refused = await gossamer(...base, 'plan', '--law', final, '--final-size', '1e6', '--compute', '1e14');
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('its N is the final count')]);

    const told = await gossamer(...base, 'predict', '--law', out, '--size', '1e6', '--tokens', '4e6');
    expect(Number(told.stdout)).toBeCloseTo(predict(truth, 1e6, 4e6), 2);
    const text = await gossamer(
      ...base,
      'plan',
      '--law',
      out,
      '--final-size',
      '1e6',
      '--compute',
      '1e14',
      '--sparsity',
      '0.5',
    );
    expect(text.stdout).toMatch(/50 % +2\.00 M/);
    const page = await gossamer(...base, 'fit', runs, '--bootstrap', '10', '-q', '--beta', '0.4');
    expect(page.stdout).toMatch(/^L = .* D\^0\.400\n/);
    expect(page.stdout).toContain('mean relative error');
  });

  it('says what is wrong with runs and laws', async () => {
    const bad = async (lines: string) => {
      const path = join(folder, 'bad.jsonl');
      await writeFile(path, lines);
      return gossamer(...base, 'fit', path, '-q');
    };
    const expectError = (found: { code: number; stderr: string }, message: string) => {
      expect(found.stderr).toContain(message);
      expect(found.code).toBe(1);
    };
    expectError(await bad('{"tokens": 10, "loss": 2}'), 'bad.jsonl, line 1: has no active parameter counts');
    expectError(await bad('\n{"tokens"'), 'bad.jsonl, line 2: is no JSON object');
    expectError(
      await bad('{"tokens": 10, "loss": 2, "parameters": 5}\n'.repeat(5)),
      '5 runs; five coefficients need at least 6',
    );
    expectError(await gossamer(...base, 'fit', join(folder, 'none.jsonl')), 'none.jsonl');
    await writeFile(join(folder, 'no-law.json'), '{"law": {"E": 1}}');
    const plan = ['plan', '--law', join(folder, 'no-law.json'), '--final-size', '1e6', '--compute', '1e14'];
    expectError(await gossamer(...base, ...plan), 'has no law with E, A, alpha, B, beta');
    expect((await gossamer(...base, 'plan', '--law', 'x', '--final-size', '-1', '--compute', '1')).code).toBe(2);
  });
});

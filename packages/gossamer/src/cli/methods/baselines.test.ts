import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();

describe('gossamer run small-dense', () => {
  it('tells the width without data, and trains and writes the network with them', async () => {
    const sizes = await gossamer('run', 'small-dense', '--model', 'resnet20', '--sparsity', '0.9', '--json', '-q');
    expect(sizes.code).toBe(0);
    const { parameters, budget, full, width } = JSON.parse(sizes.stdout);
    expect([full, budget]).toEqual([269_722, 269_722 - Math.round(0.9 * 268_336)]);
    expect(parameters).toBeGreaterThanOrEqual(budget);
    expect(width).toBeLessThan(0.4);

    const out = join(folder, 'small');
    const base = [
      'run',
      'small-dense',
      '--model',
      'lenet-300-100',
      '--data',
      'digits',
      '--epochs',
      '1',
      '--batch',
      '250',
    ];
    const run = await gossamer(...base, '--nonzeros', '30000', '-q', '--json', '-o', out);
    expect({ code: run.code, stderr: run.stderr }).toEqual({ code: 0, stderr: '' });
    const result = JSON.parse(run.stdout);
    expect(result.parameters).toBeGreaterThanOrEqual(30_000);
    expect(result.metrics.accuracy).toBeGreaterThan(0.2);
    for (const file of result.files) expect(existsSync(file)).toBe(true);
  });

  it('says what is missing', async () => {
    const base = ['run', 'small-dense', '--model', 'lenet-5'];
    expect((await gossamer(...base)).stderr).toContain('give --sparsity or --nonzeros');
    expect((await gossamer(...base, '--sparsity', '0.5', '-o', 'x')).stderr).toContain('give --data');
  });
});

describe('gossamer run granet', () => {
  const base = ['run', 'granet', '--model', 'lenet-300-100', '--width', '0.1', '--data', 'digits', '--batch', '250'];

  it('prints plasticities and draws them', async () => {
    const out = join(folder, 'plasticity.svg');
    const args = ['--epochs', '2', '--at', '0.25,0.75', '--sparsity', '0.9', '-q', '--json', '-o', out];
    const { code, stdout, stderr } = await gossamer(...base, ...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { points, steps, delta } = JSON.parse(stdout);
    expect(points.map((p: { step: number }) => p.step)).toEqual([0.25 * steps, 0.75 * steps].map(Math.round));
    expect(delta).toBe(Math.round(0.25 * steps));
    for (const p of points)
      for (const key of ['drop', 'plasticity', 'regenerated']) expect(typeof p[key]).toBe('number');
    expect(readFileSync(out, 'utf8')).toContain('<svg');

    // Pruned at a quarter, trained on beyond the first drop of the rate.
    const once = ['--epochs', '1', '--at', '0.25', '--further', '0.5', '--regenerate', '0', '-q', '--json'];
    const [schedule, fixed] = [
      await gossamer(...base, ...once),
      await gossamer(...base, ...once, '--further-rate', 'fixed'),
    ];
    const [a, b] = [schedule, fixed].map(found => JSON.parse(found.stdout).points);
    expect(a.map((p: { drop: number }) => p.drop)).toEqual(b.map((p: { drop: number }) => p.drop));
    expect(a).not.toEqual(b);
  });

  it('refuses what does not fit into the training', async () => {
    const late = await gossamer(...base, '--at', '0.8');
    expect([late.code, late.stderr]).toEqual([2, expect.stringContaining('rising shares of at most 0.75')]);
    expect((await gossamer(...base, '--at', '0.5,0.4')).code).toBe(2);
    expect((await gossamer(...base, '--sparsity', '0.5,2')).code).not.toBe(0);
    expect((await gossamer(...base, '-o', join(folder, 'no', 'x.svg'))).stderr).toContain('cannot be written');
  });
});

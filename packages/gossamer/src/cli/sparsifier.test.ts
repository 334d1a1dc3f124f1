import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { discoverMethods } from '../methods/method.ts';
import { setting, sparsifierClass, sparsifiersOf } from './sparsifier.ts';
import { gossamer, testFolder } from './testing.ts';

const folder = testFolder();
const none = { pattern: { kind: 'element' }, exclude: [] } as const;

/** A training of a few steps, and the weights it leaves. */
async function train(name: string, ...flags: string[]) {
  const out = join(folder, name);
  const common = [
    '--model',
    'lenet-300-100',
    '--data',
    'digits',
    '--epochs',
    '1',
    '--batch',
    '256',
    '--out',
    out,
    '-q',
  ];
  const done = await gossamer('train', ...common, ...flags);
  expect(done).toMatchObject({ code: 0, stderr: '' });
  await using file = await openSafetensors(join(out, 'model.safetensors'));
  const weights = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const tensor of file.names()) {
    const { shape, data } = await file.read(tensor);
    if (shape.length === 2) weights.set(tensor, { shape, data: data as Float32Array });
  }
  return { out, weights };
}

const zeros = (data: Float32Array) => data.reduce((n, v) => n + Number(v === 0), 0);

describe('gossamer train: score × schedule × pattern', () => {
  it.each(['magnitude', 'wanda', 'synflow'])(
    'score %s with 2:4 keeps two of every four inputs, in both files',
    async score => {
      const { out, weights } = await train(
        score,
        '--score',
        score,
        '--sparsity-schedule',
        'one-shot',
        '--pattern',
        '2:4',
      );
      for (const { data } of weights.values()) {
        for (let i = 0; i < data.length; i += 4) expect(zeros(data.subarray(i, i + 4))).toBe(2);
      }
      const { graph } = await readOnnx(join(out, 'model.onnx'));
      expect(graph.initializers.size).toBeGreaterThanOrEqual(weights.size);
    },
  );

  it('prunes at the start with SNIP, by name, and counts exactly over all layers', async () => {
    const { weights } = await train('snip', '--sparsifier', 'snip', '--sparsity', '0.9');
    const all = [...weights.values()];
    const size = all.reduce((n, { data }) => n + data.length, 0);
    const gone = all.reduce((n, { data }) => n + zeros(data), 0);
    expect(size - gone).toBe(size - Math.round(0.9 * size));
  });

  it('hands other options on, and keeps them in run.json', async () => {
    const { out } = await train('set', '--sparsity', '0.8', '--set', 'interval=5', '--set', 'scope=global');
    expect(JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')).set).toEqual({ interval: 5, scope: 'global' });
  });

  it('starts from weights in a file', async () => {
    const { out, weights } = await train('dense');
    const start = ['--weights', join(out, 'model.safetensors'), '--lr', '1e-30'];
    const { weights: after } = await train('from', ...start);
    for (const [name, { data }] of weights) expect(after.get(name)!.data).toEqual(data);
  });
});

describe('sparsifiersOf', () => {
  it('refuses what a method does not have, with what it has', async () => {
    const snip = (more: object) => sparsifiersOf({ ...none, sparsifier: 'snip', sparsity: 0.5, ...more });
    await expect(snip({ set: { interval: 3 } })).rejects.toThrow(
      '--set interval: snip has no such option; it has sparsity',
    );
    await expect(snip({ score: 'magnitude' })).rejects.toThrow('--score: snip has no such option');
    await expect(snip({ sparsitySchedule: 'linear' })).rejects.toThrow('--sparsity-schedule: snip has');
    await expect(sparsifiersOf({ ...none, sparsifier: 'snip' })).rejects.toThrow('--sparsifier snip: give --sparsity');
    await expect(sparsifiersOf({ ...none, score: 'x', sparsity: 0.5 })).rejects.toThrow('--score x: no such score');
    await expect(sparsifiersOf({ ...none, sparsifier: 'imp', sparsity: 0.5 })).rejects.toThrow('takes no part');
    expect(await sparsifiersOf(none)).toEqual([]);
    for (const idle of [{ allocation: 'erk' }, { exclude: ['first'] }, { set: { interval: 3 } }]) {
      await expect(sparsifiersOf({ ...none, ...idle })).rejects.toThrow('nothing is to be sparse; give --sparsity');
    }
    await expect(sparsifiersOf({ ...none, sparsifier: 'nothing' })).rejects.toThrow("no method 'nothing'");
  });

  it('makes every method that takes part in training from a sparsity alone', async () => {
    for (const method of await discoverMethods()) {
      const Class = sparsifierClass(method);
      if (!Class) continue;
      expect(Class.options, method.slug).toBeDefined();
      const made = await sparsifiersOf({
        ...none,
        sparsifier: method.slug,
        ...(Class.options!.includes('sparsity') && { sparsity: 0.8 }),
      });
      expect(made[0].name).toBe(method.slug);
    }
  });

  it('reads settings', () => {
    expect(setting('a=1', setting('drop-rate=0.5'))).toEqual({ a: 1, dropRate: 0.5 });
    expect(setting('grow=random')).toEqual({ grow: 'random' });
    expect(() => setting('interval')).toThrow('expected name=value');
  });
});

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { writeNpz } from '../../data/npy.ts';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const data = join(folder, 'data.npz');
const random = new Random(2);
writeFileSync(
  data,
  writeNpz({
    inputs: { dtype: 'float32', shape: [60, 1, 28, 28], data: random.normal(60 * 784) },
    labels: { dtype: 'int32', shape: [60], data: Int32Array.from({ length: 60 }, (_, i) => i % 10) },
  }),
);
const flags = [
  '--model',
  'lenet-5',
  '--width',
  '0.2',
  '--data',
  data,
  '--lr',
  '0.05',
  '--batch',
  '10',
  '--epochs',
  '2',
];

describe('gossamer run wgsef', () => {
  it('writes a network with k channels', async () => {
    const out = join(folder, 'small.onnx');
    const { code, stdout, stderr } = await gossamer('run', 'wgsef', ...flags, '--k', '30', '-o', out, '-q', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const result = JSON.parse(stdout);
    expect(result.groups).toMatchObject({ groups: 4 + 10 + 100, k: 30 });
    const live = result.layers.map((l: { live: number }) => l.live);
    expect(live.reduce((a: number, b: number) => a + b, 0)).toBe(30);
    const { graph } = await readOnnx(out);
    expect(graph.initializers.get('fc2.weight')!.shape).toEqual([10, Math.max(1, live[2])]);
    expect(result.after.parameters).toBeLessThan(result.before.parameters);
    expect(result.metrics.pruned.accuracy).toBeCloseTo(result.metrics.trained.accuracy, 6);
  });

  it('prints what became of each layer', async () => {
    const out = join(folder, 'text.onnx');
    const short = ['--sparsity', '0.5', '--finetune-epochs', '0', '-o', out, '-q'];
    const { stdout } = await gossamer('run', 'wgsef', ...flags, ...short);
    expect(stdout).toMatch(/conv1.weight +\d of 4 channels live/);
    expect(stdout).toContain('were set to zero to leave 57');
  });

  it('refuses missing and impossible budgets before any work, and writes nothing', async () => {
    const out = join(folder, 'none.onnx');
    expect(await gossamer('run', 'wgsef', ...flags, '-o', out)).toMatchObject({ code: 2 });
    expect(await gossamer('run', 'wgsef', ...flags, '--k', '5', '--sparsity', '0.5', '-o', out)).toMatchObject({
      code: 2,
    });
    const many = await gossamer('run', 'wgsef', ...flags, '--k', '5000', '-o', out, '-q');
    expect(many).toMatchObject({ code: 1 });
    expect(many.stderr).toContain('k = 5000 of 114 groups');
    const lost = await gossamer('run', 'wgsef', ...flags, '--k', '5', '-o', join(folder, 'no/where.onnx'));
    expect(lost).toMatchObject({ code: 1 });
    expect(existsSync(out)).toBe(false);
  });
});

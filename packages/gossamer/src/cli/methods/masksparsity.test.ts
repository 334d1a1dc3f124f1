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
    inputs: { dtype: 'float32', shape: [40, 3, 32, 32], data: random.normal(40 * 3072) },
    labels: { dtype: 'int32', shape: [40], data: Int32Array.from({ length: 40 }, (_, i) => i % 10) },
  }),
);
const flags = ['--model', 'resnet8', '--width', '0.25', '--data', data, '--batch', '10', '--epochs', '1', '-q'];

describe('gossamer run masksparsity', () => {
  it('goes from the dense training to a smaller network', async () => {
    const out = join(folder, 'small.onnx');
    const { code, stdout, stderr } = await gossamer(
      'run',
      'masksparsity',
      ...flags,
      '--flops',
      '0.6',
      '-o',
      out,
      '--json',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { metrics, before, after, groups, skipped } = JSON.parse(stdout);
    expect(Object.keys(metrics)).toEqual(['baseline', 'slimmed', 'masked', 'pruned', 'fine-tuned']);
    expect(after.flops).toBeLessThanOrEqual(0.6 * before.flops);
    expect(groups.every((g: { left: number }) => g.left >= 1)).toBe(true);
    expect(skipped.map((s: { name: string }) => s.name)).toContain('linear.weight');
    const { graph } = await readOnnx(out);
    const weights = [...graph.initializers.values()].reduce((n, t) => n + t.shape.reduce((a, b) => a * b, 1), 0);
    expect(weights).toBeLessThan(before.parameters);
  });

  it('takes a mask from a file, and refuses one that does not fit', async () => {
    const out = join(folder, 'own.onnx');
    const mask = join(folder, 'mask.json');
    writeFileSync(mask, JSON.stringify({ 'layer1.0.bn1.weight': [0, 2] }));
    const { stdout } = await gossamer('run', 'masksparsity', ...flags, '--mask', mask, '-o', out);
    expect(stdout).toMatch(/layer1.0.conv1.weight +2 of 4 channels left/);
    expect((await readOnnx(out)).graph.initializers.get('layer1.0.conv1.weight')!.shape[0]).toBe(2);
    for (const [content, message] of [
      ['{"bn9.weight": [0]}', 'the model has no bn9.weight'],
      ['{"bn1.weight": [9]}', 'has no channel 9'],
      ['{"layer1.0.bn1.weight": [0, 1, 2, 3]}', 'all 4 channels would go'],
      ['[1]', 'expected {"bn1.weight": [0, 3, …], …}'],
      ['{', 'is no JSON'],
    ]) {
      writeFileSync(mask, content);
      const { code, stderr } = await gossamer(
        'run',
        'masksparsity',
        ...flags,
        '--mask',
        mask,
        '-o',
        join(folder, 'no.onnx'),
      );
      expect(code).toBe(1);
      expect(stderr).toContain(message);
    }
    expect(existsSync(join(folder, 'no.onnx'))).toBe(false);
  });

  it('refuses missing, double and impossible rules', async () => {
    const out = ['-o', join(folder, 'none.onnx')];
    expect(await gossamer('run', 'masksparsity', ...flags, ...out)).toMatchObject({ code: 2 });
    expect(
      await gossamer('run', 'masksparsity', ...flags, '--flops', '0.5', '--channels', '0.5', ...out),
    ).toMatchObject({ code: 2 });
    const lost = ['-o', join(folder, 'no/where.onnx'), '--flops', '0.5'];
    expect(await gossamer('run', 'masksparsity', ...flags, ...lost)).toMatchObject({ code: 1 });
  });
});

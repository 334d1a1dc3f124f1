import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { readMetrics } from '../../train/metrics-log.ts';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const source = (path: string) => JSON.stringify(fileURLToPath(new URL(`../../${path}`, import.meta.url)));

/** A recipe that learns a line; how long is up to the command line. */
const recipe = `
import { Random } from ${JSON.stringify(import.meta.resolve('@gossamer/tensor'))};
import { ArrayDataset } from ${source('data/dataset.ts')};
import { DataLoader } from ${source('data/loader.ts')};
import { Linear } from ${source('nn/linear.ts')};
import { SGD } from ${source('optim/index.ts')};
import { regression } from ${source('train/task.ts')};

export default ({ seed }: { seed: number }) => {
  const inputs = { dtype: 'float32', shape: [64, 1], data: new Random(7).normal(64) } as const;
  const targets = { ...inputs, data: inputs.data.map(x => 3 * x) };
  const model = new Linear(1, 1, { random: new Random(seed) });
  return {
    model,
    task: regression(),
    train: new DataLoader(new ArrayDataset({ inputs, targets }), { batchSize: 16, shuffle: true, seed }),
    optimizer: new SGD(model.parameters(), { learningRate: 0.2 }),
    epochs: 3,
  };
};
`;

const weightOf = async (run: string): Promise<Float32Array> => {
  await using file = await openSafetensors(join(run, 'model.safetensors'));
  return (await file.read('weight')).data as Float32Array;
};

describe('gossamer train', { concurrent: true }, () => {
  const path = join(folder, 'line.ts');
  writeFileSync(path, recipe);

  it('runs a recipe and keeps metrics, checkpoints and the model', async () => {
    const out = join(folder, 'line');
    const { code, stdout, stderr } = await gossamer(['train', path, '--epochs', '20', '--out', out, '-q', '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      steps: 80,
      files: ['safetensors', 'onnx'].map(e => join(out, `model.${e}`)),
    });
    expect((await weightOf(out))[0]).toBeCloseTo(3, 3);
    expect((await readMetrics(join(out, 'metrics.jsonl'))).map(r => r.step)).toEqual(
      Array.from({ length: 80 }, (_, i) => i + 1),
    );
    expect(readdirSync(out).filter(f => f.includes('tfevents'))).toHaveLength(1);
    const onnx = await readOnnx(join(out, 'model.onnx'));
    expect(onnx.graph.inputs).toMatchObject([{ name: 'inputs', shape: ['batch', 1] }]);
  });

  it('goes on with a run, but neither over it nor with other options', async () => {
    const out = join(folder, 'resumed');
    const args = ['train', path, '--seed', '5', '--out', out, '-q'];
    expect((await gossamer(args)).code).toBe(0);
    const whole = await weightOf(out);
    const [over, other, again] = [
      await gossamer(args),
      await gossamer([...args, '--seed', '6', '--resume']),
      await gossamer([...args, '--resume']),
    ];
    expect([over.code, over.stderr]).toEqual([1, expect.stringContaining('holds a run already')]);
    expect([other.code, other.stderr]).toEqual([
      1,
      expect.stringContaining('started with other options: seed 5, now 6'),
    ]);
    expect(again.code).toBe(0);
    expect(await weightOf(out)).toEqual(whole);
  });

  it('trains a named model sparse from flags', async () => {
    const csv = join(folder, 'rows.csv');
    const header = [...Array.from({ length: 784 }, (_, i) => `f${i}`), 'label'];
    const lines = Array.from({ length: 100 }, (_, row) => [
      ...header.slice(1).map((_, i) => ((i * (row % 2)) % 7) / 7),
      row % 2 ? 'odd' : 'even',
    ]);
    writeFileSync(csv, [header, ...lines].map(l => l.join(',')).join('\n'));
    const out = join(folder, 'sparse');
    const args = [
      'train',
      '--model',
      'lenet-300-100',
      '--data',
      csv,
      '--width',
      '0.1',
      '--epochs',
      '6',
      '--batch',
      '16',
    ];
    const { code, stdout, stderr } = await gossamer([
      ...args,
      '--lr',
      '0.05',
      '--sparsity',
      '0.8',
      '--out',
      out,
      '-q',
      '--json',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { metrics, total } = JSON.parse(stdout);
    expect(metrics.accuracy).toBe(1);
    expect(total.density).toBeCloseTo(0.2, 2);
    const onnx = await readOnnx(join(out, 'model.onnx'));
    expect(onnx.graph.initializers.get('fc1.weight')).toMatchObject({ sparse: true, shape: [30, 784] });
  });

  it('says what a recipe lacks', async () => {
    const empty = join(folder, 'empty.ts');
    writeFileSync(empty, 'export default { model: 1 };');
    const broken = join(folder, 'broken.ts');
    writeFileSync(broken, 'export default {');
    const out = join(folder, 'never');
    const expected: [string, string][] = [
      [empty, 'has no task, train, optimizer'],
      [broken, 'cannot be loaded'],
      [join(folder, 'none.ts'), 'no such file'],
    ];
    for (const [file, message] of expected) {
      const { code, stderr } = await gossamer(['train', file, '--out', out]);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
    expect(existsSync(out)).toBe(false);
  });
});

import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { readMetrics } from '../../train/metrics-log.ts';
import { gossamer, gossamerProcess, testFolder } from '../testing.ts';

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

const weightOf = async (run: string, name: string): Promise<Float32Array> => {
  await using file = await openSafetensors(join(run, 'model.safetensors'));
  return (await file.read(name)).data as Float32Array;
};

describe('gossamer train', () => {
  const path = join(folder, 'line.ts');
  writeFileSync(path, recipe);

  it('runs a recipe and keeps metrics, checkpoints and the model', async () => {
    const out = join(folder, 'line');
    const { code, stdout, stderr } = await gossamerProcess(
      'train',
      path,
      '--epochs',
      '20',
      '--out',
      out,
      '-q',
      '--json',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      steps: 80,
      files: ['safetensors', 'onnx'].map(e => join(out, `model.${e}`)),
    });
    expect((await weightOf(out, 'weight'))[0]).toBeCloseTo(3, 3);
    expect((await readMetrics(join(out, 'metrics.jsonl'))).map(r => r.step)).toEqual(
      Array.from({ length: 80 }, (_, i) => i + 1),
    );
    expect(readdirSync(out).filter(f => f.includes('tfevents'))).toHaveLength(1);
    const onnx = await readOnnx(join(out, 'model.onnx'));
    expect(onnx.graph.inputs).toMatchObject([{ name: 'inputs', shape: ['batch', 1] }]);
  });

  /** Two kinds of rows of 784 numbers. */
  function writeRows(): string {
    const csv = join(folder, 'rows.csv');
    const names = Array.from({ length: 784 }, (_, i) => `f${i}`);
    const rows = Array.from({ length: 100 }, (_, row) => {
      return [...names.map((_, i) => ((i * (row % 2)) % 7) / 7), row % 2 ? 'odd' : 'even'];
    });
    writeFileSync(csv, [[...names, 'label'], ...rows].map(line => line.join(',')).join('\n'));
    return csv;
  }

  it('trains a named model sparse from flags, and goes on with the same flags only', async () => {
    const out = join(folder, 'sparse');
    const data = ['train', '--model', 'lenet-300-100', '--data', writeRows(), '--width', '0.1', '--batch', '16'];
    const args = [...data, '--epochs', '6', '--lr', '0.05', '--sparsity', '0.8', '--out', out, '-q', '--json'];
    const { code, stdout, stderr } = await gossamer(...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { metrics, total } = JSON.parse(stdout);
    expect(metrics.accuracy).toBe(1);
    expect(total.density).toBeCloseTo(0.2, 2);
    const onnx = await readOnnx(join(out, 'model.onnx'));
    expect(onnx.graph.initializers.get('fc1.weight')).toMatchObject({ sparse: true, shape: [30, 784] });

    const before = await weightOf(out, 'fc1.weight');
    const over = await gossamer(...args);
    expect([over.code, over.stderr]).toEqual([1, expect.stringContaining('holds a run already')]);
    const other = await gossamer(...args, '--seed', '6', '--resume');
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('other options: seed 0, now 6')]);
    expect((await gossamer(...args, '--resume')).code).toBe(0);
    expect(await weightOf(out, 'fc1.weight')).toEqual(before);
  });

  it('says what a recipe lacks', async () => {
    const empty = join(folder, 'empty.ts');
    writeFileSync(empty, 'export default { model: 1 };');
    const out = join(folder, 'never');
    const expected: [string, string][] = [
      [empty, 'has no task, train, optimizer'],
      [join(folder, 'none.ts'), 'no such file'],
    ];
    for (const [file, message] of expected) {
      const { code, stderr } = await gossamer('train', file, '--out', out);
      expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
    }
    expect(existsSync(out)).toBe(false);
  });
});

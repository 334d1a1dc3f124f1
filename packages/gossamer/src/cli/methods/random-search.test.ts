import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { writeNpz } from '../../data/npy.ts';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const blobs = join(folder, 'blobs.npz');

/** Images whose class is where they are bright. */
function part(count: number, random: Random) {
  const labels = random.integers(count, 0, 4);
  const data = random.normal(count * 784);
  labels.forEach((label, i) => {
    for (let k = 0; k < 196; k++) data[784 * i + 196 * label + k] += 1;
  });
  const inputs = { dtype: 'float32', shape: [count, 1, 28, 28], data } as const;
  return { inputs, labels: { dtype: 'int32', shape: [count], data: labels } as const };
}
const [train, test] = [part(300, new Random(1)), part(100, new Random(2))];
writeFileSync(
  blobs,
  writeNpz({ inputs: train.inputs, labels: train.labels, test_inputs: test.inputs, test_labels: test.labels }),
);
const common = [
  '--model',
  'lenet-300-100',
  '--width',
  '0.1',
  '--data',
  'digits',
  '--epochs',
  '1',
  '--batch',
  '256',
  '-q',
];
const run = (...args: string[]) => gossamer('run', 'random-search', ...common, ...args);

describe('gossamer run random-search', () => {
  it('searches, trains and judges, and writes the found networks, which are smaller', async () => {
    const { code, stdout, stderr } = await run(
      ...[
        '--sparsities',
        '0.5',
        '--budget',
        '5',
        '--seeds',
        '2',
        '--samples',
        '100',
        '--lr',
        '0.05',
        '-o',
        folder,
        '--json',
      ],
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { parent, verdicts, rows, files } = JSON.parse(stdout);
    expect(parent).toBeGreaterThan(40);
    expect(rows).toHaveLength(2);
    expect(verdicts[0]).toMatchObject({ sparsity: 0.5, nodes: 0.5, final: { n: 2 } });
    expect(files).toEqual([join(folder, 'found-0.5.onnx')]);
    const { graph } = await readOnnx(files[0]);
    expect(graph.initializers.get('fc1.weight')?.shape).toEqual([15, 784]);
  });

  it('searches among weights, too', async () => {
    const { code, stdout } = await run(
      '--space',
      'weight',
      '--sparsities',
      '0.8',
      '--budget',
      '3',
      '--seeds',
      '1',
      '--json',
    );
    expect(code).toBe(0);
    expect(JSON.parse(stdout).verdicts[0].weights).toBeCloseTo(0.8, 3);
  });

  it('refuses what would cut the network before any training', async () => {
    const cut = await run('--sparsities', '0.5,0.99');
    expect(cut.code).toBe(1);
    expect(cut.stderr).toContain('rounds the 30 nodes of fc1.weight to 0');
    const exclude = await run('--exclude', 'fc9.weight');
    expect(exclude).toMatchObject({ code: 1 });
    expect(exclude.stderr).toContain("exclude 'fc9.weight' makes no nodes");
  });

  it('refuses seeds that would share their initial weights, and options of nodes for weights', async () => {
    const shared = await run('--weights', join(folder, 'w.safetensors'));
    expect(shared.code).toBe(2);
    expect(shared.stderr).toContain('all 5 seeds would start from the same weights');
    expect(await run('--space', 'weight', '--rescale')).toMatchObject({ code: 2 });
  });
});

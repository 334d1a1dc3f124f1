import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { writeNpz } from '../../data/npy.ts';
import { MLP } from '../../nn/container.ts';
import { SGD } from '../../optim/index.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { gossamer, testFolder, writeModel } from '../testing.ts';

const folder = testFolder();
const [blobs, onnx] = [join(folder, 'blobs.npz'), join(folder, 'model.onnx')];

/** Samples of 4 classes, each bright in an eighth of its own. */
function part(count: number, random: Random) {
  const labels = random.integers(count, 0, 4);
  const data = random.normal(count * 16);
  labels.forEach((label, i) => {
    for (let k = 0; k < 4; k++) data[16 * i + 4 * label + k] += 2;
  });
  return {
    inputs: { dtype: 'float32', shape: [count, 16], data },
    labels: { dtype: 'int32', shape: [count], data: labels },
  } as const;
}
const [train, test] = [part(300, new Random(1)), part(200, new Random(2))];
writeFileSync(
  blobs,
  writeNpz({ inputs: train.inputs, labels: train.labels, test_inputs: test.inputs, test_labels: test.labels }),
);
const model = new MLP([16, 24, 24, 4], { random: new Random(3) });
await new Trainer({
  model,
  task: classification(),
  train: new DataLoader(new ArrayDataset(train), { batchSize: 20, shuffle: true }),
  optimizer: new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9 }),
  epochs: 3,
}).run();
await writeModel(onnx, model, { dtype: 'float32', shape: [1, 16] });

const run = (...args: string[]) => gossamer('run', 'essential-sparsity', ...args);

describe('gossamer run essential-sparsity', () => {
  it('prints the curve, s*, the knee and how sure they are, and writes picture and mask', async () => {
    const [svg, mask] = [join(folder, 'curve.svg'), join(folder, 'mask.safetensors')];
    const { code, stdout, stderr } = await run(
      onnx,
      '--data',
      blobs,
      '--random',
      '--exclude',
      'first,last',
      '-o',
      svg,
      '--mask',
      mask,
      '-q',
      '--json',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ metric: 'accuracy', protocol: 'zero-shot', zeros: 0, files: [svg, mask] });
    expect(result.prunable).toEqual(['layers.1.weight']);
    expect(result.points[0].value).toBeGreaterThan(0.9);
    expect(result.points.length).toBeGreaterThan(10);
    expect(result.random).toHaveLength(10);
    const { sparsity, confidence } = result;
    expect(result.byLayer['layers.1.weight']).toBeCloseTo(sparsity, 2);
    expect(confidence.sparsity[0]).toBeLessThanOrEqual(sparsity);
    expect(confidence.sparsity[1]).toBeGreaterThanOrEqual(sparsity);
    expect(readFileSync(svg, 'utf8')).toContain('Essential sparsity');
    await using file = await openSafetensors(mask);
    const kept = (await file.read('layers.1.weight')).data as Uint8Array;
    expect(kept.reduce((a, b) => a + b, 0)).toBe(Math.round((1 - sparsity) * 576));
  });

  it('fine-tunes at every sparsity, and says so', async () => {
    const { code, stdout } = await run(onnx, '--data', blobs, '--grid', '0.5,0.9', '--finetune-epochs', '1', '-q');
    expect(code).toBe(0);
    expect(stdout).toContain('accuracy (fine-tune)');
    expect(stdout).toContain('essential sparsity s*');
  });

  it('refuses what cannot work', async () => {
    const cases: [string[], number, string][] = [
      [['--data', blobs], 2, 'give a model'],
      [['--model', 'resnet8', '--data', blobs], 2, 'an untrained model has nothing to lose'],
      [[join(folder, 'none.onnx'), '--data', blobs], 1, 'no such file'],
      [[onnx, '--data', blobs, '-o', join(folder, 'x', 'y.svg')], 1, 'there is no folder'],
    ];
    for (const [args, wanted, message] of cases) {
      const { code, stderr } = await run(...args);
      expect(stderr).toContain(message);
      expect(code).toBe(wanted);
    }
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });
});

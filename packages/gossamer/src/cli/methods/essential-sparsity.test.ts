import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, Random, writeSafetensors } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { writeNpz } from '../../data/npy.ts';
import { MLP } from '../../nn/container.ts';
import { SGD } from '../../optim/index.ts';
import { saveCheckpoint } from '../../train/checkpoint.ts';
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

  it('prunes by patterns and compares them with unstructured masks of as many weights', async () => {
    const svg = join(folder, 'patterns.svg');
    const args = [
      onnx,
      '--data',
      blobs,
      '--grid',
      '0.5,0.7,0.9',
      '--pattern',
      '2:4,N:4',
      '--pattern',
      '1:2',
      '-o',
      svg,
    ];
    const { code, stdout, stderr } = await run(...args, '-q', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { patterns, points } = JSON.parse(stdout);
    type Point = { sparsity: number; value: number; unstructured: number };
    expect(patterns.map((p: { name: string; points: Point[] }) => [p.name, p.points.map(x => x.sparsity)])).toEqual([
      ['2:4', [0.5]],
      ['N:4', [0.25, 0.5, 0.75]],
      ['1:2', [0.5]],
    ]);
    const half = points.find((p: Point) => p.sparsity === 0.5);
    expect(patterns[0].points[0].unstructured).toBe(half.value);
    expect(patterns[1].points[1]).toEqual(patterns[0].points[0]);
    for (const { unstructured } of patterns[1].points) expect(unstructured).toBeGreaterThan(0.25);
    expect(readFileSync(svg, 'utf8')).toContain('N:4');
  });

  describe('--checkpoints', () => {
    const name = 'layers.1.weight';
    /** The trained network with the first `gone` weights of its inner layer at zero. */
    const state = async (gone: number) => {
      const arrays = [...model.stateDict()].map(async ([key, p]) => {
        const { shape } = p;
        const data = (await p.data()).slice();
        if (key === name) data.fill(0, 0, gone);
        return [key, { dtype: 'float32' as const, shape, data }] as const;
      });
      return Promise.all(arrays);
    };
    const common = ['--exclude', 'first,last', '-q', '--json'];

    it('counts near-zero weights and finds the jump, by the steps in the names', async () => {
      const gone = [0, 2, 5, 300, 302];
      const files = gone.map((_, i) => join(folder, `step-${250 * i}.safetensors`));
      for (const [i, file] of files.entries()) await writeSafetensors(file, await state(gone[i]));
      const svg = join(folder, 'emergence.svg');
      const { code, stdout, stderr } = await run(onnx, ...common, '-o', svg, '--checkpoints', ...files.toReversed());
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const result = JSON.parse(stdout);
      expect(result.points.map((p: { step: number }) => p.step)).toEqual([0, 250, 500, 750, 1000]);
      expect(result.points.map((p: { file: string }) => p.file)).toEqual(files);
      expect(result.jump.step).toBe(750);
      expect(result.jump.size).toBeCloseTo(295 / 576, 2);
      expect(result.points[3].total).toBeGreaterThanOrEqual(300 / 576);
      expect(result.points[3].layers).toEqual({ [name]: result.points[3].total });
      expect(result.points[0].essentialSparsity).toBeUndefined();
      expect(readFileSync(svg, 'utf8')).toContain('Near-zero weights');

      const text = await run(onnx, '--exclude', 'first,last', '-q', '--near-zero', '0.1', '--checkpoints', ...files);
      expect(text.stdout).toContain('up to step 750');
      expect(text.stdout).toMatch(/^layers\.1\.weight/m);
    });

    it('measures s* of each with data, also of the checkpoints of a training', async () => {
      const files: string[] = [];
      for (const step of [1, 2, 3]) {
        const arrays = (await state(100 * step)).map(([key, array]) => [`model/${key}`, array] as const);
        files.push(
          await saveCheckpoint(
            join(folder, 'run'),
            step,
            { arrays: Object.fromEntries(arrays), json: {} },
            { keep: 9 },
          ),
        );
      }
      const { code, stdout } = await run(onnx, ...common, '--data', blobs, '--checkpoints', ...files);
      expect(code).toBe(0);
      const { metric, protocol, points } = JSON.parse(stdout);
      expect([metric, protocol]).toEqual(['accuracy', 'zero-shot']);
      expect(points.map((p: { step: number }) => p.step)).toEqual([1, 2, 3]);
      for (const { dense } of points) expect(dense).toBeGreaterThan(0.5);
      // Weights that are zero already can be pruned for free.
      for (const [i, p] of points.entries()) {
        expect(p.essentialSparsity).toBeGreaterThanOrEqual(Math.floor((1000 * (i + 1)) / 576) / 10 - 1e-3);
      }
    });

    it('refuses few, strange and equally named ones', async () => {
      const [a, b, c] = ['a-1', 'b-2', 'c-3'].map(n => join(folder, `${n}.safetensors`));
      for (const file of [a, b]) await writeSafetensors(file, await state(0));
      await writeSafetensors(c, { [name]: { dtype: 'float32', shape: [12, 48], data: new Float32Array(576) } });
      const again = join(folder, 'again-1.safetensors');
      const none = join(folder, 'none-9.safetensors');
      await writeSafetensors(none, { other: { dtype: 'float32', shape: [1], data: new Float32Array(1) } });
      const cases: [string[], number, string][] = [
        [['--checkpoints', a, b], 2, '2 given; a change needs 3 or more'],
        [['--checkpoints', a, b, c], 1, `${c}: ${name} is [12, 48], in the model [24, 24]`],
        [['--checkpoints', a, b, none], 1, 'has no weight layers.1.weight'],
        [['--checkpoints', a, b, again], 2, 'are both of step 1'],
        [['--pattern', '2:4', '--checkpoints', a, b, c], 2, '--pattern is for the curve of one model'],
        [['--finetune-epochs', '1', '--checkpoints', a, b, c], 2, 'no --finetune-epochs'],
      ];
      for (const [args, wanted, message] of cases) {
        const { code, stderr } = await run(onnx, '--exclude', 'first,last', '-q', ...args);
        expect(stderr).toContain(message);
        expect(code).toBe(wanted);
      }
    });
  });

  it('refuses what cannot work', async () => {
    const cases: [string[], number, string][] = [
      [['--data', blobs], 2, 'give a model'],
      [['--model', 'resnet8', '--data', blobs], 2, 'an untrained model has nothing to lose'],
      [[join(folder, 'none.onnx'), '--data', blobs], 1, 'no such file'],
      [[onnx, '--data', blobs, '-o', join(folder, 'x', 'y.svg')], 1, 'there is no folder'],
      [[onnx], 2, 'give --data'],
      [[onnx, '--data', blobs, '--near-zero', '0.1'], 2, 'is about --checkpoints'],
      [[onnx, '--data', blobs, '--grid', '0.5'], 2, 'Expected 2 sparsities'],
      [[onnx, '--data', blobs, '--pattern', '4:4'], 2, 'n below m'],
      [[onnx, '--data', blobs, '--pattern', 'filter'], 2, 'n below m'],
      [[onnx, '--data', blobs, '--pattern', '2:4,2:4'], 2, 'given twice'],
      [[onnx, '--data', blobs, '--pattern', '3:5'], 1, 'not a multiple of 5'],
    ];
    for (const [args, wanted, message] of cases) {
      const { code, stderr } = await run(...args);
      expect(stderr).toContain(message);
      expect(code).toBe(wanted);
    }
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });
});

import { encodeOnnx, Random, type Tensor } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { MobileNetV1 } from '../../models/mobilenet.ts';
import { Conv2d } from '../../nn/conv.ts';
import { exportModel } from '../../nn/export.ts';
import { Linear } from '../../nn/linear.ts';
import { Module } from '../../nn/module.ts';
import { BatchNorm2d } from '../../nn/norm.ts';
import { SGD } from '../../optim/index.ts';
import { type Layer, layer } from '../../sparsity/layer.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { modelLayers } from '../../sparsity/model.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { silent } from '../../train/progress.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { FastSparseConvNet, type FastSparseOptions, isPointwise, pointwiseBlocks } from './fast-sparse-convnets.ts';

const conv = (name: string, shape: number[], options: Partial<Layer> = {}) =>
  layer(name, shape, new Random(1).fork(name).normal(shape.reduce((a, b) => a * b)), { kind: 'conv', ...options });

/** What a MobileNet consists of, and a grouped 1×1 convolution. */
const mobile = () => [
  conv('stem.weight', [8, 3, 3, 3]),
  conv('block.1.depthwise.weight', [8, 1, 3, 3], { kind: 'depthwise', groups: 8 }),
  conv('block.1.pointwise.weight', [12, 8, 1, 1]),
  conv('block.2.grouped.weight', [12, 6, 1, 1], { groups: 2 }),
  conv('block.2.pointwise.weight', [16, 12, 1, 1]),
  conv('block.10.pointwise.weight', [8, 16, 1, 1]),
  layer('fc.weight', [10, 8], new Random(2).normal(80)),
];

describe('which layers are pruned', () => {
  it('1×1 convolutions of one group, and the last linear layer if asked to', () => {
    const names = ['block.1.pointwise.weight', 'block.2.pointwise.weight', 'block.10.pointwise.weight'];
    expect([...pointwiseBlocks(mobile()).keys()]).toEqual(names);
    expect([...pointwiseBlocks(mobile(), { classifier: true }).keys()]).toEqual([...names, 'fc.weight']);
    expect([...pointwiseBlocks(mobile(), { exclude: ['block.2.*'] }).keys()]).toEqual([names[0], names[2]]);
    // A 1-d convolution with a window of 1 is one, too; a linear layer is none.
    expect(isPointwise(conv('a', [4, 4, 1]))).toBe(true);
    expect(isPointwise(conv('a', [4, 4, 3]))).toBe(false);
    expect(isPointwise(layer('a', [4, 4], new Float32Array(16)))).toBe(false);
  });

  it('all 13 of MobileNetV1, with blocks from any of them on', async () => {
    const model = new MobileNetV1({ width: 0.125, classes: 10, stride: 1 });
    const { layers } = await modelLayers(model, [{ dtype: 'float32', shape: [1, 3, 16, 16] }]);
    const sizes = (options: object) => [...pointwiseBlocks(layers, { block: 4, ...options }).values()];
    expect(sizes({})).toEqual(new Array(13).fill(4));
    expect(sizes({ blockFrom: -1 })).toEqual([...new Array(12).fill(1), 4]);
    expect(sizes({ blockFrom: 11 })).toEqual([...new Array(11).fill(1), 4, 4]);
    // Not model.10, model.11, …
    expect(sizes({ blockFrom: 'model.1' })).toEqual(new Array(13).fill(4));
    expect(sizes({ blockFrom: 'model.12' })).toEqual([...new Array(11).fill(1), 4, 4]);
    expect(sizes({ blockFrom: 'model.13.3.weight' })).toEqual([...new Array(12).fill(1), 4]);
    expect(sizes({ blockFrom: -1, classifier: true }).at(-1)).toBe(1);
  });

  it('refuses what the kernels cannot take, by name', () => {
    const six = [conv('six', [6, 4, 1, 1])];
    expect(() => pointwiseBlocks(six, { block: 4 })).toThrow(
      'layer six: its 6 output channels are not a multiple of the block size 4',
    );
    expect(pointwiseBlocks(six, { block: 2 }).get('six')).toBe(2);
    expect(() => pointwiseBlocks(six, { block: 3 as 4 })).toThrow('blocks of 3 output channels; expected 1, 2 or 4');
    expect(() => pointwiseBlocks(mobile().slice(0, 2))).toThrow(
      'no 1×1 convolution to prune among stem.weight (3×3 convolution), block.1.depthwise.weight (depthwise)',
    );
    expect(() => pointwiseBlocks([mobile()[3]])).toThrow('(1×1 convolution of 2 groups)');
    expect(() => pointwiseBlocks(mobile(), { blockFrom: 'block.3' })).toThrow('blockFrom block.3: no such 1×1');
    expect(() => pointwiseBlocks(mobile(), { blockFrom: 3 })).toThrow('blockFrom 3: no such 1×1');
    expect(() => pointwiseBlocks(six, { classifier: true })).toThrow('no linear layer');
    expect(() => new FastSparseConvNet({ sparsity: 1 })).toThrow('sparsity 1; expected 0 ≤ s < 1');
    const pattern = { sparsity: 0.5, granularity: '2:4' };
    expect(() => new FastSparseConvNet(pattern)).toThrow('give `block`');
    expect(() => new FastSparseConvNet({ sparsity: 0.5, window: [0.8, 0.3] })).toThrow('window 0.8…0.3');
  });
});

/** A net with each kind of layer. */
class Net extends Module {
  readonly first = new Conv2d(1, 8, 3, { padding: 1, random: new Random(1) });
  readonly depthwise = new Conv2d(8, 8, 3, { padding: 1, groups: 8, random: new Random(2) });
  readonly pointwise = new Conv2d(8, 24, 1, { bias: false, random: new Random(3) });
  readonly norm = new BatchNorm2d(24);
  readonly last = new Conv2d(24, 36, 1, { random: new Random(4) });
  readonly fc = new Linear(36, 4, { random: new Random(5) });

  override forward(x: Tensor): Tensor {
    const h = this.norm.forward(this.pointwise.forward(this.depthwise.forward(this.first.forward(x).relu()).relu()));
    return this.fc.forward(this.last.forward(h.relu()).relu().mean([2, 3]));
  }
}

const [n, side] = [64, 5];
const samples = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [n, 1, side, side], data: new Random(6).normal(n * side * side) },
  labels: { dtype: 'int32', shape: [n], data: new Random(7).integers(n, 0, 4) },
});

/** Keeps the mask and the stored weights of every step. */
class Watched extends FastSparseConvNet {
  readonly masks: Mask[] = [];
  readonly weights: Map<string, Float32Array>[] = [];
  override async update(training: Training): Promise<void> {
    await super.update(training);
    this.masks.push(this.mask!);
    const values = [...training.layers.parameters].map(async ([n, p]) => [n, (await p.data()).slice()] as const);
    this.weights.push(new Map(await Promise.all(values)));
  }
}

async function train(options: FastSparseOptions, steps = 20, lines: string[] = []) {
  const model = new Net();
  const pruning = new Watched({ interval: 2, ...options });
  await new Trainer({
    model,
    task: classification(),
    train: new DataLoader(samples, { batchSize: 16, shuffle: true, seed: 1 }),
    // Momentum and weight decay must not bring masked weights back.
    optimizer: new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9, weightDecay: 0.01 }),
    steps,
    sparsifiers: [pruning],
    progress: { ...silent, log: line => lines.push(line) },
  }).run();
  return { model, pruning };
}

const shapes = { 'pointwise.weight': [24, 8], 'last.weight': [36, 24] } as const;

describe('training', () => {
  it.each([1, 2, 4] as const)(
    'M = %i: round((1 − s_t)·size) non-zeros a layer, whole blocks, at every update',
    async block => {
      const { model, pruning } = await train({ sparsity: 0.9, block });
      expect(pruning.log.map(l => l.step)).toEqual([2, 4, 6, 8, 10, 12, 14, 15]);
      for (const { step, target, nonzeros } of pruning.log) {
        expect(target).toBeCloseTo(0.9 * (1 - (1 - (step - 2) / 13) ** 3), 12);
        for (const [name, [out, inputs]] of Object.entries(shapes)) {
          const blocks = (out / block) * inputs;
          expect(nonzeros[name]).toBe(block * (blocks - Math.round(target * blocks)));
        }
      }
      for (const [name, [out, inputs]] of Object.entries(shapes)) {
        const w = await model.stateDict().get(name)!.data();
        for (let o = 0; o < out; o++) {
          for (let i = 0; i < inputs; i++) {
            expect(w[o * inputs + i] === 0).toBe(w[(o - (o % block)) * inputs + i] === 0);
          }
        }
        expect(w.filter(v => v !== 0)).toHaveLength(pruning.log.at(-1)!.nonzeros[name]);
      }
    },
  );

  it('keeps the blocks of largest Σ|w| of the dense copy', async () => {
    const { pruning } = await train({ sparsity: 0.75, block: 4 }, 12);
    for (const { step, target } of pruning.log) {
      for (const [name, [out, inputs]] of Object.entries(shapes)) {
        const w = pruning.weights[step].get(name)!;
        const keep = pruning.masks[step].get(name);
        const blocks = Array.from({ length: (out / 4) * inputs }, (_, u) => {
          const first = Math.floor(u / inputs) * 4 * inputs + (u % inputs);
          const sum = [0, 1, 2, 3].reduce((s, m) => s + Math.abs(w[first + m * inputs]), 0);
          return { sum, alive: keep[first] };
        });
        const live = blocks.filter(b => b.alive === 1).map(b => b.sum);
        const dead = blocks.filter(b => b.alive === 0).map(b => b.sum);
        expect(dead).toHaveLength(Math.round(target * blocks.length));
        if (dead.length > 0) expect(Math.min(...live)).toBeGreaterThanOrEqual(Math.max(...dead) - 1e-6);
      }
    }
  });

  it('leaves masked weights as they were between updates, lets them return until the end, then freezes', async () => {
    const { pruning } = await train({ sparsity: 0.5, start: 1, end: 14, interval: 1 }, 20);
    let returned = 0;
    for (let step = 1; step < pruning.masks.length; step++) {
      for (const name of Object.keys(shapes)) {
        const before = pruning.masks[step - 1].get(name);
        const now = pruning.masks[step].get(name);
        const [from, to] = [step - 1, step].map(s => pruning.weights[s].get(name)!);
        before.forEach((alive, e) => {
          if (alive === 0) expect(to[e]).toBe(from[e]);
          if (alive === 0 && now[e] === 1) returned++;
        });
      }
      if (step > 14) expect(pruning.masks[step]).toBe(pruning.masks[14]);
    }
    expect(returned).toBeGreaterThan(0);
  });

  it('blocks begin where they are told to, and the trainer names what stays dense', async () => {
    const lines: string[] = [];
    const { pruning } = await train({ sparsity: 0.8, block: 4, blockFrom: 'last' }, 8, lines);
    const [a, b] = Object.keys(shapes).map(name => pruning.mask!.kept(name));
    expect([a, b]).toEqual([192 - Math.round(0.8 * 192), 4 * (216 - Math.round(0.8 * 216))]);
    expect(lines).toEqual([
      expect.stringMatching(
        /^fast-sparse-convnets: 3 of 5 layers stay dense, .*first.weight, depthwise.weight, fc.weight$/,
      ),
    ]);
  });

  it('ERK divides the same total otherwise; it needs one block size', async () => {
    const { pruning } = await train({ sparsity: 0.8, allocation: 'erk' }, 6);
    expect(pruning.mask!.kept()).toBe(1056 - Math.round(0.8 * 1056));
    expect(pruning.mask!.density('pointwise.weight')).toBeGreaterThan(1.5 * pruning.mask!.density('last.weight'));
    await expect(train({ sparsity: 0.8, allocation: 'erk', block: 2, blockFrom: -1 }, 6)).rejects.toThrow(
      'differ in size',
    );
  });

  it('overrides change one layer, and name no other kind', async () => {
    const { pruning } = await train({ sparsity: 0.5, overrides: { 'last.weight': 0.75 } }, 6);
    expect(Object.keys(shapes).map(name => pruning.mask!.density(name))).toEqual([0.5, 0.25]);
    await expect(train({ sparsity: 0.5, overrides: { 'first.weight': 0.9 } }, 6)).rejects.toThrow(
      'override of first.weight, a 3×3 convolution: only 1×1 convolutions of one group',
    );
  });

  it('exports what it masked as sparse initializers, bit for bit', async () => {
    const { model } = await train({ sparsity: 0.9, block: 2 }, 8);
    const onnx = await exportModel(model, { image: { shape: [1, 1, side, side], dtype: 'float32' } });
    const { graph } = await readOnnx(encodeOnnx(onnx, { sparse: 1 / 3 }));
    const sparse = [...graph.initializers].filter(([, t]) => 'sparse' in t && t.sparse).map(([name]) => name);
    expect(sparse.sort()).toEqual(Object.keys(shapes).sort());
    for (const name of sparse) {
      const tensor = graph.initializers.get(name)!;
      expect('data' in tensor && tensor.data).toEqual(await model.stateDict().get(name)!.data());
    }
  });
});

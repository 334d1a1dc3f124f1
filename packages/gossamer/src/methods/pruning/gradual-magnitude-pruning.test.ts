import { embedding, Parameter, Random, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { MLP } from '../../nn/container.ts';
import { Conv2d } from '../../nn/conv.ts';
import { Linear } from '../../nn/linear.ts';
import { Module } from '../../nn/module.ts';
import { BatchNorm2d } from '../../nn/norm.ts';
import { Adam, SGD } from '../../optim/index.ts';
import {
  decodeBitMask,
  decodeCSR,
  decodeRelative,
  encodeBitMask,
  encodeCSR,
  encodeRelative,
  layer,
  type Mask,
} from '../../sparsity/index.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { scorers } from '../../sparsity/scorers.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { silent } from '../../train/progress.ts';
import { classification } from '../../train/task.ts';
import { Trainer, type TrainerOptions } from '../../train/trainer.ts';
import { type GradualMagnitudeOptions, GradualMagnitudePruning, smallLayers } from './gradual-magnitude-pruning.ts';

/** A net with each kind of layer: first, depth-wise and 1×1 convolution, batch norm, linear. */
class ConvNet extends Module {
  readonly first: Conv2d;
  readonly depthwise: Conv2d;
  readonly pointwise: Conv2d;
  readonly norm = new BatchNorm2d(48);
  readonly fc: Linear;

  constructor(seed = 0) {
    super();
    const random = new Random(seed);
    this.first = new Conv2d(1, 8, 3, { padding: 1, random: random.fork('first') });
    this.depthwise = new Conv2d(8, 8, 3, { padding: 1, groups: 8, random: random.fork('depthwise') });
    this.pointwise = new Conv2d(8, 48, 1, { random: random.fork('pointwise') });
    this.fc = new Linear(48 * 16, 5, { random: random.fork('fc') });
  }

  override forward(x: Tensor): Tensor {
    const h = this.depthwise.forward(this.first.forward(x).relu());
    return this.fc.forward(this.norm.forward(this.pointwise.forward(h)).relu().flatten());
  }
}

function samples(shape: readonly number[], classes: number, n = 128): ArrayDataset {
  const size = shape.reduce((a, b) => a * b);
  const inputs = new Random(7).normal(n * size);
  const labels = Int32Array.from({ length: n }, (_, i) => {
    const row = inputs.subarray(i * size, i * size + classes);
    return row.indexOf(Math.max(...row));
  });
  return new ArrayDataset({
    inputs: { dtype: 'float32', shape: [n, ...shape], data: inputs },
    labels: { dtype: 'int32', shape: [n], data: labels },
  });
}

const mlp = () => new MLP([8, 24, 10, 4], { random: new Random(3) });

/** Trains with momentum and weight decay, both of which must not touch what is masked. */
async function train(
  model: Module,
  steps: number,
  pruning: readonly GradualMagnitudePruning[],
  options: Partial<TrainerOptions> = {},
) {
  const shape = model instanceof ConvNet ? [1, 4, 4] : [8];
  const optimizer = new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9, weightDecay: 0.01 });
  const trainer = new Trainer({
    model,
    task: classification(),
    train: new DataLoader(samples(shape, 4), { batchSize: 16, shuffle: true, seed: 1 }),
    optimizer,
    steps,
    sparsifiers: pruning,
    ...options,
  });
  await trainer.run();
  return optimizer;
}

/** Keeps the mask and the stored weights of every step. */
class Watched extends GradualMagnitudePruning {
  readonly masks: Mask[] = [];
  readonly weights: Map<string, Float32Array>[] = [];
  override async update(training: Training): Promise<void> {
    await super.update(training);
    this.masks.push(this.mask!);
    const values = [...training.layers.parameters].map(async ([n, p]) => [n, (await p.data()).slice()] as const);
    this.weights.push(new Map(await Promise.all(values)));
  }
}

/** The training as a sparsifier sees it, at a step, without any training. */
async function seen(model: Module, step: number, steps: number, shape: readonly number[] = [8]): Promise<Training> {
  return {
    model,
    layers: await modelLayers(model, [{ dtype: 'float32', shape: [1, ...shape] }]),
    optimizer: new SGD(model.parameters()),
    data: new DataLoader(new ArrayDataset({ inputs: { dtype: 'float32', shape: [1, 1], data: new Float32Array(1) } })),
    step,
    steps,
    rate: 1,
    random: new Random(0),
    denseGradients: async () => new Map(),
    calibrate: () => Promise.reject(new Error('not wanted')),
  };
}

const bits = (a: Float32Array) => new Uint32Array(a.buffer, a.byteOffset, a.length);

describe('the schedule (eq. 1)', () => {
  it('is s_i at t₀, s_f at the end exactly, monotone, and cubic between', async () => {
    for (const [initial, sparsity, exponent] of [
      [0, 0.9, 3],
      [0.2, 0.7, 3],
      [0.1, 0.95, 1],
      [0.3, 0.3, 3],
    ]) {
      const pruning = new GradualMagnitudePruning({ sparsity, initial, exponent, start: 3, end: 23, interval: 5 });
      await pruning.prepare(await seen(mlp(), 0, 30));
      const s = pruning.schedule!;
      expect(s.updateSteps()).toEqual([3, 8, 13, 18, 23]);
      expect(s.at(3)).toBe(initial);
      expect(s.at(23)).toBe(sparsity);
      for (let t = 3; t <= 23; t++) {
        expect(s.at(t)).toBeCloseTo(sparsity + (initial - sparsity) * (1 - (t - 3) / 20) ** exponent, 12);
        expect(s.at(t)).toBeGreaterThanOrEqual(s.at(t - 1));
      }
    }
  });

  it('masks round(s_t · n) weights of every layer at every update, and nothing between or after', async () => {
    const watched = new Watched({ sparsity: 0.9, initial: 0.1, start: 2, end: 15, interval: 4 });
    const model = mlp();
    await train(model, 22, [watched]);
    expect(watched.log.map(l => l.step)).toEqual([2, 6, 10, 14, 15]);
    for (const { target, nonzeros, sparsity } of watched.log) {
      let dead = 0;
      for (const [i, size] of [192, 240, 40].entries()) {
        expect(nonzeros[`layers.${i}.weight`]).toBe(size - Math.round(target * size));
        dead += Math.round(target * size);
      }
      expect(sparsity).toBeCloseTo(dead / 472, 12);
    }
    expect(watched.log.at(-1)!.target).toBe(0.9);
    expect(watched.masks).toHaveLength(23);
    watched.masks.forEach((mask, step) => {
      const isUpdate = watched.log.some(l => l.step === step);
      if (!isUpdate && step > 0) expect(mask).toBe(watched.masks[step - 1]);
    });
    const w = await model.layers[1].weight.data();
    expect(w.filter(v => Object.is(v, 0))).toHaveLength(216);
  });

  it('lands on s_f at an end that no interval reaches, and at the very last step', async () => {
    for (const [end, interval] of [
      [11, 4],
      [12, 7],
    ]) {
      const pruning = new GradualMagnitudePruning({ sparsity: 0.75, end, interval });
      await train(mlp(), 12, [pruning]);
      expect(pruning.log.at(-1)).toMatchObject({ step: end, target: 0.75, sparsity: 0.75 });
    }
  });

  it('ends after n updates, or by default at two thirds of the training', async () => {
    const byCount = new GradualMagnitudePruning({ sparsity: 0.5, start: 10, updates: 4, interval: 25 });
    await byCount.prepare(await seen(mlp(), 0, 200));
    expect(byCount.schedule!.end).toBe(110);
    const byDefault = new GradualMagnitudePruning({ sparsity: 0.5 });
    await byDefault.prepare(await seen(mlp(), 0, 900));
    expect(byDefault.schedule!.updateSteps()).toEqual([0, 100, 200, 300, 400, 500, 600]);
  });
});

describe('masked weights', () => {
  it('keep every bit between updates, whatever momentum and weight decay do', async () => {
    const watched = new Watched({ sparsity: 0.8, end: 12, interval: 4 });
    await train(mlp(), 20, [watched]);
    let moved = 0;
    for (let step = 1; step < watched.weights.length; step++) {
      for (const [name, keep] of [...watched.masks[step - 1].entries()].map(([n, m]) => [n, m.keep] as const)) {
        const [before, after] = [watched.weights[step - 1].get(name)!, watched.weights[step].get(name)!].map(bits);
        for (let i = 0; i < keep.length; i++) {
          if (keep[i] === 0) expect(after[i]).toBe(before[i]);
          else if (after[i] !== before[i]) moved++;
        }
      }
    }
    expect(moved).toBeGreaterThan(1000);
  });

  it('lose their optimiser state, or keep it if asked to', async () => {
    for (const maskState of [true, false]) {
      const model = mlp();
      const pruning = new GradualMagnitudePruning({ sparsity: 0.5, start: 5, end: 6, maskState });
      const optimizer = await train(model, 8, [pruning]);
      const [momentum] = optimizer.stateOf(model.layers[0].weight);
      const data = await momentum.data();
      const left = pruning.mask!.get('layers.0.weight').reduce((n, k, i) => n + (k === 0 && data[i] !== 0 ? 1 : 0), 0);
      if (maskState) expect(left).toBe(0);
      else expect(left).toBeGreaterThan(50);
    }
  });

  it('return when live ones shrink below them, but not with regrow: false', async () => {
    for (const regrow of [true, false]) {
      const model = mlp();
      const pruning = new GradualMagnitudePruning({ sparsity: 0.6, initial: 0.5, end: 10, interval: 5, regrow });
      await pruning.prepare(await seen(model, 0, 20));
      await pruning.update(await seen(model, 0, 20));
      const first = pruning.mask!;
      const shrunk = (await model.layers[0].weight.data()).map((w, i) =>
        first.get('layers.0.weight')[i] === 1 ? w * 1e-3 : w,
      );
      model.layers[0].weight.set(shrunk);
      await pruning.update(await seen(model, 5, 20));
      expect(pruning.mask!.isWithin(first)).toBe(!regrow);
      expect(pruning.mask!.kept('layers.0.weight')).toBe(192 - Math.round(pruning.log[1].target * 192));
    }
  });

  it('s_f = 0 is the dense run, bit for bit', async () => {
    for (const make of [mlp, () => new ConvNet()]) {
      const [dense, sparse] = [make(), make()];
      await train(dense, 12, []);
      await train(sparse, 12, [new GradualMagnitudePruning({ sparsity: 0, interval: 3, exclude: [] })]);
      for (const [name, p] of sparse.stateDict()) {
        expect(bits(await p.data()), name).toEqual(bits(await dense.stateDict().get(name)!.data()));
      }
    }
  });

  it('survive CSR, bit mask and 5-bit relative index bit for bit', async () => {
    const model = new ConvNet();
    const pruning = new GradualMagnitudePruning({ sparsity: 0.9, interval: 2 });
    await train(model, 12, [pruning]);
    for (const [name, { shape, keep }] of pruning.mask!.entries()) {
      const w = await model.stateDict().get(name)!.data();
      for (const only of [undefined, keep]) {
        const bitmask = encodeBitMask(w, only);
        expect(bits(decodeBitMask(bitmask, w.length))).toEqual(bits(w));
        if (only) expect(bitmask.values).toHaveLength(pruning.mask!.kept(name));
        expect(bits(decodeCSR(encodeCSR(w, shape[0], only)))).toEqual(bits(w));
        expect(bits(decodeRelative(encodeRelative(w, 5, only), w.length))).toEqual(bits(w));
      }
    }
  });
});

describe('what is masked', () => {
  it('is exact with ties: of equal weights those of lower index stay', async () => {
    const model = mlp();
    const values = new Float32Array(192);
    values[100] = -2;
    values[150] = 1;
    model.layers[0].weight.set(values);
    const pruning = new GradualMagnitudePruning({ sparsity: 0.97, end: 1 });
    await pruning.prepare(await seen(model, 0, 2));
    await pruning.update(await seen(model, 1, 2));
    const alive = [...pruning.mask!.get('layers.0.weight')].flatMap((k, i) => (k ? [i] : []));
    expect(alive).toEqual([0, 1, 2, 3, 100, 150]);
  });

  it('leaves the first and depth-wise convolutions dense if they are small, and the trainer says so', async () => {
    const lines: string[] = [];
    const pruning = new GradualMagnitudePruning({ sparsity: 0.9, interval: 2 });
    await train(new ConvNet(), 6, [pruning], { progress: { ...silent, log: line => lines.push(line) } });
    expect(pruning.mask!.names).toEqual(['pointwise.weight', 'fc.weight']);
    expect(pruning.selection!.excludedShare).toBeCloseTo(144 / 4368, 12);
    expect(lines).toEqual([
      'gradual-magnitude-pruning: 2 of 4 layers stay dense, 3.3 % of the weights: first.weight, depthwise.weight',
    ]);
    const all = new GradualMagnitudePruning({ sparsity: 0.9, exclude: [] });
    await all.prepare(await seen(new ConvNet(), 0, 9, [1, 4, 4]));
    expect(all.mask!.names).toHaveLength(4);
  });

  it('a layer of 2 % or more, or a convolution further on, is not small', () => {
    const of = (kind: 'conv' | 'depthwise' | 'linear', name: string, size: number) =>
      layer(name, [size, 1], new Float32Array(size), { kind });
    const rest = of('linear', 'rest', 1000);
    expect(smallLayers([of('conv', 'a', 19), of('conv', 'b', 5), of('depthwise', 'c', 5), rest])).toEqual(['a', 'c']);
    expect(smallLayers([of('conv', 'a', 30), of('depthwise', 'c', 40), rest])).toEqual([]);
    expect(smallLayers([of('linear', 'a', 3), rest])).toEqual([]);
  });

  it('overrides change their layer only; the global scope ranks the others together', async () => {
    for (const scope of ['layer', 'global'] as const) {
      const options = { sparsity: 0.5, end: 10, interval: 5, scope } satisfies GradualMagnitudeOptions;
      const pruning = new GradualMagnitudePruning({ ...options, overrides: { 'layers.2.weight': 0.9 } });
      await pruning.prepare(await seen(mlp(), 0, 10));
      for (const step of [0, 5, 10]) await pruning.update(await seen(mlp(), step, 10));
      const kept = pruning.log.map(l => l.nonzeros['layers.2.weight']);
      expect(kept).toEqual([40, 40 - Math.round(0.9 * (1 - 0.5 ** 3) * 40), 4]);
      const { 'layers.0.weight': a, 'layers.1.weight': b } = pruning.log[2].nonzeros;
      expect(a + b).toBe(216);
      expect(a === 96).toBe(scope === 'layer');
    }
  });

  it('blocks live and die together, ranked by average |w|', async () => {
    const model = new MLP([8, 6], { random: new Random(0) });
    const pruning = new GradualMagnitudePruning({ sparsity: 0.5, end: 1, granularity: 'block:2x4' });
    await pruning.prepare(await seen(model, 0, 1));
    await pruning.update(await seen(model, 1, 1));
    const w = await model.layers[0].weight.data();
    const keep = pruning.mask!.get('layers.0.weight');
    const blocks = Array.from({ length: 6 }, (_, b) => {
      const at = Array.from({ length: 8 }, (_, e) => {
        return ((b >> 1) * 2 + (e >> 2)) * 8 + (b & 1) * 4 + (e & 3);
      });
      return { mean: at.reduce((s, i) => s + Math.abs(w[i]), 0) / 8, live: at.reduce((s, i) => s + keep[i], 0) };
    }).sort((a, b) => a.mean - b.mean);
    expect(blocks.map(b => b.live)).toEqual([0, 0, 0, 8, 8, 8]);
  });

  it('random pruning has the same counts and nested masks', async () => {
    const watched = new Watched({ sparsity: 0.9, interval: 2, score: 'random' });
    await train(mlp(), 12, [watched]);
    expect(watched.mask!.kept('layers.1.weight')).toBe(24);
    watched.masks.slice(1).forEach((mask, i) => {
      expect(mask.isWithin(watched.masks[i])).toBe(true);
    });
    const ranked = new GradualMagnitudePruning({ sparsity: 0.9, interval: 2, score: scorers.magnitude });
    await train(mlp(), 12, [ranked]);
    expect(ranked.mask!.equals(watched.mask!)).toBe(false);
  });

  it('a tied tensor is one layer; two parameters on one array are refused', async () => {
    class Tied extends Module {
      readonly table = new Parameter({ dtype: 'float32', shape: [6, 5], data: new Random(1).normal(30) });
      override forward(ids: Tensor): Tensor {
        return embedding(this.table, ids.cast('int32')).mean(1).matmul(this.table.transpose());
      }
    }
    const tied = new GradualMagnitudePruning({ sparsity: 0.5, end: 1 });
    await tied.prepare(await seen(new Tied(), 0, 1, [3]));
    await tied.update(await seen(new Tied(), 1, 1, [3]));
    expect(tied.log[0].nonzeros).toEqual({ table: 15 });

    const twin = new MLP([8, 8, 8, 4]);
    twin.layers[1].weight.set(await twin.layers[0].weight.data());
    const twice = new GradualMagnitudePruning({ sparsity: 0.5, end: 1 });
    await expect(twice.prepare(await seen(twin, 0, 5))).rejects.toThrow(
      /layers\.0\.weight and layers\.1\.weight share one tensor, which would be masked twice/,
    );
  });
});

describe('refusals', () => {
  const make = (options: GradualMagnitudeOptions) => () => new GradualMagnitudePruning(options);

  it('come when the pruner is made, where the training length does not matter', () => {
    expect(make({ sparsity: 1 })).toThrow(/sparsity 1; expected 0 ≤ s < 1/);
    expect(make({ sparsity: Number.NaN })).toThrow(/sparsity NaN/);
    expect(make({ sparsity: 0.3, initial: 0.4 })).toThrow(/final sparsity 0.3 is below the initial 0.4/);
    expect(make({ sparsity: 0.5, overrides: { fc: 1 } })).toThrow(/final sparsity 1 would leave no weight/);
    expect(make({ sparsity: 0.5, start: 10, end: 10 })).toThrow(/end step 10 is not a whole number after start 10/);
    expect(make({ sparsity: 0.5, updates: 0 })).toThrow(/end step 0/);
    expect(make({ sparsity: 0.5, interval: 0 })).toThrow(/0 steps between updates/);
    expect(make({ sparsity: 0.5, interval: -5 })).toThrow(/-5 steps between updates/);
    expect(make({ sparsity: 0.5, end: 50, interval: 60 })).toThrow(/60 steps between updates do not fit into 0…50/);
    expect(make({ sparsity: 0.5, end: 50, updates: 2 })).toThrow(/give one of them/);
    expect(make({ sparsity: 0.5, exponent: 0 })).toThrow(/exponent 0/);
  });

  it('come at the start of training otherwise', async () => {
    const at = async (options: GradualMagnitudeOptions) =>
      new GradualMagnitudePruning(options).prepare(await seen(mlp(), 0, 100));
    await expect(at({ sparsity: 0.5, end: 101 })).rejects.toThrow(/step 101 lies beyond the 100 training steps/);
    await expect(at({ sparsity: 0.5, overrides: { fc: 0.2 } })).rejects.toThrow(/override of 'fc': no such layer/);
    await expect(at({ sparsity: 0.5, exclude: ['conv9'] })).rejects.toThrow(/exclude 'conv9'/);
  });
});

describe('state', () => {
  it('goes through JSON with mask and log', async () => {
    const pruning = new GradualMagnitudePruning({ sparsity: 0.8, end: 10, interval: 5 });
    const model = mlp();
    await train(model, 12, [pruning]);
    const { arrays, json } = pruning.state();
    const restored = new GradualMagnitudePruning({ sparsity: 0.8, end: 10, interval: 5 });
    await restored.prepare(await seen(model, 0, 12));
    restored.restore({ arrays, json: JSON.parse(JSON.stringify(json)) });
    expect(restored.mask!.equals(pruning.mask!)).toBe(true);
    expect(restored.log).toEqual(pruning.log);
  });

  it('Adam, too, leaves masked weights alone', async () => {
    const watched = new Watched({ sparsity: 0.5, end: 2, interval: 1 });
    const model = mlp();
    await train(model, 8, [watched], { optimizer: new Adam(model.parameters(), { learningRate: 0.01 }) });
    const keep = watched.mask!.get('layers.0.weight');
    const [before, after] = [3, 8].map(step => bits(watched.weights[step].get('layers.0.weight')!));
    keep.forEach((k, i) => {
      if (k === 0) expect(after[i]).toBe(before[i]);
    });
  });
});

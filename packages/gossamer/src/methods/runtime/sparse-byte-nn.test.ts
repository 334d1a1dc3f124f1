import { Random, type Spec, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { CifarResNet } from '../../models/resnet-cifar.ts';
import { BatchNorm2d } from '../../nn/batch-norm.ts';
import { Conv2d } from '../../nn/conv.ts';
import { exportModel } from '../../nn/export.ts';
import { GraphModule } from '../../nn/graph-module.ts';
import { Linear } from '../../nn/linear.ts';
import { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { followingNorms, normScales } from '../../sparsity/norm-scales.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { denseLayers, distilled, rearrangeChannels, SparseByteNN, type SparseByteOptions } from './sparse-byte-nn.ts';

const input: Spec = { dtype: 'float32', shape: [1, 3, 8, 8] };

/** Stem, depthwise separable block, classifier, with channels that no group of four divides. */
class Small extends Module {
  readonly stem: Conv2d;
  readonly depthwise: Conv2d;
  readonly norm = new BatchNorm2d(10);
  readonly pointwise: Conv2d;
  readonly conv: Conv2d;
  readonly fc: Linear;

  constructor(seed = 0) {
    super();
    const random = new Random(seed);
    this.stem = new Conv2d(3, 10, 3, { padding: 1, random: random.fork('stem') });
    this.depthwise = new Conv2d(10, 10, 3, { padding: 1, groups: 10, bias: false, random: random.fork('depthwise') });
    this.pointwise = new Conv2d(10, 18, 1, { random: random.fork('pointwise') });
    this.conv = new Conv2d(18, 12, 3, { padding: 1, random: random.fork('conv') });
    this.fc = new Linear(12, 4, { random: random.fork('fc') });
  }

  override forward(x: Tensor): Tensor {
    const h = this.norm.forward(this.depthwise.forward(this.stem.forward(x).relu())).relu();
    return this.fc.forward(this.conv.forward(this.pointwise.forward(h).relu()).relu().mean([2, 3]));
  }
}

const samples = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [64, 3, 8, 8], data: new Random(1).normal(64 * 192) },
  labels: { dtype: 'int32', shape: [64], data: Int32Array.from({ length: 64 }, (_, i) => i % 4) },
});

async function train(model: Module, pruning: readonly SparseByteNN[], { steps = 12, task = classification() } = {}) {
  await new Trainer({
    model,
    task,
    train: new DataLoader(samples, { batchSize: 16, shuffle: true, seed: 1 }),
    optimizer: new SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9, weightDecay: 1e-3 }),
    steps,
    sparsifiers: pruning,
  }).run();
}

class Watched extends SparseByteNN {
  readonly masks: Mask[] = [];
  override async update(training: Training): Promise<void> {
    await super.update(training);
    this.masks.push(this.mask!);
  }
}

const valuesOf = async (model: Module) => {
  const entries = [...model.stateDict()].map(async ([n, p]) => [n, (await p.data()).slice()] as const);
  return new Map(await Promise.all(entries));
};

describe('denseLayers', () => {
  it('leaves depthwise convolutions dense, and the ends that it is told to', async () => {
    const { layers } = await modelLayers(new Small(), [input]);
    expect(denseLayers()(layers)).toEqual(['stem.weight', 'depthwise.weight']);
    expect(denseLayers({ first: false, last: true })(layers)).toEqual(['depthwise.weight', 'fc.weight']);
  });
});

describe('SparseByteNN', () => {
  it('prunes along the cubic curve in the first half, then its mask is frozen', async () => {
    const model = new Small();
    const pruning = new Watched({ sparsity: 0.6, overrides: { 'fc.weight': 0.25 }, interval: 2 });
    await train(model, [pruning], { steps: 16 });
    expect(pruning.log.map(l => l.step)).toEqual([0, 2, 4, 6, 8]);
    // Units: groups of 4 rows (the last smaller) × inputs.
    const units = { 'pointwise.weight': 5 * 10, 'conv.weight': 3 * 18, 'fc.weight': 12 };
    const { layers } = await modelLayers(model, [input]);
    for (const l of layers) {
      if (!(l.name in units)) {
        expect(l.values.includes(0), l.name).toBe(false);
        continue;
      }
      const count = units[l.name as keyof typeof units];
      const inputs = l.shape[1];
      const kernel = l.values.length / l.shape[0] / inputs;
      let kept = 0;
      for (let first = 0; first < l.shape[0]; first += 4) {
        for (let i = 0; i < inputs; i++) {
          const rows = Math.min(4, l.shape[0] - first);
          const live = Array.from({ length: rows }, (_, r) => {
            const at = ((first + r) * inputs + i) * kernel;
            return l.values.subarray(at, at + kernel).filter(v => v !== 0).length;
          });
          expect(live.every(n => n === live[0] && (n === 0 || n === kernel))).toBe(true);
          if (live[0] > 0) kept++;
        }
      }
      expect(kept).toBe(count - Math.round((l.name === 'fc.weight' ? 0.25 : 0.6) * count));
    }
    for (const mask of pruning.masks.slice(9)) expect(mask).toBe(pruning.masks[8]);
    pruning.log.forEach(({ step, target }) => {
      expect(target).toBeCloseTo(0.6 * (1 - (1 - step / 8) ** 3), 12);
    });
  });

  it('s = 0 is the dense run, bit for bit', async () => {
    const [a, b] = [new Small(), new Small()];
    await train(a, []);
    await train(b, [new SparseByteNN({ sparsity: 0 })]);
    expect(await valuesOf(b)).toEqual(await valuesOf(a));
  });

  it('a group that keeps nothing still gives its bias', async () => {
    const model = new Small();
    await train(model, [new SparseByteNN({ sparsity: 0.99 })]);
    model.eval();
    const { layers } = await modelLayers(model, [input]);
    const conv = layers.find(l => l.name === 'conv.weight')!;
    const empty = conv.values.subarray(0, 4 * 18 * 9).every(v => v === 0) ? 0 : 4;
    const x = tensor(new Random(4).normal(18 * 64), [1, 18, 8, 8]);
    const y = await model.conv.forward(x).data();
    const bias = await model.conv.bias!.data();
    expect(y[empty * 64]).toBe(bias[empty]);
  });

  it('goes on from its state', async () => {
    const model = new Small();
    const pruning = new SparseByteNN({ sparsity: 0.5 });
    await train(model, [pruning]);
    const other = new SparseByteNN({ sparsity: 0.5 });
    const training = { model, layers: await modelLayers(model, [input]), steps: 12 } as unknown as Training;
    await other.prepare(training);
    other.restore(pruning.state());
    expect(other.mask!.equals(pruning.mask!)).toBe(true);
    expect(other.log).toEqual(pruning.log);
  });

  it('refuses what cannot be pruned', async () => {
    const start = async (options: SparseByteOptions) => {
      const model = new Small();
      const layers = await modelLayers(model, [input]);
      await new SparseByteNN(options).prepare({ model, layers, steps: 10 } as unknown as Training);
    };
    expect(() => new SparseByteNN({ sparsity: 1 })).toThrow('sparsity 1; expected 0 ≤ s < 1');
    expect(() => new SparseByteNN({ sparsity: 0.5, overrides: { 'fc.weight': 1 } })).toThrow('sparsity 1');
    expect(() => new SparseByteNN({ sparsity: 0.5, scope: 'global', overrides: { 'fc.weight': 0 } })).toThrow('global');
    await expect(start({ sparsity: 0.5, group: 8 })).rejects.toThrow('layer fc.weight: groups of 8 output channels');
    await expect(start({ sparsity: 0.5, overrides: { nope: 0.1 } })).rejects.toThrow("override of 'nope'");
  });
});

describe('rearrangeChannels', () => {
  it('gives pruning more to keep, in a network of another layout too', async () => {
    const model = new CifarResNet({ depth: 8, random: new Random(2) }).eval();
    const imported = new GraphModule(await exportModel(model, { image: { ...input, shape: [1, 3, 16, 16] } }));
    for (const m of [model, imported]) {
      const pattern = { sparsity: 0.5, exclude: denseLayers({ last: true }) };
      const { gains } = await rearrangeChannels(m, [{ ...input, shape: [1, 3, 16, 16] }], pattern);
      expect(gains).toHaveLength(6);
      for (const { name, before, after } of gains) expect(after, name).toBeGreaterThanOrEqual(before);
      expect(Math.max(...gains.map(g => g.after - g.before))).toBeGreaterThan(0.02);
    }
  });

  it('is what masks then keep', async () => {
    const model = new Small();
    const pattern = { sparsity: 0.5, exclude: denseLayers({ last: true }), overrides: { 'conv.weight': 0.3 } };
    const places = await rearrangeChannels(model, [input], pattern);
    await places.apply();
    const layers = await modelLayers(model, [input]);
    const pruning = new SparseByteNN({ ...pattern, start: 0, end: 1 });
    const training = { model, layers, steps: 10, step: 1 } as unknown as Training;
    await pruning.prepare(training);
    await pruning.update(training);
    for (const { name, after } of places.gains) {
      const { values } = layers.layers.find(l => l.name === name)!;
      const all = values.reduce((n, v) => n + Math.abs(v), 0);
      const kept = values.reduce((n, v, i) => n + Math.abs(v) * pruning.mask!.get(name)[i], 0);
      expect(kept / all).toBeCloseTo(after, 5);
    }
  });
});

describe('scores with folded normalisation', () => {
  it('count |γ| / √(σ² + ε) of the normalisation that follows', async () => {
    class Normed extends Module {
      readonly a = new Conv2d(3, 8, 1, { bias: false, random: new Random(1) });
      readonly norm = new BatchNorm2d(8);
      readonly b = new Conv2d(8, 8, 1, { random: new Random(2) });
      readonly c = new Conv2d(8, 8, 1, { random: new Random(3) });
      override forward(x: Tensor): Tensor {
        const h = this.norm.forward(this.a.forward(x)).relu();
        return this.c.forward(h).add(this.b.forward(h));
      }
    }
    const model = new Normed().eval();
    const [gamma, variance] = [new Random(4).normal(8), new Random(5).uniform(8)];
    model.norm.weight!.set(gamma.slice());
    model.norm.runningVar!.set(variance.slice());
    const norms = await followingNorms(model, [input]);
    expect([...norms.keys()]).toEqual(['a.weight']);
    const scales = (await normScales(norms)).get('a.weight')!;
    scales.forEach((s, i) => {
      expect(s).toBeCloseTo(Math.abs(gamma[i]) / Math.sqrt(variance[i] + 1e-5), 4);
    });
    const pruning = new SparseByteNN({ sparsity: 0.5, group: 1, exclude: [], norms, start: 0, end: 1 });
    const layers = await modelLayers(model, [input]);
    const training = { model, layers, steps: 10, step: 1 } as unknown as Training;
    await pruning.prepare(training);
    await pruning.update(training);
    const weights = layers.layers.find(l => l.name === 'a.weight')!.values;
    const score = Array.from(weights, (w, i) => Math.abs(w) * scales[Math.floor(i / 3)]);
    const limit = score.toSorted((x, y) => y - x)[11];
    expect([...pruning.mask!.get('a.weight')]).toEqual(score.map(s => Number(s >= limit)));
  });
});

describe('distilled', () => {
  it('is the task alone for its own outputs, and pulls towards the teacher otherwise', async () => {
    const [model, teacher] = [new Small(1), new Small(2).eval()];
    const task = distilled(classification(), teacher, { weight: 0.9 });
    const batch = Object.fromEntries(
      Object.entries(await samples.batch([0, 1, 2, 3, 4, 5, 6, 7])).map(([n, a]) => [n, tensor(a)] as const),
    );
    model.eval();
    expect(await task(model, batch).loss.item()).toBe(await classification()(model, batch).loss.item());
    const gap = async () => {
      model.eval();
      const [ours, theirs] = [model.forward(batch.inputs).softmax(-1), teacher.forward(batch.inputs).softmax(-1)];
      return ours.sub(theirs).abs().sum().item();
    };
    const before = await gap();
    const frozen = await valuesOf(teacher);
    await train(model, [], { task, steps: 30 });
    expect(await gap()).toBeLessThan(0.7 * before);
    expect(await valuesOf(teacher)).toEqual(frozen);
  });
});

import { Random, type Spec, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { ConvNet } from '../../experiments/small-models.ts';
import { BatchNorm1d, Linear, MLP, type Module, ReLU, Sequential } from '../../nn/index.ts';
import { evaluate } from '../../train/evaluate.ts';
import { classification } from '../../train/task.ts';
import {
  type CandidateScorer,
  candidateScorers,
  NodeSpace,
  randomSearch,
  searchVerdict,
  type Trained,
  WeightSpace,
} from './random-search.ts';

const random = new Random(11);
const floats = (...shape: number[]): Spec => ({ dtype: 'float32', shape });
const mlp = () => new MLP([12, 40, 30, 5], { random: new Random(2) });
const input = [floats(1, 12)];
const sample = {
  inputs: { dtype: 'float32', shape: [50, 12], data: random.normal(600) },
  labels: { dtype: 'int32', shape: [50], data: random.integers(50, 0, 5) },
} as const;
const task = classification();

const outputs = async (model: Module, x: Tensor): Promise<Float32Array> => model.eval().forward(x).data();
const shown = async (space: NodeSpace | WeightSpace, x: Tensor): Promise<Float32Array> => {
  // The masked parent, by its effective weights, without any graph surgery.
  const stored = new Map(
    await Promise.all([...space.effective().keys()].map(async p => [p, (await p.data()).slice()] as const)),
  );
  for (const [p, value] of space.effective()) p.set((await value.data()).slice());
  const y = await outputs(space.parent, x);
  for (const [p, values] of stored) p.set(values);
  return y;
};
const largest = (a: Float32Array, b: Float32Array): number => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i])), 0);

describe('node space', () => {
  it('keeps exactly round((1 − p)·h) nodes of every layer, and never inputs or outputs', async () => {
    const space = await NodeSpace.of(mlp(), input);
    expect(space.layers.map(l => [l.name, l.channels.length])).toEqual([
      ['layers.0.weight', 40],
      ['layers.1.weight', 30],
    ]);
    for (const p of [0, 0.1, 0.5, 0.77, 0.9, 0.95]) {
      const kept = space.sample(p, random);
      expect([...kept.values()].map(k => k.length)).toEqual([40, 30].map(h => Math.round((1 - p) * h)));
      for (const k of kept.values()) expect(new Set(k).size).toBe(k.length);
    }
  });

  it('draws all nodes alike', async () => {
    const space = await NodeSpace.of(mlp(), input);
    const counts = new Float64Array(40);
    const draws = 2000;
    for (let i = 0; i < draws; i++)
      for (const n of space.sample(0.9, random.fork(i)).get('layers.0.weight')!) counts[n]++;
    const expected = (draws * 4) / 40;
    const chi = counts.reduce((s, c) => s + (c - expected) ** 2 / (expected * (1 - 4 / 40)), 0) * (39 / 40);
    // χ² with 39 degrees of freedom lies between 17.3 and 72.1 with probability 0.998.
    expect(chi).toBeGreaterThan(17.3);
    expect(chi).toBeLessThan(72.1);
  });

  it('gives node and weight sparsity, which differ', async () => {
    const space = await NodeSpace.of(mlp(), input);
    const { nodes, weights } = space.sparsity(space.sample(0.9, random));
    expect(nodes).toBeCloseTo(0.9, 12);
    // 4 of 40 and 3 of 30 nodes: 12·4 + 4·3 + 3·5 weights of 12·40 + 40·30 + 30·5.
    expect(weights).toBeCloseTo(1 - (48 + 12 + 15) / (480 + 1200 + 150), 12);
  });

  it.each([
    ['perceptron', mlp, floats(3, 12)],
    [
      'batch norm',
      () =>
        new Sequential(new Linear(12, 20, { random }), new BatchNorm1d(20), new ReLU(), new Linear(20, 4, { random })),
      floats(3, 12),
    ],
    ['conv net', () => new ConvNet(3, [6, 6, 8], new Random(3)), floats(2, 3, 8, 8)],
  ] as const)('extracts what the masked parent computes: %s', async (_, make, { shape }) => {
    const x = tensor({ dtype: 'float32', shape, data: random.normal(shape.reduce((a, b) => a * b)) });
    for (const rescale of [false, true]) {
      const space = await NodeSpace.of(make(), [floats(1, ...shape.slice(1))], { rescale });
      for (const p of [0.3, 0.8]) {
        const candidate = space.sample(p, random.fork(p * 10));
        space.show(candidate);
        const { model } = await space.network(candidate);
        expect(largest(await shown(space, x), await outputs(model, x))).toBeLessThan(1e-6);
        const size = (m: Module) => m.parameters().reduce((n, q) => n + q.size, 0);
        expect(size(model)).toBeLessThan(size(space.parent));
      }
    }
  });

  it('at sparsity 0 is the parent, bit for bit', async () => {
    const space = await NodeSpace.of(mlp(), input);
    const x = tensor(sample.inputs);
    const candidate = space.sample(0, random);
    space.show(candidate);
    const parent = await outputs(mlp(), x);
    expect(await shown(space, x)).toEqual(parent);
    expect(await outputs((await space.network(candidate)).model, x)).toEqual(parent);
    expect(space.sparsity(candidate)).toEqual({ nodes: 0, weights: 0 });
  });

  it('samples from all nodes together, too', async () => {
    const space = await NodeSpace.of(mlp(), input, { sampling: 'global' });
    const sizes = Array.from({ length: 20 }, (_, i) =>
      [...space.sample(0.8, random.fork(i)).values()].map(k => k.length),
    );
    for (const s of sizes) expect(s[0] + s[1]).toBe(14);
    expect(new Set(sizes.map(String)).size).toBeGreaterThan(3);
    expect(() => space.sample(0.99, random)).toThrow('hardly ever reach all 2 layers');
  });

  it('refuses what cuts the network or does not exist', async () => {
    const space = await NodeSpace.of(mlp(), input);
    expect(() => space.sample(0.99, random)).toThrow(
      'rounds the 40 nodes of layers.0.weight to 0, which cuts the network',
    );
    for (const p of [-0.1, 1]) expect(() => space.sample(p, random)).toThrow('expected 0 ≤ p < 1');
    await expect(NodeSpace.of(mlp(), input, { exclude: ['fc'] })).rejects.toThrow("exclude 'fc' makes no nodes");
    await expect(NodeSpace.of(new Linear(12, 3), input)).rejects.toThrow('no hidden nodes');
    expect(() => space.show(new Map([['layers.0.weight', Int32Array.of(50)]]))).toThrow('has 40 nodes, not a node 50');
  });
});

describe('weight space', () => {
  it('takes the same share from every layer, starting from the initial weights', async () => {
    const parent = mlp();
    const space = await WeightSpace.of(parent, input);
    const mask = space.sample(0.75, random);
    expect(mask.names.map(n => mask.kept(n))).toEqual([120, 300, 37]);
    const x = tensor(sample.inputs);
    space.show(mask);
    const expected = await shown(space, x);
    parent.parameters()[0].set(new Float32Array(480));
    const { model, sparsifiers } = await space.network(mask);
    expect(model).toBe(parent);
    expect(sparsifiers).toHaveLength(1);
    expect(await shown(space, x)).toEqual(expected);
    expect(space.sparsity(mask).weights).toBeCloseTo(0.75, 2);
  });
});

describe('randomSearch', () => {
  it('keeps the sub-network of lowest initial loss, and more candidates never make it worse', async () => {
    const space = await NodeSpace.of(mlp(), input);
    const scorer = candidateScorers.loss({ space, task, sample });
    const search = (budget: number) => randomSearch({ space, sparsity: 0.8, budget, scorer, random: new Random(9) });
    const [few, many] = [await search(8), await search(30)];
    expect(many.scores.slice(0, 8)).toEqual(few.scores);
    expect(many.best).toHaveLength(30);
    for (let i = 1; i < 30; i++) expect(many.best[i]).toBeLessThanOrEqual(many.best[i - 1]);
    expect(many.scores[many.index]).toBe(Math.min(...many.scores));
    expect(many.deviations).toBeGreaterThan(1);
    // The score is the loss of the extracted network.
    const { model } = await space.network(many.found);
    const { loss } = await evaluate(model, task, new DataLoader(new ArrayDataset(sample), { batchSize: 50 }));
    expect(many.scores[many.index]).toBeCloseTo(loss, 5);
    await scorer.dispose!();
  });

  it('scores accuracy and gradient norm as more is better', async () => {
    const space = await NodeSpace.of(mlp(), input);
    const candidate = space.sample(0.5, random);
    space.show(candidate);
    const { model } = await space.network(candidate);
    const { accuracy } = await evaluate(model, task, new DataLoader(new ArrayDataset(sample), { batchSize: 50 }));
    const score = (name: 'accuracy' | 'gradient-norm') =>
      candidateScorers[name]({ space, task, sample }).score(candidate);
    expect(await score('accuracy')).toBeCloseTo(-accuracy, 6);
    expect(await score('gradient-norm')).toBeLessThan(0);
  });

  it('takes any scorer', async () => {
    const space = await NodeSpace.of(mlp(), input);
    type Candidate = ReturnType<typeof space.sample>;
    const lowestNode: CandidateScorer<Candidate> = { score: async c => c.get('layers.0.weight')![0] };
    const { found, scores } = await randomSearch({ space, sparsity: 0.9, budget: 40, scorer: lowestNode, random });
    expect(found.get('layers.0.weight')![0]).toBe(Math.min(...scores));
    const broken: CandidateScorer<Candidate> = { score: async () => Number.NaN };
    await expect(randomSearch({ space, sparsity: 0.5, scorer: broken, random })).rejects.toThrow(
      'candidate 0 scores NaN',
    );
    await expect(randomSearch({ space, sparsity: 0.5, budget: 0, scorer: broken, random })).rejects.toThrow('budget 0');
  });
});

describe('searchVerdict', () => {
  const trained = (final: number, speed: number): Trained => ({
    final,
    curve: [0, 50, 100].map(step => ({ step, accuracy: Math.min(1, (step * speed) / 100), loss: 1 - step / 200 })),
  });

  it('pairs by seed and says how sure it is', () => {
    const pairs = [1, 2, 3].map(seed => ({
      found: trained(90 + seed, 1),
      random: [trained(89 + seed, 0.8), trained(91 + seed, 0.8)],
      target: 0.8,
    }));
    const { final, steps, line } = searchVerdict(pairs);
    expect(final).toMatchObject({ mean: 0, n: 3 });
    expect(final.halfWidth).toBe(0);
    expect(steps).toEqual({ found: 80, random: 100, ratio: 0.8 });
    expect(line).toBe(
      'found − random = +0.00 ± 0.00 (95 % interval 0.00 … 0.00, 3 pairs); steps to the target 80 against 100',
    );
    expect(() => searchVerdict([{ found: trained(1, 1), random: [], target: 1 }])).toThrow(
      'needs a random counterpart',
    );
  });
});

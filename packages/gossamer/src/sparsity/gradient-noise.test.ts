import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { MLP } from '../nn/container.ts';
import { Adam, SGD } from '../optim/index.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import { GradientNoise } from './gradient-noise.ts';
import { StaticMask } from './masked.ts';
import { modelLayers } from './model.ts';
import { prune } from './prune.ts';
import { randomScore } from './score.ts';

const random = new Random(7);
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [32, 6], data: random.normal(192) },
  labels: { dtype: 'int32', shape: [32], data: random.integers(32, 0, 3) },
});

async function train(kind: 'adam' | 'sgd', window: number) {
  const model = new MLP([6, 8, 3], { random: new Random(3) });
  const { layers } = await modelLayers(model, [{ dtype: 'float32', shape: [1, 6] }]);
  const mask = prune(layers, l => randomScore(l.values.length, random.fork(l.name)), { sparsity: 0.5 });
  const sparsifier = new StaticMask(mask);
  const noise = new GradientNoise(sparsifier, { window });
  // Keeps every gradient that the optimiser gets, to compute the same from all of them.
  const all: Float32Array[] = [];
  const loader = new DataLoader(data, { batchSize: 8, shuffle: true });
  const optimizer =
    kind === 'adam'
      ? new Adam(model.parameters(), { learningRate: 1e-3 })
      : new SGD(model.parameters(), { learningRate: 0, momentum: 0 });
  const watch = Object.assign(new GradientNoise(sparsifier, { window: 2 }), {
    update: async (t: Parameters<GradientNoise['update']>[0]) => {
      if (t.step < t.steps) all.push((await t.denseGradients()).get('layers.0.weight')!.slice());
    },
  });
  const options = { model, task: classification(), train: loader, optimizer, steps: 8 };
  await new Trainer({ ...options, sparsifiers: [sparsifier, noise, watch] }).run();
  return { noise, mask, all, second: await optimizer.stateOf(model.layers[0].weight).at(-1)?.data() };
}

describe('GradientNoise', () => {
  it('measures mean, variance and noise of kept and pruned weights over a window', async () => {
    const { noise, mask, all } = await train('sgd', 4);
    expect(noise.log.map(r => [r.step, r.layer])).toEqual([
      [4, 'layers.0.weight'],
      [4, 'layers.1.weight'],
      [8, 'layers.0.weight'],
      [8, 'layers.1.weight'],
    ]);
    const window = all.slice(4, 8);
    const places = [...mask.get('layers.0.weight')].flatMap((k, i) => (k ? [i] : []));
    const mean = (f: (i: number) => number) => places.reduce((s, i) => s + f(i), 0) / places.length;
    const overTime = (i: number, f: (g: number) => number) => window.reduce((s, g) => s + f(g[i]), 0) / 4;
    const variance = mean(i => overTime(i, g => g * g) - overTime(i, g => g) ** 2);
    const { kept, pruned } = noise.log[2];
    expect(kept.count).toBe(places.length);
    expect(kept.magnitude).toBeCloseTo(
      mean(i => overTime(i, Math.abs)),
      6,
    );
    expect(kept.variance).toBeCloseTo(variance, 6);
    expect(kept.noise).toBeCloseTo(variance / mean(i => overTime(i, g => g * g)), 4);
    // The mask stands in the way of the gradient of pruned weights.
    expect(pruned).toEqual({ count: 48 - places.length, magnitude: 0, variance: 0, noise: 0 });
  });

  it("reads Adam's second moment, and changes nothing", async () => {
    const { noise, mask, second } = await train('adam', 4);
    const keep = mask.get('layers.0.weight');
    const mean = second!.reduce((s, v, i) => s + (keep[i] ? v : 0), 0) / mask.kept('layers.0.weight');
    expect(noise.log[2].kept.secondMoment).toBeCloseTo(mean, 10);
    expect(noise.log[2].pruned.secondMoment).toBe(0);
  });

  it('keeps its sums over a checkpoint', async () => {
    const { noise } = await train('sgd', 3);
    const state = noise.state();
    expect(Object.keys(state.arrays)).toContain('sum/layers.0.weight');
    const before = state.arrays['square/layers.0.weight'].data.slice();
    noise.restore({ ...state, arrays: structuredClone(state.arrays) as never });
    expect(noise.state().arrays['square/layers.0.weight'].data).toEqual(before);
    expect(before.some(v => v > 0)).toBe(true);
  });

  it('refuses windows of one step and a sparsifier that comes later', async () => {
    expect(() => new GradientNoise({} as never, { window: 1 })).toThrow('a window of 1 steps');
    await expect(new GradientNoise({ name: 'x' } as never).prepare({} as never)).rejects.toThrow('x has no mask');
  });
});

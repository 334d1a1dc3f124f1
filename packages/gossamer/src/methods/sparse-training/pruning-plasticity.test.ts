import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { accuracyOf, fit } from '../../experiments/fit.ts';
import { MLP } from '../../nn/container.ts';
import { layer, Mask } from '../../sparsity/index.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { snapshot } from '../../train/snapshot.ts';
import { classification } from '../../train/task.ts';
import { type PlasticityStudy, pruningPlasticity, recovery, regenerated } from './pruning-plasticity.ts';

const random = new Random(2);
const inputs = random.normal(128 * 12);
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [128, 12], data: inputs },
  labels: {
    dtype: 'int32',
    shape: [128],
    data: Int32Array.from({ length: 128 }, (_, i) => Number(inputs[12 * i] > 0) + 2 * Number(inputs[12 * i + 1] > 0)),
  },
});

/** A training of 60 steps, and what was trained in it. */
async function study() {
  const model = new MLP([12, 24, 4], { random: new Random(1) });
  const ranges: { from: number; to: number; further: boolean; masks: (Mask | undefined)[] }[] = [];
  const made: PlasticityStudy = {
    model,
    input: { dtype: 'float32', shape: [1, 12] },
    task: classification(),
    batches: [await data.take(64).all()],
    steps: 60,
    train: async ({ from, to, further = false }, sparsifiers: readonly Sparsifier[]) => {
      const rate = (step: number) => (from + step < 30 ? 1 : 0.1);
      await fit(model, { train: data, steps: to - from, batchSize: 32, seed: from, schedule: () => rate, sparsifiers });
      ranges.push({ from, to, further, masks: sparsifiers.map(s => s.mask) });
    },
    evaluate: () => accuracyOf(model, data),
  };
  return { study: made, model, ranges };
}

describe('pruning plasticity', () => {
  it('trains pruned networks and their control from the same state for the same steps', async () => {
    const { study: s, ranges } = await study();
    const points = await pruningPlasticity(s, { at: [20, 40], delta: 10, sparsities: [0.5, 0.9], regenerate: 0.5 });
    expect(ranges.map(r => [r.from, r.to])).toEqual([
      [0, 20],
      [20, 30],
      [20, 30],
      [20, 30],
      [20, 40],
      [40, 50],
      [40, 50],
      [40, 50],
    ]);
    expect(ranges.map(r => r.further)).toEqual([false, true, true, true, false, true, true, true]);
    expect(points.map(p => [p.step, p.sparsity])).toEqual([
      [20, 0.5],
      [20, 0.9],
      [40, 0.5],
      [40, 0.9],
    ]);
    for (const p of points) expect(Number.isFinite(p.drop + p.plasticity)).toBe(true);
    expect(points[1].drop).toBeLessThan(points[0].drop);
    expect(ranges.flatMap(r => r.masks.map(m => m!.kept()))).toEqual([192, 38, 192, 38]);
  });

  it('with sparsity 0 recovers to the control itself', async () => {
    const { study: s, model } = await study();
    const state = await snapshot(model);
    const cell = { step: 0, delta: 12, sparsity: 0 };
    const first = await recovery(s, state, cell);
    expect(first.pruned).toBe(first.before);
    expect(await recovery(s, state, cell)).toEqual(first);
  });

  it('keeps the pruned weights at zero through the continued training, and starts regrown ones at zero', async () => {
    const { study: s, model } = await study();
    const state = await snapshot(model);
    let atStart = new Float32Array();
    let mask: Mask | undefined;
    const train: PlasticityStudy['train'] = async (range, sparsifiers) => {
      atStart = (await model.layers[0].weight.data()).slice();
      await s.train(range, sparsifiers);
      mask = sparsifiers[0].mask;
    };
    await recovery({ ...s, train }, state, { step: 0, delta: 8, sparsity: 0.6, regenerate: 0.2 });
    const keep = mask!.get('layers.0.weight');
    const [regrown, weights] = [
      keep.map((k, i) => Number(k === 1 && atStart[i] === 0)),
      await model.layers[0].weight.data(),
    ];
    expect(regrown.reduce((a, b) => a + b)).toBeGreaterThan(3);
    expect(weights.filter((w, i) => keep[i] === 0 && w !== 0)).toHaveLength(0);
    expect(weights.filter((w, i) => regrown[i] === 1 && w !== 0).length).toBeGreaterThan(3);
  });

  it('regenerates ⌈r·K⌉ of each layer: smallest |w| out, largest |g| in', () => {
    const l = layer('w', [2, 4], Float32Array.of(4, -1, 3, 0, 0, 2, 0, -5));
    const mask = new Mask([['w', { shape: [2, 4], keep: Uint8Array.of(1, 1, 1, 0, 0, 1, 0, 1) }]]);
    const g = new Map([['w', Float32Array.of(0, 0, 0, -9, 1, 0, 7, 0)]]);
    expect([...regenerated([l], mask, g, 0.21).get('w')]).toEqual([1, 0, 1, 1, 0, 0, 1, 1]);
    expect(regenerated([l], mask, g, 0).equals(mask)).toBe(true);
  });

  it('refuses steps beyond the training, and steps that do not rise', async () => {
    const { study: s, model } = await study();
    const state = await snapshot(model);
    await expect(recovery(s, state, { step: 55, delta: 10, sparsity: 0.5 })).rejects.toThrow(
      '10 steps from step 55 end beyond the 60 of the training',
    );
    await expect(recovery(s, state, { step: 5, delta: 10, sparsity: 0.5, regenerate: 2 })).rejects.toThrow('0…1');
    const options = { delta: 5, sparsities: [0.5] };
    await expect(pruningPlasticity(s, { ...options, at: [20, 10] })).rejects.toThrow('expected rising ones');
    await expect(pruningPlasticity(s, { ...options, at: [] })).rejects.toThrow('give steps');
  });
});

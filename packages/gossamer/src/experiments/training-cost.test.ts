import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { STE } from '../methods/nm/ste.ts';
import { GradualMagnitudePruning } from '../methods/pruning/gradual-magnitude-pruning.ts';
import { RigL } from '../methods/sparse-training/rigl.ts';
import { MLP } from '../nn/container.ts';
import { modelLayers, prune, StaticMask } from '../sparsity/index.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { fit } from './fit.ts';
import { flopsShare, TrainingCost } from './training-cost.ts';

const random = new Random(1);
const train = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [40, 16], data: random.normal(640) },
  labels: { dtype: 'int32', shape: [40], data: random.integers(40, 0, 4) },
});
const network = () => new MLP([16, 32, 4], { random: new Random(2) });
const layersOf = async () => (await modelLayers(network(), [{ dtype: 'float32', shape: [1, 16] }])).layers;

async function costOf(sparsifier: Sparsifier, dense = 0) {
  const cost = new TrainingCost();
  const sparsifiers = [cost.watch(sparsifier, dense)];
  await fit(network(), { train, steps: 12, batchSize: 10, seed: 0, sparsifiers });
  return cost.steps;
}

describe('TrainingCost', () => {
  it('counts a fixed mask at its share of the operations', async () => {
    const mask = prune(await layersOf(), l => l.values, { sparsity: 0.75, allocation: 'uniform' });
    expect(flopsShare(await layersOf(), mask)).toBe(0.25);
    expect(await costOf(new StaticMask(mask))).toBeCloseTo(12 / 4, 10);
    expect(await costOf(new StaticMask(mask), 1)).toBeCloseTo((12 * (2 / 4 + 1)) / 3, 10);
    expect(await costOf(new StaticMask(mask), 1 / 3)).toBeCloseTo((4 * (2 / 4 + 1)) / 3 + 8 / 4, 10);
  });

  it('follows a mask that changes', async () => {
    const pruning = new GradualMagnitudePruning({ sparsity: 0.5, start: 4, end: 8, interval: 4, exclude: [] });
    // Dense before step 4 and, at initial sparsity 0, until step 8.
    expect(await costOf(pruning)).toBeCloseTo(8 + 4 * 0.5, 10);
  });

  it('counts dense gradients, of single updates and of every step', async () => {
    const rigl = (interval: number) => new RigL({ sparsity: 0.75, allocation: 'uniform', interval });
    const still = await costOf(rigl(100));
    // Until 75 % of 12 steps: updates at 4 and 8.
    expect((await costOf(rigl(4))) - still).toBeCloseTo((2 * (2 * 0.25 + 1)) / 3, 10);
    const ste = new STE({ sparsity: 0.75 });
    expect(await costOf(ste, 1)).toBeCloseTo((12 * (2 / 4 + 1)) / 3, 10);
  });
});

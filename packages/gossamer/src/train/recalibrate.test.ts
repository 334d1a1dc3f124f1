import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import type { Batch } from '../data/dataset.ts';
import { BatchNorm1d, Dropout, Linear, MLP, Sequential } from '../nn/index.ts';
import { recalibrateBatchNorm } from './recalibrate.ts';
import { snapshot } from './snapshot.ts';

const batch = (rows: number, seed: number): Batch => ({
  inputs: { dtype: 'float32', shape: [rows, 3], data: new Random(seed).normal(3 * rows, 2, 3) },
});

/** Mean and unbiased variance of each column. */
function moments({ inputs }: Batch) {
  const [n, columns] = inputs.shape;
  return Array.from({ length: columns }, (_, c) => {
    const x = Array.from({ length: n }, (_, i) => Number(inputs.data[i * columns + c]));
    const mean = x.reduce((a, b) => a + b) / n;
    return { mean, variance: x.reduce((a, v) => a + (v - mean) ** 2, 0) / (n - 1) };
  });
}

describe('recalibrateBatchNorm', () => {
  it.each([0.1, 0.01, 'cumulative'] as const)('averages what the batches measure, at momentum %s', async momentum => {
    const norm = new BatchNorm1d(3, { momentum });
    norm.runningMean!.set(Float32Array.of(9, 9, 9));
    norm.numBatchesTracked?.set(Float32Array.of(70));
    const batches = [batch(8, 1), batch(8, 2), batch(4, 3)];
    await recalibrateBatchNorm(norm, batches);
    const all = batches.map(moments);
    const [mean, variance] = [await norm.runningMean!.data(), await norm.runningVar!.data()];
    for (let c = 0; c < 3; c++) {
      expect(mean[c]).toBeCloseTo((8 * all[0][c].mean + 8 * all[1][c].mean + 4 * all[2][c].mean) / 20, 4);
      expect(variance[c]).toBeCloseTo(
        (8 * all[0][c].variance + 8 * all[1][c].variance + 4 * all[2][c].variance) / 20,
        3,
      );
    }
    if (norm.numBatchesTracked) expect(await norm.numBatchesTracked.data()).toEqual(Float32Array.of(3));
  });

  it('changes running statistics alone, without dropout, and leaves modes as they were', async () => {
    const model = new Sequential(
      new Dropout(0.5, { random: new Random(1) }),
      new Linear(3, 4, { random: new Random(2) }),
      new BatchNorm1d(4),
    );
    model.eval();
    const before = await snapshot(model);
    await recalibrateBatchNorm(model, [batch(16, 4)]);
    const once = await snapshot(model);
    for (const [name, values] of once) {
      if (name.includes('running')) expect(values).not.toEqual(before.get(name));
      else expect(values).toEqual(before.get(name));
    }
    await recalibrateBatchNorm(model, [batch(16, 4)]);
    expect(await snapshot(model)).toEqual(once);
    expect([...model.namedModules()].some(([, m]) => m.training)).toBe(false);
  });

  it('has nothing to do without batch norms, and refuses no data', async () => {
    await recalibrateBatchNorm(new MLP([3, 2]), []);
    await expect(recalibrateBatchNorm(new BatchNorm1d(3), [])).rejects.toThrow('no batches');
  });
});

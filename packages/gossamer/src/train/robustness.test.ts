import { Parameter, Random, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { Mask, modelLayers } from '../sparsity/index.ts';
import { adversarialAccuracy, gradientFlow } from './robustness.ts';

/** Two classes by the sign of w·x. */
class Line extends Module {
  readonly weight = new Parameter({ dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, -2, -1, 2) });
  override forward(x: Tensor): Tensor {
    return x.matmul(this.weight.transpose());
  }
}

// Distances from the boundary x₁ = 2·x₂ along the sign of the gradient: |x₁ − 2·x₂| / 3.
const points = [1, 0, 0.2, 0, -0.5, 0.1, 0, 0.4];
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [4, 2], data: Float32Array.from(points) },
  labels: { dtype: 'int32', shape: [4], data: Int32Array.of(0, 0, 1, 1) },
});

describe('adversarialAccuracy', () => {
  it('loses the samples that lie nearer to the boundary than the step', async () => {
    const model = new Line();
    const at = (epsilon: number) => adversarialAccuracy(model, data, { epsilon, batchSize: 3 });
    expect(await at(0)).toBe(1);
    // 1/3, 1/15, 0.7/3, 0.8/3
    expect(await at(0.1)).toBeCloseTo(0.75, 6);
    expect(await at(0.25)).toBeCloseTo(0.5, 6);
    expect(await at(0.3)).toBeCloseTo(0.25, 6);
    expect(await at(0.4)).toBeCloseTo(0, 6);
  });

  it('stays inside the legal range, and refuses a negative step', async () => {
    const model = new Line();
    const first = data.take(2);
    expect(await adversarialAccuracy(model, first, { epsilon: 0.4, range: [0, 0.05] })).toBe(0);
    expect(await adversarialAccuracy(model, first, { epsilon: 0.4, range: [0, 1] })).toBe(0);
    expect(await adversarialAccuracy(model, first, { epsilon: 0.06, range: [0, 1] })).toBe(1);
    await expect(adversarialAccuracy(model, data, { epsilon: -1 })).rejects.toThrow('epsilon -1');
  });
});

describe('gradientFlow', () => {
  it('is the norm of the gradient over the live weights', async () => {
    const model = new Linear(2, 2, { random: new Random(1), bias: false });
    const layers = await modelLayers(model, [{ dtype: 'float32', shape: [1, 2] }]);
    const batch = await data.all();
    const all = await gradientFlow(model, layers, batch);
    const parts = [0, 1, 2, 3].map(i => {
      const keep = new Uint8Array(4);
      keep[i] = 1;
      return gradientFlow(model, layers, batch, { mask: new Mask([['weight', { shape: [2, 2], keep }]]) });
    });
    const squares = (await Promise.all(parts)).reduce((s, v) => s + v * v, 0);
    expect(all).toBeGreaterThan(0);
    expect(Math.sqrt(squares)).toBeCloseTo(all, 6);
  });
});

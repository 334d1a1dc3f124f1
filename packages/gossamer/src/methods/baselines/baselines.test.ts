import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { createModel } from '../../models/registry.ts';
import { CifarResNet } from '../../models/resnet-cifar.ts';
import { MLP } from '../../nn/container.ts';
import { Trainer } from '../../train/trainer.ts';
import { trainingOf } from '../sparse-training/testing.ts';
import { Dense } from './dense.ts';
import { MagnitudeAtInit } from './magnitude-at-init.ts';
import { smallDense } from './small-dense.ts';

const mlp = () => new MLP([20, 24, 16, 4], { random: new Random(3) });

describe('dense', () => {
  it('is the training without it, bit for bit', async () => {
    const [plain, control] = [mlp(), mlp()];
    await new Trainer(trainingOf(plain)).run();
    await new Trainer({ ...trainingOf(control), sparsifiers: [new Dense()] }).run();
    for (const [name, p] of control.stateDict()) {
      expect(await p.data(), name).toEqual(await plain.stateDict().get(name)!.data());
    }
  });
});

describe('magnitude at initialisation', () => {
  it('trains the largest initial weights of all layers and no others', async () => {
    const [initial, model] = [mlp(), mlp()];
    const pruning = new MagnitudeAtInit({ sparsity: 0.75 });
    await new Trainer({ ...trainingOf(model), sparsifiers: [pruning] }).run();
    const all = (await Promise.all(initial.layers.map(l => l.weight.data()))).flatMap(w => Array.from(w, Math.abs));
    const cut = all.toSorted((a, b) => b - a)[231];
    expect(pruning.mask!.kept()).toBe(232);
    for (const [i, l] of initial.layers.entries()) {
      const [before, after] = [await l.weight.data(), await model.layers[i].weight.data()];
      before.forEach((w, e) => {
        expect(after[e] !== 0).toBe(Math.abs(w) >= cut);
      });
    }
    const uniform = new MagnitudeAtInit({ sparsity: 0.75, allocation: 'uniform' });
    await new Trainer({ ...trainingOf(mlp()), sparsifiers: [uniform], steps: 1 }).run();
    expect(uniform.mask!.names.map(n => uniform.mask!.density(n))).toEqual([0.25, 0.25, 0.25]);
  });
});

describe('small dense', () => {
  const input = { dtype: 'float32', shape: [1, 3, 32, 32] } as const;
  const make = (width: number) => new CifarResNet({ depth: 8, width: Math.max(1, Math.round(16 * width)) });

  it('is the narrowest with at least the budget', async () => {
    const full = make(1)
      .parameters()
      .reduce((n, p) => n + p.size, 0);
    for (const nonzeros of [500, 5000, 30_000, full]) {
      const small = await smallDense(make, { nonzeros });
      const count = (w: number) =>
        make(w)
          .parameters()
          .reduce((n, p) => n + p.size, 0);
      expect(small.parameters).toBe(count(small.width));
      expect(small.parameters).toBeGreaterThanOrEqual(nonzeros);
      if (small.width > 1 / 256) expect(count(small.width - 1 / 256)).toBeLessThan(nonzeros);
      expect(small.full).toBe(full);
    }
    expect((await smallDense(make, { nonzeros: full })).width * 16).toBeGreaterThan(15);
  });

  it('counts biases and norms of the sparse network in full', async () => {
    const { budget, full, width } = await smallDense(w => createModel('resnet20', { width: w }), {
      sparsity: 0.9,
      input,
    });
    expect(full).toBe(269_722);
    // 268,336 of these are weights of convolutions and the classifier.
    expect(budget).toBe(269_722 - Math.round(0.9 * 268_336));
    expect(width).toBeLessThan(0.4);
  });

  it('refuses', async () => {
    await expect(smallDense(make, {})).rejects.toThrow('give one of them');
    await expect(smallDense(make, { sparsity: 0.5, nonzeros: 5 })).rejects.toThrow('give one of them');
    await expect(smallDense(make, { sparsity: 1, input })).rejects.toThrow('expected 0 ≤ s < 1');
    await expect(smallDense(make, { sparsity: 0.5 })).rejects.toThrow('needs the shape of an input');
    await expect(smallDense(make, { nonzeros: 1e9 })).rejects.toThrow('a budget of 1000000000 parameters');
    await expect(smallDense(make, { nonzeros: 0 })).rejects.toThrow('a budget of 0');
  });
});

import { gradients, Random, tensor } from '@gossamer/tensor';
import { expect, it } from 'vitest';
import { Linear } from './linear.ts';

it('computes x·Wᵀ + b over the last axis, with PyTorch’s names', async () => {
  const module = new Linear(2, 3);
  expect([...module.stateDict()].map(([n, p]) => [n, p.shape])).toEqual([
    ['weight', [3, 2]],
    ['bias', [3]],
  ]);
  module.weight.set(Float32Array.of(1, 2, 3, 4, 5, 6));
  module.bias!.set(Float32Array.of(10, 20, 30));
  const x = tensor([[[1, 0]], [[0, 1]]]);
  const y = module.forward(x);
  const [dw, db] = gradients(y.sum(), [module.weight, module.bias!]);
  expect(await y.tolist()).toEqual([[[11, 23, 35]], [[12, 24, 36]]]);
  expect(await dw.tolist()).toEqual([
    [1, 1],
    [1, 1],
    [1, 1],
  ]);
  expect(await db.tolist()).toEqual([2, 2, 2]);
});

it('draws within ±1/√in, the same for the same seed and different for forks', async () => {
  const of = async (random?: Random) => [...(await new Linear(16, 8, { random }).weight.data())];
  const values = await of();
  expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.25);
  expect(await of(new Random(0))).toEqual(values);
  expect(await of(new Random(0).fork('a'))).not.toEqual(values);
});

it('has no bias where none is wanted, and refuses nonsense', () => {
  expect([...new Linear(2, 3, { bias: false }).stateDict().keys()]).toEqual(['weight']);
  expect(() => new Linear(0, 3)).toThrow('0 inputs');
  expect(() => new Linear(2, 3).forward(tensor([[1, 2, 3]]))).toThrow('linear: input [1, 3]');
});

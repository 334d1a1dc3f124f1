import { gradients, tensor } from '@gossamer/tensor';
import { expect, it } from 'vitest';
import { Embedding } from './embedding.ts';

it('looks rows up, for ids of any shape, and sums their gradients', async () => {
  const module = new Embedding(5, 2);
  module.weight.set(Float32Array.from([0, 1, 10, 11, 20, 21, 30, 31, 40, 41]));
  const ids = tensor(Int32Array.of(3, 0, 3, 4), [2, 2]);
  const y = module.forward(ids);
  const [dw] = gradients(y.sum(), [module.weight]);
  expect(await y.tolist()).toEqual([
    [
      [30, 31],
      [0, 1],
    ],
    [
      [30, 31],
      [40, 41],
    ],
  ]);
  expect(await dw.tolist()).toEqual([
    [1, 1],
    [0, 0],
    [0, 0],
    [2, 2],
    [1, 1],
  ]);
});

it('keeps the padding row at zero and without gradient', async () => {
  const module = new Embedding(3, 2, { paddingIndex: 1 });
  const y = module.forward(tensor(Int32Array.of(0, 1, 1, 2)));
  const [dw] = gradients(y.sum(), [module.weight]);
  expect(((await y.tolist()) as number[][])[1]).toEqual([0, 0]);
  expect(await dw.tolist()).toEqual([
    [1, 1],
    [0, 0],
    [1, 1],
  ]);
  expect(() => new Embedding(3, 2, { paddingIndex: 3 })).toThrow('padding index 3');
});

import { constant, type Tensor, tensor } from '@gossamer/tensor';
import { expect, it } from 'vitest';
import {
  ball,
  box,
  groupSoftThreshold,
  hardThreshold,
  keepMasked,
  simplex,
  softThreshold,
  unitNorm,
} from './projection.ts';

const list = async (t: Tensor): Promise<number[]> => [...(await t.data())].map(v => Number(v.toFixed(5)) + 0);
const w = tensor([
  [3, -4],
  [0.3, 0.4],
  [0, 0],
]);

it('soft-thresholds elements, by number and by tensor', async () => {
  expect(await list(softThreshold(w, 0.35))).toEqual([2.65, -3.65, 0, 0.05, 0, 0]);
  expect(await list(softThreshold(w, constant(0.35)))).toEqual([2.65, -3.65, 0, 0.05, 0, 0]);
});

it('soft-thresholds groups: the norm falls by t, small groups vanish exactly', async () => {
  expect(await list(groupSoftThreshold(w, 1, 1))).toEqual([2.4, -3.2, 0, 0, 0, 0]);
  expect([...(await groupSoftThreshold(w, 0.5, 1).data())].slice(2)).toEqual([0, 0, 0, 0]);
});

it('hard-thresholds by magnitude and by mask', async () => {
  expect(await list(hardThreshold(w, 0.35))).toEqual([3, -4, 0, 0.4, 0, 0]);
  expect(await list(keepMasked(w, tensor([[1], [0], [1]])))).toEqual([3, -4, 0, 0, 0, 0]);
});

it('projects on boxes, spheres and balls', async () => {
  expect(await list(box(w, 0))).toEqual([3, 0, 0.3, 0.4, 0, 0]);
  expect(await list(box(w, -1, 1))).toEqual([1, -1, 0.3, 0.4, 0, 0]);
  expect(await list(unitNorm(w, 1))).toEqual([0.6, -0.8, 0.6, 0.8, 0, 0]);
  expect(await list(ball(w, 2, 1))).toEqual([1.2, -1.6, 0.3, 0.4, 0, 0]);
});

it('projects on the simplex: the nearest point of non-negative numbers with the given sum', async () => {
  const x = tensor([
    [0.2, 0.5, 0.3],
    [2, 0, -1],
    [0.6, 0.6, -0.4],
  ]);
  expect(await list(simplex(x))).toEqual([0.2, 0.5, 0.3, 1, 0, 0, 0.5, 0.5, 0]);
  expect(await list(simplex(x, 2))).toEqual([0.53333, 0.83333, 0.63333, 2, 0, 0, 1, 1, 0]);
  // No other point of a fine grid on the simplex is nearer.
  const p = [0.9, 0.4, -0.1];
  const [a, b, c] = await list(simplex(tensor(p)));
  const distance = (q: number[]) => q.reduce((s, v, i) => s + (v - p[i]) ** 2, 0);
  for (let i = 0; i <= 40; i++) {
    for (let j = 0; i + j <= 40; j++) {
      expect(distance([a, b, c])).toBeLessThanOrEqual(distance([i / 40, j / 40, 1 - (i + j) / 40]) + 1e-6);
    }
  }
});

import { describe, expect, it } from 'vitest';
import { realize } from '../realize.ts';
import { tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { argmax, argmin, argsort, median, quantile, sort, topk } from './sort.ts';

/** Distinct values, far enough apart for finite differences. */
const distinct = (shape: readonly number[]) => {
  const n = shape.reduce((p, d) => p * d, 1);
  return tensor(
    Float32Array.from({ length: n }, (_, i) => ((i * 7) % n) - n / 3),
    shape,
  );
};

describe('topk and sort', () => {
  it.each([0, 1, -1])('find the extremes along axis %i', async axis => {
    const x = randn([5, 6]);
    for (const largest of [true, false]) {
      const [values, indices] = topk(x, 3, axis, { largest });
      await realize(values, indices);
      expect(indices.dtype).toBe('int32');
      const columns = ((axis === 0 ? await x.transpose().tolist() : await x.tolist()) as number[][]).map(row => {
        const order = row.map((_, i) => i).sort((a, b) => (largest ? row[b] - row[a] : row[a] - row[b]));
        return order.slice(0, 3);
      });
      const found = axis === 0 ? indices.transpose() : indices;
      expect(await found.tolist()).toEqual(columns);
      expect(await values.tolist()).toEqual(await x.gatherElements(indices, axis).tolist());
    }
  });

  it('keep the first of equal elements first', async () => {
    const x = tensor([2, 1, 2, 1, 2]);
    expect(await argsort(x).tolist()).toEqual([1, 3, 0, 2, 4]);
    expect(await argsort(x, 0, true).tolist()).toEqual([0, 2, 4, 1, 3]);
    expect(await topk(x, 2)[1].tolist()).toEqual([0, 2]);
  });

  it('sort infinities and integers', async () => {
    const [values] = sort(tensor([1, -Infinity, 3, Infinity, -0]));
    expect(await values.tolist()).toEqual([-Infinity, -0, 1, 3, Infinity]);
    const [integers] = sort(tensor(Int32Array.of(3, -7, 2 ** 30, 2 ** 30 + 1)), 0, true);
    expect(await integers.tolist()).toEqual([2 ** 30 + 1, 2 ** 30, 3, -7]);
  });

  it('pass gradients to the chosen elements, twice', async () => {
    await checkGradients(x => topk(x, 2, 0)[0].square(), [distinct([4, 3])]);
    await checkGradients(x => topk(x, 2, 1, { largest: false })[0].square(), [distinct([3, 4])]);
    await checkGradients(x => sort(x, 1, true)[0].mul(sort(x, 1)[0]), [distinct([2, 5])]);
  });

  it('refuse a k that does not fit', () => {
    expect(() => topk(randn([2, 3]), 4)).toThrow('topk: k = 4 must be 1 to 3, the length of axis 1 of [2, 3]');
    expect(() => topk(randn([2, 3]), 0)).toThrow('k = 0');
  });
});

describe('argmax and argmin', () => {
  it('give the first extreme as int32', async () => {
    const x = tensor([
      [1, 3, 3],
      [0, -2, -2],
    ]);
    expect(argmax(x).dtype).toBe('int32');
    expect(await argmax(x).tolist()).toEqual([1, 0]);
    expect(await argmin(x).tolist()).toEqual([0, 1]);
    expect(await argmax(x, 0, true).tolist()).toEqual([[0, 0, 0]]);
    expect(await argmin(tensor(Int32Array.of(4, -1, 7))).item()).toBe(1);
  });

  it('refuse an empty axis', () => {
    expect(() => argmax(tensor(new Float32Array(0), [2, 0]))).toThrow('argmax: axis 1 of [2, 0] is empty');
  });
});

describe('quantile and median', () => {
  it('interpolate between neighbours', async () => {
    const x = tensor([
      [4, 1, 3, 2],
      [8, 8, 0, 0],
    ]);
    expect(await median(x).tolist()).toEqual([2.5, 4]);
    expect(await quantile(x, 0, 1, true).tolist()).toEqual([[1], [0]]);
    expect(await quantile(x, 1).tolist()).toEqual([4, 8]);
    expect(await quantile(x, 0.25).tolist()).toEqual([1.75, 0]);
    expect(await median(tensor([5, 9, 1])).item()).toBe(5);
    await checkGradients(t => quantile(t, 0.3).square(), [distinct([2, 5])]);
    expect(() => quantile(x, 1.5)).toThrow('quantile: q = 1.5 is outside [0, 1]');
  });
});

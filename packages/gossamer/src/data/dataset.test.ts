import type { NDArray } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset, ConcatDataset, type Dataset } from './dataset.ts';

const ints = (...values: number[]): NDArray<Int32Array> => ({
  dtype: 'int32',
  shape: [values.length],
  data: Int32Array.from(values),
});

/** n samples: `inputs` [n, 2] holding (10 i, 10 i + 1), `labels` i mod classes. */
function counting(n: number, classes = 3) {
  const data = Float32Array.from({ length: 2 * n }, (_, i) => 10 * (i >> 1) + (i & 1));
  return new ArrayDataset({
    inputs: { dtype: 'float32', shape: [n, 2], data } as NDArray<Float32Array>,
    labels: ints(...Array.from({ length: n }, (_, i) => i % classes)),
  });
}

const ids = async (dataset: Dataset<ReturnType<ReturnType<typeof counting>['batch']>>): Promise<number[]> => {
  const { inputs } = await dataset.all();
  return Array.from({ length: dataset.length }, (_, i) => inputs.data[2 * i] / 10);
};

describe('ArrayDataset', () => {
  it('gives batches, samples, slices', async () => {
    const data = counting(5);
    expect(data.batch([4, 0]).inputs).toEqual({
      dtype: 'float32',
      shape: [2, 2],
      data: Float32Array.from([40, 41, 0, 1]),
    });
    expect(data.batch([4, 0]).labels).toEqual(ints(1, 0));
    expect((await data.get(3)).inputs).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.from([30, 31]) });
    expect((await data.get(3)).labels.shape).toEqual([]);
    expect(await ids(data.slice(1, 3))).toEqual([1, 2]);
    expect(await ids(data.gather([3, 3]))).toEqual([3, 3]);
  });

  it('refuses fields that do not fit and indices outside', () => {
    expect(() => new ArrayDataset({})).toThrow('no fields');
    expect(() => new ArrayDataset({ a: ints(1), b: ints(1, 2) })).toThrow("'b' is [2], expected 1 rows as 'a' has");
    expect(() => new ArrayDataset({ a: { ...ints(1, 2), shape: [2, 2] } })).toThrow('holds 2 elements');
    for (const index of [-1, 5, 0.5, Number.NaN]) expect(() => counting(5).batch([index])).toThrow('of 5 samples');
  });
});

describe('views', () => {
  it('compose', async () => {
    const view = counting(10).subset([9, 8, 7, 1]).take(3).subset([2, 0]);
    expect(await ids(view)).toEqual([7, 9]);
    const mapped = view.map(({ labels }) => ({ double: { ...labels, data: labels.data.map(v => 2 * v) } }));
    expect((await mapped.all()).double.data).toEqual(Int32Array.from([2, 0]));
    expect(counting(3).take(10).length).toBe(3);
    expect(() => view.subset([2])).toThrow('index 2 of 2');
  });

  it('concatenate in any order of samples', async () => {
    const data = new ConcatDataset([counting(3), counting(2), counting(4)]);
    expect(data.length).toBe(9);
    const { inputs } = await data.batch([8, 0, 1, 4, 3, 8]);
    expect([...inputs.data].filter((_, i) => i % 2 === 0)).toEqual([30, 0, 10, 10, 0, 30]);
  });
});

describe('split', () => {
  it('gives disjoint parts that cover everything, the same for the same seed', async () => {
    const data = counting(101);
    const parts = await data.split(0.8, { seed: 3 });
    expect(parts.map(part => part.length)).toEqual([81, 20]);
    const all = (await Promise.all(parts.map(ids))).flat();
    expect(all).not.toEqual([...all].sort((a, b) => a - b));
    expect([...all].sort((a, b) => a - b)).toEqual(Array.from({ length: 101 }, (_, i) => i));
    const again = (await Promise.all((await data.split(0.8, { seed: 3 })).map(ids))).flat();
    expect(again).toEqual(all);
    const other = (await Promise.all((await data.split(0.8, { seed: 4 })).map(ids))).flat();
    expect(other).not.toEqual(all);
  });

  it('takes counts, fractions that round up, and leaves samples over', async () => {
    const sizes = async (parts: number | number[], n = 10) => (await counting(n).split(parts)).map(part => part.length);
    expect(await sizes(3)).toEqual([3, 7]);
    expect(await sizes([2, 3])).toEqual([2, 3]);
    expect(await sizes([0.5, 0.5], 5)).toEqual([3, 2]);
    expect(await sizes([0.25, 0.25, 0.5], 6)).toEqual([2, 2, 2]);
    await expect(sizes([6, 6])).rejects.toThrow('split: [6,6] of 10 samples');
    await expect(sizes(2.5)).rejects.toThrow('split');
    await expect(sizes([0.9, 0.9])).rejects.toThrow('split');
    await expect(sizes(-1)).rejects.toThrow('split');
  });

  it('keeps the classes in proportion to one sample', async () => {
    // 70, 20 and 10 % of three classes.
    const labels = Array.from({ length: 200 }, (_, i) => (i < 140 ? 0 : i < 180 ? 1 : 2));
    const data = new ArrayDataset({ labels: ints(...labels) });
    const parts = await data.split([0.5, 0.3, 0.2], { stratify: 'labels', seed: 1 });
    expect(parts.map(part => part.length)).toEqual([100, 60, 40]);
    for (const part of parts) {
      const found = (await part.all()).labels.data as Int32Array;
      for (const [label, share] of [0.7, 0.2, 0.1].entries()) {
        expect(Math.abs(found.filter(v => v === label).length - share * part.length)).toBeLessThanOrEqual(1);
      }
    }
    await expect(data.split(0.5, { stratify: 'classes' })).rejects.toThrow("no field 'classes'");
    await expect(counting(4).split(0.5, { stratify: 'inputs' })).rejects.toThrow('one label a sample');
  });
});

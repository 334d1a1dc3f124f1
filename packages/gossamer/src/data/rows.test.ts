import type { NDArray } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { concatRows, gatherRows, rowMajor, sliceRows, stackRows } from './rows.ts';

const array: NDArray<Int32Array> = { dtype: 'int32', shape: [3, 2], data: Int32Array.from([0, 1, 2, 3, 4, 5]) };

describe('rows', () => {
  it('gathers copies, slices views', () => {
    expect(gatherRows(array, [2, 0, 2])).toEqual({
      dtype: 'int32',
      shape: [3, 2],
      data: Int32Array.from([4, 5, 0, 1, 4, 5]),
    });
    const slice = sliceRows(array, 1, 3);
    expect(slice).toEqual({ dtype: 'int32', shape: [2, 2], data: Int32Array.from([2, 3, 4, 5]) });
    expect(slice.data.buffer).toBe(array.data.buffer);
  });

  it('joins and stacks', () => {
    expect(concatRows([array, sliceRows(array, 0, 1)]).shape).toEqual([4, 2]);
    expect(stackRows([array, array]).shape).toEqual([2, 3, 2]);
    expect(stackRows([array, array]).data).toEqual(Int32Array.from([...array.data, ...array.data]));
    expect(() => concatRows([array, { ...array, shape: [2, 3] }])).toThrow('int32 [2,3] does not continue int32 [3,2]');
  });

  it('reorders columns to rows', () => {
    expect(rowMajor(array).data).toEqual(Int32Array.from([0, 3, 1, 4, 2, 5]));
    const scalar: NDArray<Int32Array> = { dtype: 'int32', shape: [], data: Int32Array.of(7) };
    expect(rowMajor(scalar).data).toEqual(Int32Array.of(7));
  });
});

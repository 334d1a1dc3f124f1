import { describe, expect, it } from 'vitest';
import type { NDArray } from '../dtype.ts';
import { FormatError } from '../errors.ts';
import { countNonZeros, fromCoordinates, toCoordinates } from './sparse.ts';

const float = (...values: number[]): NDArray => ({
  dtype: 'float32',
  shape: [values.length],
  data: Float32Array.from(values),
});
const index = (shape: number[], ...values: number[]): NDArray => ({
  dtype: 'int64',
  shape,
  data: BigInt64Array.from(values, BigInt),
});
const dense = (values: NDArray, indices: NDArray, shape: number[]) =>
  fromCoordinates(values, indices, shape, 'w', () => {});

describe('sparse tensors', () => {
  it('keep every non-zero, NaN included, and drop both zeros', () => {
    const data = Float32Array.of(0, -0, 1, NaN, 0, -2);
    expect(countNonZeros(data)).toBe(3);
    const { values, indices } = toCoordinates({ dtype: 'float32', shape: [2, 3], data });
    expect([...values]).toEqual([1, NaN, -2]);
    expect([...indices]).toEqual([2n, 3n, 5n]);
  });

  it('come back dense from both forms of indices', () => {
    const expected = { dtype: 'float32', shape: [2, 3], data: Float32Array.of(0, 1, 0, 0, 0, 2) };
    expect(dense(float(1, 2), index([2], 1, 5), [2, 3])).toEqual(expected);
    expect(dense(float(1, 2), index([2, 2], 0, 1, 1, 2), [2, 3])).toEqual(expected);
  });

  it('may have no entry', () => {
    expect(dense(float(), index([0]), [3]).data).toEqual(new Float32Array(3));
    expect(dense(float(), index([0, 2]), [0, 3]).data).toEqual(new Float32Array(0));
  });

  it.each([
    ['out of range', float(1), index([1], 6), 'index 6 lies outside 0 to 5'],
    ['negative', float(1), index([1], -1), 'index -1 lies outside'],
    ['outside along an axis', float(1), index([1, 2], 0, 3), '[0, 3] lies outside the shape'],
    ['not ascending', float(1, 2), index([2], 3, 1), 'not ascending at entry 1'],
    ['given twice', float(1, 2), index([2, 2], 1, 1, 1, 1), 'given twice at entry 1'],
    ['of another number', float(1, 2), index([1], 3), 'expected [2] or [2, 2]'],
    ['of another rank', float(1), index([1, 3], 0, 0, 0), 'expected [1] or [1, 2]'],
    ['of another type', float(1), { ...float(1), dtype: 'float32' as const }, 'expected int64'],
  ])('are refused when indices are %s', (_, values, indices, message) => {
    expect(() => dense(values, indices, [2, 3])).toThrow(FormatError);
    expect(() => dense(values, indices, [2, 3])).toThrow(message);
  });

  it('ask before they allocate', () => {
    const refuse = (bytes: number): never => {
      throw new FormatError(`${bytes}`);
    };
    expect(() => fromCoordinates(float(), index([0]), [2 ** 26, 2 ** 26], 'w', refuse)).toThrow(`${2 ** 54}`);
  });
});

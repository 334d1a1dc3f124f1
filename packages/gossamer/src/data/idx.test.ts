import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { readIdx } from './idx.ts';

const idx = (type: number, axes: number[], body: number[]): Uint8Array =>
  Uint8Array.from([0, 0, type, axes.length, ...axes.flatMap(n => [n >>> 24, n >>> 16, n >>> 8, n]), ...body]);

describe('readIdx', () => {
  it('reads bytes and big-endian numbers', () => {
    expect(readIdx(idx(8, [2, 3], [1, 2, 3, 4, 5, 6]))).toEqual({
      dtype: 'uint8',
      shape: [2, 3],
      data: Uint8Array.from([1, 2, 3, 4, 5, 6]),
    });
    expect(readIdx(idx(11, [2], [0xff, 0xfe, 1, 2])).data).toEqual(Int16Array.from([-2, 258]));
    expect(readIdx(idx(12, [1], [0xff, 0xff, 0xff, 0xfd])).data).toEqual(Int32Array.from([-3]));
    expect(readIdx(idx(13, [1], [0x3f, 0xc0, 0, 0])).data).toEqual(Float32Array.from([1.5]));
    expect(readIdx(idx(14, [1], [0x3f, 0xf8, 0, 0, 0, 0, 0, 0])).data).toEqual(Float64Array.from([1.5]));
  });

  it('refuses wrong magic, cuts, lying counts and trailing bytes', () => {
    const good = idx(8, [2, 3], [1, 2, 3, 4, 5, 6]);
    for (let length = 0; length < good.length; length++) {
      expect(() => readIdx(good.subarray(0, length))).toThrow(FormatError);
    }
    expect(() => readIdx(idx(8, [0xffffffff, 0xffffffff], [1]), 'x')).toThrow('x: truncated');
    expect(() => readIdx(idx(7, [1], [1]))).toThrow('not IDX');
    expect(() => readIdx(idx(8, [], []))).toThrow('not IDX');
    expect(() => readIdx(Uint8Array.from([0x1f, 0x8b, 8, 1]))).toThrow('not IDX: magic 0x1f8b0801');
    expect(() => readIdx(idx(8, [2], [1, 2, 3]), 'x')).toThrow('x: 1 bytes follow the elements of [2]');
  });
});

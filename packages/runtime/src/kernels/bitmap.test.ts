import { describe, expect, it } from 'vitest';
import { bitmapOf, bitsIn, blockBitmap, nibbles, once, present } from './bitmap.ts';

/** Deterministic weights with about a third of zeros, of both signs. */
const weights = (count: number) =>
  Float32Array.from({ length: count }, (_, i) => [0, 1e-45, -0, -2, 3, Number.NaN, -1e-45][(i * i + (i >> 3)) % 7]);

describe('bitmapOf', () => {
  it.each([1, 3, 31, 32, 33, 64, 100])('has a bit for each nonzero of %i columns, at any strides', cols => {
    for (const rows of [1, 2, 33]) {
      for (const [rowStride, colStride] of [
        [cols, 1],
        [1, rows],
        [cols * 2 + 3, 2],
        [3, rows * 3 + 1],
      ]) {
        const weight = weights((rows - 1) * rowStride + (cols - 1) * colStride + 1);
        for (const source of [weight, Int8Array.from(weight, w => (w === 0 ? 0 : -128))]) {
          const { words, stride } = bitmapOf({ weight: source, rows, cols, rowStride, colStride });
          expect(words.length).toBe(rows * stride);
          let count = 0;
          for (let row = 0; row < rows; row++) {
            for (let col = 0; col < stride * 32; col++) {
              const expected = col < cols && source[row * rowStride + col * colStride] !== 0;
              if (expected) count++;
              if (((words[row * stride + (col >> 5)] >>> col) & 1) !== (expected ? 1 : 0))
                expect.fail(`row ${row}, column ${col} of [${rows}, ${cols}] at ${rowStride}, ${colStride}`);
            }
          }
          expect(bitsIn(words)).toBe(count);
        }
      }
    }
  });

  it('reads a part of a buffer, and nothing of an empty matrix', () => {
    const weight = Float32Array.of(5, 0, 5).subarray(1);
    expect([...bitmapOf({ weight, rows: 1, cols: 2, rowStride: 2, colStride: 1 }).words]).toEqual([2]);
    for (const [rows, cols] of [
      [0, 3],
      [3, 0],
    ]) {
      const { words } = bitmapOf({ weight: new Float32Array(0), rows, cols, rowStride: 1, colStride: 2 });
      expect(words.length).toBe(0);
    }
  });
});

describe('blockBitmap', () => {
  it('joins the rows of a block, with a smaller last one', () => {
    const weight = Float32Array.of(1, 0, 0, 0, 0, 1, 0, 1, 0);
    const matrix = { weight, rows: 3, cols: 3, rowStride: 3, colStride: 1 };
    expect([...blockBitmap(matrix, 1).words]).toEqual([1, 4, 2]);
    expect([...blockBitmap(matrix, 2).words]).toEqual([5, 2]);
    expect([...blockBitmap(matrix, 16).words]).toEqual([7]);
  });
});

describe('bits', () => {
  it('are counted', () => {
    expect(nibbles(0xf7310842 | 0) >>> 0).toBe(0x43210111);
    expect(bitsIn(Int32Array.of(-1, 0, 1 << 31, 0x0f0f0f0f))).toBe(49);
  });

  it('tell zeros of either sign from all else', () => {
    const bits = new Int32Array(Float32Array.of(0, -0, 1e-45, -1e-45, Number.NaN, -1, Number.MAX_VALUE).buffer);
    expect(Array.from(bits, present)).toEqual([0, 0, 1, 1, 1, 1, 1]);
  });
});

it('finds once for each view of the same weights', () => {
  let calls = 0;
  const count = once(({ rows }) => {
    calls++;
    return rows;
  });
  const view = { weight: new Float32Array(6), rows: 2, cols: 3, rowStride: 3, colStride: 1 };
  const turned = { ...view, rows: 3, cols: 2, rowStride: 1, colStride: 3 };
  expect([count(view), count(turned), count({ ...view }), count({ ...view, weight: new Float32Array(6) })]).toEqual([
    2, 3, 2, 2,
  ]);
  expect(calls).toBe(3);
});

/** Where a matrix has its nonzeros, found in one pass over the weights: patterns, counts and packs all follow from it. */
import type { Matrix } from './pack.ts';

/** The places of a matrix's nonzeros. */
export interface Bitmap {
  /** Column c of row r is bit c mod 32 of `words[r · stride + ⌊c / 32⌋]`; bits past the last column are 0. */
  readonly words: Int32Array;
  /** Words of a row. */
  readonly stride: number;
}

/** Remembers what `make` finds for a matrix as long as its weights live: every plan asks again. */
export function once<T>(make: (matrix: Matrix) => T): (matrix: Matrix) => T {
  const known = new WeakMap<Matrix['weight'], Map<string, T>>();
  return matrix => {
    const { weight, rows, cols, rowStride, colStride } = matrix;
    const key = [rows, cols, rowStride, colStride].join();
    let views = known.get(weight);
    if (!views) known.set(weight, (views = new Map()));
    let found = views.get(key);
    if (found === undefined) views.set(key, (found = make(matrix)));
    return found;
  };
}

/**
 * Weights as integers, to test and move their bits: until an engine has compiled a function, it allocates every float
 * that the function reads.
 */
export const bitsOf = (weight: Matrix['weight']): Int32Array | Int8Array =>
  weight instanceof Int8Array ? weight : new Int32Array(weight.buffer, weight.byteOffset, weight.length);

/** 1 for the bits of a number other than ±0, which gives 0; without a branch, which would be mispredicted. */
export const present = (bits: number): number => ((bits << 1) | -(bits << 1)) >>> 31;

/** Where the nonzeros are. */
export const bitmapOf = once(({ weight, rows, cols, rowStride, colStride }): Bitmap => {
  const bits = bitsOf(weight);
  const stride = Math.ceil(cols / 32);
  const words = new Int32Array(rows * stride);
  // Where rows are contiguous, neighbouring words come from the same 32 lines of memory.
  const step = colStride > rowStride ? rows : 1;
  for (let first = 0; first < rows; first += step) {
    for (let word = 0; word < stride; word++) {
      const count = Math.min(32, cols - word * 32);
      for (let row = first; row < first + step; row++) {
        let at = row * rowStride + word * 32 * colStride;
        let mask = 0;
        for (let i = 0; i < count; i++, at += colStride) mask = (mask >>> 1) | (present(bits[at]) << 31);
        words[row * stride + word] = mask >>> (32 - count);
      }
    }
  }
  return { words, stride };
});

/** Bits of each nibble of a word that are set. */
export function nibbles(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  return (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
}

/** How many bits are set. */
export function bitsIn(words: Int32Array): number {
  let count = 0;
  for (let i = 0; i < words.length; i++) {
    const fours = nibbles(words[i]);
    count += Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}

/** The bitmap of blocks of rows: a bit is set where at least one of a block's rows is not zero. */
export function blockBitmap(matrix: Matrix, blockRows: number): Bitmap {
  const bitmap = bitmapOf(matrix);
  if (blockRows === 1) return bitmap;
  const { words, stride } = bitmap;
  const all = new Int32Array(Math.ceil(matrix.rows / blockRows) * stride);
  for (let row = 0; row < matrix.rows; row++) {
    const to = Math.floor(row / blockRows) * stride;
    for (let i = 0; i < stride; i++) all[to + i] |= words[row * stride + i];
  }
  return { words: all, stride };
}

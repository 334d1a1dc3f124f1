/** Where a matrix has its nonzeros, found in one pass over the weights: patterns, counts and packs all follow from it. */
import type { Matrix } from './pack.ts';

/** The places of a matrix's nonzeros. */
export interface Bitmap {
  /** Column c of row r is bit c mod 32 of `words[r · stride + ⌊c / 32⌋]`; bits past the last column are 0. */
  readonly words: Int32Array;
  /** Words of a row. */
  readonly stride: number;
}

/** Rows whose words are gathered at a time where columns are contiguous: they stay in the first-level cache. */
const STRIP = 2048;

/** Remembers what `make` finds for a matrix, as long as its weights live; every plan asks again. */
export function once<T>(
  make: (matrix: Matrix, detail: number) => T,
): (matrix: Omit<Matrix, 'bias' | 'scale'>, detail?: number) => T {
  const known = new WeakMap<Matrix['weight'], Map<string, T>>();
  return (matrix, detail = 0) => {
    const { weight, rows, cols, rowStride, colStride } = matrix;
    let found = known.get(weight);
    if (!found) known.set(weight, (found = new Map()));
    const key = [rows, cols, rowStride, colStride, detail].join();
    if (!found.has(key)) found.set(key, make(matrix, detail));
    return found.get(key)!;
  };
}

// Nonzeros are told from the bits, shifted to drop the sign: x | −x has its sign bit set unless x is 0. No branches, which
// would be mispredicted, and no floats, which an engine allocates until it has compiled a function.
const SIGN = 1 << 31;

/** Where the nonzeros are. */
export const bitmapOf = once(({ weight, rows, cols, rowStride, colStride }) => {
  const bits = weight instanceof Int8Array ? weight : new Int32Array(weight.buffer, weight.byteOffset, weight.length);
  const stride = Math.ceil(cols / 32);
  const words = new Int32Array(rows * stride);
  if (colStride > rowStride) {
    const strip = new Int32Array(STRIP);
    for (let first = 0; first < rows; first += STRIP) {
      const count = Math.min(STRIP, rows - first);
      for (let word = 0; word < stride; word++) {
        strip.fill(0);
        const end = Math.min(32, cols - word * 32);
        for (let bit = 0; bit < end; bit++) {
          let at = (word * 32 + bit) * colStride + first * rowStride;
          for (let i = 0; i < count; i++, at += rowStride) {
            const x = bits[at] << 1;
            strip[i] |= ((x | -x) >>> 31) << bit;
          }
        }
        for (let i = 0; i < count; i++) words[(first + i) * stride + word] = strip[i];
      }
    }
    return { words, stride };
  }
  for (let row = 0; row < rows; row++) {
    let at = row * rowStride;
    for (let word = 0; word < stride; word++) {
      const count = Math.min(32, cols - word * 32);
      let mask = 0;
      for (let i = 0; i < count; i++, at += colStride) {
        const x = bits[at] << 1;
        mask = (mask >>> 1) | ((x | -x) & SIGN);
      }
      words[row * stride + word] = mask >>> (32 - count);
    }
  }
  return { words, stride };
});

/** Bits of each nibble of a word that are set. */
export function nibbles(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  return (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
}

/** Bits that are set in a stretch of words. */
export function bitsIn(words: Int32Array, from = 0, to = words.length): number {
  let count = 0;
  for (let i = from; i < to; i++) {
    const fours = nibbles(words[i]);
    count += Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}

/** The columns that rows use among them, as words of a bitmap. */
export function union({ words, stride }: Bitmap, first: number, end: number): Int32Array {
  if (end - first === 1) return words.subarray(first * stride, end * stride);
  const all = new Int32Array(stride);
  for (let row = first; row < end; row++) for (let i = 0; i < stride; i++) all[i] |= words[row * stride + i];
  return all;
}

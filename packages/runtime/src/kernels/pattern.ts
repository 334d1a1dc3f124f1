/** Patterns of zeros that have a kernel. */
import { bitmapOf, bitsIn, nibbles } from './bitmap.ts';
import type { Matrix } from './pack.ts';

/**
 * `csr`: unstructured. `block`: `rows` consecutive rows (from a multiple of `rows`; the last block may have fewer) have
 * their zeros in the same columns. `nm`: at most `n` of every `m` consecutive columns (from a multiple of `m`) are not zero.
 */
export type Pattern =
  | { readonly kind: 'csr' }
  | { readonly kind: 'block'; readonly rows: number }
  | { readonly kind: 'nm'; readonly n: number; readonly m: number };

export interface Sparsity {
  /** nonzeros / (rows · cols); 1 for an empty matrix. */
  readonly density: number;
  readonly nonzeros: number;
  /** Every pattern that the zeros satisfy exactly: blocks from the largest, then N:M, `csr` last. */
  readonly patterns: readonly Pattern[];
}

const BLOCKS = [16, 8, 4, 2];
const GROUPS = [4, 8, 16];
/** An N:M pattern stores n values for each group: it is listed only when most of them are not zero. */
const LEAST_FILL = 0.9;

/** Density and patterns of the zeros of a matrix. */
export function detect(matrix: Matrix): Sparsity {
  const { rows, cols } = matrix;
  const { words, stride } = bitmapOf(matrix);
  const nonzeros = bitsIn(words);
  const density = rows * cols > 0 ? nonzeros / (rows * cols) : 1;
  // Where a row differs from the one before it a block must begin.
  let height = density < 1 ? BLOCKS[0] : 1;
  for (let at = stride; at < words.length && height > 1; at++)
    while (words[at] !== words[at - stride] && Math.floor(at / stride) % height) height /= 2;
  const patterns: Pattern[] = BLOCKS.filter(r => r <= height && r / 2 < rows).map(r => ({ kind: 'block', rows: r }));
  for (const m of GROUPS) {
    // Counts of all groups of a word are compared at once: what is added carries those above n to the highest bit.
    const ones = (2 ** 32 - 1) / (2 ** m - 1);
    const highest = (ones * 2 ** (m - 1)) | 0;
    let n = 0;
    let added = (highest - ones) | 0;
    for (let i = 0; i < words.length && n <= m / 2; i++) {
      let counts = nibbles(words[i]);
      if (m > 4) counts = (counts + (counts >>> 4)) & 0x0f0f0f0f;
      if (m > 8) counts = (counts + (counts >>> 8)) & 0x00ff00ff;
      for (; (counts + added) & highest; added -= ones) n++;
    }
    if (n && n <= m / 2 && cols >= m && density >= (LEAST_FILL * n) / m) patterns.push({ kind: 'nm', n, m });
  }
  return { density, nonzeros, patterns: [...patterns, { kind: 'csr' }] };
}

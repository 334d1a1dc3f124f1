/** Patterns of zeros that have a kernel. */
import { type Bitmap, bitmapOf, bitsIn, nibbles } from './bitmap.ts';
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

/** The largest power of 2, at most 16, for which blocks of that many rows have their zeros in the same columns. */
function blockHeight({ words, stride }: Bitmap, rows: number): number {
  let height = rows > 1 ? BLOCKS[0] : 1;
  for (let row = 1; row < rows && height > 1; row++) {
    if (row % height === 0) continue;
    const end = (row + 1) * stride;
    let at = row * stride;
    while (at < end && words[at] === words[at - stride]) at++;
    // The block that this row begins may be as high as the row's place allows.
    while (at < end && row % height !== 0) height /= 2;
  }
  return height;
}

/** The most bits in a group of `m`, of a whole bitmap; or the first number found that is more than `limit`. */
function mostOf({ words }: Bitmap, m: number, limit: number): number {
  const group = 2 ** m - 1;
  let most = 0;
  for (let i = 0; i < words.length && most <= limit; i++) {
    let counts = nibbles(words[i]);
    if (m > 4) counts = (counts + (counts >>> 4)) & 0x0f0f0f0f;
    if (m > 8) counts = (counts + (counts >>> 8)) & 0x00ff00ff;
    for (; counts !== 0; counts >>>= m) if ((counts & group) > most) most = counts & group;
  }
  return most;
}

/** Density and patterns of the zeros of a matrix. */
export function detect(matrix: Matrix): Sparsity {
  const { rows, cols } = matrix;
  const bitmap = bitmapOf(matrix);
  const nonzeros = bitsIn(bitmap.words);
  const density = rows * cols > 0 ? nonzeros / (rows * cols) : 1;
  const height = density < 1 ? blockHeight(bitmap, rows) : 1;
  const patterns: Pattern[] = BLOCKS.filter(r => r <= height && r / 2 < rows).map(r => ({ kind: 'block', rows: r }));
  for (const m of GROUPS) {
    let limit = cols < m ? 0 : m / 2;
    while (limit > 0 && density < (LEAST_FILL * limit) / m) limit--;
    const n = limit > 0 ? mostOf(bitmap, m, limit) : 0;
    if (n > 0 && n <= limit) patterns.push({ kind: 'nm', n, m });
  }
  return { density, nonzeros, patterns: [...patterns, { kind: 'csr' }] };
}

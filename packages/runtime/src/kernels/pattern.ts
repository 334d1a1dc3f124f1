/** Patterns of zeros that have a kernel. */
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
export function detect({ weight, rows, cols, rowStride, colStride }: Omit<Matrix, 'bias' | 'scale'>): Sparsity {
  let nonzeros = 0;
  let height = rows > 1 ? 16 : 1;
  const most = GROUPS.map(() => 0);
  const counts = GROUPS.map(() => 0);
  for (let row = 0; row < rows; row++) {
    const at = row * rowStride;
    for (let col = 0; col < cols; col++) {
      const present = weight[at + col * colStride] !== 0;
      if (present) nonzeros++;
      // The first row of a block decides; as long as it is the same in the rows below, the block may be this high.
      while (height > 1 && row % height !== 0 && (weight[at - rowStride + col * colStride] !== 0) !== present)
        height /= 2;
      for (let g = 0; g < GROUPS.length; g++) {
        if (present) counts[g]++;
        if ((col + 1) % GROUPS[g] === 0 || col === cols - 1) {
          if (counts[g] > most[g]) most[g] = counts[g];
          counts[g] = 0;
        }
      }
    }
  }
  const density = rows * cols > 0 ? nonzeros / (rows * cols) : 1;
  const patterns: Pattern[] = BLOCKS.filter(r => r <= height && density < 1 && r / 2 < rows).map(r => ({
    kind: 'block',
    rows: r,
  }));
  GROUPS.forEach((m, g) => {
    const n = most[g];
    if (n > 0 && n <= m / 2 && cols >= m && density >= (LEAST_FILL * n) / m) patterns.push({ kind: 'nm', n, m });
  });
  return { density, nonzeros, patterns: [...patterns, { kind: 'csr' }] };
}

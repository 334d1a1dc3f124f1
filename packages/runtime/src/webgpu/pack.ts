/** Weights as the WebGPU kernels read them: what is zero is left out, rows that share a pattern share its indices. */
import { check } from '../errors.ts';

/**
 * Where a weight matrix may hold non-zeros: anywhere (`dense` computes with the zeros, `csr` skips them), in columns shared
 * by `block` consecutive output rows, or at most `n` in every `m` consecutive columns of a row.
 */
export type Pattern = 'dense' | 'csr' | { readonly block: number } | { readonly n: number; readonly m: number };

/** A matrix of rows × cols float32, row-major, with an addend for each row. */
export interface Weight {
  readonly data: Float32Array;
  readonly rows: number;
  readonly cols: number;
  readonly pattern: Pattern;
  readonly bias?: Float32Array;
}

export interface Packed {
  /**
   * dense: rows × cols. Blocks of g rows: g values for each entry, groups one after another (csr is g = 1).
   * N:M: ⌈cols / m⌉ · n values for each row, padded with zeros.
   */
  readonly values: Float32Array;
  /**
   * Blocks: first entry of each group and the end of the last (groups + 1), then the column of each entry.
   * N:M: the offset of each value within its m columns, 4 bits each, lowest first, every row padded to whole words.
   */
  readonly index?: Uint32Array;
}

const isWhole = (value: number, low: number, high: number) => Number.isInteger(value) && value >= low && value <= high;

/** Rows that share their columns: 1 unless the pattern has blocks. */
export const groupOf = (pattern: Pattern): number =>
  typeof pattern === 'object' && 'block' in pattern ? pattern.block : 1;

/** The pattern when it is N:M. */
export const sparsityOf = (pattern: Pattern): { n: number; m: number } | undefined =>
  typeof pattern === 'object' && 'm' in pattern ? pattern : undefined;

/** Values that N:M keeps in a row, padding included. */
export const keptOf = ({ n, m }: { n: number; m: number }, cols: number): number => Math.ceil(cols / m) * n;

/** Throws unless the weight's sizes agree and its pattern is one that the kernels have. */
export function checkWeight({ data, rows, cols, pattern, bias }: Weight): void {
  check(
    data.length === rows * cols,
    () => `webgpu: a weight of ${rows} × ${cols} has ${data.length} values, expected ${rows * cols}`,
  );
  check(
    !bias || bias.length === rows,
    () => `webgpu: the bias of a weight with ${rows} rows has ${bias!.length} values`,
  );
  check(
    isWhole(groupOf(pattern), 1, 16),
    () => `webgpu: blocks of ${groupOf(pattern)} rows, expected a whole number from 1 to 16`,
  );
  const nm = sparsityOf(pattern);
  check(
    !nm || (isWhole(nm.m, 1, 16) && isWhole(nm.n, 1, nm.m)),
    () => `webgpu: pattern ${nm!.n}:${nm!.m}, expected whole numbers 1 ≤ n ≤ m ≤ 16`,
  );
}

function packBlocks(data: Float32Array, cols: number, from: number, to: number, group: number): Packed {
  const starts = [0];
  const columns: number[] = [];
  for (let first = from; first < to; first += group) {
    const last = Math.min(first + group, to);
    for (let col = 0; col < cols; col++) {
      let row = first;
      while (row < last && data[row * cols + col] === 0) row++;
      if (row < last) columns.push(col);
    }
    starts.push(columns.length);
  }
  const index = new Uint32Array(starts.length + columns.length);
  index.set(starts);
  index.set(columns, starts.length);
  const values = new Float32Array(columns.length * group);
  for (let g = 0, entry = 0; g < starts.length - 1; g++) {
    const first = from + g * group;
    const height = Math.min(group, to - first);
    for (; entry < starts[g + 1]; entry++) {
      for (let j = 0; j < height; j++) values[entry * group + j] = data[(first + j) * cols + columns[entry]];
    }
  }
  return { values, index };
}

function packSparsity(
  data: Float32Array,
  cols: number,
  from: number,
  to: number,
  nm: { n: number; m: number },
): Packed {
  const { n, m } = nm;
  const kept = keptOf(nm, cols);
  const words = Math.ceil(kept / 8);
  const values = new Float32Array((to - from) * kept);
  const index = new Uint32Array((to - from) * words);
  for (let row = from; row < to; row++) {
    for (let start = 0, slot = 0; start < cols; start += m, slot += n) {
      const end = Math.min(start + m, cols);
      for (let col = start, count = 0; col < end; col++) {
        const value = data[row * cols + col];
        if (value === 0) continue;
        check(
          count < n,
          () =>
            `webgpu: row ${row} has more than ${n} non-zeros in columns ${start} to ${end - 1}, so it is not ${n}:${m}; use 'csr'`,
        );
        const at = slot + count++;
        values[(row - from) * kept + at] = value;
        index[(row - from) * words + (at >> 3)] |= (col - start) << ((at & 7) * 4);
      }
    }
  }
  return { values, index };
}

/** Packs rows `from` to `to` (exclusive) of a weight; `from` must be a multiple of the pattern's block. */
export function pack({ data, cols, pattern }: Weight, from: number, to: number): Packed {
  if (pattern === 'dense') return { values: data.subarray(from * cols, to * cols) };
  const nm = sparsityOf(pattern);
  return nm ? packSparsity(data, cols, from, to, nm) : packBlocks(data, cols, from, to, groupOf(pattern));
}

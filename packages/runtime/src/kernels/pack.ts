/** Sparse weights in the order in which the kernels of `assembly/sparse*.ts` consume them. */
import { check } from '../errors.ts';

/** A matrix [rows, cols] of weights, at any strides (in elements), with zeros where nothing is. */
export interface Matrix {
  /** Int8 weights stand for `scale` times their value. */
  readonly weight: Float32Array | Int8Array;
  readonly rows: number;
  readonly cols: number;
  readonly rowStride: number;
  readonly colStride: number;
  /** Of length `rows`; zeros when absent. */
  readonly bias?: Float32Array;
  /** Scales of int8 weights: one for each row, or one for all. */
  readonly scale?: Float32Array;
}

/** Columns in which at least one of `count` rows from `first` is not zero; returns how many were written to `columns`. */
function support(
  { weight, cols, rowStride, colStride }: Matrix,
  first: number,
  count: number,
  columns: Int32Array,
): number {
  let found = 0;
  for (let col = 0; col < cols; col++) {
    for (let row = first; row < first + count; row++) {
      if (weight[row * rowStride + col * colStride] !== 0) {
        columns[found++] = col;
        break;
      }
    }
  }
  return found;
}

const scaleOf = (matrix: Matrix, row: number) => matrix.scale?.[matrix.scale.length === 1 ? 0 : row] ?? 1;

/** Bytes of a block's record for the pixel kernels. */
function recordBytes(rows: number, nonzeros: number, quantised: boolean): number {
  const values = quantised ? Math.ceil(nonzeros / 4) * 4 : rows * nonzeros * 4;
  return 12 + rows * (quantised ? 8 : 4) + (nonzeros + 1) * 4 + values;
}

/** Bytes that `packBlocks` will take. */
export function blockBytes(matrix: Matrix, blockRows: number): number {
  const columns = new Int32Array(matrix.cols);
  const blocks = Math.ceil(matrix.rows / blockRows);
  let bytes = (blocks + 1) * 4;
  for (let row = 0; row < matrix.rows; row += blockRows) {
    const rows = Math.min(blockRows, matrix.rows - row);
    bytes += recordBytes(rows, support(matrix, row, rows, columns), matrix.weight instanceof Int8Array);
  }
  return bytes;
}

/**
 * Blocks of `blockRows` rows (the last may have fewer) that share one list of columns, for the pixel kernels. `offset`
 * gives the byte offset of a column's activations. Layout: `assembly/sparse-sweep.ts`.
 */
export function packBlocks(matrix: Matrix, blockRows: number, offset: (col: number) => number): Uint8Array {
  const { weight, rows, cols, rowStride, colStride, bias } = matrix;
  const quantised = weight instanceof Int8Array;
  check(!quantised || blockRows === 1, `pack: int8 weights are packed row by row, not in blocks of ${blockRows} rows`);
  const blocks = Math.ceil(rows / blockRows);
  const columns = new Int32Array(cols);
  const bytes = new Uint8Array(blockBytes(matrix, blockRows));
  const words = new Int32Array(bytes.buffer);
  const floats = new Float32Array(bytes.buffer);
  let at = blocks + 1;
  for (let block = 0; block < blocks; block++) {
    const first = block * blockRows;
    const count = Math.min(blockRows, rows - first);
    const nonzeros = support(matrix, first, count, columns);
    words[block] = at * 4;
    words[at++] = nonzeros;
    words[at++] = count;
    words[at++] = first;
    for (let row = first; row < first + count; row++) floats[at++] = bias?.[row] ?? 0;
    if (quantised) floats[at++] = scaleOf(matrix, first);
    let previous = 0;
    for (let i = 0; i < nonzeros; i++) {
      const here = offset(columns[i]);
      words[at++] = here - previous;
      previous = here;
    }
    words[at++] = -previous;
    if (quantised) {
      for (let i = 0; i < nonzeros; i++) bytes[at * 4 + i] = weight[first * rowStride + columns[i] * colStride];
      at += Math.ceil(nonzeros / 4);
      continue;
    }
    for (let row = first; row < first + count; row += 2) {
      for (let i = 0; i < nonzeros; i++) {
        floats[at++] = weight[row * rowStride + columns[i] * colStride];
        if (row + 1 < first + count) floats[at++] = weight[(row + 1) * rowStride + columns[i] * colStride];
      }
    }
  }
  words[blocks] = at * 4;
  return bytes;
}

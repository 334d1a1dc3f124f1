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
 * gives the byte offset of a column's activations (as the block that begins with `row` sees it). Layout: `assembly/sparse-sweep.ts`.
 */
export function packBlocks(
  matrix: Matrix,
  blockRows: number,
  offset: (col: number, row: number) => number,
): Uint8Array {
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
      const here = offset(columns[i], first);
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

const quads = (count: number) => Math.ceil(count / 4);

/** Bytes that `packVectors` will take. */
export function vectorBytes(matrix: Matrix, blockRows: number): number {
  const { rows, cols, weight } = matrix;
  const columns = new Int32Array(cols);
  const quantised = weight instanceof Int8Array;
  let bytes = (Math.ceil(rows / blockRows) + 1) * 4;
  for (let row = 0; row < rows; row += blockRows) {
    const count = Math.min(blockRows, rows - row);
    const steps = quads(support(matrix, row, count, columns));
    bytes += 12 + count * (quantised ? 8 : 4) + steps * 8 + steps * count * (quantised ? 4 : 16);
  }
  return bytes;
}

/** Most columns that `packVectors` can number. */
export const MOST_COLUMNS = 65536;

/** Blocks of rows that share one list of columns, for `sparseVector`. Layout: `assembly/sparse-vector.ts`. */
export function packVectors(matrix: Matrix, blockRows: number): Uint8Array {
  const { weight, rows, cols, rowStride, colStride, bias } = matrix;
  const quantised = weight instanceof Int8Array;
  check(!quantised || blockRows === 1, `pack: int8 weights are packed row by row, not in blocks of ${blockRows} rows`);
  const columns = new Int32Array(cols);
  const bytes = new Uint8Array(vectorBytes(matrix, blockRows));
  const words = new Int32Array(bytes.buffer);
  const shorts = new Uint16Array(bytes.buffer);
  const floats = new Float32Array(bytes.buffer);
  let at = Math.ceil(rows / blockRows) + 1;
  for (let first = 0; first < rows; first += blockRows) {
    const count = Math.min(blockRows, rows - first);
    const nonzeros = support(matrix, first, count, columns);
    const steps = quads(nonzeros);
    words[first / blockRows] = at * 4;
    words[at++] = nonzeros;
    words[at++] = count;
    words[at++] = first;
    for (let row = first; row < first + count; row++) floats[at++] = bias?.[row] ?? 0;
    if (quantised) floats[at++] = scaleOf(matrix, first);
    for (let i = 0; i < nonzeros; i++) shorts[at * 2 + i] = columns[i];
    at += steps * 2;
    for (let row = first, pass = 1; row < first + count; row += pass) {
      const left = first + count - row;
      pass = left < 2 ? 1 : left < 4 ? 2 : 4;
      for (let i = 0; i < nonzeros; i++) {
        for (let r = 0; r < pass; r++) {
          const value = weight[(row + r) * rowStride + columns[i] * colStride];
          if (quantised) bytes[at * 4 + i] = value;
          else floats[at + ((i >> 2) * pass + r) * 4 + (i & 3)] = value;
        }
      }
      at += steps * (quantised ? 1 : 4 * pass);
    }
  }
  words[Math.ceil(rows / blockRows)] = at * 4;
  return bytes;
}

/** Whether each row has at most 4 nonzeros in every 8 columns from a multiple of 8: what `packGroups` takes. */
export const fitsGroups = (n: number, m: number): boolean => (m === 8 && n <= 4) || (m === 4 && n <= 2);

/** Bytes that `packGroups` will take. */
export function groupBytes({ rows, cols, weight }: Matrix): number {
  const windows = Math.ceil(cols / 8);
  const quantised = weight instanceof Int8Array;
  return rows * (quantised ? 8 : 4) + Math.ceil((rows * windows) / 4) * 4 + rows * windows * (quantised ? 4 : 16);
}

/** A mask for every 8 columns of a row and up to 4 values, for `sparseVectorGrouped`. */
export function packGroups(matrix: Matrix): Uint8Array {
  const { weight, rows, cols, rowStride, colStride, bias } = matrix;
  const windows = Math.ceil(cols / 8);
  const quantised = weight instanceof Int8Array;
  const bytes = new Uint8Array(groupBytes(matrix));
  const floats = new Float32Array(bytes.buffer);
  const masks = rows * (quantised ? 8 : 4);
  const values = masks + Math.ceil((rows * windows) / 4) * 4;
  for (let row = 0; row < rows; row++) {
    floats[row] = bias?.[row] ?? 0;
    if (quantised) floats[rows + row] = scaleOf(matrix, row);
    for (let window = 0; window < windows; window++) {
      const group = row * windows + window;
      let found = 0;
      for (let col = window * 8; col < Math.min(cols, window * 8 + 8); col++) {
        const value = weight[row * rowStride + col * colStride];
        if (value === 0) continue;
        check(
          found < 4,
          () => `pack: row ${row} has more than 4 nonzeros in columns ${window * 8} to ${window * 8 + 7}`,
        );
        bytes[masks + group] |= 1 << (col & 7);
        if (quantised) bytes[values + group * 4 + found++] = value;
        else floats[values / 4 + group * 4 + found++] = value;
      }
    }
  }
  return bytes;
}

/** For each mask of 8 floats in two vectors: shuffles that bring the floats it names to the front; 128 gives a zero. */
export function maskTable(): Uint8Array {
  const table = new Uint8Array(256 * 32).fill(128);
  for (let mask = 0; mask < 256; mask++) {
    for (let col = 0, lane = 0; col < 8 && lane < 4; col++) {
      if (!(mask & (1 << col))) continue;
      for (let byte = 0; byte < 4; byte++) table[mask * 32 + (col >> 2) * 16 + lane * 4 + byte] = (col & 3) * 4 + byte;
      lane++;
    }
  }
  return table;
}

/** Sparse weights in the order in which the kernels of `assembly/sparse*.ts` consume them. */
import { check } from '../errors.ts';
import { bitmapOf, bitsIn, bitsOf, blockBitmap } from './bitmap.ts';

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

/** For each block of rows, the columns in which at least one of its rows is not zero. */
export interface Support {
  /** Rows of a block; the last block may have fewer. */
  readonly blockRows: number;
  /** Block b's columns are `columns[starts[b]]` to `columns[starts[b + 1] - 1]`, ascending. */
  readonly starts: Int32Array;
  readonly columns: Int32Array;
}

/** Finds the support of blocks of rows. */
export function supportOf(matrix: Matrix, blockRows: number): Support {
  const { words, stride } = blockBitmap(bitmapOf(matrix), matrix.rows, blockRows);
  const starts = new Int32Array(Math.ceil(matrix.rows / blockRows) + 1);
  const columns = new Int32Array(bitsIn(words));
  let at = 0;
  for (let block = 0; block + 1 < starts.length; block++) {
    for (let i = 0; i < stride; i++) {
      for (let word = words[block * stride + i]; word !== 0; word &= word - 1)
        columns[at++] = i * 32 + 31 - Math.clz32(word & -word);
    }
    starts[block + 1] = at;
  }
  return { blockRows, starts, columns };
}

const scaleOf = (matrix: Matrix, row: number) => matrix.scale?.[matrix.scale.length === 1 ? 0 : row] ?? 1;
const isQuantised = ({ weight }: Matrix) => weight instanceof Int8Array;
const quads = (count: number) => Math.ceil(count / 4);

function checkRows(matrix: Matrix, blockRows: number): void {
  const message = () => `pack: int8 weights are packed row by row, not in blocks of ${blockRows} rows`;
  check(!isQuantised(matrix) || blockRows === 1, message);
}

/** Rows of each block, by its index. */
const rowsOf = ({ rows }: Matrix, { blockRows }: Support, block: number) =>
  Math.min(blockRows, rows - block * blockRows);

/** Where a block's columns below `col` end, in `columns`, from a position on. */
function chunkEnd({ starts, columns }: Support, block: number, from: number, col: number): number {
  let at = from;
  while (at < starts[block + 1] && columns[at] < col) at++;
  return at;
}

/** Bytes that `packBlocks` will take with chunks of `chunkCols` columns. */
export function blockBytes(matrix: Matrix, support: Support, chunkCols: number): number {
  const { starts } = support;
  const chunks = chunksOf(matrix, chunkCols);
  const [perRow, perValue] = isQuantised(matrix) ? [8, 1] : [4, 4];
  let bytes = chunks * 4 * (starts.length + 1);
  for (let block = 0; block + 1 < starts.length; block++) {
    const rows = rowsOf(matrix, support, block);
    for (let chunk = 0, at = starts[block]; chunk < chunks; chunk++) {
      const end = chunkEnd(support, block, at, (chunk + 1) * chunkCols);
      bytes += 12 + rows * perRow + (end - at) * 4 + Math.ceil(((end - at) * rows * perValue) / 4) * 4;
      at = end;
    }
  }
  return bytes;
}

/** Chunks of columns of a matrix. */
export const chunksOf = ({ cols }: Matrix, chunkCols: number): number => Math.max(1, Math.ceil(cols / chunkCols));

/**
 * Blocks of rows for the pixel kernels, in chunks of `chunkCols` columns, whose activations should fit the first-level
 * cache. `offset` gives the byte offset of a column's activations as the block that begins with `row` sees it. Layout:
 * `assembly/sparse-sweep.ts`.
 */
export function packBlocks(
  matrix: Matrix,
  support: Support,
  chunkCols: number,
  offset: (col: number, row: number) => number,
): Uint8Array {
  const { rowStride, colStride, bias } = matrix;
  const { blockRows, starts, columns } = support;
  checkRows(matrix, blockRows);
  const weight = bitsOf(matrix.weight);
  const blocks = starts.length - 1;
  const chunks = chunksOf(matrix, chunkCols);
  const bytes = new Uint8Array(blockBytes(matrix, support, chunkCols));
  const words = new Int32Array(bytes.buffer);
  const floats = new Float32Array(bytes.buffer);
  const position = starts.slice();
  let at = chunks;
  for (let chunk = 0; chunk < chunks; chunk++) {
    const start = at;
    words[chunk] = start * 4;
    at += blocks + 1;
    for (let block = 0; block < blocks; block++) {
      const first = block * blockRows;
      const last = first + rowsOf(matrix, support, block);
      const from = position[block];
      const to = chunkEnd(support, block, from, (chunk + 1) * chunkCols);
      position[block] = to;
      words[start + block] = (at - start) * 4;
      words[at++] = to - from;
      words[at++] = last - first;
      for (let row = first; row < last; row++) floats[at++] = chunk === 0 ? (bias?.[row] ?? 0) : 0;
      if (isQuantised(matrix)) floats[at++] = scaleOf(matrix, first);
      let previous = 0;
      for (let i = from; i < to; i++) {
        const here = offset(columns[i], first);
        words[at++] = here - previous;
        previous = here;
      }
      words[at++] = -previous;
      if (isQuantised(matrix)) {
        for (let i = from; i < to; i++) bytes[at * 4 + i - from] = weight[first * rowStride + columns[i] * colStride];
        at += quads(to - from);
        continue;
      }
      for (let row = first; row < last; row += 2) {
        for (let i = from; i < to; i++) {
          const from = row * rowStride + columns[i] * colStride;
          words[at++] = weight[from];
          if (row + 1 < last) words[at++] = weight[from + rowStride];
        }
      }
    }
    words[start + blocks] = (at - start) * 4;
  }
  return bytes;
}

/** Most columns that `packVectors` can number. */
export const MOST_COLUMNS = 65536;

/** Bytes that `packVectors` will take. */
export function vectorBytes(matrix: Matrix, support: Support): number {
  const { starts } = support;
  const [perRow, perStep] = isQuantised(matrix) ? [8, 4] : [4, 16];
  let bytes = starts.length * 4;
  for (let block = 0; block + 1 < starts.length; block++) {
    const rows = rowsOf(matrix, support, block);
    bytes += 12 + rows * perRow + quads(starts[block + 1] - starts[block]) * (8 + rows * perStep);
  }
  return bytes;
}

/** Blocks of rows for `sparseVector`. Layout: `assembly/sparse-vector.ts`. */
export function packVectors(matrix: Matrix, support: Support): Uint8Array {
  const { rowStride, colStride, bias } = matrix;
  const { blockRows, starts, columns } = support;
  checkRows(matrix, blockRows);
  const weight = bitsOf(matrix.weight);
  const bytes = new Uint8Array(vectorBytes(matrix, support));
  const words = new Int32Array(bytes.buffer);
  const shorts = new Uint16Array(bytes.buffer);
  const floats = new Float32Array(bytes.buffer);
  // Weights of a word.
  const [values, share] = isQuantised(matrix) ? [bytes, 4] : [words, 1];
  const blocks = starts.length - 1;
  let at = blocks + 1;
  for (let block = 0; block < blocks; block++) {
    const first = block * blockRows;
    const last = first + rowsOf(matrix, support, block);
    const from = starts[block];
    const count = starts[block + 1] - from;
    const steps = quads(count);
    words[block] = at * 4;
    words[at++] = count;
    words[at++] = last - first;
    words[at++] = first;
    for (let row = first; row < last; row++) floats[at++] = bias?.[row] ?? 0;
    if (isQuantised(matrix)) floats[at++] = scaleOf(matrix, first);
    for (let i = 0; i < count; i++) shorts[at * 2 + i] = columns[from + i];
    at += steps * 2;
    for (let row = first, pass = 1; row < last; row += pass) {
      pass = last - row < 2 ? 1 : last - row < 4 ? 2 : 4;
      for (let r = 0; r < pass; r++) {
        const [source, target] = [(row + r) * rowStride, at * share + r * 4];
        for (let i = 0; i < count; i++)
          values[target + (i >> 2) * 4 * pass + (i & 3)] = weight[source + columns[from + i] * colStride];
      }
      at += (steps * 4 * pass) / share;
    }
  }
  words[blocks] = at * 4;
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

/** Sparse weights in the order in which the kernels of `assembly/sparse*.ts` consume them. */
import { check, RuntimeError } from '../errors.ts';
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
  const { words, stride } = blockBitmap(matrix, blockRows);
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
const quads = (count: number) => Math.ceil(count / 4);

/** What is packed, and room for the most words that it may take: what is left over is cut off in the end. */
function begin({ weight }: Matrix, { blockRows }: Support, room: number) {
  const quantised = weight instanceof Int8Array;
  const message = () => `pack: int8 weights are packed row by row, not in blocks of ${blockRows} rows`;
  check(!quantised || blockRows === 1, message);
  const words = new Int32Array(room);
  const bytes = new Uint8Array(words.buffer);
  const floats = new Float32Array(words.buffer);
  /** Where weights are written; `share` of them fill a word. */
  const [values, share] = quantised ? [bytes, 4] : [words, 1];
  return { weight: bitsOf(weight), quantised, words, bytes, floats, values, share };
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
  const { rows, rowStride, colStride, bias } = matrix;
  const { blockRows, starts, columns } = support;
  const blocks = starts.length - 1;
  const chunks = chunksOf(matrix, chunkCols);
  const room = chunks * (blocks * 5 + rows + 2) + columns.length * (1 + blockRows);
  const { weight, quantised, words, bytes, floats, values, share } = begin(matrix, support, room);
  const position = starts.slice();
  let at = chunks;
  for (let chunk = 0; chunk < chunks; chunk++) {
    const start = at;
    words[chunk] = start * 4;
    at += blocks + 1;
    for (let block = 0; block < blocks; block++) {
      const first = block * blockRows;
      const last = Math.min(rows, first + blockRows);
      const from = position[block];
      let to = from;
      while (to < starts[block + 1] && columns[to] < (chunk + 1) * chunkCols) to++;
      position[block] = to;
      words[start + block] = (at - start) * 4;
      words[at++] = to - from;
      words[at++] = last - first;
      for (let row = first; row < last; row++) floats[at++] = chunk === 0 ? (bias?.[row] ?? 0) : 0;
      if (quantised) floats[at++] = scaleOf(matrix, first);
      let previous = 0;
      for (let i = from; i < to; i++) {
        const here = offset(columns[i], first);
        words[at++] = here - previous;
        previous = here;
      }
      words[at++] = -previous;
      let target = at * share;
      for (let row = first; row < last; row += 2) {
        for (let i = from; i < to; i++) {
          const source = row * rowStride + columns[i] * colStride;
          values[target++] = weight[source];
          if (row + 1 < last) values[target++] = weight[source + rowStride];
        }
      }
      at = Math.ceil(target / share);
    }
    words[start + blocks] = (at - start) * 4;
  }
  return bytes.subarray(0, at * 4);
}

/** Most columns that `packVectors` can number. */
export const MOST_COLUMNS = 65536;

/** Blocks of rows for `sparseVector`. Layout: `assembly/sparse-vector.ts`. */
export function packVectors(matrix: Matrix, support: Support): Uint8Array {
  const { rows, rowStride, colStride, bias } = matrix;
  const { blockRows, starts, columns } = support;
  const blocks = starts.length - 1;
  const room = blocks * 5 + 1 + rows + (quads(columns.length) + blocks) * (2 + 4 * blockRows);
  const { weight, quantised, words, bytes, floats, values, share } = begin(matrix, support, room);
  const shorts = new Uint16Array(words.buffer);
  let at = blocks + 1;
  for (let block = 0; block < blocks; block++) {
    const first = block * blockRows;
    const last = Math.min(rows, first + blockRows);
    const from = starts[block];
    const count = starts[block + 1] - from;
    words[block] = at * 4;
    words[at++] = count;
    words[at++] = last - first;
    words[at++] = first;
    for (let row = first; row < last; row++) floats[at++] = bias?.[row] ?? 0;
    if (quantised) floats[at++] = scaleOf(matrix, first);
    for (let i = 0; i < count; i++) shorts[at * 2 + i] = columns[from + i];
    at += quads(count) * 2;
    for (let row = first, pass = 1; row < last; row += pass) {
      pass = last - row < 2 ? 1 : last - row < 4 ? 2 : 4;
      for (let r = 0; r < pass; r++) {
        const source = (row + r) * rowStride;
        const target = at * share + r * 4;
        for (let i = 0; i < count; i++)
          values[target + (i >> 2) * 4 * pass + (i & 3)] = weight[source + columns[from + i] * colStride];
      }
      at += (quads(count) * 4 * pass) / share;
    }
  }
  words[blocks] = at * 4;
  return bytes.subarray(0, at * 4);
}

/** Whether each row has at most 4 nonzeros in every 8 columns from a multiple of 8: what `packGroups` takes. */
export const fitsGroups = (n: number, m: number): boolean => (m === 8 && n <= 4) || (m === 4 && n <= 2);

// Not a closure: what it saw would have to be kept in memory by the loop that seldom calls it.
function tooMany(row: number, col: number): never {
  throw new RuntimeError(`pack: row ${row} has more than 4 nonzeros in columns ${col} to ${col + 7}`);
}

/** A mask for every 8 columns of a row and up to 4 values, for `sparseVectorGrouped`. */
export function packGroups(matrix: Matrix): Uint8Array {
  const { rows, cols, rowStride, colStride, bias } = matrix;
  const weight = bitsOf(matrix.weight);
  const quantised = weight instanceof Int8Array;
  const windows = Math.ceil(cols / 8);
  const bitmap = bitmapOf(matrix);
  const found = new Uint8Array(bitmap.words.buffer);
  const masks = rows * (quantised ? 8 : 4);
  const values = masks + quads(rows * windows) * 4;
  const bytes = new Uint8Array(values + rows * windows * (quantised ? 4 : 16));
  const floats = new Float32Array(bytes.buffer);
  const out = quantised ? bytes : new Int32Array(bytes.buffer);
  for (let row = 0, group = 0; row < rows; row++) {
    floats[row] = bias?.[row] ?? 0;
    if (quantised) floats[rows + row] = scaleOf(matrix, row);
    for (let window = 0; window < windows; window++, group++) {
      let mask = found[row * bitmap.stride * 4 + window];
      bytes[masks + group] = mask;
      let at = (quantised ? values : values / 4) + group * 4;
      for (const end = at + 4; mask; mask &= mask - 1) {
        if (at === end) tooMany(row, window * 8);
        out[at++] = weight[row * rowStride + (window * 8 + 31 - Math.clz32(mask & -mask)) * colStride];
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

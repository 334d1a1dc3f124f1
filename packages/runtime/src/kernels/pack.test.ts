import { describe, expect, it } from 'vitest';
import { RuntimeError } from '../errors.ts';
import {
  blockBytes,
  chunksOf,
  groupBytes,
  type Matrix,
  maskTable,
  packBlocks,
  packGroups,
  packVectors,
  supportOf,
  vectorBytes,
} from './pack.ts';

const [ROWS, COLS] = [7, 26];
/** About a third nonzero; row 3 is empty. */
const weight = Float32Array.from({ length: ROWS * COLS }, (_, i) =>
  Math.floor(i / COLS) === 3 || (i * 7) % 5 > 1 ? 0 : i + 1,
);
const bias = Float32Array.from({ length: ROWS }, (_, i) => -i - 1);
const matrix: Matrix = { weight, rows: ROWS, cols: COLS, rowStride: COLS, colStride: 1, bias };
const transposed: Matrix = {
  ...matrix,
  weight: Float32Array.from(weight, (_, i) => weight[(i % ROWS) * COLS + Math.floor(i / ROWS)]),
  rowStride: 1,
  colStride: ROWS,
};

/** Reads a pixel pack as its kernels do. */
function unpack(bytes: Uint8Array, chunks: number, blocks: number, stride: number) {
  const words = new Int32Array(bytes.buffer);
  const floats = new Float32Array(bytes.buffer);
  const dense = new Float32Array(ROWS * COLS);
  const biases: number[] = [];
  const returns: number[] = [];
  for (let chunk = 0; chunk < chunks; chunk++) {
    const start = words[chunk] / 4;
    let first = 0;
    for (let block = 0; block < blocks; block++) {
      let at = start + words[start + block] / 4;
      const [count, rows] = [words[at], words[at + 1]];
      at += 2;
      for (let r = 0; r < rows; r++) biases[first + r] = (biases[first + r] ?? 0) + floats[at++];
      const columns: number[] = [];
      let pointer = 0;
      for (let i = 0; i < count; i++) {
        pointer += words[at++];
        columns.push(pointer / stride);
      }
      returns.push(pointer + words[at++]);
      for (let row = first; row < first + rows; row += 2) {
        for (const col of columns) {
          dense[row * COLS + col] = floats[at++];
          if (row + 1 < first + rows) dense[(row + 1) * COLS + col] = floats[at++];
        }
      }
      expect((at - start) * 4).toBe(words[start + block + 1]);
      first += rows;
    }
  }
  return { dense, biases, returns };
}

describe('packBlocks', () => {
  it.each([1, 2, 3, 4, 16])('is lossless and returns its pointer, in blocks of %i rows', blockRows => {
    for (const source of [matrix, transposed]) {
      for (const chunkCols of [COLS, 10, 1]) {
        const support = supportOf(source, blockRows);
        const bytes = packBlocks(source, support, chunkCols, col => col * 128);
        expect(bytes.length).toBe(blockBytes(source, support, chunkCols));
        const chunks = chunksOf(source, chunkCols);
        const { dense, biases, returns } = unpack(bytes, chunks, Math.ceil(ROWS / blockRows), 128);
        expect(dense).toEqual(weight);
        expect(biases).toEqual([...bias]);
        expect(returns.every(pointer => pointer === 0)).toBe(true);
      }
    }
  });

  it('stores no zeros of unstructured weights', () => {
    const nonzeros = weight.filter(w => w !== 0).length;
    expect(blockBytes(matrix, supportOf(matrix, 1), COLS)).toBe(4 + (ROWS + 1) * 4 + ROWS * 16 + nonzeros * 8);
  });

  it('refuses int8 blocks', () => {
    const quantised = { ...matrix, weight: new Int8Array(ROWS * COLS) };
    expect(() => packBlocks(quantised, supportOf(quantised, 2), COLS, col => col)).toThrow(RuntimeError);
    expect(() => packVectors(quantised, supportOf(quantised, 4))).toThrow(/blocks of 4 rows/);
  });
});

describe('packs for vectors', () => {
  it('have the predicted size', () => {
    const quantised = { ...matrix, weight: Int8Array.from(weight, v => v % 100) };
    for (const [source, rows] of [
      [matrix, 1],
      [transposed, 2],
      [matrix, 4],
      [matrix, 16],
      [quantised, 1],
    ] as const) {
      const support = supportOf(source, rows);
      expect(packVectors(source, support).length).toBe(vectorBytes(source, support));
    }
  });

  it('of groups take 17 bytes for 8 columns and refuse what does not fit', () => {
    const fitting = { ...matrix, weight: weight.map((w, i) => ((i % COLS) % 8 < 4 ? w : 0)) };
    expect(packGroups(fitting).length).toBe(groupBytes(fitting));
    expect(groupBytes({ ...matrix, cols: 64 })).toBe(ROWS * (4 + 8 * 17));
    expect(() => packGroups({ ...matrix, weight: weight.fill(1) })).toThrow('row 0 has more than 4 nonzeros');
  });

  it('shuffle the masked floats to the front', () => {
    const table = maskTable();
    const lanes = (mask: number) =>
      [0, 4, 8, 12].map(byte => {
        const [low, high] = [table[mask * 32 + byte], table[mask * 32 + 16 + byte]];
        return low < 128 ? low / 4 : high < 128 ? 4 + high / 4 : -1;
      });
    expect(lanes(0b10010110)).toEqual([1, 2, 4, 7]);
    expect(lanes(0b00100001)).toEqual([0, 5, -1, -1]);
    expect(lanes(0)).toEqual([-1, -1, -1, -1]);
  });
});

import { describe, expect, it } from 'vitest';
import { RuntimeError } from '../errors.ts';
import { chunksOf, type Matrix, maskTable, packBlocks, packGroups, packVectors, supportOf } from './pack.ts';

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

/** Reads a pack for vectors as its kernel does. */
function unpackVectors(bytes: Uint8Array, blocks: number, quantised: boolean) {
  const words = new Int32Array(bytes.buffer);
  const floats = new Float32Array(bytes.buffer);
  const dense = new Float32Array(ROWS * COLS);
  const [biases, scales]: number[][] = [[], []];
  for (let block = 0; block < blocks; block++) {
    let at = words[block] / 4;
    const [count, rows, first] = words.subarray(at, (at += 3));
    biases.push(...floats.subarray(at, (at += rows)));
    if (quantised) scales.push(floats[at++]);
    const columns = new Uint16Array(bytes.buffer, at * 4, count);
    const steps = Math.ceil(count / 4);
    at += steps * 2;
    for (let row = 0, pass = 1; row < rows; row += pass) {
      pass = rows - row < 2 ? 1 : rows - row < 4 ? 2 : 4;
      for (let step = 0; step < steps; step++) {
        for (let r = 0; r < pass; r++) {
          const four = quantised ? new Int8Array(bytes.buffer, at++ * 4, 4) : floats.subarray(at, (at += 4));
          for (let i = 0; i < 4; i++) {
            if (step * 4 + i < count) dense[(first + row + r) * COLS + columns[step * 4 + i]] = four[i];
            else expect(four[i]).toBe(0);
          }
        }
      }
    }
    expect(at * 4).toBe(words[block + 1]);
  }
  expect(bytes.length).toBe(words[blocks]);
  return { dense, biases, scales };
}

describe('packBlocks', () => {
  it.each([1, 2, 3, 4, 16])('is lossless and returns its pointer, in blocks of %i rows', blockRows => {
    for (const source of [matrix, transposed]) {
      for (const chunkCols of [COLS, 10, 1]) {
        const support = supportOf(source, blockRows);
        const bytes = packBlocks(source, support, chunkCols, col => col * 128);
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
    const bytes = packBlocks(matrix, supportOf(matrix, 1), COLS, col => col);
    expect(bytes.length).toBe(4 + (ROWS + 1) * 4 + ROWS * 16 + nonzeros * 8);
  });

  it('refuses int8 blocks', () => {
    const quantised = { ...matrix, weight: new Int8Array(ROWS * COLS) };
    expect(() => packBlocks(quantised, supportOf(quantised, 2), COLS, col => col)).toThrow(RuntimeError);
    expect(() => packVectors(quantised, supportOf(quantised, 4))).toThrow(/blocks of 4 rows/);
  });
});

describe('supportOf', () => {
  it.each([1, 2, 3, 16])('lists the columns of %i rows', blockRows => {
    for (const source of [matrix, transposed, { ...matrix, weight: Int8Array.from(weight, w => Math.sign(w)) }]) {
      const { starts, columns } = supportOf(source, blockRows);
      for (let block = 0; block * blockRows < ROWS; block++) {
        const expected = Array.from({ length: COLS }, (_, col) => col).filter(col =>
          Array.from({ length: blockRows }, (_, r) => block * blockRows + r).some(
            row => row < ROWS && weight[row * COLS + col] !== 0,
          ),
        );
        expect([...columns.subarray(starts[block], starts[block + 1])]).toEqual(expected);
      }
    }
  });
});

describe('packs for vectors', () => {
  it('are lossless, step by step of four columns', () => {
    const values = weight.map(w => w % 100);
    const floats = { ...matrix, weight: values };
    const scale = Float32Array.from({ length: ROWS }, (_, row) => row + 0.5);
    const turned = { ...transposed, weight: transposed.weight.map(w => w % 100) };
    for (const [source, blockRows] of [
      [floats, 1],
      [turned, 2],
      [floats, 3],
      [turned, 4],
      [floats, 16],
      [{ ...matrix, weight: Int8Array.from(values), scale }, 1],
      [{ ...transposed, weight: Int8Array.from(turned.weight), scale }, 1],
    ] as const) {
      const bytes = packVectors(source, supportOf(source, blockRows));
      const unpacked = unpackVectors(bytes, Math.ceil(ROWS / blockRows), source.weight instanceof Int8Array);
      expect(unpacked.dense).toEqual(values);
      expect(unpacked.biases).toEqual([...bias]);
      if ('scale' in source) expect(unpacked.scales).toEqual([...scale]);
    }
  });

  it('of groups take 17 bytes for 8 columns and refuse what does not fit', () => {
    const fitting = { ...matrix, weight: weight.map((w, i) => ((i % COLS) % 8 < 4 ? w : 0)) };
    expect(packGroups(fitting).length).toBe(ROWS * (4 + 4 * 17));
    const wide = { weight: new Float32Array(ROWS * 64), rows: ROWS, cols: 64, rowStride: 64, colStride: 1 };
    expect(packGroups(wide).length).toBe(ROWS * (4 + 8 * 17));
    expect(() => packGroups({ ...matrix, weight: new Float32Array(ROWS * COLS).fill(1) })).toThrow(
      'row 0 has more than 4 nonzeros',
    );
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

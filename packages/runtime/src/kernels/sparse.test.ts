import { describe, expect, it } from 'vitest';
import type { Matrix } from './pack.ts';
import type { Pattern } from './pattern.ts';
import { sparseProduct } from './sparse.ts';
import { bench } from './testing.ts';

/** A small generator, so that failures repeat. */
function generator(seed: number) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const random = generator(7);
const signed = (length: number) => Float32Array.from({ length }, () => random() * 2 - 1);

/** Random weights [rows, cols] with the zeros of a pattern. Some rows (blocks) are empty. */
function sparse(rows: number, cols: number, density: number, pattern: Pattern): Float32Array {
  const weight = new Float32Array(rows * cols);
  const value = () => random() + 0.1;
  if (pattern.kind === 'nm') {
    for (let group = 0; group < rows * Math.ceil(cols / pattern.m); group++) {
      const row = Math.floor(group / Math.ceil(cols / pattern.m));
      const col = (group % Math.ceil(cols / pattern.m)) * pattern.m;
      for (let n = 0; n < pattern.n; n++) {
        const c = col + Math.floor(random() * pattern.m);
        if (c < cols) weight[row * cols + c] = value();
      }
    }
    return weight;
  }
  const height = pattern.kind === 'block' ? pattern.rows : 1;
  for (let first = 0; first < rows; first += height) {
    if (first === height) continue;
    for (let col = 0; col < cols; col++) {
      if (random() >= density) continue;
      for (let row = first; row < Math.min(rows, first + height); row++) weight[row * cols + col] = value();
    }
  }
  return weight;
}

const matrixOf = (weight: Float32Array | Int8Array, rows: number, cols: number): Matrix => ({
  weight,
  rows,
  cols,
  rowStride: cols,
  colStride: 1,
});

/** W · X + bias, in float64: [rows, pixels]. */
function product(
  { weight, rows, cols, rowStride, colStride, bias, scale }: Matrix,
  x: ArrayLike<number>,
  pixels: number,
) {
  const y = new Float64Array(rows * pixels);
  for (let row = 0; row < rows; row++) {
    const factor = scale?.[scale.length === 1 ? 0 : row] ?? 1;
    for (let p = 0; p < pixels; p++) {
      let sum = 0;
      for (let col = 0; col < cols; col++) sum += weight[row * rowStride + col * colStride] * x[col * pixels + p];
      y[row * pixels + p] = sum * factor + (bias?.[row] ?? 0);
    }
  }
  return y;
}

const clampTo = (value: number, lo: number, hi: number) => Math.min(Math.max(value, lo), hi);

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string) {
  expect(actual.length, what).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i] - expected[i]);
    if (!(error <= 2e-5 * Math.max(1, Math.abs(expected[i])))) {
      expect.fail(`${what}: element ${i} is ${actual[i]}, expected ${expected[i]}`);
    }
  }
}

const BUILDS = ['simd', 'relaxed'] as const;
const CSR: Pattern = { kind: 'csr' };
const PATTERNS: Pattern[] = [
  CSR,
  ...[2, 4, 8, 16].map(rows => ({ kind: 'block', rows }) as const),
  { kind: 'nm', n: 2, m: 4 },
];
const GUARD = 12345.5;

describe.each(BUILDS)('sparse × dense, %s', build => {
  it.each(PATTERNS)('equals the dense product for every number of pixels: $kind $rows', async pattern => {
    for (const threads of [1, 2, 3]) {
      const b = await bench(build, threads);
      for (const wide of [false, true]) {
        for (const pixels of [1, 2, 3, 4, 5, 7, 12, 17, 24, 29, 31, 32, 33, 47, 48, 49, 50, 64, 67, 96, 99, 196]) {
          const [rows, cols] = [21, 13];
          const bias = signed(rows);
          const matrix = { ...matrixOf(sparse(rows, cols, 0.4, pattern), rows, cols), bias };
          const x = signed(2 * cols * pixels);
          const residual = signed(2 * rows * pixels);
          const y = b.put(new Float32Array(2 * rows * pixels + 8).fill(GUARD));
          const [lo, hi] = pixels % 2 ? [-0.5, 0.75] : [-Infinity, Infinity];
          const what = `${pixels} pixels, ${threads} threads, ${wide ? 'wide' : ''}`;
          sparseProduct(
            b,
            { ...matrix, pattern, wide, key: what },
            {
              x: b.put(x),
              y,
              pixels,
              batch: 2,
              lo,
              hi,
              residual: pixels % 3 ? b.put(residual) : undefined,
            },
          );
          const expected = [0, 1].flatMap(image => {
            const part = product(matrix, x.subarray(image * cols * pixels), pixels);
            return [...part].map((v, i) => clampTo(v + (pixels % 3 ? residual[image * rows * pixels + i] : 0), lo, hi));
          });
          expectClose(b.view(y, expected.length), expected, what);
          expect([...b.view(y + expected.length * 4, 8)], what).toEqual(new Array(8).fill(GUARD));
        }
      }
    }
  });

  it('takes int8 weights with a scale for each row, or one', async () => {
    const b = await bench(build, 2);
    for (const pixels of [1, 6, 16, 30, 49, 64]) {
      for (const scale of [signed(11), signed(1)]) {
        const weight = Int8Array.from(sparse(11, 20, 0.3, CSR), v => v * 100);
        const matrix = { ...matrixOf(weight, 11, 20), bias: signed(11), scale };
        const x = signed(20 * pixels);
        const y = b.floats(11 * pixels);
        sparseProduct(b, { ...matrix, pattern: CSR, key: `${pixels} ${scale.length}` }, { x: b.put(x), y, pixels });
        expectClose(b.view(y, 11 * pixels), product(matrix, x, pixels), `${pixels} pixels`);
      }
    }
  });

  it('keeps NaN and infinities of the input', async () => {
    const b = await bench(build);
    const y = b.floats(8);
    const x = b.put(Float32Array.of(NaN, Infinity, -Infinity, 1, 2, 3, 4, 5));
    const weights = { ...matrixOf(Float32Array.of(1, 0, 0, 1), 2, 2), pattern: CSR, key: 'w' };
    sparseProduct(b, weights, { x, y, pixels: 4, lo: 0, hi: 6 });
    expect([...b.view(y, 8)]).toEqual([NaN, 6, 0, 1, 2, 3, 4, 5]);
  });
});

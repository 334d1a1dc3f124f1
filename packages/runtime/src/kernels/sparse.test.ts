import { describe, expect, it } from 'vitest';
import type { Matrix } from './pack.ts';
import type { Pattern } from './pattern.ts';
import { sparseProduct, sparseTokens, sparseVector } from './sparse.ts';
import { type Geometry, sparseConvolution } from './sparse-convolution.ts';
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

/** x · Wᵀ + bias, row-major. */
function linear(matrix: Matrix, x: Float32Array, tokens: number): Float64Array {
  const y = new Float64Array(tokens * matrix.rows);
  for (let token = 0; token < tokens; token++) {
    y.set(product(matrix, x.subarray(token * matrix.cols, (token + 1) * matrix.cols), 1), token * matrix.rows);
  }
  return y;
}

describe.each(BUILDS)('dense × sparse tokens, %s', build => {
  const patterns: Pattern[] = [...PATTERNS, { kind: 'nm', n: 4, m: 8 }, { kind: 'nm', n: 1, m: 16 }];
  it.each(patterns)('equals the dense product for every number of tokens: $kind $rows$n:$m', async pattern => {
    for (const threads of [1, 3]) {
      const b = await bench(build, threads);
      for (const tokens of [1, 2, 3, 4, 5, 8, 23, 24, 31, 32, 33, 49, 64, 97]) {
        for (const [rows, cols] of [
          [1, 1],
          [21, 13],
          [70, 8],
          [6, 39],
        ]) {
          const transposed = tokens % 2 === 1;
          const stored = sparse(rows, cols, 0.4, pattern);
          const weight = transposed
            ? Float32Array.from(stored, (_, i) => stored[(i % rows) * cols + Math.floor(i / rows)])
            : stored;
          const [rowStride, colStride] = transposed ? [1, rows] : [cols, 1];
          const matrix = { weight, rows, cols, rowStride, colStride, bias: rows > 6 ? signed(rows) : undefined };
          const x = signed(tokens * cols);
          const add = tokens % 3 ? signed(tokens * rows) : undefined;
          const [lo, hi] = tokens % 2 ? [-0.5, 0.75] : [-Infinity, Infinity];
          const expected = Array.from(linear(matrix, x, tokens), (v, i) => clampTo(v + (add?.[i] ?? 0), lo, hi));
          const [xAt, residual] = [b.put(x), add && b.put(add)];
          for (const wide of [false, true]) {
            const what = `${tokens} tokens, [${rows}, ${cols}], ${threads} threads`;
            const weights = { ...matrix, pattern, wide, key: `${what} ${wide}` };
            for (const emit of [sparseTokens, sparseVector]) {
              const y = b.put(new Float32Array(tokens * rows + 8).fill(GUARD));
              emit(b, weights, { x: xAt, y, tokens, lo, hi, residual });
              expectClose(b.view(y, expected.length), expected, `${emit.name}, ${what}`);
              expect([...b.view(y + expected.length * 4, 8)], what).toEqual(new Array(8).fill(GUARD));
            }
          }
        }
      }
    }
  });

  it('takes int8 weights and very many columns', async () => {
    const b = await bench(build, 2);
    for (const [rows, cols, pattern] of [
      [9, 33, CSR],
      [9, 40, { kind: 'nm', n: 2, m: 4 }],
      [3, 70000, CSR],
      [3, 70000, { kind: 'block', rows: 2 }],
    ] as [number, number, Pattern][]) {
      for (const tokens of [1, 5, 37]) {
        const floats = sparse(rows, cols, cols > 1000 ? 0.02 : 0.3, pattern);
        const quantised = pattern.kind !== 'block';
        const weight = quantised ? Int8Array.from(floats, v => v && (v - 0.6) * 200) : floats;
        const scale = quantised ? signed(tokens % 2 ? rows : 1).map(v => v / 50) : undefined;
        const matrix = { ...matrixOf(weight, rows, cols), scale, bias: signed(rows) };
        const x = signed(tokens * cols);
        for (const emit of [sparseTokens, sparseVector]) {
          const y = b.floats(tokens * rows);
          emit(
            b,
            { ...matrix, pattern, key: `${emit.name} ${cols} ${tokens} ${pattern.kind}` },
            { x: b.put(x), y, tokens },
          );
          const actual = b.view(y, tokens * rows);
          const expected = linear(matrix, x, tokens);
          const worst = Math.max(...expected.map((v, i) => Math.abs(v - actual[i]) / (1 + Math.abs(v))));
          expect(worst, `${emit.name} [${rows}, ${cols}] × ${tokens}`).toBeLessThan(1e-4);
        }
      }
    }
  });

  it('lets no infinity through where the weight is zero', async () => {
    const b = await bench(build);
    for (const pattern of [CSR, { kind: 'nm', n: 2, m: 4 }] as Pattern[]) {
      const y = b.floats(1);
      const weights = { ...matrixOf(Float32Array.of(0, 2, 0, 0, 3), 1, 5), pattern, key: pattern.kind };
      sparseVector(b, weights, { x: b.put(Float32Array.of(NaN, 1, Infinity, NaN, 1)), y, tokens: 1 });
      expect(b.view(y, 1)[0], pattern.kind).toBe(5);
    }
  });
});

/** Convolution by its definition. */
function convolve(matrix: Matrix, x: Float32Array, g: Geometry): { y: Float64Array; pixels: number } {
  const out = [0, 1].map(
    a =>
      Math.floor(
        ([g.height, g.width][a] + g.pads[a] + g.pads[a + 2] - (g.kernel[a] - 1) * g.dilations[a] - 1) / g.strides[a],
      ) + 1,
  );
  const pixels = out[0] * out[1];
  const per = g.channels / g.groups;
  const y = new Float64Array(g.batch * matrix.rows * pixels);
  for (let i = 0; i < y.length; i++) {
    const [n, o, oy, ox] = [
      Math.floor(i / pixels / matrix.rows),
      Math.floor(i / pixels) % matrix.rows,
      Math.floor(i / out[1]) % out[0],
      i % out[1],
    ];
    let sum = matrix.bias?.[o] ?? 0;
    for (let tap = 0; tap < matrix.cols; tap++) {
      const channel = Math.floor(o / (matrix.rows / g.groups)) * per + Math.floor(tap / (g.kernel[0] * g.kernel[1]));
      const h = oy * g.strides[0] - g.pads[0] + (Math.floor(tap / g.kernel[1]) % g.kernel[0]) * g.dilations[0];
      const w = ox * g.strides[1] - g.pads[1] + (tap % g.kernel[1]) * g.dilations[1];
      if (h < 0 || w < 0 || h >= g.height || w >= g.width) continue;
      sum += matrix.weight[o * matrix.cols + tap] * x[((n * g.channels + channel) * g.height + h) * g.width + w];
    }
    y[i] = sum;
  }
  return { y, pixels };
}

describe.each(BUILDS)('sparse convolution, %s', build => {
  const base: Geometry = {
    batch: 1,
    channels: 4,
    height: 9,
    width: 11,
    kernel: [3, 3],
    strides: [1, 1],
    dilations: [1, 1],
    pads: [1, 1, 1, 1],
    groups: 1,
  };
  const cases: [string, Partial<Geometry>][] = [
    ['3×3', {}],
    ['3×3 on 7×7', { height: 7, width: 7 }],
    ['3×3 on 14×14, two images', { height: 14, width: 14, batch: 2 }],
    ['3×3 on 28×28', { height: 28, width: 28, channels: 2 }],
    ['no padding', { pads: [0, 0, 0, 0] }],
    ['stride 2', { strides: [2, 2] }],
    ['stride 2, even size, odd padding', { strides: [2, 2], height: 8, width: 12, pads: [0, 0, 1, 1] }],
    ['1×1 stride 2', { kernel: [1, 1], strides: [2, 2], pads: [0, 0, 0, 0] }],
    ['1×1 stride 1', { kernel: [1, 1], pads: [0, 0, 0, 0], batch: 2 }],
    ['1×1 with padding', { kernel: [1, 1], pads: [2, 1, 0, 1] }],
    ['5×5 stride 3', { kernel: [5, 5], strides: [3, 3], pads: [2, 2, 2, 2] }],
    ['dilation', { dilations: [2, 3], pads: [2, 3, 2, 3] }],
    ['dilation and stride', { dilations: [3, 2], pads: [3, 1, 0, 2], strides: [2, 1] }],
    ['1×7', { kernel: [1, 7], pads: [0, 3, 0, 3] }],
    ['groups', { groups: 2, batch: 2 }],
    ['depthwise', { groups: 4, strides: [2, 2] }],
    ['kernel larger than the image', { height: 2, width: 2, kernel: [5, 5], pads: [2, 2, 2, 2] }],
    ['padding larger than the kernel', { height: 2, width: 3, kernel: [2, 2], pads: [4, 3, 5, 4] }],
    ['stride larger than the image', { height: 3, width: 2, kernel: [2, 2], pads: [0, 0, 0, 0], strides: [5, 5] }],
  ];
  it.each(cases)('%s', async (name, change) => {
    const g: Geometry = { ...base, ...change };
    for (const threads of [1, 2, 3]) {
      const b = await bench(build, threads);
      for (const pattern of [CSR, { kind: 'block', rows: 2 }, { kind: 'block', rows: 16 }] as Pattern[]) {
        for (const wide of [false, true]) {
          const rows = g.groups * (pattern.kind === 'block' ? 5 : 6);
          const cols = (g.channels / g.groups) * g.kernel[0] * g.kernel[1];
          const matrix = { ...matrixOf(sparse(rows, cols, 0.4, pattern), rows, cols), bias: signed(rows) };
          const x = signed(g.batch * g.channels * g.height * g.width);
          const { y: plain } = convolve(matrix, x, g);
          const add = wide ? signed(plain.length) : undefined;
          const y = b.put(new Float32Array(plain.length + 8).fill(GUARD));
          const [lo, hi] = wide ? [0, 1] : [-Infinity, Infinity];
          const key = `${pattern.kind === 'block' ? pattern.rows : ''} ${wide}`;
          const io = { x: b.put(x), y, geometry: g, lo, hi, residual: add && b.put(add) };
          sparseConvolution(b, { ...matrix, pattern, wide, key }, io);
          const what = `${name}, ${pattern.kind}, ${threads} threads`;
          expectClose(
            b.view(y, plain.length),
            plain.map((v, i) => clampTo(v + (add?.[i] ?? 0), lo, hi)),
            what,
          );
          expect([...b.view(y + plain.length * 4, 8)], what).toEqual(new Array(8).fill(GUARD));
        }
      }
    }
  });
});

describe.each(BUILDS)('more columns than the first-level cache holds, %s', build => {
  it.each([CSR, { kind: 'block', rows: 4 }] as Pattern[])('are done in chunks: $kind', async pattern => {
    const [rows, cols, pixels] = [10, 900, 52];
    for (const [threads, wide] of [
      [1, false],
      [2, true],
    ] as const) {
      const b = await bench(build, threads);
      const matrix = { ...matrixOf(sparse(rows, cols, 0.4, pattern), rows, cols), bias: signed(rows) };
      const [x, add] = [signed(cols * pixels), signed(rows * pixels)];
      const [lo, hi] = [-1, 20];
      const [xAt, residual, y] = [b.put(x), b.put(add), b.floats(rows * pixels)];
      const close = (expected: Float64Array, what: string) =>
        expectClose(
          b.view(y, expected.length),
          expected.map((v, i) => clampTo(v + add[i], lo, hi)),
          what,
        );
      const weights = { ...matrix, pattern, wide, key: 'w' };
      sparseProduct(b, weights, { x: xAt, y, pixels, lo, hi, residual });
      close(product(matrix, x, pixels), 'pixels');
      sparseTokens(b, weights, { x: xAt, y, tokens: pixels, lo, hi, residual });
      close(linear(matrix, x, pixels), 'tokens');
      const pair = (n: number) => [n, n] as const;
      const geometry: Geometry = {
        ...{ batch: 1, channels: 100, height: 4, width: 13, groups: 1, pads: [1, 1, 1, 1] },
        ...{ kernel: pair(3), strides: pair(1), dilations: pair(1) },
      };
      sparseConvolution(b, weights, { x: xAt, y, geometry, lo, hi, residual });
      close(convolve(matrix, x, geometry).y, 'window');
    }
  });
});

import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import {
  adaptiveAveragePool,
  adaptiveMaxPool,
  averagePool,
  globalAveragePool,
  globalMaxPool,
  maxPool,
  type PoolOptions,
} from './pool.ts';

const image = (x: readonly (readonly number[])[]): Tensor => tensor(x.flat(), [1, 1, x.length, x[0].length]);
const gradient = async (y: Tensor, x: Tensor) => (await gradients(y.sum(), [x])[0].tolist()) as number[][][][];

const CASES: [string, number[], number | number[], PoolOptions][] = [
  ['tiles', [2, 2, 4, 6], 2, {}],
  ['tiles with a rest', [2, 2, 5, 7], 2, {}],
  ['tiles, ceil', [1, 2, 5, 5], 2, { ceilMode: true }],
  ['overlap and padding', [1, 2, 7, 6], 3, { stride: 2, padding: 1 }],
  ['overlap, ceil', [1, 2, 6, 6], 3, { stride: 2, ceilMode: true }],
  ['ceil, but the last window would start in the padding', [1, 1, 5, 5], 2, { stride: 3, padding: 1, ceilMode: true }],
  ['ceil with gaps between windows', [1, 2, 6, 7], 2, { stride: 4, ceilMode: true }],
  ['dilation', [1, 2, 7, 7], [2, 3], { stride: 1, dilation: 2 }],
  ['lines', [2, 3, 9], 3, { stride: 2 }],
  ['volumes', [1, 2, 4, 4, 5], [2, 3, 2], { stride: [2, 1, 2], padding: [0, 1, 1] }],
];

/** Values in the window of each output along one axis: positions, and how many with `begin`/`end` padding counted. */
function windows(n: number, k: number, stride: number, dilation: number, padding: number, ceil: boolean) {
  const span = dilation * (k - 1) + 1;
  let out = (ceil ? Math.ceil : Math.floor)((n + 2 * padding - span) / stride) + 1;
  if (ceil && (out - 1) * stride >= n + padding) out--;
  return Array.from({ length: out }, (_, o) => {
    const all = Array.from({ length: k }, (_, t) => o * stride - padding + t * dilation);
    return { inside: all.filter(p => p >= 0 && p < n), counted: all.filter(p => p < n + padding).length };
  });
}

/** Pools by definition, for all ranks: lists the values of each window. */
async function byDefinition(
  x: Tensor,
  kernel: number | number[],
  o: PoolOptions,
  reduce: (values: number[], counted: number) => number,
): Promise<number[]> {
  const data = await x.data();
  const space = x.shape.slice(2);
  const pick = (v: unknown, i: number, otherwise: number) => (Array.isArray(v) ? v[i] : (v ?? otherwise)) as number;
  const axes = space.map((n, i) => {
    const k = pick(kernel, i, 1);
    return windows(n, k, pick(o.stride, i, k), pick(o.dilation, i, 1), pick(o.padding, i, 0), o.ceilMode ?? false);
  });
  const out: number[] = [];
  const visit = (axis: number, places: number[], counted: number): void => {
    if (axis === axes.length) {
      out.push(
        reduce(
          places.map(p => data[p]),
          counted,
        ),
      );
      return;
    }
    for (const w of axes[axis]) {
      visit(
        axis + 1,
        places.flatMap(p => w.inside.map(q => p * space[axis] + q)),
        counted * w.counted,
      );
    }
  };
  for (let i = 0; i < x.shape[0] * x.shape[1]; i++) visit(0, [i], 1);
  return out;
}

async function expectClose(y: Tensor, expected: readonly number[]): Promise<void> {
  const data = await y.data();
  expect(data.length).toBe(expected.length);
  expected.forEach((e, i) => {
    expect(Math.abs(data[i] - e)).toBeLessThan(1e-5);
  });
}

describe('maxPool', () => {
  it.each(CASES)('takes the largest of each window: %s', async (_, shape, kernel, o) => {
    const x = randn(shape).sub(10);
    await expectClose(maxPool(x, kernel, o), await byDefinition(x, kernel, o, v => Math.max(...v)));
  });

  it.each(CASES)('has first and second derivatives: %s', async (_, shape, kernel, o) => {
    // Distinct values, so that no small step changes which is the largest.
    const n = shape.reduce((a, b) => a * b, 1);
    const x = tensor(
      Float32Array.from({ length: n }, (_, i) => ((i * 37) % n) / 10 - 8),
      shape,
    );
    await checkGradients(t => maxPool(t, kernel, o).square(), [x], { tolerance: 2e-2, samples: 6 });
  });

  it('gives the gradient to the first of equal values', async () => {
    const x = image([
      [0, 1, 2, 2],
      [1, 1, 2, 2],
      [-1, -1, 0, 0],
      [-1, -1, 0, 0],
    ]);
    const expected = [
      [0, 1, 1, 0],
      [0, 0, 0, 0],
      [1, 0, 1, 0],
      [0, 0, 0, 0],
    ];
    expect(await gradient(maxPool(x, 2), x)).toEqual([[expected]]);
  });

  it('never gives the gradient to padding that equals the maximum', async () => {
    const x = image([
      [0, 0],
      [0, 0],
    ]);
    const expected = [
      [4, 0],
      [0, 0],
    ];
    expect(await gradient(maxPool(x, 3, { stride: 1, padding: 1 }), x)).toEqual([[expected]]);
  });

  it('says what does not fit', () => {
    expect(() => maxPool(randn([2, 3]), 2)).toThrow('maxPool: input [2, 3], expected [batch, channels, ...space]');
    expect(() => maxPool(randn([1, 1, 4, 4]), 5)).toThrow('a window of [5, 5] does not fit into [4, 4]');
    expect(() => maxPool(randn([1, 1, 4, 4]), 2, { padding: 2 })).toThrow('must be smaller than the window');
    expect(() => maxPool(randn([1, 1, 4, 4]), [2, 2, 2])).toThrow('maxPool: kernel [2,2,2]');
  });
});

describe('averagePool', () => {
  const sum = (v: number[]) => v.reduce((a, b) => a + b, 0);
  it.each(CASES)('averages each window: %s', async (_, shape, kernel, o) => {
    const x = randn(shape);
    await expectClose(averagePool(x, kernel, o), await byDefinition(x, kernel, o, (v, counted) => sum(v) / counted));
    const without = averagePool(x, kernel, { ...o, countIncludePad: false });
    await expectClose(without, await byDefinition(x, kernel, o, v => sum(v) / v.length));
  });

  it.each(CASES)('has first and second derivatives: %s', async (_, shape, kernel, o) => {
    await checkGradients(x => averagePool(x, kernel, o).square(), [randn(shape)], { samples: 6 });
    const without = { ...o, countIncludePad: false };
    await checkGradients(x => averagePool(x, kernel, without), [randn(shape)], { samples: 6, second: false });
  });
});

describe('global and adaptive pooling', () => {
  const x = randn([2, 3, 6, 5]);

  it('global pooling keeps the axes', async () => {
    expect(globalAveragePool(x).shape).toEqual([2, 3, 1, 1]);
    await expectClose(globalAveragePool(x), [...(await x.mean([2, 3]).data())]);
    await expectClose(globalMaxPool(x), [...(await x.max([2, 3]).data())]);
  });

  it.each([[1], [2], [3], [[2, 4]], [[6, 5]], [[4, 3]]])('cuts space into a grid of %j', async size => {
    const [rows, columns] = typeof size === 'number' ? [size, size] : size;
    const part = (n: number, out: number, o: number) => [Math.floor((o * n) / out), Math.ceil(((o + 1) * n) / out)];
    const cells = (f: (cell: Tensor) => Tensor): Promise<number[]> =>
      Promise.all(
        Array.from({ length: 2 * 3 * rows * columns }, async (_, i) => {
          const [n, c, r, s] = [
            Math.floor(i / (3 * rows * columns)),
            Math.floor(i / (rows * columns)) % 3,
            Math.floor(i / columns) % rows,
            i % columns,
          ];
          const [top, bottom] = part(6, rows, r);
          const [left, right] = part(5, columns, s);
          const plane = x.slice(0, n, n + 1).slice(1, c, c + 1);
          return f(plane.slice(2, top, bottom).slice(3, left, right)).item();
        }),
      );
    await expectClose(adaptiveAveragePool(x, size), await cells(t => t.mean()));
    await expectClose(adaptiveMaxPool(x, size), await cells(t => t.max()));
    await checkGradients(t => adaptiveAveragePool(t, size).square(), [x], { samples: 4 });
    await checkGradients(t => adaptiveMaxPool(t, size), [x.mul(8)], { samples: 4, second: false, eps: 1e-3 });
  });
});

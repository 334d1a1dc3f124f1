import { describe, expect, it } from 'vitest';
import { sizeOf } from '../dtype.ts';
import { gradients } from '../gradients.ts';
import { encodeOnnx } from '../onnx/encode.ts';
import { exportOnnx } from '../onnx/export.ts';
import { Parameter } from '../parameter.ts';
import { loadExecutable } from '../realize.ts';
import type { Tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { type ConvOptions, type ConvTransposeOptions, conv, convTranspose } from './conv.ts';

/** Every index of a shape, in row-major order. */
function* indices(shape: readonly number[]): Generator<number[]> {
  const at = shape.map(() => 0);
  for (let n = sizeOf(shape); n > 0; n--) {
    yield [...at];
    for (let i = shape.length - 1; i >= 0 && ++at[i] === shape[i]; i--) at[i] = 0;
  }
}
const offset = (shape: readonly number[], at: readonly number[]): number => at.reduce((n, p, i) => n * shape[i] + p, 0);

interface Geometry {
  stride: readonly number[];
  dilation: readonly number[];
  begin: readonly number[];
  groups: number;
}

/** Calls `visit(x index, w index, y index)` for every product of the convolution y = x ∗ w. */
function visitProducts(
  [xs, ws, ys]: readonly (readonly number[])[],
  { stride, dilation, begin, groups }: Geometry,
  visit: (x: number, w: number, y: number) => void,
): void {
  const [outer, inner, ...kernel] = ws;
  for (const y of indices(ys)) {
    for (const tap of indices([inner, ...kernel])) {
      const group = Math.floor(y[1] / (outer / groups));
      const place = kernel.map((_, i) => y[i + 2] * stride[i] - begin[i] + tap[i + 1] * dilation[i]);
      if (place.some((p, i) => p < 0 || p >= xs[i + 2])) continue;
      visit(offset(xs, [y[0], group * inner + tap[0], ...place]), offset(ws, [y[1], ...tap]), offset(ys, y));
    }
  }
}

const list = (v: number | readonly number[] | undefined, rank: number, otherwise: number): number[] =>
  typeof v === 'object' ? [...v] : new Array<number>(rank).fill(v ?? otherwise);

function geometry(rank: number, o: ConvOptions | ConvTransposeOptions): Geometry {
  const padding = o.padding ?? 0;
  return {
    stride: list(o.stride, rank, 1),
    dilation: list(o.dilation, rank, 1),
    begin:
      typeof padding === 'object'
        ? padding.map(p => (typeof p === 'number' ? p : p[0]))
        : list(padding as number, rank, 0),
    groups: o.groups ?? 1,
  };
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) expect(Math.abs(actual[i] - expected[i])).toBeLessThan(1e-4);
}

const CASES: [string, number[], number[], ConvOptions][] = [
  ['images', [2, 3, 6, 5], [4, 3, 3, 2], {}],
  ['padding', [2, 3, 6, 5], [4, 3, 3, 3], { padding: 1 }],
  ['stride', [2, 3, 7, 6], [4, 3, 3, 3], { padding: 1, stride: 2 }],
  [
    'everything at once',
    [2, 2, 6, 5],
    [2, 2, 3, 2],
    {
      padding: [
        [0, 2],
        [1, 0],
      ],
      stride: [2, 1],
      dilation: [1, 2],
    },
  ],
  ['padding beyond the kernel', [1, 2, 4, 4], [2, 2, 2, 2], { padding: 3 }],
  ['groups', [2, 4, 5, 5], [6, 2, 3, 3], { padding: 1, groups: 2 }],
  ['depthwise', [2, 6, 5, 4], [6, 1, 3, 2], { padding: 1, groups: 6 }],
  ['depthwise, stride, multiplier', [2, 4, 6, 6], [8, 1, 3, 3], { padding: 1, groups: 4, stride: 2 }],
  ['depthwise, dilation', [2, 8, 7, 7], [8, 1, 3, 2], { padding: 2, groups: 8, dilation: 2 }],
  ['lines', [2, 3, 9], [4, 3, 3], { stride: 2, padding: 1 }],
  ['volumes', [1, 2, 4, 4, 3], [3, 2, 2, 3, 2], { padding: 1 }],
  ['depthwise volumes', [1, 3, 4, 4, 3], [3, 1, 2, 3, 2], { padding: 1, groups: 3 }],
  ['1×1', [2, 3, 4, 5], [4, 3, 1, 1], {}],
  ['1×1, stride', [2, 3, 5, 5], [4, 3, 1, 1], { stride: 2 }],
  ['few channels from many', [2, 2, 5, 5], [9, 2, 3, 3], {}],
  ['many channels, few positions', [2, 8, 2, 2], [9, 8, 3, 3], { padding: 1 }],
];

describe('conv', () => {
  it.each(CASES)('matches the sum over taps: %s', async (_, xs, ws, o) => {
    const [x, w, bias] = [randn(xs, 1), randn(ws, 2), randn([ws[0]], 3)];
    const y = conv(x, w, { ...o, bias });
    const [xd, wd, bd, yd] = await Promise.all([x, w, bias, y].map(t => t.data()));
    const positions = sizeOf(y.shape.slice(2));
    const expected = yd.map((_, i) => bd[Math.floor(i / positions) % ws[0]]);
    visitProducts([xs, ws, y.shape], geometry(xs.length - 2, o), (i, j, k) => {
      expected[k] += xd[i] * wd[j];
    });
    expectClose(yd, expected);
  });

  it.each(CASES)('gradients match the sum over taps: %s', async (_, xs, ws, o) => {
    const [x, w, bias] = [randn(xs, 1), randn(ws, 2), randn([ws[0]], 3)];
    const y = conv(x, w, { ...o, bias });
    const seed = randn(y.shape, 4);
    const [gx, gw, gb] = gradients(y, [x, w, bias], seed);
    const [xd, wd, sd] = await Promise.all([x, w, seed].map(t => t.data()));
    const [ex, ew, eb] = [new Float32Array(xd.length), new Float32Array(wd.length), new Float32Array(ws[0])];
    visitProducts([xs, ws, y.shape], geometry(xs.length - 2, o), (i, j, k) => {
      ex[i] += wd[j] * sd[k];
      ew[j] += xd[i] * sd[k];
    });
    const positions = sizeOf(y.shape.slice(2));
    sd.forEach((g, i) => {
      eb[Math.floor(i / positions) % ws[0]] += g;
    });
    expectClose(await gx.data(), ex);
    expectClose(await gw.data(), ew);
    expectClose(await gb.data(), eb);
  });

  it.each([CASES[2], CASES[3], CASES[5], CASES[6], CASES[7], CASES[9], CASES[11], CASES[14], CASES[15]])(
    'has second derivatives: %s',
    async (_, xs, ws, o) => {
      const f = (x: Tensor, w: Tensor, bias: Tensor) => conv(x, w, { ...o, bias });
      await checkGradients(f, [randn(xs, 1), randn(ws, 2), randn([ws[0]], 3)], { samples: 6 });
    },
  );

  it('exports its gradient with standard operators and a dynamic batch', async () => {
    const [w, d] = [new Parameter(randn([8, 3, 3, 3], 1)), new Parameter(randn([8, 1, 3, 3], 2))];
    const slopes = (x: Tensor) => {
      const y = conv(conv(x, w, { stride: 2 }), d, { groups: 8, padding: 1 });
      return { w: gradients(y.square().sum(), [w])[0], d: gradients(y.square().sum(), [d])[0] };
    };
    const model = await exportOnnx(slopes, { x: { dtype: 'float32', shape: [2, 3, 9, 9] } });
    expect(model.graph.nodes.filter(node => node.domain !== '')).toEqual([]);
    const executable = await loadExecutable(encodeOnnx(model));
    const x = randn([4, 3, 9, 9], 3);
    const outputs = await executable.run([await x.array()]);
    const expected = slopes(x);
    for (const [i, name] of executable.outputNames.entries()) {
      const e = await expected[name as 'w' | 'd'].data();
      outputs[i].forEach((v, j) => {
        expect(Math.abs(Number(v) - e[j])).toBeLessThan(1e-4 * Math.max(1, Math.abs(e[j])) + 1e-3);
      });
    }
    await executable.release();
  });

  it('pads for ⌈size / stride⌉ outputs', async () => {
    const [x, w] = [randn([1, 2, 5, 6]), randn([2, 2, 4, 3], 1)];
    const same = conv(x, w, { padding: 'same', stride: 2 });
    const lower = conv(x, w, { padding: 'sameLower', stride: 2 });
    expect(same.shape).toEqual([1, 2, 3, 3]);
    // 5 rows, stride 2, kernel 4: 3 zeros in all; 6 columns, kernel 3: 1.
    expectClose(
      await same.data(),
      await conv(x, w, {
        padding: [
          [1, 2],
          [0, 1],
        ],
        stride: 2,
      }).data(),
    );
    expectClose(
      await lower.data(),
      await conv(x, w, {
        padding: [
          [2, 1],
          [1, 0],
        ],
        stride: 2,
      }).data(),
    );
  });

  it('says what does not fit', () => {
    const x = randn([1, 4, 5, 5]);
    expect(() => conv(x, randn([2, 3, 3, 3]))).toThrow(
      'conv: input [1, 4, 5, 5], weight [2, 3, 3, 3], groups 1: expected a weight [outputs (a multiple of groups), 4 / groups, ...kernel]',
    );
    expect(() => conv(x, randn([3, 2, 3, 3]), { groups: 2 })).toThrow('groups 2');
    expect(() => conv(x, randn([2, 4, 3]))).toThrow('expected equal ranks');
    expect(() => conv(x, randn([2, 4, 7, 3]))).toThrow('a window of [7, 3] does not fit into [5, 5]');
    expect(() => conv(x, randn([2, 4, 3, 3]), { bias: randn([3]) })).toThrow('bias [3], expected [2]');
    expect(() => conv(x, randn([2, 4, 3, 3]), { stride: [1, 2, 3] })).toThrow('conv: stride [1,2,3]');
    expect(() => conv(x, randn([2, 4, 3, 3]), { padding: -1 })).toThrow('conv: padding -1');
    expect(() => conv(x, randn([2, 4, 3, 3], 0).cast('float64'))).toThrow('dtypes float32 and float64 differ');
  });
});

const TRANSPOSED: [string, number[], number[], ConvTransposeOptions][] = [
  ['images', [2, 3, 4, 5], [3, 4, 3, 2], {}],
  ['stride', [2, 3, 4, 3], [3, 2, 3, 3], { padding: 1, stride: 2, outputPadding: 1 }],
  [
    'groups',
    [2, 4, 4, 3],
    [4, 2, 3, 3],
    {
      padding: [
        [0, 1],
        [1, 0],
      ],
      stride: 2,
      groups: 2,
    },
  ],
  ['dilation', [1, 2, 4, 3], [2, 2, 3, 2], { dilation: [1, 2], stride: [2, 1] }],
  ['lines', [2, 4, 4], [4, 2, 3], { stride: 3 }],
  ['volumes', [1, 2, 2, 3, 2], [2, 2, 2, 2, 3], { stride: 2 }],
];

describe('convTranspose', () => {
  it.each(TRANSPOSED)('scatters what conv gathers: %s', async (_, xs, ws, o) => {
    const [x, w, bias] = [randn(xs, 1), randn(ws, 2), randn([ws[1] * (o.groups ?? 1)], 3)];
    const y = convTranspose(x, w, { ...o, bias });
    const [xd, wd, bd, yd] = await Promise.all([x, w, bias, y].map(t => t.data()));
    const positions = sizeOf(y.shape.slice(2));
    const expected = yd.map((_, i) => bd[Math.floor(i / positions) % y.shape[1]]);
    visitProducts([y.shape, ws, xs], geometry(xs.length - 2, o), (i, j, k) => {
      expected[i] += xd[k] * wd[j];
    });
    expectClose(yd, expected);
  });

  it.each(TRANSPOSED)('has first and second derivatives: %s', async (_, xs, ws, o) => {
    const f = (x: Tensor, w: Tensor, bias: Tensor) => convTranspose(x, w, { ...o, bias });
    await checkGradients(f, [randn(xs, 1), randn(ws, 2), randn([ws[1] * (o.groups ?? 1)], 3)], { samples: 6 });
  });

  it('says what does not fit', () => {
    const x = randn([1, 4, 5, 5]);
    expect(() => convTranspose(x, randn([3, 2, 3, 3]))).toThrow('expected a weight [4 (a multiple of groups)');
    expect(() => convTranspose(x, randn([4, 2, 3, 3]), { outputPadding: 1 })).toThrow(
      'must be smaller than stride [1,1]',
    );
    expect(() => convTranspose(x, randn([4, 2, 1, 1]), { padding: 3 })).toThrow('leave nothing');
  });
});

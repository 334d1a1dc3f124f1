import { describe, expect, it } from 'vitest';
import type { DType } from '../dtype.ts';
import { gradients } from '../gradients.ts';
import { Random } from '../random.ts';
import { realize } from '../realize.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { cast, logicalNot, maximum, minimum, mod, pow, straightThrough, where } from './elementwise.ts';

const uniform = (shape: readonly number[], low: number, high: number, seed: string | number = 0) =>
  tensor(
    new Random(seed).uniform(
      shape.reduce((n, d) => n * d, 1),
      low,
      high,
    ),
    shape,
  );

/** erf by its Taylor series, exact in float64 for the small arguments used here. */
function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const softplus = (x: number) => Math.log1p(Math.exp(x));
const clip = (x: number, low: number, high: number) => Math.min(high, Math.max(low, x));

/** Operator, reference in float64, and the interval of test points. Kinks lie outside of it or are met with chance 0. */
const unary: [name: string, f: (x: Tensor) => Tensor, reference: (x: number) => number, low: number, high: number][] = [
  ['neg', x => x.neg(), x => -x, -2, 2],
  ['abs', x => x.abs(), Math.abs, 0.1, 2],
  ['abs, negative', x => x.abs(), Math.abs, -2, -0.1],
  ['exp', x => x.exp(), Math.exp, -2, 1],
  ['log', x => x.log(), Math.log, 0.5, 3],
  ['log1p', x => x.log1p(), Math.log1p, -0.4, 3],
  ['expm1', x => x.expm1(), Math.expm1, -2, 1],
  ['sqrt', x => x.sqrt(), Math.sqrt, 0.5, 3],
  ['rsqrt', x => x.rsqrt(), x => 1 / Math.sqrt(x), 0.7, 3],
  ['reciprocal', x => x.reciprocal(), x => 1 / x, 0.7, 3],
  ['square', x => x.square(), x => x * x, -2, 2],
  ['sin', x => x.sin(), Math.sin, -3, 3],
  ['cos', x => x.cos(), Math.cos, -3, 3],
  ['tan', x => x.tan(), Math.tan, -0.8, 0.8],
  ['asin', x => x.asin(), Math.asin, -0.7, 0.7],
  ['acos', x => x.acos(), Math.acos, -0.7, 0.7],
  ['atan', x => x.atan(), Math.atan, -3, 3],
  ['tanh', x => x.tanh(), Math.tanh, -2, 2],
  ['sigmoid', x => x.sigmoid(), sigmoid, -4, 4],
  ['logSigmoid', x => x.logSigmoid(), x => -softplus(-x), -4, 4],
  ['erf', x => x.erf(), erf, -2, 2],
  ['softplus', x => x.softplus(), softplus, -4, 4],
  ['relu', x => x.relu(), x => Math.max(0, x), 0.1, 2],
  ['relu, negative', x => x.relu(), x => Math.max(0, x), -2, -0.1],
  ['relu6', x => x.relu6(), x => clip(x, 0, 6), 5, 5.9],
  ['gelu', x => x.gelu(), x => 0.5 * x * (1 + erf(x / Math.SQRT2)), -2, 2],
  [
    'geluTanh',
    x => x.geluTanh(),
    x => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    -2,
    2,
  ],
  ['silu', x => x.silu(), x => x * sigmoid(x), -3, 3],
  ['mish', x => x.mish(), x => x * Math.tanh(softplus(x)), -3, 3],
  ['hardSigmoid', x => x.hardSigmoid(), x => clip(x / 6 + 0.5, 0, 1), -2.5, 2.5],
  ['hardSwish', x => x.hardSwish(), x => x * clip(x / 6 + 0.5, 0, 1), -2.5, 2.5],
  ['leakyRelu', x => x.leakyRelu(0.2), x => (x > 0 ? x : 0.2 * x), -2, -0.1],
  ['elu', x => x.elu(1.5), x => (x > 0 ? x : 1.5 * Math.expm1(x)), -2, -0.1],
  ['elu, positive', x => x.elu(), x => x, 0.1, 2],
  ['clamp, inside', x => x.clamp(-1, 1), x => x, -0.9, 0.9],
  ['clamp, above', x => x.clamp(-1, 1), () => 1, 1.1, 2],
  ['clamp, one-sided', x => x.clamp(0.5), x => Math.max(0.5, x), 0.6, 2],
  ['pow 3', x => x.pow(3), x => x ** 3, -1.5, 1.5],
  ['pow 2', x => x.pow(2), x => x ** 2, -1.5, 1.5],
  ['pow 0.5', x => x.pow(0.5), Math.sqrt, 0.5, 3],
  ['pow −1', x => x.pow(-1), x => 1 / x, 0.7, 3],
  ['pow 1.7', x => x.pow(1.7), x => x ** 1.7, 0.5, 2],
];

describe('elementwise, one operand', () => {
  it.each(unary)('%s: values', async (_name, f, reference, low, high) => {
    const x = uniform([2, 6], low, high);
    const y = await f(x).data();
    (await x.data()).forEach((v, i) => {
      const expected = reference(v);
      expect(Math.abs(y[i] - expected)).toBeLessThan(3e-6 * Math.max(1, Math.abs(expected)));
    });
  });

  it('have right gradients', async () => {
    await checkGradients(
      (...xs) => unary.map(([, f], i) => f(xs[i])),
      unary.map(([, , , low, high], i) => uniform([6], low + 0.02, high - 0.02, i)),
      { samples: 3 },
    );
  });

  it('rounds half to even and keeps signs', async () => {
    const x = tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -0.2]);
    expect(await x.round().tolist()).toEqual([-2, -2, -0, 0, 2, 2, -0]);
    expect(await x.floor().tolist()).toEqual([-3, -2, -1, 0, 1, 2, -1]);
    expect(await x.ceil().tolist()).toEqual([-2, -1, -0, 1, 2, 3, -0]);
    expect(await tensor([-3, 0, 5]).sign().tolist()).toEqual([-1, 0, 1]);
    const [g] = gradients(x.round().add(x.floor()).add(x.sign()).sum(), [x]);
    expect((await g.data()).every(v => v === 0)).toBe(true);
  });

  it('keeps precision near 0 and far out', async () => {
    const x = tensor([1e-7, -1e-7, 1e-4, 0, 50, -50]);
    const close = async (t: Tensor, f: (v: number) => number) => {
      const y = await t.data();
      (await x.data()).forEach((v, i) => {
        expect(Math.abs(y[i] / (f(v) || 1) - (f(v) ? 1 : 0))).toBeLessThan(1e-5);
      });
    };
    await close(x.expm1(), Math.expm1);
    await close(x.clamp(-0.9).log1p(), v => Math.log1p(Math.max(-0.9, v)));
    await close(x.softplus(), softplus);
    await close(x.logSigmoid(), v => -softplus(-v));
  });

  it('follows IEEE for infinities and NaN', async () => {
    const x = tensor([Infinity, -Infinity, NaN]);
    expect(await x.exp().tolist()).toEqual([Infinity, 0, NaN]);
    expect(await x.abs().tolist()).toEqual([Infinity, Infinity, NaN]);
    expect(await x.tanh().tolist()).toEqual([1, -1, NaN]);
    expect(await x.sigmoid().tolist()).toEqual([1, 0, NaN]);
    expect(await x.expm1().tolist()).toEqual([Infinity, -1, NaN]);
    expect(await x.log1p().tolist()).toEqual([Infinity, NaN, NaN]);
    expect(await tensor([0, -1]).log().tolist()).toEqual([-Infinity, NaN]);
    expect(await tensor([-1]).log1p().tolist()).toEqual([-Infinity]);
    expect(await tensor([0]).reciprocal().tolist()).toEqual([Infinity]);
    expect(await x.softplus().tolist()).toEqual([Infinity, 0, NaN]);
  });

  it('has the derivative 0 at the kink of relu and 1 on the border of clamp', async () => {
    const x = tensor([-1, 0, 1]);
    expect(await gradients(x.relu().sum(), [x])[0].tolist()).toEqual([0, 0, 1]);
    expect(await gradients(x.clamp(-1, 0).sum(), [x])[0].tolist()).toEqual([1, 1, 0]);
    expect(await gradients(x.abs().sum(), [x])[0].tolist()).toEqual([-1, 0, 1]);
    expect(await x.clamp().tolist()).toEqual([-1, 0, 1]);
    expect(() => x.clamp(1, 0)).toThrow('clamp: low 1 is above high 0');
  });

  it('works on integers where that makes sense, and says where not', async () => {
    const x = tensor(Int32Array.of(-3, 0, 7));
    expect(await x.neg().tolist()).toEqual([3, 0, -7]);
    expect(await x.abs().tolist()).toEqual([3, 0, 7]);
    expect(await x.sign().tolist()).toEqual([-1, 0, 1]);
    expect(await x.clamp(-1, 2).tolist()).toEqual([-1, 0, 2]);
    expect(await x.relu().tolist()).toEqual([0, 0, 7]);
    expect(() => x.exp()).toThrow('exp: the tensor is int32, expected a float dtype; cast it first');
    expect(() => x.gelu()).toThrow('gelu: the tensor is int32');
    expect(() => logicalNot(randn([2]))).toThrow('not: the tensor is float32, expected bool');
  });
});

const a23 = uniform([2, 3], 0.5, 2, 'a');
const b23 = uniform([2, 3], -2, 2, 'b');
const row = uniform([3], 0.6, 1.5, 'row');
const column = uniform([2, 1], 0.6, 1.5, 'column');

const binary: [name: string, f: (a: Tensor, b: Tensor) => Tensor, reference: (a: number, b: number) => number][] = [
  ['add', (a, b) => a.add(b), (a, b) => a + b],
  ['sub', (a, b) => a.sub(b), (a, b) => a - b],
  ['mul', (a, b) => a.mul(b), (a, b) => a * b],
  ['div', (a, b) => a.div(b), (a, b) => a / b],
  ['pow', (a, b) => a.pow(b), (a, b) => a ** b],
  ['mod', (a, b) => a.mod(b), (a, b) => a - Math.floor(a / b) * b],
  ['minimum', minimum, Math.min],
  ['maximum', maximum, Math.max],
  ['where', (a, b) => where(a.gt(b), a.mul(b), b), (a, b) => (a > b ? a * b : b)],
];

describe('elementwise, two operands', () => {
  it.each(binary)('%s: values, broadcast', async (_name, f, reference) => {
    for (const [x, y] of [
      [a23, row],
      [column, a23],
      [column, row],
    ]) {
      const z = f(x, y);
      expect(z.shape).toEqual([2, 3]);
      const [p, q] = [x.expand([2, 3]), y.expand([2, 3])];
      await realize(z, p, q);
      const [r, s, t] = [await z.data(), await p.data(), await q.data()];
      r.forEach((v, i) => {
        expect(v).toBeCloseTo(reference(s[i], t[i]), 5);
      });
    }
  });

  it('have right gradients, broadcast', async () => {
    await checkGradients((a, b, c) => binary.flatMap(([, f]) => [f(a, b), f(c, a), f(c, b)]), [a23, row, column], {
      eps: 3e-3,
      tolerance: 2e-2,
    });
  });

  it.each<[string, (a: Tensor, b: Tensor) => Tensor, (a: number, b: number) => boolean]>([
    ['eq', (a, b) => a.eq(b), (a, b) => a === b],
    ['ne', (a, b) => a.ne(b), (a, b) => a !== b],
    ['lt', (a, b) => a.lt(b), (a, b) => a < b],
    ['le', (a, b) => a.le(b), (a, b) => a <= b],
    ['gt', (a, b) => a.gt(b), (a, b) => a > b],
    ['ge', (a, b) => a.ge(b), (a, b) => a >= b],
  ])('%s compares floats, integers and NaN', async (_name, f, reference) => {
    const [x, y] = [
      [1, 2, 3, NaN, Infinity, -0],
      [1, 3, 2, NaN, Infinity, 0],
    ];
    const z = f(tensor(x), tensor(y));
    expect(z.dtype).toBe('bool');
    expect(await z.tolist()).toEqual(x.map((v, i) => Number(reference(v, y[i]))));
    const i = f(tensor(Int32Array.of(1, 2, 3)), tensor(Int32Array.of(1, 3, 2)));
    expect(await i.tolist()).toEqual([0, 1, 2].map(j => Number(reference(x[j], y[j]))));
  });

  it('combines truth values', async () => {
    const [x, y] = [tensor([true, true, false, false]), tensor([true, false, true, false])];
    expect(await x.and(y).tolist()).toEqual([1, 0, 0, 0]);
    expect(await x.or(y).tolist()).toEqual([1, 1, 1, 0]);
    expect(await x.xor(y).tolist()).toEqual([0, 1, 1, 0]);
    expect(await x.not().tolist()).toEqual([0, 0, 1, 1]);
  });

  it('takes numbers on either side, in the dtype of the tensor', async () => {
    expect(await tensor([4, 9]).sub(1).tolist()).toEqual([3, 8]);
    expect(await minimum(2, tensor([1, 3])).tolist()).toEqual([1, 2]);
    const y = tensor(Int32Array.of(7, -7)).div(2);
    expect([y.dtype, await y.tolist()]).toEqual(['int32', [3, -3]]);
  });

  it('takes remainders with the sign of the divisor, in every dtype', async () => {
    const values = [7, -7, 7, -7];
    const by = [3, 3, -3, -3];
    const expected = [1, 2, -2, -1];
    expect(await mod(tensor(values), tensor(by)).tolist()).toEqual(expected);
    expect(await mod(tensor(Int32Array.from(values)), tensor(Int32Array.from(by))).tolist()).toEqual(expected);
  });

  it('shares the gradient of minimum and maximum between ties', async () => {
    const [x, y] = [tensor([1, 2, 3]), tensor([2, 2, 2])];
    const [gx, gy] = gradients(maximum(x, y).sum(), [x, y]);
    expect(await gx.tolist()).toEqual([0, 0.5, 1]);
    expect(await gy.tolist()).toEqual([1, 0.5, 0]);
    const [hx, hy] = gradients(minimum(x, y).sum(), [x, y]);
    expect(await hx.tolist()).toEqual([1, 0.5, 0]);
    expect(await hy.tolist()).toEqual([0, 0.5, 1]);
  });

  it('propagates NaN through minimum and maximum', async () => {
    expect(await maximum(tensor([NaN, 1]), tensor([1, NaN])).tolist()).toEqual([NaN, NaN]);
    expect(await minimum(tensor([NaN, 1]), tensor([1, NaN])).tolist()).toEqual([NaN, NaN]);
  });

  it('has finite derivatives of powers at 0 and of negative bases', async () => {
    const x = tensor([0, -2, 3]);
    for (const [p, first, second] of [
      [0, [0, 0, 0], [0, 0, 0]],
      [1, [1, 1, 1], [0, 0, 0]],
      [2, [0, -4, 6], [2, 2, 2]],
      [3, [0, 12, 27], [0, -12, 18]],
      [4, [0, -32, 108], [0, 48, 108]],
    ] as const) {
      const [g] = gradients(x.pow(p).sum(), [x]);
      const [h] = gradients(g.sum(), [x]);
      expect([p, await g.tolist()]).toEqual([p, first.map(v => expect.closeTo(v, 3))]);
      expect([p, await h.tolist()]).toEqual([p, second.map(v => expect.closeTo(v, 3))]);
    }
    const exponent = tensor([0, 0, 0]);
    const [dx, dp] = gradients(x.pow(exponent).sum(), [x, exponent]);
    expect(await dx.tolist()).toEqual([0, 0, 0]);
    expect((await dp.data())[0]).toBe(0);
    expect(await pow(2, tensor([1, 3])).tolist()).toEqual([2, 8]);
    expect(await tensor(Int32Array.of(2, -3)).pow(2).tolist()).toEqual([4, 9]);
  });

  it('chooses among truth values', async () => {
    const [c, x, y] = [tensor([true, false]), tensor([false, false]), tensor([true, true])];
    expect([where(c, x, y).dtype, await where(c, x, y).tolist()]).toEqual(['bool', [0, 1]]);
  });

  it('says what does not fit', () => {
    expect(() => a23.add(randn([2, 2]))).toThrow('add: shapes [2, 3] and [2, 2] do not broadcast');
    expect(() => a23.mul(tensor(new Int32Array(3)))).toThrow('mul: dtypes float32 and int32 differ; cast one');
    expect(() => where(a23, a23, b23)).toThrow('where: the condition is float32, expected bool');
    expect(() => a23.and(b23)).toThrow('and: the operands are float32, expected bool');
  });
});

describe('gradient control', () => {
  it('passes straight through', async () => {
    const x = tensor([0.4, -1.6]);
    const y = x.roundSTE();
    const [g] = gradients(y.mul(tensor([3, 5])).sum(), [x]);
    expect(await y.tolist()).toEqual([0, -2]);
    expect(await g.tolist()).toEqual([3, 5]);
    const [d] = gradients(x.floorSTE().square().sum(), [x]);
    expect([await x.floorSTE().tolist(), await d.tolist()]).toEqual([
      [0, -2],
      [0, -4],
    ]);
    const [s] = gradients(x.signSTE().square().sum(), [x]);
    expect(await s.tolist()).toEqual([2, -2]);
    const forward = tensor([10, 20]);
    const [through, blocked] = gradients(straightThrough(x, forward).sum(), [x, forward]);
    expect(await through.tolist()).toEqual([1, 1]);
    expect(await blocked.tolist()).toEqual([0, 0]);
    expect(() => straightThrough(x, tensor([1]))).toThrow('straightThrough: float32[2] and float32[1] differ');
  });

  it('keeps to double precision', async () => {
    const x = tensor(Float64Array.of(0.3, 0.6));
    for (const f of [
      (t: Tensor) => t.tanh().mul(t.sigmoid()).add(t.asin()).add(t.acos()).add(t.atan()),
      (t: Tensor) => minimum(t, 0.5).mul(maximum(t, 0.4)).add(t.pow(1.5)),
    ]) {
      const [g] = gradients(f(x).sum(), [x]);
      const [single] = gradients(f(x.cast('float32')).sum(), [x]);
      expect(g.dtype).toBe('float64');
      const [a, b] = [(await g.tolist()) as number[], (await single.tolist()) as number[]];
      a.forEach((v, i) => {
        expect(v).toBeCloseTo(b[i], 5);
      });
    }
  });

  it('stops at detach', async () => {
    const x = tensor([2, 3]);
    const [g] = gradients(x.mul(x.detach()).sum(), [x]);
    expect(await g.tolist()).toEqual([2, 3]);
  });
});

describe('cast', () => {
  it.each<[DType, number[]]>([
    ['int32', [1, -1, 0, 300]],
    ['float32', [1.5, -1.75, 0, 300]],
    ['bool', [1, 1, 0, 1]],
    ['int64', [1, -1, 0, 300]],
    ['float64', [1.5, -1.75, 0, 300]],
  ])('to %s', async (dtype, expected) => {
    const y = cast(tensor([1.5, -1.75, 0, 300]), dtype);
    expect(y.dtype).toBe(dtype);
    expect(await y.tolist()).toEqual(expected);
  });

  it('goes through half precision and back, with its gradient', async () => {
    const x = tensor([1 / 3, 1000.3]);
    const y = x.cast('float16').cast('float32');
    const [g] = gradients(y.mul(tensor([2, 4])).sum(), [x]);
    expect(await y.tolist()).toEqual([0.333251953125, 1000.5]);
    expect(await g.tolist()).toEqual([2, 4]);
    expect(await x.cast('float16').tolist()).toEqual([0.333251953125, 1000.5]);
    expect(await tensor([1000.3]).cast('bfloat16').item()).toBe(1000);
    expect(await x.cast('bfloat16').cast('float32').tolist()).toEqual([0.333984375, 1000]);
  });
});

import { describe, expect, it } from 'vitest';
import { affine, type Binary, binary, type Unary, unary } from './elementwise.ts';
import { bench } from './testing.ts';

/** erf by its series, or its continued fraction. */
function erf(x: number): number {
  const t = Math.abs(x);
  if (t > 3) {
    let f = 0;
    for (let i = 60; i > 0; i--) f = i / 2 / (t + f);
    return Math.sign(x) * (1 - Math.exp(-t * t) / (Math.sqrt(Math.PI) * (t + f)));
  }
  let [term, sum] = [x, x];
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const clip = (x: number, lo: number, hi: number) => Math.min(Math.max(x, lo), hi);
const even = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** Plain twins, with the parameters the test gives. */
const FUNCTIONS: Record<Unary, (x: number, a: number, b: number) => number> = {
  relu: x => Math.max(x, 0),
  clip: (x, a, b) => clip(x, a, b),
  leakyRelu: (x, a) => (x < 0 ? a * x : x),
  sigmoid,
  hardSigmoid: (x, a, b) => clip(a * x + b, 0, 1),
  hardSwish: x => x * clip(x / 6 + 0.5, 0, 1),
  silu: (x, a) => x * sigmoid(a * x),
  tanh: Math.tanh,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  reciprocal: x => 1 / x,
  neg: x => -x,
  abs: Math.abs,
  floor: Math.floor,
  ceil: Math.ceil,
  round: even,
  erf,
  gelu: x => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  geluTanh: x => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  elu: (x, a, b) => b * (x < 0 ? a * Math.expm1(x) : x),
  softplus: x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  mish: x => x * Math.tanh(Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  square: x => x * x,
  linear: (x, a, b) => a * x + b,
  softsign: x => x / (1 + Math.abs(x)),
  celu: (x, a) => Math.max(x, 0) + Math.min(0, a * Math.expm1(x / a)),
  thresholdedRelu: (x, a) => (x > a ? x : 0),
  cube: x => x ** 3,
  rsqrt: x => 1 / Math.sqrt(x),
};

const POSITIVE: readonly Unary[] = ['log', 'sqrt', 'rsqrt'];

for (const build of ['simd', 'relaxed'] as const) {
  describe(`unary, ${build}`, () => {
    it.each(Object.keys(FUNCTIONS) as Unary[])('%s is right to a few units in the last place', async name => {
      const e = await bench(build, 2);
      const values = Float32Array.from({ length: 4001 }, (_, i) => {
        const wide = (i - 2000) / 25;
        const x = i % 3 === 0 ? wide : i % 3 === 1 ? wide / 10 : (i - 2000) / 1e5;
        return POSITIVE.includes(name) ? Math.abs(x) + 1e-6 : x;
      });
      const y = e.put(new Float32Array(values.length + 4).fill(7));
      const [alpha, beta] = [0.75, 1.25];
      unary(e, name, { x: e.put(values), y, size: values.length, alpha, beta });
      const result = e.view(y, values.length + 4);
      let worst = 0;
      for (const [i, x] of values.entries()) {
        const expected = FUNCTIONS[name](x, alpha, beta);
        if (Object.is(Math.fround(expected), result[i])) continue;
        worst = Math.max(worst, Math.abs(result[i] - expected) / (Math.abs(expected) * 2e-6 + 2e-7));
      }
      expect(worst).toBeLessThan(1);
      expect([...result.subarray(values.length)]).toEqual([7, 7, 7, 7]);
    });

    it('keeps NaN and reaches the limits of float32', async () => {
      const e = await bench(build);
      const run = (name: Unary, x: number[]) => {
        const at = e.put(Float32Array.from(x));
        unary(e, name, { x: at, y: at, size: x.length });
        return [...e.view(at, x.length)];
      };
      for (const name of Object.keys(FUNCTIONS) as Unary[]) {
        if (name !== 'thresholdedRelu') expect(run(name, [NaN])).toEqual([NaN]);
      }
      expect(run('exp', [-Infinity, Infinity, 88.8, -104.5, 0])).toEqual([0, Infinity, Infinity, 0, 1]);
      expect(run('exp', [88.7])[0] / Math.exp(Math.fround(88.7))).toBeCloseTo(1, 5);
      expect(run('exp', [-100])[0] / Math.exp(-100)).toBeCloseTo(1, 1);
      expect(run('log', [0, -1, Infinity])).toEqual([-Infinity, NaN, Infinity]);
      expect(run('log', [1e-40])[0]).toBeCloseTo(Math.log(1e-40), 3);
      expect(run('tanh', [-Infinity, Infinity, 20])).toEqual([-1, 1, 1]);
      expect(run('erf', [-Infinity, Infinity, 5])).toEqual([-1, 1, 1]);
      expect(run('sigmoid', [-Infinity, Infinity])).toEqual([0, 1]);
      expect(run('round', [0.5, 1.5, -2.5])).toEqual([0, 2, -2]);
    });

    it('clip, leakyRelu and hardSigmoid have the defaults of ONNX', async () => {
      const e = await bench(build);
      const run = (name: Unary) => {
        const at = e.put(Float32Array.from([-1e30, -1, 1]));
        unary(e, name, { x: at, y: at, size: 3 });
        return [...e.view(at, 3)];
      };
      expect(run('clip')).toEqual([-1e30, -1, 1].map(Math.fround));
      expect(run('leakyRelu')[1]).toBeCloseTo(-0.01);
      expect(run('hardSigmoid')[1]).toBeCloseTo(0.3);
    });
  });

  const OPERATORS: Record<Binary, (a: number, b: number) => number> = {
    add: (a, b) => a + b,
    sub: (a, b) => a - b,
    mul: (a, b) => a * b,
    div: (a, b) => a / b,
    min: Math.min,
    max: Math.max,
    prelu: (a, b) => (a < 0 ? a * b : a),
    swiglu: (a, b) => a * sigmoid(a) * b,
  };

  describe(`binary, ${build}`, () => {
    it.each(Object.keys(OPERATORS) as Binary[])('%s broadcasts', async name => {
      const shapes: [number[], number[]][] = [
        [
          [5, 7],
          [5, 7],
        ],
        [[33], []],
        [[], [33]],
        [
          [2, 3, 5, 7],
          [3, 1, 1],
        ],
        [
          [3, 1, 1],
          [2, 3, 5, 7],
        ],
        [[4, 9], [9]],
        [[4, 1], [9]],
        [
          [2, 1, 3, 1, 2, 1, 3],
          [1, 2, 1, 3, 1, 2, 1],
        ],
        [
          [3, 4, 1],
          [3, 4, 6],
        ],
        [[1], [1]],
        [[0, 3], [3]],
      ];
      for (const threads of [1, 3]) {
        const e = await bench(build, threads);
        for (const [aDims, bDims] of shapes) {
          const rank = Math.max(aDims.length, bDims.length);
          const pad = (dims: number[]) => [...new Array(rank - dims.length).fill(1), ...dims];
          const [ad, bd] = [pad(aDims), pad(bDims)];
          const yDims = ad.map((size, d) => (size === 1 ? bd[d] : size));
          const count = (dims: number[]) => dims.reduce((p, d) => p * d, 1);
          const a = Float32Array.from({ length: count(ad) }, (_, i) => Math.sin(i + 1));
          const b = Float32Array.from({ length: count(bd) }, (_, i) => Math.cos(3 * i + 1));
          const size = count(yDims);
          const y = e.put(new Float32Array(size + 4).fill(7));
          binary(e, name, { a: e.put(a), b: e.put(b), y, aDims, bDims, yDims });
          const result = e.view(y, size + 4);
          for (let i = 0; i < size; i++) {
            let [rest, ai, bi, as, bs] = [i, 0, 0, 1, 1];
            for (let d = rank - 1; d >= 0; d--) {
              const index = rest % yDims[d];
              rest = Math.floor(rest / yDims[d]);
              ai += (ad[d] === 1 ? 0 : index) * as;
              bi += (bd[d] === 1 ? 0 : index) * bs;
              as *= ad[d];
              bs *= bd[d];
            }
            expect(result[i]).toBeCloseTo(OPERATORS[name](a[ai], b[bi]), 4);
          }
          expect([...result.subarray(size)]).toEqual([7, 7, 7, 7]);
        }
      }
    });
  });

  describe(`affine, ${build}`, () => {
    it('scales and shifts each channel, and clamps', async () => {
      for (const inner of [1, 5, 8]) {
        const e = await bench(build, 2);
        const x = Float32Array.from({ length: 2 * 3 * inner }, (_, i) => Math.sin(i));
        const at = e.put(x);
        const scale = [2, -1, 0.5];
        const parameters = { scale: e.put(Float32Array.from(scale)), bias: e.put(Float32Array.from([1, 2, 3])) };
        affine(e, { x: at, y: at, outer: 2, channels: 3, inner, ...parameters, lo: 1, hi: 3 });
        const y = e.view(at, x.length);
        for (const [i, v] of x.entries()) {
          const c = Math.floor(i / inner) % 3;
          expect(y[i]).toBeCloseTo(clip(v * scale[c] + c + 1, 1, 3), 5);
        }
      }
    });
  });
}

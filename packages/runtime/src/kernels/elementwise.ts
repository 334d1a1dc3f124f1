/** Elementwise functions of one and two float32 arrays, with broadcasting. */
import type { Address, Emitter } from '../plan/emitter.ts';
import { sizeOf } from '../values.ts';
import { integers } from './dense-window.ts';

/** Functions of x with parameters alpha and beta; the position is the kernel's code. */
const UNARY = [
  'relu',
  'clip', // to [alpha, beta]
  'leakyRelu', // x < 0 ? alpha · x : x
  'sigmoid',
  'hardSigmoid', // clip(alpha · x + beta, 0, 1)
  'hardSwish', // x · clip(x / 6 + ½, 0, 1)
  'silu', // x · sigmoid(alpha · x)
  'tanh',
  'exp',
  'log',
  'sqrt',
  'reciprocal',
  'neg',
  'abs',
  'floor',
  'ceil',
  'round', // halves to even
  'erf',
  'gelu', // x · Φ(x)
  'geluTanh', // its tanh approximation
  'elu', // beta · (x < 0 ? alpha · (exp x − 1) : x): ELU with beta 1, SELU with beta its gamma
  'softplus',
  'mish',
  'square',
  'linear', // alpha · x + beta
  'softsign',
  'celu',
  'thresholdedRelu', // x > alpha ? x : 0
  'cube',
  'rsqrt',
] as const;

/** prelu: a < 0 ? a · b : a. swiglu: a · sigmoid(a) · b. */
const BINARY = ['add', 'sub', 'mul', 'div', 'min', 'max', 'prelu', 'swiglu'] as const;

export type Unary = (typeof UNARY)[number];
export type Binary = (typeof BINARY)[number];

/** alpha and beta where the caller gives none, as ONNX has them. */
const DEFAULTS: Partial<Record<Unary, readonly [alpha: number, beta: number]>> = {
  clip: [-Infinity, Infinity],
  leakyRelu: [0.01, 0],
  hardSigmoid: [0.2, 0.5],
};

/** y = f(x) for `size` floats; y may be x. alpha and beta default to ONNX's for the function, else 1 and 1. */
export function unary(
  e: Emitter,
  name: Unary,
  {
    x,
    y,
    size,
    alpha = DEFAULTS[name]?.[0] ?? 1,
    beta = DEFAULTS[name]?.[1] ?? 1,
  }: {
    readonly x: Address;
    readonly y: Address;
    readonly size: number;
    readonly alpha?: number;
    readonly beta?: number;
  },
): void {
  if (size > 0) e.step('unary', UNARY.indexOf(name), x, y, size, alpha, beta);
}

/** y = a ∘ b with ONNX (NumPy) broadcasting; all are dense and row-major. y may be an operand of the same shape. */
export function binary(
  e: Emitter,
  name: Binary,
  {
    a,
    b,
    y,
    aDims,
    bDims,
    yDims,
  }: {
    readonly a: Address;
    readonly b: Address;
    readonly y: Address;
    readonly aDims: readonly number[];
    readonly bDims: readonly number[];
    readonly yDims: readonly number[];
  },
): void {
  if (sizeOf(yDims) === 0) return;
  const [inner = { size: 1, a: 1, b: 1 }, ...outer] = collapse(yDims, aDims, bDims);
  const rows = outer.reduce((product, { size }) => product * size, 1);
  const table = integers(e, 'broadcast', [outer.length, ...outer.flatMap(dim => [dim.size, dim.a, dim.b])]);
  e.step('binary', BINARY.indexOf(name), a, inner.a, b, inner.b, y, rows, inner.size, table);
}

/** Dimensions of y, innermost first, with the operands' strides; those that both operands walk alike are one. */
function collapse(yDims: readonly number[], aDims: readonly number[], bDims: readonly number[]) {
  const dims: { size: number; a: number; b: number }[] = [];
  let aStep = 1;
  let bStep = 1;
  for (let back = 1; back <= yDims.length; back++) {
    const size = yDims[yDims.length - back];
    const aSize = aDims[aDims.length - back] ?? 1;
    const bSize = bDims[bDims.length - back] ?? 1;
    if (size > 1) {
      const dim = { size, a: aSize === 1 ? 0 : aStep, b: bSize === 1 ? 0 : bStep };
      const last = dims.at(-1);
      if (last && dim.a === last.a * last.size && dim.b === last.b * last.size) last.size *= size;
      else dims.push(dim);
    }
    aStep *= aSize;
    bStep *= bSize;
  }
  return dims;
}

/**
 * y = clamp(x · scale[c] + bias[c], lo, hi) over [outer, channels, inner]: batch normalisation that could not be fused.
 * scale and bias default to 1 and 0.
 */
export function affine(
  e: Emitter,
  {
    x,
    y,
    outer,
    channels,
    inner,
    scale = 0,
    bias = 0,
    lo = -Infinity,
    hi = Infinity,
  }: {
    readonly x: Address;
    readonly y: Address;
    readonly outer: number;
    readonly channels: number;
    readonly inner: number;
    readonly scale?: Address;
    readonly bias?: Address;
    readonly lo?: number;
    readonly hi?: number;
  },
): void {
  if (outer * channels * inner > 0) e.step('affine', x, y, outer, channels, inner, scale, bias, lo, hi);
}

import { check, formatShape, linalg, type NDArray, type Random, sizeOf } from '@gossamer/tensor';

/** Initial values as plain float32 arrays: `new Parameter(kaimingNormal(random, [64, 3, 3, 3]))`. */
export type Values = NDArray<Float32Array>;

const values = (shape: readonly number[], data: Float32Array): Values => ({
  dtype: 'float32',
  shape: [...shape],
  data,
});

export const constantOf = (shape: readonly number[], value: number): Values =>
  values(shape, new Float32Array(sizeOf(shape)).fill(value));
export const zerosOf = (shape: readonly number[]): Values => constantOf(shape, 0);
export const onesOf = (shape: readonly number[]): Values => constantOf(shape, 1);

export const uniformOf = (random: Random, shape: readonly number[], low: number, high: number): Values =>
  values(shape, random.uniform(sizeOf(shape), low, high));

export const normalOf = (random: Random, shape: readonly number[], mean = 0, std = 1): Values =>
  values(shape, random.normal(sizeOf(shape), mean, std));

/** Normal values redrawn until they lie within `bound` standard deviations (default 2) of the mean. */
export const truncatedNormalOf = (random: Random, shape: readonly number[], mean = 0, std = 1, bound = 2): Values =>
  values(shape, random.truncatedNormal(sizeOf(shape), mean, std, -bound, bound));

/**
 * Numbers of inputs and outputs of one unit, for a weight [out, in, …kernel]. (A transposed convolution stores
 * [in, out, …kernel]; like PyTorch, its fans are counted by the same rule.)
 */
export function fans(shape: readonly number[]): { fanIn: number; fanOut: number } {
  check(shape.length >= 2, () => `fans: a weight has rank ≥ 2 ([out, in, …kernel]), got ${formatShape(shape)}`);
  const window = sizeOf(shape.slice(2));
  return { fanIn: shape[1] * window, fanOut: shape[0] * window };
}

export type Nonlinearity = 'linear' | 'sigmoid' | 'tanh' | 'relu' | 'leakyRelu' | 'selu';

/** What a non-linearity takes from the standard deviation, to be given back by the weights (PyTorch's table). */
export function gain(nonlinearity: Nonlinearity, slope = 0.01): number {
  switch (nonlinearity) {
    case 'tanh':
      return 5 / 3;
    case 'relu':
      return Math.SQRT2;
    case 'leakyRelu':
      return Math.sqrt(2 / (1 + slope ** 2));
    case 'selu':
      return 3 / 4;
    default:
      return 1;
  }
}

export interface KaimingOptions {
  /** Keep the variance of the activations (`fanIn`, default), of the gradients (`fanOut`), or between both. */
  readonly mode?: 'fanIn' | 'fanOut' | 'fanAverage';
  /** Default relu. */
  readonly nonlinearity?: Nonlinearity;
  /** Negative slope of leakyRelu; default 0.01. */
  readonly slope?: number;
}

function kaimingStd(
  shape: readonly number[],
  { mode = 'fanIn', nonlinearity = 'relu', slope }: KaimingOptions,
): number {
  const { fanIn, fanOut } = fans(shape);
  const fan = mode === 'fanIn' ? fanIn : mode === 'fanOut' ? fanOut : (fanIn + fanOut) / 2;
  return gain(nonlinearity, slope) / Math.sqrt(fan);
}

/** He et al. 2015: normal with variance gain² / fan. */
export const kaimingNormal = (random: Random, shape: readonly number[], options: KaimingOptions = {}): Values =>
  normalOf(random, shape, 0, kaimingStd(shape, options));

/** He et al. 2015: uniform with variance gain² / fan. */
export const kaimingUniform = (random: Random, shape: readonly number[], options: KaimingOptions = {}): Values =>
  symmetric(random, shape, Math.sqrt(3) * kaimingStd(shape, options));

/** Glorot & Bengio 2010: normal with variance 2 / (fan in + fan out). */
export const xavierNormal = (random: Random, shape: readonly number[], scale = 1): Values =>
  normalOf(random, shape, 0, scale * kaimingStd(shape, { mode: 'fanAverage', nonlinearity: 'linear' }));

/** Glorot & Bengio 2010: uniform with variance 2 / (fan in + fan out). */
export const xavierUniform = (random: Random, shape: readonly number[], scale = 1): Values =>
  symmetric(random, shape, scale * Math.sqrt(3) * kaimingStd(shape, { mode: 'fanAverage', nonlinearity: 'linear' }));

/** LeCun et al. 1998: normal with variance 1 / fan in. */
export const lecunNormal = (random: Random, shape: readonly number[]): Values =>
  kaimingNormal(random, shape, { nonlinearity: 'linear' });

/** LeCun et al. 1998: uniform with variance 1 / fan in. */
export const lecunUniform = (random: Random, shape: readonly number[]): Values =>
  kaimingUniform(random, shape, { nonlinearity: 'linear' });

/** Uniform in ±1/√fan: what PyTorch gives Linear, Conv and recurrent weights and biases. */
export const fanUniform = (random: Random, shape: readonly number[], fan: number): Values =>
  symmetric(random, shape, 1 / Math.sqrt(fan));

/**
 * Saxe et al. 2014: a random matrix with orthonormal rows (or columns, if those are fewer), times `scale`; axes after
 * the first count as columns.
 */
export function orthogonal(random: Random, shape: readonly number[], scale = 1): Values {
  check(shape.length >= 2, () => `orthogonal: expected rank ≥ 2, got ${formatShape(shape)}`);
  const rows = shape[0];
  const columns = sizeOf(shape.slice(1));
  const tall = [Math.max(rows, columns), Math.min(rows, columns)];
  const q = linalg.qr(normalOf(random, tall)).q.data;
  const data = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      data[r * columns + c] = scale * (rows < columns ? q[c * rows + r] : q[r * columns + c]);
    }
  }
  return values(shape, data);
}

const symmetric = (random: Random, shape: readonly number[], bound: number): Values =>
  uniformOf(random, shape, -bound, bound);

/** Numbers to compute with: values of every type as floats and back, and readers of small inputs. */
import type { Node } from '../load/graph.ts';
import { type DataType, type Info, type NumericArray, sizeOf, type Value, zeros } from '../values.ts';
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './half.ts';
import { fail, type Inputs } from './operator.ts';

/** What arithmetic runs on: float32 for float32 and the 16-bit floats, float64 for everything else. */
export type Floats = Float32Array | Float64Array;

/** Input `index` of a node; fails when it is omitted. */
export function need<T>(node: Node, inputs: Inputs<T>, index: number): T {
  return inputs[index] ?? fail(node, `input ${index} is missing`);
}

/** Whether a type is computed in float32. */
const single = (type: DataType): boolean => type === 'float32' || type === 'float16' || type === 'bfloat16';

/** Zeros of the type that `type` is computed in. */
export const workspace = (type: DataType, length: number): Floats =>
  single(type) ? new Float32Array(length) : new Float64Array(length);

/** The numbers of a value; float32 and float64 are not copied. int64 beyond 2⁵³ is rounded. */
export function floats({ type, data }: Value): Floats {
  if (data instanceof Float32Array || data instanceof Float64Array) return data;
  if (type === 'float16') return float16ToFloat32(data as Uint16Array);
  if (type === 'bfloat16') return bfloat16ToFloat32(data as Uint16Array);
  return Float64Array.from(data as ArrayLike<number>, Number);
}

/** A value of any numeric type from computed numbers: 16-bit floats round to even, integers truncate and wrap. */
export function pack(type: DataType, dims: readonly number[], numbers: Floats): Value {
  if (type === 'float32')
    return { type, dims, data: numbers instanceof Float32Array ? numbers : new Float32Array(numbers) };
  if (type === 'float64')
    return { type, dims, data: numbers instanceof Float64Array ? numbers : new Float64Array(numbers) };
  if (type === 'float16') return { type, dims, data: float32ToFloat16(numbers) };
  if (type === 'bfloat16') return { type, dims, data: float32ToBfloat16(numbers) };
  const data = zeros(type, numbers.length) as NumericArray;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array)
    for (let i = 0; i < numbers.length; i++) data[i] = BigInt(Math.trunc(numbers[i]));
  else data.set(numbers);
  return { type, dims, data };
}

/** Nearest integer, ties to even. */
export function roundEven(x: number): number {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** All elements of a small numeric input as numbers. */
export const list = (value: Value): number[] => Array.from(value.data as ArrayLike<number>, Number);

/** The first element of an input as a number, or the fallback when it is omitted or empty. */
export const scalar = (value: Value | undefined, fallback = 0): number =>
  value && value.data.length > 0 ? floats(value)[0] : fallback;

/** `axis` counted from the front; fails outside [-rank, rank). */
export function axisOf(node: Node, axis: number, rank: number): number {
  if (axis < -rank || axis >= rank) fail(node, `axis ${axis} is outside a value of ${rank} dimensions`);
  return axis < 0 ? axis + rank : axis;
}

/** Row-major strides. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = new Array<number>(dims.length);
  for (let d = dims.length - 1, step = 1; d >= 0; step *= dims[d--]) strides[d] = step;
  return strides;
}

/** Elements before, along and after an axis: how many rows, how long, how far apart. */
export const split = (dims: readonly number[], axis: number): [outer: number, length: number, inner: number] => [
  sizeOf(dims.slice(0, axis)),
  dims[axis],
  sizeOf(dims.slice(axis + 1)),
];

/** Shape rule: type and dimensions of the first input. */
export const likeFirst = (node: Node, inputs: Inputs<Info>): Info[] => {
  const { type, dims } = need(node, inputs, 0);
  return [{ type, dims }];
};

/** c[m × n] += a[m × k] · b[k × n], all row-major from their offsets. */
export function product(
  m: number,
  n: number,
  k: number,
  a: Floats,
  aAt: number,
  b: Floats,
  bAt: number,
  c: Floats,
  cAt: number,
): void {
  for (let i = 0; i < m; i++, aAt += k, cAt += n) {
    let p = 0;
    if (n < 4) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (p = 0; p < k; p++) sum += a[aAt + p] * b[bAt + p * n + j];
        c[cAt + j] += sum;
      }
      continue;
    }
    // Four rows of b at a time: one load and store of c for four multiply-adds.
    for (; p + 4 <= k; p += 4) {
      const [a0, a1, a2, a3] = [a[aAt + p], a[aAt + p + 1], a[aAt + p + 2], a[aAt + p + 3]];
      const b0 = bAt + p * n;
      const [b1, b2, b3] = [b0 + n, b0 + 2 * n, b0 + 3 * n];
      for (let j = 0; j < n; j++) c[cAt + j] += a0 * b[b0 + j] + a1 * b[b1 + j] + a2 * b[b2 + j] + a3 * b[b3 + j];
    }
    for (; p < k; p++) {
      const a0 = a[aAt + p];
      const b0 = bAt + p * n;
      for (let j = 0; j < n; j++) c[cAt + j] += a0 * b[b0 + j];
    }
  }
}

/** c[m × n] += a[m × k] · bᵀ with b[n × k]. */
export function productTransposed(
  m: number,
  n: number,
  k: number,
  a: Floats,
  aAt: number,
  b: Floats,
  bAt: number,
  c: Floats,
  cAt: number,
): void {
  for (let i = 0; i < m; i++, aAt += k, cAt += n)
    for (let j = 0, at = bAt; j < n; j++, at += k) c[cAt + j] += dot(k, a, aAt, b, at);
}

/** a · b over `length` contiguous elements, in four interleaved sums. */
export function dot(length: number, a: Floats, aAt: number, b: Floats, bAt: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let p = 0;
  for (; p + 4 <= length; p += 4) {
    s0 += a[aAt + p] * b[bAt + p];
    s1 += a[aAt + p + 1] * b[bAt + p + 1];
    s2 += a[aAt + p + 2] * b[bAt + p + 2];
    s3 += a[aAt + p + 3] * b[bAt + p + 3];
  }
  for (; p < length; p++) s0 += a[aAt + p] * b[bAt + p];
  return s0 + s1 + (s2 + s3);
}

/** The transpose of a row-major matrix. */
export function transposed(rows: number, columns: number, x: Floats): Floats {
  const y = x instanceof Float32Array ? new Float32Array(x.length) : new Float64Array(x.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
  return y;
}

/** 1 / (1 + e⁻ˣ). */
export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

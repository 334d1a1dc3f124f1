import { arrayType, type DType, isFloat, type NDArray, sizeOf, type TypedArray } from '../../dtype.ts';
import { check } from '../../errors.ts';
import { toFloat32 } from '../../half.ts';
import { broadcastShapes, formatShape } from '../../operator.ts';
import { arange, constant } from '../../ops/constant.ts';
import { type Tensor, tensor } from '../../tensor.ts';

/**
 * The element type in which values of an ONNX type are computed: float32 for every float, int32 for every integer of 16
 * bits and more; uint8, int8 and bool as they are.
 */
export const computeDtype = (dtype: DType): DType =>
  isFloat(dtype) ? 'float32' : dtype === 'bool' || dtype === 'uint8' || dtype === 'int8' ? dtype : 'int32';

/**
 * An array that is known while the graph is built: a constant of the file, or a shape and what was computed from it.
 * Arithmetic on it happens at once, so that sizes and positions of an exported model become plain numbers.
 */
export class HostConstant {
  readonly dtype: DType;
  readonly shape: readonly number[];
  #array: NDArray | undefined;
  #values: Float64Array | undefined;
  #tensor: Tensor | undefined;

  private constructor(dtype: DType, shape: readonly number[], array?: NDArray, values?: Float64Array) {
    this.dtype = dtype;
    this.shape = shape;
    this.#array = array;
    this.#values = values;
  }

  /** A constant of a file; its data is not copied. */
  static fromArray(array: NDArray): HostConstant {
    return new HostConstant(array.dtype, [...array.shape], array);
  }

  /** Numbers under a shape, converted to `dtype` as a cast does: truncated to integers, rounded to float32. */
  static fromValues(dtype: DType, shape: readonly number[], values: ArrayLike<number>): HostConstant {
    return new HostConstant(dtype, shape, undefined, Float64Array.from(values, converter(dtype)));
  }

  get rank(): number {
    return this.shape.length;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  /** The elements as numbers, exact up to 2^53. */
  get values(): Float64Array {
    return (this.#values ??= numbersOf(this.#array!));
  }

  /** The same values as a leaf of the graph, in the type they are computed in. One number repeated is not stored. */
  get tensor(): Tensor {
    return (this.#tensor ??= this.#lift());
  }

  #lift(): Tensor {
    const dtype = computeDtype(this.dtype);
    const { values, shape } = this;
    if (dtype === 'int32') {
      const outside = values.find(v => v !== (v | 0));
      check(
        outside === undefined,
        () => `the ${this.dtype} constant ${formatShape(shape)} holds ${outside}, which does not fit int32`,
      );
    }
    if (values.length > 0 && values.every(v => Object.is(v, values[0]))) {
      return constant(values[0], dtype).expand(shape);
    }
    if (dtype === 'int32' && shape.length === 1 && values.length > 1 && values.every((v, i) => v === i)) {
      return arange(values.length);
    }
    if (this.#array?.dtype === dtype) return tensor(this.#array);
    return tensor({ dtype, shape, data: store(dtype, values) });
  }

  /** A copy of its data in its own element type. */
  array(): NDArray {
    return this.#array ?? { dtype: this.dtype, shape: this.shape, data: store(this.dtype, this.values) };
  }

  cast(dtype: DType): HostConstant {
    return dtype === this.dtype ? this : HostConstant.fromValues(dtype, this.shape, this.values);
  }

  map(fn: (v: number) => number, dtype: DType = this.dtype): HostConstant {
    return HostConstant.fromValues(dtype, this.shape, this.values.map(fn));
  }

  reshape(shape: readonly number[]): HostConstant {
    check(
      sizeOf(shape) === this.size,
      () => `reshape: ${formatShape(this.shape)} (${this.size} elements) does not fit ${formatShape(shape)}`,
    );
    return new HostConstant(this.dtype, [...shape], this.#array && { ...this.#array, shape: [...shape] }, this.#values);
  }

  transpose(perm: readonly number[]): HostConstant {
    const strides = stridesOf(this.shape);
    return this.#view(
      perm.map(p => this.shape[p]),
      perm.map(p => strides[p]),
      0,
    );
  }

  expand(shape: readonly number[]): HostConstant {
    const lead = shape.length - this.rank;
    const strides = stridesOf(this.shape);
    return this.#view(
      shape,
      shape.map((_, i) => (i < lead || this.shape[i - lead] === 1 ? 0 : strides[i - lead])),
      0,
    );
  }

  /** `length` elements from `start` on in steps of `step` along one axis. */
  slice(axis: number, start: number, length: number, step: number): HostConstant {
    const strides = stridesOf(this.shape);
    return this.#view(
      this.shape.map((d, i) => (i === axis ? length : d)),
      strides.map((s, i) => (i === axis ? s * step : s)),
      strides[axis] * start,
    );
  }

  /** The elements at `indices` (counted from the end if negative) along an axis; its place takes the indices' shape. */
  gather(axis: number, indices: HostConstant): HostConstant {
    const n = this.shape[axis];
    const inner = sizeOf(this.shape.slice(axis + 1));
    const outer = sizeOf(this.shape.slice(0, axis));
    const out = new Float64Array(outer * indices.size * inner);
    let to = 0;
    for (let o = 0; o < outer; o++) {
      for (const raw of indices.values) {
        const index = raw < 0 ? raw + n : raw;
        check(
          index >= 0 && index < n,
          () => `index ${raw} is out of range for axis ${axis} of ${formatShape(this.shape)}`,
        );
        for (let i = 0; i < inner; i++) out[to++] = this.values[(o * n + index) * inner + i];
      }
    }
    const shape = [...this.shape.slice(0, axis), ...indices.shape, ...this.shape.slice(axis + 1)];
    return HostConstant.fromValues(this.dtype, shape, out);
  }

  /** Folds the elements along `axes`, which stay as length 1. */
  reduce(axes: readonly number[], fn: (a: number, b: number) => number, first: number): HostConstant {
    const shape = this.shape.map((d, i) => (axes.includes(i) ? 1 : d));
    const strides = stridesOf(shape).map((s, i) => (axes.includes(i) ? 0 : s));
    const out = new Float64Array(sizeOf(shape)).fill(first);
    let from = 0;
    for (const to of positions(this.shape, strides, 0)) {
      out[to] = fn(out[to], this.values[from++]);
    }
    return HostConstant.fromValues(this.dtype, shape, out);
  }

  #view(shape: readonly number[], strides: readonly number[], offset: number): HostConstant {
    check(sizeOf(shape) <= 2 ** 28, () => `a constant of shape ${formatShape(shape)} is too large`);
    const out = new Float64Array(sizeOf(shape));
    let to = 0;
    for (const from of positions(shape, strides, offset)) out[to++] = this.values[from];
    return HostConstant.fromValues(this.dtype, shape, out);
  }
}

/** Applies `fn` to the elements of several constants that broadcast. */
export function zipConstants(
  inputs: readonly HostConstant[],
  fn: (...values: number[]) => number,
  dtype: DType = inputs[0].dtype,
): HostConstant {
  const shape = broadcastShapes('constant', ...inputs.map(x => x.shape));
  const columns = inputs.map(x => x.expand(shape).values);
  const out = new Float64Array(sizeOf(shape));
  for (let i = 0; i < out.length; i++) out[i] = fn(...columns.map(c => c[i]));
  return HostConstant.fromValues(dtype, shape, out);
}

/** Joins constants of one type along an axis. */
export function concatConstants(inputs: readonly HostConstant[], axis: number): HostConstant {
  const [first] = inputs;
  for (const x of inputs) {
    check(
      x.rank === first.rank && x.dtype === first.dtype && x.shape.every((d, i) => i === axis || d === first.shape[i]),
      () => `concat: ${inputs.map(t => `${t.dtype}${formatShape(t.shape)}`).join(', ')} differ outside axis ${axis}`,
    );
  }
  const outer = sizeOf(first.shape.slice(0, axis));
  const out: number[] = [];
  for (let o = 0; o < outer; o++) {
    for (const x of inputs) {
      const chunk = x.size / outer;
      for (let i = 0; i < chunk; i++) out.push(x.values[o * chunk + i]);
    }
  }
  const shape = first.shape.map((d, i) => (i === axis ? inputs.reduce((n, x) => n + x.shape[axis], 0) : d));
  return HostConstant.fromValues(first.dtype, shape, out);
}

export const stridesOf = (shape: readonly number[]): number[] => shape.map((_, i) => sizeOf(shape.slice(i + 1)));

/** Offsets of the elements of a strided view, in row-major order of its shape. */
function* positions(shape: readonly number[], strides: readonly number[], offset: number): Generator<number> {
  const size = sizeOf(shape);
  const index = new Array<number>(shape.length).fill(0);
  let at = offset;
  for (let k = 0; k < size; k++) {
    yield at;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

const converter = (dtype: DType): ((v: number) => number) =>
  dtype === 'float64'
    ? v => v
    : isFloat(dtype)
      ? Math.fround
      : dtype === 'bool'
        ? v => (v === 0 ? 0 : 1)
        : integer(dtype);

/** Truncation to an integer type; values outside wrap around, except for 64 bits, where they saturate. */
function integer(dtype: DType): (v: number) => number {
  if (dtype === 'int64' || dtype === 'uint64') return v => (Number.isNaN(v) ? 0 : Math.trunc(v) + 0);
  const cell = new (arrayType(dtype))(1) as Int32Array;
  return v => {
    cell[0] = v;
    return cell[0];
  };
}

function numbersOf(array: NDArray): Float64Array {
  if (array.dtype === 'float16' || array.dtype === 'bfloat16') return Float64Array.from(toFloat32(array).data);
  const { data } = array;
  return data instanceof BigInt64Array || data instanceof BigUint64Array
    ? Float64Array.from(data as BigInt64Array, Number)
    : Float64Array.from(data);
}

function store(dtype: DType, values: Float64Array): TypedArray {
  const data = new (arrayType(dtype))(values.length);
  const big = data instanceof BigInt64Array || data instanceof BigUint64Array;
  values.forEach((v, i) => {
    // Converting wraps 2^63, to which INT64_MAX was rounded, to the most negative number.
    data[i] = big ? BigInt(dtype === 'int64' && v >= 2 ** 63 ? 2n ** 63n - 1n : v) : v;
  });
  return data;
}

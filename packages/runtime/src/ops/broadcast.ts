/** Shapes and strides: broadcasting, and the walk over strided operands that the plain operators share. */
import type { Node } from '../load/graph.ts';
import { arrayOf, type DataType, type NumericArray, sizeOf, type Value, zeros } from '../values.ts';
import { split, stridesOf } from './numeric.ts';
import { fail } from './operator.ts';

type Dims = readonly number[];

/** The shape to which all shapes expand: aligned at the last axis, a dimension of 1 repeats. */
export function broadcastShapes(node: Node, shapes: readonly Dims[]): Dims {
  let out = shapes[0];
  for (let k = 1; k < shapes.length; k++) {
    const [long, short] = out.length < shapes[k].length ? [shapes[k], out] : [out, shapes[k]];
    const gap = long.length - short.length;
    const merged = long.slice();
    for (let i = 0; i < short.length; i++) {
      const [a, b] = [long[gap + i], short[i]];
      if (a !== b && a !== 1 && b !== 1) {
        fail(node, `shapes ${shapes.map(dims => `[${dims}]`).join(' and ')} do not broadcast: ${a} against ${b}`);
      }
      merged[gap + i] = a === 1 ? b : a;
    }
    out = merged;
  }
  return out;
}

/** Strides that read an array of shape `dims` as if it were expanded to `to`: 0 where it repeats. */
export function expandedStrides(dims: Dims, to: Dims): number[] {
  const strides = stridesOf(dims);
  const gap = to.length - dims.length;
  return to.map((_, i) => (i < gap || dims[i - gap] === 1 ? 0 : strides[i - gap]));
}

/**
 * Visits the rows (innermost runs) of several strided operands that share the shape `dims`. `visit` gets each operand's
 * offset and step, and the row's length. Axes that are contiguous in every operand are merged first, so operands of equal
 * shape are one row. The arrays it gets are reused between calls.
 */
export function forEachRow(
  dims: Dims,
  strides: readonly Dims[],
  visit: (offsets: number[], steps: number[], length: number) => void,
  starts: Dims = [],
): void {
  const sizes: number[] = [];
  const merged: number[][] = strides.map(() => []);
  for (let axis = dims.length - 1; axis >= 0; axis--) {
    const size = dims[axis];
    if (size === 0) return;
    if (size === 1) continue;
    const last = sizes.length - 1;
    if (last >= 0 && strides.every((stride, k) => stride[axis] === merged[k][last] * sizes[last])) {
      sizes[last] *= size;
    } else {
      sizes.push(size);
      for (let k = 0; k < strides.length; k++) merged[k].push(strides[k][axis]);
    }
  }
  // Axes are now listed from the innermost outwards.
  const length = sizes[0] ?? 1;
  const steps = merged.map(stride => stride[0] ?? 1);
  const offsets = strides.map((_, k) => starts[k] ?? 0);
  const index = new Array<number>(sizes.length).fill(0);
  const given = offsets.slice();
  for (;;) {
    for (let k = 0; k < offsets.length; k++) given[k] = offsets[k];
    visit(given, steps, length);
    let axis = 1;
    for (; axis < sizes.length; axis++) {
      const carry = ++index[axis] === sizes[axis];
      for (let k = 0; k < offsets.length; k++) offsets[k] += merged[k][axis] * (carry ? 1 - sizes[axis] : 1);
      if (!carry) break;
      index[axis] = 0;
    }
    if (axis >= sizes.length) return;
  }
}

/** Offsets of all elements of a strided block, in row-major order. */
export function offsetsOf(dims: Dims, strides: Dims): Int32Array {
  const out = new Int32Array(sizeOf(dims));
  let at = 0;
  forEachRow(dims, [strides], ([offset], [step], length) => {
    for (let i = 0; i < length; i++, offset += step) out[at++] = offset;
  });
  return out;
}

type Words = Uint8Array | Uint16Array | Int32Array | string[];

/**
 * Elements as opaque words to be moved: few kinds of array keep the copying loops fast, and no bit of a NaN is lost.
 * 8-byte types are two words an element (`unit`).
 */
export function wordsOf(type: DataType, data: Value['data']): { words: Words; unit: number } {
  if (type === 'string') return { words: data as string[], unit: 1 };
  const { buffer, byteOffset, byteLength } = data as NumericArray;
  const width = arrayOf(type).BYTES_PER_ELEMENT;
  const Kind = width === 1 ? Uint8Array : width === 2 ? Uint16Array : Int32Array;
  return {
    words: new Kind(buffer as ArrayBuffer, byteOffset, byteLength / Kind.BYTES_PER_ELEMENT),
    unit: width / Kind.BYTES_PER_ELEMENT,
  };
}

// Two loops, so that words are never boxed for the strings' sake.
function moveWords(from: Int32Array, to: Int32Array, i: number, j: number, p: number, q: number, n: number): void {
  for (let k = 0; k < n; k++, i += p, j += q) to[j] = from[i];
}
function moveStrings(from: string[], to: string[], i: number, j: number, p: number, q: number, n: number): void {
  for (let k = 0; k < n; k++, i += p, j += q) to[j] = from[i];
}

export interface Strided {
  readonly data: Value['data'];
  readonly strides: Dims;
  /** Offset of the first element; 0 when not given. */
  readonly start?: number;
}

/** Copies a block of `dims` elements from one strided place to another. */
export function copyStrided(type: DataType, dims: Dims, from: Strided, to: Strided): void {
  const { words: source, unit } = wordsOf(type, from.data);
  const { words: target } = wordsOf(type, to.data);
  const scaled = (strides: Dims) => (unit === 1 ? strides : [...strides.map(stride => stride * unit), 1]);
  forEachRow(
    unit === 1 ? dims : [...dims, unit],
    [scaled(from.strides), scaled(to.strides)],
    ([i, j], [p, q], length) => {
      if (p === 1 && q === 1 && length > 16 && !Array.isArray(source)) {
        (target as Int32Array).set((source as Int32Array).subarray(i, i + length), j);
      } else {
        (Array.isArray(source) ? moveStrings : moveWords)(source as never, target as never, i, j, p, q, length);
      }
    },
    [(from.start ?? 0) * unit, (to.start ?? 0) * unit],
  );
}

/** Gathers `index` along an axis. */
export function take(value: Value, axis: number, index: ArrayLike<number>): Value {
  const [outer, length, inner] = split(value.dims, axis);
  const { type } = value;
  const dims = value.dims.map((dim, i) => (i === axis ? index.length : dim));
  const data = zeros(type, sizeOf(dims));
  const { words: from, unit } = wordsOf(type, value.data);
  const { words: to } = wordsOf(type, data);
  const run = inner * unit;
  for (let o = 0, at = 0; o < outer; o++) {
    for (let k = 0; k < index.length; k++) {
      const source = (o * length + index[k]) * run;
      if (run > 16 && !Array.isArray(from))
        (to as Int32Array).set((from as Int32Array).subarray(source, source + run), at);
      else for (let i = 0; i < run; i++) to[at + i] = from[source + i];
      at += run;
    }
  }
  return { type, dims, data };
}

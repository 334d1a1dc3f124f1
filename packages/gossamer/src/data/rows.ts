import { arrayType, check, type NDArray, sizeOf, type TypedArray } from '@gossamer/tensor';

/** Row operations on plain arrays: the first axis counts samples. */

/** Elements of one row: the product of all axes but the first. */
export const rowSize = (array: NDArray): number => sizeOf(array.shape.slice(1));

/** An uninitialised array of the same type with another shape. */
export function empty<T extends TypedArray>(like: NDArray<T>, shape: readonly number[]): NDArray<T> {
  return { dtype: like.dtype, shape, data: new (arrayType(like.dtype))(sizeOf(shape)) as T };
}

/** Rows `indices` of an array [n, …], copied: [indices.length, …]. */
export function gatherRows<T extends TypedArray>(array: NDArray<T>, indices: ArrayLike<number>): NDArray<T> {
  const size = rowSize(array);
  const result = empty(array, [indices.length, ...array.shape.slice(1)]);
  const source = array.data as Float32Array;
  const target = result.data as unknown as Float32Array;
  for (let i = 0; i < indices.length; i++) {
    const start = indices[i] * size;
    target.set(source.subarray(start, start + size), i * size);
  }
  return result;
}

/** Rows [start, stop) of an array [n, …]: a view, not a copy. */
export function sliceRows<T extends TypedArray>(array: NDArray<T>, start: number, stop: number): NDArray<T> {
  const size = rowSize(array);
  const data = array.data.subarray(start * size, stop * size) as T;
  return { dtype: array.dtype, shape: [stop - start, ...array.shape.slice(1)], data };
}

/** Arrays [n₁, …], [n₂, …] … end to end: [n₁ + n₂ + …, …]. */
export function concatRows<T extends TypedArray>(arrays: readonly NDArray<T>[]): NDArray<T> {
  check(arrays.length > 0, 'concatRows: no arrays given');
  const [first] = arrays;
  const tail = first.shape.slice(1);
  for (const array of arrays) {
    check(
      array.dtype === first.dtype && String(array.shape.slice(1)) === String(tail),
      () => `concatRows: ${array.dtype} [${array.shape}] does not continue ${first.dtype} [${first.shape}]`,
    );
  }
  const result = empty(first, [arrays.reduce((n, array) => n + array.shape[0], 0), ...tail]);
  let offset = 0;
  for (const { data } of arrays) {
    (result.data as unknown as Float32Array).set(data as unknown as Float32Array, offset);
    offset += data.length;
  }
  return result;
}

/** Arrays of one shape as rows of a new first axis: [arrays.length, …]. */
export function stackRows<T extends TypedArray>(arrays: readonly NDArray<T>[]): NDArray<T> {
  return concatRows(arrays.map(array => ({ ...array, shape: [1, ...array.shape] })));
}

/** Column-major (Fortran order) elements of `array.shape`, rearranged to row-major. */
export function rowMajor<T extends TypedArray>(array: NDArray<T>): NDArray<T> {
  const { shape, data } = array;
  const result = empty(array, shape);
  const strides = shape.map((_, axis) => sizeOf(shape.slice(0, axis)));
  const index = shape.map(() => 0);
  for (let at = 0, from = 0; at < data.length; at++) {
    result.data[at] = data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return result;
}

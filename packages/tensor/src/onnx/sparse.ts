import { arrayType, bytesPerElement, type NDArray, sizeOf, type TypedArray } from '../dtype.ts';
import { FormatError } from '../errors.ts';

/** The non-zeros of a tensor in ascending order of `indices`, their positions in row-major order. */
export interface Coordinates {
  readonly values: TypedArray;
  readonly indices: BigInt64Array<ArrayBuffer>;
}

// -0 is a zero: a masked negative weight becomes one. NaN is not.
const isZero = (x: number | bigint): boolean => x === 0 || x === 0n;

/** Number of elements that differ from zero. */
export function countNonZeros(data: TypedArray): number {
  let count = 0;
  for (let i = 0; i < data.length; i++) if (!isZero(data[i])) count++;
  return count;
}

/** The non-zeros of a dense tensor. The -0 of float16 and bfloat16, which are held as raw bits, is kept. */
export function toCoordinates({ dtype, data }: NDArray): Coordinates {
  const count = countNonZeros(data);
  const values = new (arrayType(dtype))(count);
  const indices = new BigInt64Array(count);
  for (let i = 0, k = 0; i < data.length; i++) {
    if (isZero(data[i])) continue;
    values[k] = data[i];
    indices[k++] = BigInt(i);
  }
  return { values, indices };
}

/**
 * The dense tensor of a `SparseTensorProto`: values [n], and indices [n] into the flattened tensor or [n, rank], in
 * strictly ascending order. `spend` is asked before the dense tensor is allocated and throws if it is too large.
 */
export function fromCoordinates(
  values: NDArray,
  indices: NDArray,
  shape: readonly number[],
  where: string,
  spend: (bytes: number) => void,
): NDArray {
  const fail = (message: string): never => {
    throw new FormatError(`${where}: ${message}`);
  };
  const { dtype } = values;
  const count = values.data.length;
  const rank = shape.length;
  const linear = indices.shape.length === 1;
  if (rank === 0) fail('a sparse tensor needs at least one dimension');
  if (values.shape.length !== 1) fail(`sparse values have shape [${values.shape.join(', ')}], expected [n]`);
  if (indices.dtype !== 'int64') fail(`sparse indices are ${indices.dtype}, expected int64`);
  if (indices.shape[0] !== count || !(linear || (indices.shape.length === 2 && indices.shape[1] === rank)))
    fail(`sparse indices have shape [${indices.shape.join(', ')}], expected [${count}] or [${count}, ${rank}]`);

  const size = sizeOf(shape);
  spend(size * bytesPerElement(dtype));
  const data = new (arrayType(dtype))(size);
  const positions = indices.data as BigInt64Array;
  let last = -1;
  for (let k = 0; k < count; k++) {
    let position = 0;
    if (linear) {
      position = Number(positions[k]);
      if (position < 0 || position >= size) fail(`sparse index ${positions[k]} lies outside 0 to ${size - 1}`);
    } else {
      for (let axis = 0; axis < rank; axis++) {
        const i = Number(positions[k * rank + axis]);
        if (i < 0 || i >= shape[axis])
          fail(`sparse index [${positions.slice(k * rank, (k + 1) * rank).join(', ')}] lies outside the shape`);
        position = position * shape[axis] + i;
      }
    }
    if (position <= last)
      fail(`sparse indices are ${position === last ? 'given twice' : 'not ascending'} at entry ${k}`);
    data[position] = values.data[k];
    last = position;
  }
  return { dtype, shape, data };
}

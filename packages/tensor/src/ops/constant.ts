import type { DType } from '../dtype.ts';
import { arrayType } from '../dtype.ts';
import { operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';

const op = operator<{ value: number; dtype: DType }>({
  name: 'constant',
  infer: (_, { dtype }) => ({ shape: [], dtype }),
  gradient: () => [],
  emit: (b, _, { attributes: { value, dtype } }) => {
    const data = new (arrayType(dtype))(1);
    data[0] = data instanceof BigInt64Array || data instanceof BigUint64Array ? BigInt(value) : value;
    return b.constant({ dtype, shape: [], data });
  },
});

/** A scalar that is part of the graph (and of its structural hash): for numbers that stay the same. */
export const constant = (value: number, dtype: DType = 'float32'): Tensor => op([], { value, dtype });

/** A tensor filled with one value, without storing it. */
export const full = (shape: readonly number[], value: number, dtype: DType = 'float32'): Tensor =>
  constant(value, dtype).expand(shape);

export const zeros = (shape: readonly number[], dtype: DType = 'float32'): Tensor => full(shape, 0, dtype);
export const ones = (shape: readonly number[], dtype: DType = 'float32'): Tensor => full(shape, 1, dtype);

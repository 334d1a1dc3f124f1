import type { DType } from '../dtype.ts';
import { operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';

const op = operator<{ value: number; dtype: DType }>({
  name: 'constant',
  infer: (_, { dtype }) => ({ shape: [], dtype }),
  gradient: () => [],
  emit: (b, _, { attributes: { value, dtype } }) => b.scalar(value, dtype),
});

/** A scalar that is part of the graph (and of its structural hash): for numbers that stay the same. */
export const constant = (value: number, dtype: DType = 'float32'): Tensor => op([], { value, dtype });

/** A tensor filled with one value, without storing it. */
export const full = (shape: readonly number[], value: number, dtype: DType = 'float32'): Tensor =>
  constant(value, dtype).expand(shape);

export const zeros = (shape: readonly number[], dtype: DType = 'float32'): Tensor => full(shape, 0, dtype);
export const ones = (shape: readonly number[], dtype: DType = 'float32'): Tensor => full(shape, 1, dtype);

const arangeOp = operator<{ length: number; dtype: DType }>({
  name: 'arange',
  infer: (_, { length, dtype }) => ({ shape: [length], dtype }),
  gradient: () => [],
  emit: (b, _, { attributes: { length, dtype } }) => {
    const end = b.node('Squeeze', [b.dims([length])]);
    return b.cast(b.node('Range', [b.scalar(0, 'int64'), end, b.scalar(1, 'int64')]), dtype);
  },
});

/** 0, 1, …, length − 1, as part of the graph. */
export const arange = (length: number, dtype: DType = 'int32'): Tensor => arangeOp([], { length, dtype });

/** Matrix products. */
import { check } from '../../errors.ts';
import { formatShape } from '../../operator.ts';
import * as ops from '../../ops/matmul.ts';
import type { Tensor } from '../../tensor.ts';
import type { Import } from './call.ts';
import { einsum } from './einsum.ts';

export const MatMul: Import = call => ops.matmul(call.tensor(0), call.tensor(1));

/** α·A′·B′ + β·C. The usual layer (B transposed, no factors) is one `linear`. */
export const Gemm: Import = call => {
  const [a, b, c] = [call.tensor(0), call.tensor(1), call.optional(2)];
  const [alpha, beta] = [call.float('alpha', 1), call.float('beta', 1)];
  const [transA, transB] = [call.flag('transA'), call.flag('transB')];
  check(a.rank === 2 && b.rank === 2, () => `${formatShape(a.shape)} × ${formatShape(b.shape)}: expected two matrices`);
  const left = transA ? a.transpose() : a;
  const [rows, columns] = [left.shape[0], b.shape[transB ? 0 : 1]];
  const isLayer = transB && alpha === 1 && beta === 1 && left.dtype === 'float32';
  if (isLayer && (!c || formatShape(c.shape) === formatShape([columns]))) return ops.linear(left, b, c);
  const product = scaled(ops.matmul(left, transB ? b.transpose() : b), alpha);
  if (!c || beta === 0) return product;
  return product.add(scaled(c, beta).expand([rows, columns]));
};

const scaled = (x: Tensor, factor: number): Tensor => (factor === 1 ? x : x.mul(factor));

export const Einsum: Import = call => {
  const equation = call.string('equation', '');
  return einsum(equation, call.tensors());
};

/** Product of 8-bit integers less their zero points, in int32. */
export const MatMulInteger: Import = call => {
  const [a, b] = [call.tensor(0).cast('int32'), call.tensor(1).cast('int32')];
  const [zeroA, zeroB] = [call.optional(2)?.cast('int32'), call.optional(3)?.cast('int32')];
  // One zero point a row of A, one a column of B.
  const left = zeroA ? a.sub(zeroA.rank === 1 && zeroA.size > 1 ? zeroA.unsqueeze(1) : zeroA) : a;
  return ops.matmul(left, zeroB ? b.sub(zeroB) : b);
};

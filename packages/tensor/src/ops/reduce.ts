import { isFloat, sizeOf } from '../dtype.ts';
import { check } from '../errors.ts';
import { normalizeAxes, normalizeAxis, operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { where } from './elementwise.ts';

export type Axes = number | readonly number[] | undefined;
interface Reduction {
  axes: readonly number[];
}

type ReduceGradient = (x: Tensor, y: Tensor, grad: Tensor, axes: readonly number[]) => Tensor;

function reduction(name: string, onnx: string, gradient: ReduceGradient) {
  const op = operator<Reduction>({
    name,
    infer: ([x], { axes }) => {
      check(
        isFloat(x.dtype) || x.dtype === 'int32' || x.dtype === 'int64',
        () => `${name}: the tensor is ${x.dtype}, expected a float dtype, int32 or int64; cast it first`,
      );
      // All reductions keep their axes as length 1; dropping them afterwards costs nothing.
      return { shape: x.shape.map((d, i) => (axes.includes(i) ? 1 : d)), dtype: x.dtype };
    },
    gradient: ({ inputs: [x], outputs: [y], grads: [g], attributes: { axes } }) => [gradient(x, y, g, axes)],
    // Up to opset 17 the axes of all reductions but ReduceSum are attributes; from 18 on they are inputs.
    emit: (b, [x], { attributes: { axes } }) => b.node(onnx, [x, b.dims(axes)], { keepdims: 1 }),
  });
  return (x: Tensor, axes?: Axes, keep = false): Tensor => {
    const list = normalizeAxes(name, axes, x.rank);
    const y = list.length === 0 ? x : op([x], { axes: list });
    return keep ? y : y.reshape(y.shape.filter((_, i) => !list.includes(i)));
  };
}

const count = (x: Tensor, axes: readonly number[]): number => axes.reduce((n, a) => n * x.shape[a], 1);

const sumOf = reduction('sum', 'ReduceSum', (x, _y, g) => g.expand(x.shape));
/** Truth values are counted, as int32. */
export const sum = (x: Tensor, axes?: Axes, keep = false): Tensor =>
  sumOf(x.dtype === 'bool' ? x.cast('int32') : x, axes, keep);
export const mean = reduction('mean', 'ReduceMean', (x, _y, g, axes) => g.mul(1 / count(x, axes)).expand(x.shape));
/** Ties share the gradient equally. The result is undefined where there is a NaN, as for `min`. */
export const max = reduction('max', 'ReduceMax', (x, y, g, axes) => extremumGradient(x, y, g, axes));
export const min = reduction('min', 'ReduceMin', (x, y, g, axes) => extremumGradient(x, y, g, axes));
function extremumGradient(x: Tensor, y: Tensor, g: Tensor, axes: readonly number[]): Tensor {
  const hit = x.eq(y).cast(x.dtype);
  return hit.mul(g.div(hit.sum(axes, true)));
}
/** log Σ exp x, shifted by the maximum. */
export const logsumexp = reduction('logsumexp', 'ReduceLogSumExp', (x, y, g) => g.mul(x.sub(y).exp()));
export const prod = reduction('prod', 'ReduceProd', (x, _y, g, axes) => g.mul(productOfOthers(x, axes)));

/** ∏ of all other elements along `axes`: exclusive products from both ends, so that zeros give the right limit. */
function productOfOthers(x: Tensor, axes: readonly number[]): Tensor {
  const kept = x.shape.flatMap((_, i) => (axes.includes(i) ? [] : [i]));
  const perm = [...kept, ...axes];
  const rows = x.transpose(perm).reshape([sizeOf(kept.map(i => x.shape[i])), count(x, axes)]);
  const others = productBefore(rows).mul(productBefore(rows.flip(1)).flip(1));
  const inverse = perm.map((_, i) => perm.indexOf(i));
  return others.reshape(perm.map(p => x.shape[p])).transpose(inverse);
}

/** ∏ of the elements in front of each, along the last of two axes; each round multiplies twice as many. */
function productBefore(rows: Tensor): Tensor {
  const n = rows.shape[1];
  const shifted = (t: Tensor, by: number) => t.slice(1, 0, n - by).pad([[1, by, 0]], 'constant', 1);
  let product = shifted(rows, Math.min(1, n));
  for (let reach = 1; reach < n; reach *= 2) product = product.mul(shifted(product, reach));
  return product;
}

/** Variance with divisor n − `correction` (0: population, 1: sample). */
export function variance(x: Tensor, axes?: Axes, keep = false, correction = 0): Tensor {
  const list = normalizeAxes('variance', axes, x.rank);
  const centred = x.sub(mean(x, list, true));
  const n = count(x, list) - correction;
  check(n > 0, () => `variance: ${count(x, list)} elements with correction ${correction} leave no degree of freedom`);
  const squares = centred.mul(centred);
  // A mean needs no number of elements, so that it exports with a dynamic batch.
  return correction === 0 ? mean(squares, list, keep) : sum(squares, list, keep).mul(1 / n);
}
export const std = (x: Tensor, axes?: Axes, keep = false, correction = 0): Tensor =>
  variance(x, axes, keep, correction).sqrt();

/** Lp norm for p > 0, ∞ included; p = 2 is the default. The gradient at 0 is 0 for p = 1, 2 and ∞. */
export function norm(x: Tensor, p = 2, axes?: Axes, keep = false): Tensor {
  check(p > 0, () => `norm: p = ${p}: expected a positive number or Infinity`);
  if (p === 1) return sum(x.abs(), axes, keep);
  if (p === Infinity) return max(x.abs(), axes, keep);
  if (p !== 2) return sum(x.abs().pow(p), axes, keep).pow(1 / p);
  const squares = sum(x.mul(x), axes, keep);
  const zero = squares.eq(0);
  return where(zero, 0, where(zero, 1, squares).sqrt());
}

const cumsumOp = operator<{ axis: number; exclusive: boolean; reverse: boolean }>({
  name: 'cumsum',
  infer: ([x]) => x,
  gradient: ({ grads: [g], attributes: a }) => [cumsum(g, a.axis, { ...a, reverse: !a.reverse })],
  emit: (b, [x], { attributes: { axis, exclusive, reverse } }) =>
    b.node('CumSum', [x, b.scalar(axis, 'int64')], { exclusive: Number(exclusive), reverse: Number(reverse) }),
});
/** Running sum along an axis; `exclusive` leaves the element itself out, `reverse` runs from the end. */
export const cumsum = (x: Tensor, axis = -1, { exclusive = false, reverse = false } = {}): Tensor =>
  cumsumOp([x], { axis: normalizeAxis('cumsum', axis, x.rank), exclusive, reverse });

const softmaxOp = operator<{ axis: number }>({
  name: 'softmax',
  infer: ([x]) => x,
  gradient: ({ outputs: [y], grads: [g], attributes: { axis } }) => [y.mul(g.sub(g.mul(y).sum([axis], true)))],
  emit: (b, [x], { attributes: { axis } }) => b.node('Softmax', [x], { axis }),
});
export const softmax = (x: Tensor, axis = -1): Tensor =>
  softmaxOp([x], { axis: normalizeAxis('softmax', axis, x.rank) });

const logSoftmaxOp = operator<{ axis: number }>({
  name: 'logSoftmax',
  infer: ([x]) => x,
  gradient: ({ outputs: [y], grads: [g], attributes: { axis } }) => [g.sub(y.exp().mul(g.sum([axis], true)))],
  emit: (b, [x], { attributes: { axis } }) => b.node('LogSoftmax', [x], { axis }),
});
export const logSoftmax = (x: Tensor, axis = -1): Tensor =>
  logSoftmaxOp([x], { axis: normalizeAxis('logSoftmax', axis, x.rank) });

/** Whether any / all elements hold (bool in, bool out). */
export const any = (x: Tensor, axes?: Axes, keep = false): Tensor => max(x.cast('int32'), axes, keep).cast('bool');
export const all = (x: Tensor, axes?: Axes, keep = false): Tensor => min(x.cast('int32'), axes, keep).cast('bool');

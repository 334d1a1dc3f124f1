import { check } from '../errors.ts';
import { formatShape, multiOperator, normalizeAxis, operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { scatterElements } from './gather.ts';

const topkOp = multiOperator<{ k: number; axis: number; largest: boolean; sorted: boolean }>({
  name: 'topk',
  infer: ([x], { k, axis }) => {
    const shape = x.shape.map((d, i) => (i === axis ? k : d));
    return [
      { shape, dtype: x.dtype },
      { shape, dtype: 'int32' },
    ];
  },
  gradient: ({ inputs: [x], outputs: [, indices], grads: [g], attributes: { axis } }) => [
    scatterElements(x.shape, indices, g, axis),
  ],
  emit: (b, [x], { attributes: { k, axis, largest, sorted } }) => {
    const [values, indices] = b.multi(
      'TopK',
      [x, b.dims([k])],
      { axis, largest: Number(largest), sorted: Number(sorted) },
      2,
    );
    return [values, b.cast(indices, 'int32')];
  },
});

/**
 * The `k` largest (or smallest) elements along an axis and their positions (int32). Of equal elements the first comes
 * first. Gradients pass to the chosen elements. Where NaN ranks is undefined.
 */
export function topk(
  x: Tensor,
  k: number,
  axis = -1,
  { largest = true, sorted = true }: { largest?: boolean; sorted?: boolean } = {},
): [values: Tensor, indices: Tensor] {
  const a = normalizeAxis('topk', axis, x.rank);
  check(
    Number.isInteger(k) && k >= 1 && k <= x.shape[a],
    () => `topk: k = ${k} must be 1 to ${x.shape[a]}, the length of axis ${a} of ${formatShape(x.shape)}`,
  );
  return topkOp([x], { k, axis: a, largest, sorted }) as [Tensor, Tensor];
}

/** Sorts along an axis: values and the positions (int32) they came from. Stable; where NaN goes is undefined. */
export const sort = (x: Tensor, axis = -1, descending = false): [values: Tensor, indices: Tensor] =>
  topk(x, x.shape[normalizeAxis('sort', axis, x.rank)], axis, { largest: descending });

/** The positions (int32) that would sort along an axis. */
export const argsort = (x: Tensor, axis = -1, descending = false): Tensor => sort(x, axis, descending)[1];

function argExtremum(name: string, onnx: string) {
  const op = operator<{ axis: number }>({
    name,
    infer: ([x], { axis }) => ({ shape: x.shape.map((d, i) => (i === axis ? 1 : d)), dtype: 'int32' }),
    emit: (b, [x], { attributes: { axis } }) => b.cast(b.node(onnx, [x], { axis, keepdims: 1 }), 'int32'),
  });
  return (x: Tensor, axis = -1, keep = false): Tensor => {
    const a = normalizeAxis(name, axis, x.rank);
    check(x.shape[a] > 0, () => `${name}: axis ${a} of ${formatShape(x.shape)} is empty`);
    const y = op([x], { axis: a });
    return keep ? y : y.squeeze(a);
  };
}
/** Position (int32) of the largest element along an axis, the first of equal ones; undefined where there is a NaN. */
export const argmax = argExtremum('argmax', 'ArgMax');
/** Position (int32) of the smallest element along an axis, the first of equal ones; undefined where there is a NaN. */
export const argmin = argExtremum('argmin', 'ArgMin');

/** The q-quantile (0 ≤ q ≤ 1) along an axis, linear between the two nearest elements, as in numpy. */
export function quantile(x: Tensor, q: number, axis = -1, keep = false): Tensor {
  check(q >= 0 && q <= 1, () => `quantile: q = ${q} is outside [0, 1]`);
  const a = normalizeAxis('quantile', axis, x.rank);
  const position = q * (x.shape[a] - 1);
  const low = Math.floor(position);
  const high = Math.ceil(position);
  const [smallest] = topk(x, high + 1, a, { largest: false });
  const at = (i: number) => smallest.slice(a, i, i + 1);
  const y =
    low === high
      ? at(low)
      : at(low)
          .mul(high - position)
          .add(at(high).mul(position - low));
  return keep ? y : y.squeeze(a);
}
export const median = (x: Tensor, axis = -1, keep = false): Tensor => quantile(x, 0.5, axis, keep);

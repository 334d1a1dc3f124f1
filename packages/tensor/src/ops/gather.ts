import { check } from '../errors.ts';
import type { Spec } from '../graph.ts';
import { formatShape, normalizeAxis, operator, sameDtype } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { arange, zeros } from './constant.ts';
import { where } from './elementwise.ts';

/** A tensor to scatter into, or the shape of a zero tensor. */
type Target = Tensor | readonly number[];
const isShape = (x: Target): x is readonly number[] => Array.isArray(x);
const base = (x: Target, updates: Tensor): Tensor => (isShape(x) ? zeros(x, updates.dtype) : x);

function checkIndices(name: string, { dtype }: Spec): void {
  check(dtype === 'int32' || dtype === 'int64', () => `${name}: indices are ${dtype}, expected int32 (or int64)`);
}

/** Negative positions count from the end. */
const wrap = (indices: Tensor, n: number): Tensor => where(indices.lt(0), indices.add(n), indices);

// ---- slices along an axis

const gatherOp = operator<{ axis: number }>({
  name: 'gather',
  infer: ([x, indices], { axis }) => {
    checkIndices('gather', indices);
    return { shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)], dtype: x.dtype };
  },
  gradient: ({ inputs: [x, indices], grads: [g], attributes: { axis } }) => [scatterAdd(x.shape, indices, g, axis)],
  emit: (b, inputs, { attributes: { axis } }) => b.node('Gather', inputs, { axis }),
});

/**
 * Slices of `x` along `axis` at the given positions, in any order and number; negative positions count from the end.
 * A position outside of the axis is an error when the graph runs.
 *
 * @returns shape `[...x.shape[..axis), ...indices.shape, ...x.shape(axis..]]`
 */
export const gather = (x: Tensor, indices: Tensor, axis = 0): Tensor =>
  gatherOp([x, indices], { axis: normalizeAxis('gather', axis, x.rank) });

/** Rows of `weight` [vocabulary, width] for integer `ids` of any shape: `[...ids.shape, width]`. */
export function embedding(weight: Tensor, ids: Tensor): Tensor {
  check(weight.rank === 2, () => `embedding: the weight is ${formatShape(weight.shape)}, expected [vocabulary, width]`);
  return gather(weight, ids, 0);
}

const scatterRowsOp = operator<{ rows: number }>({
  name: 'scatterRows',
  infer: ([, updates], { rows }) => ({ shape: [rows, updates.shape[1]], dtype: updates.dtype }),
  gradient: ({ inputs: [indices], grads: [g] }) => [undefined, gather(g, indices, 0)],
  emit: (b, [indices, updates], { outputs: [{ shape, dtype }] }) => {
    // ScatterND(add) would be faster, but ONNX Runtime adds to one element from several threads at once and loses
    // updates. ScatterElements is exact, and over flat arrays twice as fast as over rows.
    const width = shape[1];
    const flat = (t: string) => b.node('Reshape', [t, b.dims([-1])]);
    const column = b.node('Mul', [b.node('Reshape', [indices, b.dims([-1, 1])]), b.scalar(width, 'int32')]);
    const offsets = b.constant({
      dtype: 'int32',
      shape: [width],
      data: Int32Array.from({ length: width }, (_, i) => i),
    });
    const positions = flat(b.node('Add', [column, offsets]));
    const empty = flat(b.node('Expand', [b.scalar(0, dtype), b.dims(shape)]));
    const sums = b.node('ScatterElements', [empty, positions, flat(updates)], { axis: 0, reduction: 'add' });
    return b.reshape(sums, shape);
  },
});

/** Sums `updates` [n, width] into the rows of [rows, width] named by `indices` [n]. */
function scatterRows(rows: number, indices: Tensor, updates: Tensor): Tensor {
  const ids = indices.cast('int32');
  const width = updates.shape[1];
  // Measured in nanoseconds a row of updates: a product with the one-hot matrix against adding element by element.
  if (rows * (1.5 + 0.02 * width) < 3 * width && updates.dtype === 'float32') {
    return arange(rows).unsqueeze(1).eq(wrap(ids, rows)).cast(updates.dtype).matmul(updates);
  }
  return scatterRowsOp([ids, updates], { rows });
}

/**
 * Adds slices to `x` (or to zeros of a shape) along `axis`: `out[…, indices[i], …] += updates[…, i, …]`, the adjoint of
 * {@link gather}. Positions may repeat and their updates then add up.
 *
 * @param updates shape `[...x.shape[..axis), ...indices.shape, ...x.shape(axis..]]`
 */
export function scatterAdd(x: Target, indices: Tensor, updates: Tensor, axis = 0): Tensor {
  const shape = isShape(x) ? x : x.shape;
  const a = normalizeAxis('scatterAdd', axis, shape.length);
  checkIndices('scatterAdd', indices);
  const expected = [...shape.slice(0, a), ...indices.shape, ...shape.slice(a + 1)];
  check(
    formatShape(updates.shape) === formatShape(expected),
    () =>
      `scatterAdd: updates ${formatShape(updates.shape)}, expected ${formatShape(expected)} for indices ${formatShape(indices.shape)} on axis ${a} of ${formatShape(shape)}`,
  );
  // The indexed axis goes first: [lead, indices, rest] → [indices, lead · rest].
  const lead = shape.slice(0, a);
  const rest = [...lead, ...shape.slice(a + 1)];
  const depth = indices.rank;
  const forward = [
    ...updates.shape.slice(a, a + depth).map((_, i) => a + i),
    ...lead.map((_, i) => i),
    ...shape.slice(a + 1).map((_, i) => a + depth + i),
  ];
  const width = rest.reduce((n, d) => n * d, 1);
  const rows = updates.transpose(forward).reshape([indices.size, width]);
  const back = [...lead.map((_, i) => i + 1), 0, ...shape.slice(a + 1).map((_, i) => a + 1 + i)];
  const sums = scatterRows(shape[a], indices.reshape([indices.size]), rows)
    .reshape([shape[a], ...rest])
    .transpose(back);
  return isShape(x) ? sums : x.add(sums);
}

// ---- single elements along an axis

function checkElements(name: string, x: readonly number[], indices: Spec, axis: number): void {
  checkIndices(name, indices);
  check(
    indices.shape.length === x.length && indices.shape.every((d, i) => i === axis || d <= x[i]),
    () => `${name}: indices ${formatShape(indices.shape)} do not fit ${formatShape(x)} outside axis ${axis}`,
  );
}

const gatherElementsOp = operator<{ axis: number }>({
  name: 'gatherElements',
  infer: ([x, indices], { axis }) => {
    checkElements('gatherElements', x.shape, indices, axis);
    return { shape: indices.shape, dtype: x.dtype };
  },
  gradient: ({ inputs: [x, indices], grads: [g], attributes: { axis } }) => [
    scatterElements(x.shape, indices, g, axis, 'add'),
  ],
  emit: (b, inputs, { attributes: { axis } }) => b.node('GatherElements', inputs, { axis }),
});

/** `out[i, j, …] = x[i, indices[i, j, …], …]` with the index in place of coordinate `axis`; shaped like `indices`. */
export const gatherElements = (x: Tensor, indices: Tensor, axis = -1): Tensor =>
  gatherElementsOp([x, indices], { axis: normalizeAxis('gatherElements', axis, x.rank) });

/** What happens to an element that is written: it is replaced, or the update is added to it. */
export type ScatterReduction = 'replace' | 'add';

const scatterElementsOp = operator<{ axis: number; reduction: ScatterReduction }>({
  name: 'scatterElements',
  infer: ([x, indices, updates], { axis }) => {
    checkElements('scatterElements', x.shape, indices, axis);
    check(
      formatShape(indices.shape) === formatShape(updates.shape),
      () => `scatterElements: indices ${formatShape(indices.shape)} and updates ${formatShape(updates.shape)} differ`,
    );
    return { shape: x.shape, dtype: sameDtype('scatterElements', [x, updates]) };
  },
  gradient: ({ inputs: [, indices], grads: [g], attributes: { axis, reduction }, needs }) => [
    !needs(0) || reduction === 'add' ? g : scatterElements(g, indices, zeros(indices.shape, g.dtype), axis),
    undefined,
    needs(2) ? gatherElements(g, indices, axis) : undefined,
  ],
  emit: (b, inputs, { attributes: { axis, reduction } }) =>
    b.node('ScatterElements', inputs, reduction === 'add' ? { axis, reduction } : { axis }),
});

/**
 * Writes `out[i, indices[i, j, …], …] = updates[i, j, …]` (the adjoint form of {@link gatherElements}) into a copy of
 * `x`, or of zeros of a shape. With `replace`, positions must be distinct.
 */
export function scatterElements(
  x: Target,
  indices: Tensor,
  updates: Tensor,
  axis = -1,
  reduction: ScatterReduction = 'replace',
): Tensor {
  const target = base(x, updates);
  return scatterElementsOp([target, indices, updates], {
    axis: normalizeAxis('scatterElements', axis, target.rank),
    reduction,
  });
}

// ---- slices at coordinates

/** Row numbers [n] of coordinates `[..., k]` in a tensor whose first k axes are merged into rows. */
function rowNumbers(name: string, shape: readonly number[], indices: Tensor): Tensor {
  checkIndices(name, indices);
  const k = indices.shape.at(-1) ?? 0;
  check(
    k >= 1 && k <= shape.length,
    () =>
      `${name}: indices ${formatShape(indices.shape)} hold ${k} coordinates a row, expected 1 to ${shape.length} for ${formatShape(shape)}`,
  );
  const ids = indices.cast('int32').reshape([-1, k]);
  let row = wrap(ids.slice(1, 0, 1), shape[0]);
  for (let i = 1; i < k; i++) row = row.mul(shape[i]).add(wrap(ids.slice(1, i, i + 1), shape[i]));
  return row.reshape([ids.shape[0]]);
}

/** Slices of `x` at coordinates: `indices` [..., k] names the first k axes; result `[..., ...x.shape[k..]]`. */
export function gatherND(x: Tensor, indices: Tensor): Tensor {
  const rows = rowNumbers('gatherND', x.shape, indices);
  const rest = x.shape.slice(indices.shape.at(-1));
  const width = rest.reduce((n, d) => n * d, 1);
  return gather(x.reshape([x.size / width, width]), rows, 0).reshape([...indices.shape.slice(0, -1), ...rest]);
}

/**
 * Adds slices to `x` (or to zeros of a shape) at coordinates, the adjoint of {@link gatherND}: `indices` [..., k] names
 * the first k axes, `updates` is `[..., ...x.shape[k..]]`. Repeated coordinates add up.
 */
export function scatterND(x: Target, indices: Tensor, updates: Tensor): Tensor {
  const shape = isShape(x) ? x : x.shape;
  const rows = rowNumbers('scatterND', shape, indices);
  const rest = shape.slice(indices.shape.at(-1));
  const expected = [...indices.shape.slice(0, -1), ...rest];
  check(
    formatShape(updates.shape) === formatShape(expected),
    () => `scatterND: updates ${formatShape(updates.shape)}, expected ${formatShape(expected)}`,
  );
  const width = rest.reduce((n, d) => n * d, 1);
  const count = shape.slice(0, indices.shape.at(-1)).reduce((n, d) => n * d, 1);
  const sums = scatterRows(count, rows, updates.reshape([rows.size, width])).reshape(shape);
  return isShape(x) ? sums : x.add(sums);
}

/** 1 at position `ids` of a new last axis of length `depth`, else 0; an id outside [0, depth) gives zeros. */
export function oneHot(ids: Tensor, depth: number): Tensor {
  checkIndices('oneHot', ids);
  return ids.unsqueeze(-1).eq(arange(depth, ids.dtype)).cast('float32');
}

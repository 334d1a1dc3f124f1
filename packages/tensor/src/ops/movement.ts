import { sizeOf } from '../dtype.ts';
import { check } from '../errors.ts';
import {
  broadcastShapes,
  formatShape,
  multiOperator,
  normalizeAxes,
  normalizeAxis,
  operator,
  sameDtype,
} from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { unbroadcast } from './elementwise.ts';

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

const reshapeOp = operator<{ shape: readonly number[] }>({
  name: 'reshape',
  infer: ([x], { shape }) => ({ shape, dtype: x.dtype }),
  gradient: ({ inputs: [x], grads: [g] }) => [g.reshape(x.shape)],
  emit: (b, [x], { attributes: { shape } }) => b.reshape(x, shape),
});
/** The same elements in row-major order under another shape; one dimension may be −1. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const free = shape.indexOf(-1);
  const full = free < 0 ? shape : shape.map((d, i) => (i === free ? x.size / known : d));
  check(
    free === shape.lastIndexOf(-1) && full.every(d => Number.isInteger(d) && d >= 0) && sizeOf(full) === x.size,
    () => `reshape: ${formatShape(x.shape)} (${x.size} elements) does not fit ${formatShape(shape)}`,
  );
  if (sameShape(full, x.shape)) return x;
  return reshapeOp([x], { shape: [...full] });
}

const transposeOp = operator<{ perm: readonly number[] }>({
  name: 'transpose',
  infer: ([x], { perm }) => ({ shape: perm.map(p => x.shape[p]), dtype: x.dtype }),
  gradient: ({ grads: [g], attributes: { perm } }) => {
    const inverse = new Array<number>(perm.length);
    perm.forEach((p, i) => {
      inverse[p] = i;
    });
    return [transpose(g, inverse)];
  },
  emit: (b, [x], { attributes: { perm } }) => b.node('Transpose', [x], { perm: [...perm] }),
});
/** Permutes axes: output axis i is input axis `perm[i]`. Without `perm` the last two are swapped. */
export function transpose(x: Tensor, perm?: readonly number[]): Tensor {
  const axes = perm
    ? perm.map(p => normalizeAxis('transpose', p, x.rank))
    : x.shape.map((_, i) => (i === x.rank - 1 ? x.rank - 2 : i === x.rank - 2 ? x.rank - 1 : i));
  check(
    axes.length === x.rank && new Set(axes).size === x.rank && x.rank >= (perm ? 0 : 2),
    () => `transpose: [${perm ?? 'last two'}] is not a permutation of the ${x.rank} axes of ${formatShape(x.shape)}`,
  );
  return axes.every((p, i) => p === i) ? x : transposeOp([x], { perm: axes });
}

const expandOp = operator<{ shape: readonly number[] }>({
  name: 'expand',
  infer: ([x], { shape }) => ({ shape, dtype: x.dtype }),
  gradient: ({ inputs: [x], grads: [g] }) => [unbroadcast(g, x.shape)],
  emit: (b, [x], { attributes: { shape } }) => b.node('Expand', [x, b.dims(shape)]),
});
/** Broadcasts to a larger shape. */
export function expand(x: Tensor, shape: readonly number[]): Tensor {
  const out = broadcastShapes('expand', x.shape, shape);
  check(sameShape(out, shape), () => `expand: ${formatShape(x.shape)} does not expand to ${formatShape(shape)}`);
  return sameShape(shape, x.shape) ? x : expandOp([x], { shape: [...shape] });
}

export interface SliceRange {
  axis: number;
  start: number;
  end: number;
  step: number;
}
const sliceLength = ({ start, end, step }: SliceRange): number => Math.max(0, Math.ceil((end - start) / step));

const sliceOp = operator<{ ranges: readonly SliceRange[] }>({
  name: 'slice',
  infer: ([x], { ranges }) => {
    const shape = [...x.shape];
    for (const r of ranges) shape[r.axis] = sliceLength(r);
    return { shape, dtype: x.dtype };
  },
  gradient: ({ inputs: [x], grads: [g], attributes: { ranges } }) => [embed(g, x.shape, ranges)],
  emit: (b, [x], { attributes: { ranges } }) => {
    const column = (f: (r: SliceRange) => number) => b.dims(ranges.map(f));
    return b.node('Slice', [
      x,
      column(r => r.start),
      // A negative step that runs to the first element ends before it, which ONNX writes as a very negative end.
      column(r => (r.end === -1 ? -(2 ** 31) : r.end)),
      column(r => r.axis),
      column(r => r.step),
    ]);
  },
});

/** Puts `g` where `ranges` of a zero tensor of `shape` lie: the adjoint of slice. */
function embed(g: Tensor, shape: readonly number[], ranges: readonly SliceRange[]): Tensor {
  let out = g;
  for (const r of ranges) {
    const length = sliceLength(r);
    const step = Math.abs(r.step);
    if (r.step < 0) out = out.flip(r.axis);
    if (step > 1 && length > 1) {
      // Interleave with step − 1 zeros: [.., n, ..] → [.., n, 1, ..] → pad → [.., n·step, ..].
      const inner = out.unsqueeze(r.axis + 1);
      out = pad(inner, [[r.axis + 1, 0, step - 1]]).reshape(out.shape.map((d, i) => (i === r.axis ? d * step : d)));
    }
    const first = r.step < 0 ? r.start + (length - 1) * r.step : r.start;
    const excess = first + out.shape[r.axis] - shape[r.axis];
    if (excess > 0) out = out.slice(r.axis, 0, out.shape[r.axis] - excess);
    out = pad(out, [[r.axis, first, Math.max(0, -excess)]]);
  }
  return out;
}

/** Elements start, start + step, … before `end` along one axis; negative positions count from the end. */
export function slice(x: Tensor, axis: number, start?: number, end?: number, step = 1): Tensor {
  const a = normalizeAxis('slice', axis, x.rank);
  const n = x.shape[a];
  check(Number.isInteger(step) && step !== 0, () => `slice: step ${step} must be a non-zero integer`);
  const clip = (p: number, low: number, high: number) => Math.min(high, Math.max(low, p < 0 ? p + n : p));
  const range: SliceRange =
    step > 0
      ? { axis: a, start: clip(start ?? 0, 0, n), end: clip(end ?? n, 0, n), step }
      : {
          axis: a,
          start: start === undefined ? n - 1 : clip(start, -1, n - 1),
          end: end === undefined ? -1 : clip(end, -1, n - 1),
          step,
        };
  if (range.start === 0 && range.end === n && step === 1) return x;
  // A backward range that is empty could not be told from one that runs to the first element.
  if (sliceLength(range) === 0) return sliceOp([x], { ranges: [{ axis: a, start: 0, end: 0, step: 1 }] });
  return sliceOp([x], { ranges: [range] });
}

/** Slices of several axes at once: `slices(x, [[axis, start, end], …])`. */
export function slices(x: Tensor, ranges: readonly (readonly [axis: number, start: number, end: number])[]): Tensor {
  const list = ranges.map(([axis, start, end]) => {
    const a = normalizeAxis('slice', axis, x.rank);
    check(
      start >= 0 && start <= end && end <= x.shape[a],
      () => `slices: [${start}, ${end}) is outside axis ${a} of ${formatShape(x.shape)}`,
    );
    return { axis: a, start, end, step: 1 };
  });
  return sliceOp([x], { ranges: list });
}

/** Reverses the order of elements along axes. */
export const flip = (x: Tensor, axes?: number | readonly number[]): Tensor =>
  normalizeAxes('flip', axes, x.rank).reduce((t, a) => slice(t, a, undefined, undefined, -1), x);

export type PadMode = 'constant' | 'reflect' | 'edge';
export type Padding = readonly [axis: number, before: number, after: number];

const padOp = operator<{ pads: readonly Padding[]; mode: PadMode; value: number }>({
  name: 'pad',
  infer: ([x], { pads }) => {
    const shape = [...x.shape];
    for (const [axis, before, after] of pads) shape[axis] += before + after;
    return { shape, dtype: x.dtype };
  },
  gradient: ({ inputs: [x], grads: [g], attributes: { pads, mode } }) => {
    if (mode === 'constant') {
      return [sliceOp([g], { ranges: pads.map(([axis, b]) => ({ axis, start: b, end: b + x.shape[axis], step: 1 })) })];
    }
    let out = g;
    for (const [axis, before, after] of pads) out = foldPadding(out, axis, x.shape[axis], before, after, mode);
    return [out];
  },
  emit: (b, [x], { attributes: { pads, mode, value }, inputs: [spec] }) => {
    const begin = new Array(spec.shape.length).fill(0);
    const end = [...begin];
    for (const [axis, before, after] of pads) [begin[axis], end[axis]] = [before, after];
    const extra = mode === 'constant' && value !== 0 ? [b.scalar(value, spec.dtype)] : [];
    return b.node('Pad', [x, b.dims([...begin, ...end]), ...extra], mode === 'constant' ? {} : { mode });
  },
});

/** Adds what reflect or edge padding copied back to where it came from. */
function foldPadding(g: Tensor, axis: number, n: number, before: number, after: number, mode: PadMode): Tensor {
  let out = g.slice(axis, before, before + n);
  const head = g.slice(axis, 0, before);
  const tail = g.slice(axis, before + n);
  if (mode === 'edge') {
    if (before > 0) out = out.add(pad(head.sum([axis], true), [[axis, 0, n - 1]]));
    if (after > 0) out = out.add(pad(tail.sum([axis], true), [[axis, n - 1, 0]]));
    return out;
  }
  if (before > 0) out = out.add(pad(head.flip(axis), [[axis, 1, n - 1 - before]]));
  if (after > 0) out = out.add(pad(tail.flip(axis), [[axis, n - 1 - after, 1]]));
  return out;
}

/** Extends axes: `pad(x, [[axis, before, after], …])` with a value, reflection (without the border) or the border. */
export function pad(x: Tensor, pads: readonly Padding[], mode: PadMode = 'constant', value = 0): Tensor {
  const list = pads
    .map(([axis, before, after]) => [normalizeAxis('pad', axis, x.rank), before, after] as const)
    .filter(([, before, after]) => before !== 0 || after !== 0);
  normalizeAxes(
    'pad',
    list.map(([axis]) => axis),
    x.rank,
  );
  for (const [axis, before, after] of list) {
    const limit = mode === 'reflect' ? x.shape[axis] - 1 : Infinity;
    check(
      Number.isInteger(before) &&
        Number.isInteger(after) &&
        before >= 0 &&
        after >= 0 &&
        Math.max(before, after) <= limit,
      () => `pad: [${before}, ${after}] on axis ${axis} of ${formatShape(x.shape)} is not allowed in mode ${mode}`,
    );
  }
  return list.length === 0 ? x : padOp([x], { pads: list, mode, value });
}

const concatOp = operator<{ axis: number }>({
  name: 'concat',
  infer: (inputs, { axis }) => {
    const [first] = inputs;
    const dtype = sameDtype('concat', inputs);
    for (const x of inputs) {
      check(
        x.shape.length === first.shape.length && x.shape.every((d, i) => i === axis || d === first.shape[i]),
        () => `concat: shapes ${inputs.map(t => formatShape(t.shape)).join(', ')} differ outside axis ${axis}`,
      );
    }
    return {
      shape: first.shape.map((d, i) => (i === axis ? inputs.reduce((n, x) => n + x.shape[axis], 0) : d)),
      dtype,
    };
  },
  gradient: ({ inputs, grads: [g], attributes: { axis }, needs }) => {
    let start = 0;
    return inputs.map((x, i) => {
      const from = start;
      start += x.shape[axis];
      return needs(i) ? g.slice(axis, from, start) : undefined;
    });
  },
  emit: (b, inputs, { attributes: { axis } }) => b.node('Concat', inputs, { axis }),
});
/** Joins tensors along an existing axis. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  check(tensors.length > 0, 'concat: no tensors given');
  return tensors.length === 1
    ? tensors[0]
    : concatOp(tensors, { axis: normalizeAxis('concat', axis, tensors[0].rank) });
}

/** Joins tensors of equal shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  check(tensors.length > 0, 'stack: no tensors given');
  const a = normalizeAxis('stack', axis, tensors[0].rank + 1);
  return concat(
    tensors.map(t => t.unsqueeze(a)),
    a,
  );
}

const splitOp = multiOperator<{ axis: number; lengths: readonly number[] }>({
  name: 'split',
  infer: ([x], { axis, lengths }) =>
    lengths.map(n => ({ shape: x.shape.map((d, i) => (i === axis ? n : d)), dtype: x.dtype })),
  gradient: ({ grads, attributes: { axis } }) => [concat(grads, axis)],
  emit: (b, [x], { attributes: { axis, lengths } }) => b.multi('Split', [x, b.dims(lengths)], { axis }, lengths.length),
});
/**
 * Cuts a tensor into pieces of the given lengths (or `pieces` equal ones) along an axis: one ONNX node whose gradient is
 * one concatenation. Slices would cost a padded copy of the whole for each piece on the way back.
 */
export function split(x: Tensor, pieces: number | readonly number[], axis = 0): Tensor[] {
  const a = normalizeAxis('split', axis, x.rank);
  const n = x.shape[a];
  const lengths = typeof pieces === 'number' ? new Array<number>(pieces).fill(n / pieces) : [...pieces];
  check(
    lengths.length > 0 && lengths.every(d => Number.isInteger(d) && d >= 0) && lengths.reduce((s, d) => s + d, 0) === n,
    () => `split: axis ${a} of ${formatShape(x.shape)} cannot be cut into ${JSON.stringify(pieces)}`,
  );
  return lengths.length === 1 ? [x] : splitOp([x], { axis: a, lengths });
}

/** Removes axes of length 1 (all of them, or those named). */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  const list =
    axes === undefined ? x.shape.flatMap((d, i) => (d === 1 ? [i] : [])) : normalizeAxes('squeeze', axes, x.rank);
  check(
    list.every(a => x.shape[a] === 1),
    () => `squeeze: axes [${list}] of ${formatShape(x.shape)} are not all 1`,
  );
  return x.reshape(x.shape.filter((_, i) => !list.includes(i)));
}

/** Inserts an axis of length 1 at `axis` of the result. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  const a = normalizeAxis('unsqueeze', axis, x.rank + 1);
  return x.reshape([...x.shape.slice(0, a), 1, ...x.shape.slice(a)]);
}

/** Merges axes `from` … `to` into one. */
export function flatten(x: Tensor, from = 1, to = -1): Tensor {
  if (x.rank === 0) return x.reshape([1]);
  const a = normalizeAxis('flatten', from, x.rank);
  const b = normalizeAxis('flatten', to, x.rank);
  return x.reshape([...x.shape.slice(0, a), sizeOf(x.shape.slice(a, b + 1)), ...x.shape.slice(b + 1)]);
}

/** Repeats the whole tensor `times[i]` times along axis i. */
export function tile(x: Tensor, times: readonly number[]): Tensor {
  check(times.length === x.rank, () => `tile: ${times.length} repeats for a tensor of rank ${x.rank}`);
  const inner = x.shape.flatMap(d => [1, d]);
  return x
    .reshape(inner)
    .expand(x.shape.flatMap((d, i) => [times[i], d]))
    .reshape(x.shape.map((d, i) => d * times[i]));
}

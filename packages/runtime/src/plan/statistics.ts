/** Lowerings of reductions, softmax and normalisations. */
import { groupNorm, layerNorm, localResponse, type Reduce, reduce, softmax } from '../kernels/reduce.ts';
import { number, numbers } from '../ops/operator.ts';
import { sizeOf } from '../values.ts';
import { FUSED } from './fused.ts';
import type { Lower, Lowering } from './lowering.ts';

const isFloat = (l: Lowering): boolean =>
  l.inputs.every((info, i) => !info || i > 2 || info.type === 'float32') && !l.outputs[1];

/** Reduce* over adjacent axes. */
const reducing =
  (name: Reduce): Lower =>
  l => {
    const [x, axesInput] = l.inputs;
    if (x!.type !== 'float32') return false;
    const { dims } = x!;
    const rank = dims.length;
    if (axesInput && !axesInput.value) return false;
    const given = axesInput ? [...axesInput.value!.data].map(Number) : numbers(l.node, 'axes');
    if (!given?.length && number(l.node, 'noop_with_empty_axes', 0)) return false;
    const axes = new Set((given?.length ? given : dims.map((_, i) => i)).map(axis => (axis < 0 ? axis + rank : axis)));
    const reduced = dims.map((_, i) => i).filter(i => axes.has(i) && dims[i] !== 1);
    if (reduced.length === 0) return false;
    const [first, last] = [reduced[0], reduced.at(-1)!];
    if (dims.some((dim, i) => i > first && i < last && dim !== 1 && !axes.has(i))) return false;
    const along = {
      outer: sizeOf(dims.slice(0, first)),
      n: sizeOf(dims.slice(first, last + 1)),
      inner: sizeOf(dims.slice(last + 1)),
    };
    reduce(l.emitter, name, { x: l.x(0), y: l.y(), ...along });
    return true;
  };

const globalPool =
  (name: 'mean' | 'max'): Lower =>
  l => {
    const { type, dims } = l.inputs[0]!;
    if (type !== 'float32') return false;
    reduce(l.emitter, name, { x: l.x(0), y: l.y(), outer: dims[0] * dims[1], n: sizeOf(dims.slice(2)) });
    return true;
  };

const softmaxing =
  (logarithm: boolean): Lower =>
  l => {
    const { type, dims } = l.inputs[0]!;
    if (type !== 'float32') return false;
    // Before version 13 everything from the axis on is one row.
    const rows = l.node.version < 13;
    const axis = number(l.node, 'axis', rows ? 1 : -1);
    const at = axis < 0 ? axis + dims.length : axis;
    const along = rows
      ? { outer: sizeOf(dims.slice(0, at)), n: sizeOf(dims.slice(at)) }
      : { outer: sizeOf(dims.slice(0, at)), n: dims[at], inner: sizeOf(dims.slice(at + 1)) };
    softmax(l.emitter, { x: l.x(0), y: l.reuse(0), ...along, logarithm });
    return true;
  };

/** LayerNormalization and RMSNormalization over the last axes, without the outputs of statistics. */
const rowNorm =
  (rms: boolean): Lower =>
  l => {
    const [x, scale, bias] = l.inputs;
    if (!isFloat(l)) return false;
    const { dims } = x!;
    const axis = number(l.node, 'axis', -1);
    const n = sizeOf(dims.slice(axis < 0 ? axis + dims.length : axis));
    if ([scale, bias].some(info => info && sizeOf(info.dims) !== n)) return false;
    layerNorm(l.emitter, {
      x: l.x(0),
      y: l.reuse(0),
      rows: sizeOf(dims) / n,
      n,
      epsilon: number(l.node, 'epsilon', 1e-5),
      scale: scale && l.x(1),
      bias: bias && l.x(2),
      rms,
    });
    return true;
  };

/** InstanceNormalization, and GroupNormalization with parameters by channel (version 21). */
const channelNorm: Lower = l => {
  const [x, scale, bias] = l.inputs;
  const { dims } = x!;
  const channels = dims[1];
  if (!isFloat(l) || [scale, bias].some(info => !info || sizeOf(info.dims) !== channels)) return false;
  groupNorm(l.emitter, {
    x: l.x(0),
    y: l.reuse(0),
    batch: dims[0],
    channels,
    inner: sizeOf(dims.slice(2)),
    groups: l.node.op === 'InstanceNormalization' ? channels : number(l.node, 'num_groups', 1),
    epsilon: number(l.node, 'epsilon', 1e-5),
    scale: l.x(1),
    bias: l.x(2),
  });
  return true;
};

const lrn: Lower = l => {
  const { type, dims } = l.inputs[0]!;
  if (type !== 'float32' || dims.length < 2) return false;
  localResponse(l.emitter, {
    x: l.x(0),
    y: l.y(),
    batch: dims[0],
    channels: dims[1],
    inner: sizeOf(dims.slice(2)),
    size: number(l.node, 'size', 1),
    alpha: number(l.node, 'alpha', 1e-4),
    beta: number(l.node, 'beta', 0.75),
    bias: number(l.node, 'bias', 1),
  });
  return true;
};

export const statisticsLowerings: Record<string, Lower> = {
  ReduceSum: reducing('sum'),
  ReduceMean: reducing('mean'),
  ReduceSumSquare: reducing('sumSquare'),
  ReduceL2: reducing('l2'),
  ReduceL1: reducing('l1'),
  ReduceMax: reducing('max'),
  ReduceMin: reducing('min'),
  ReduceProd: reducing('prod'),
  GlobalAveragePool: globalPool('mean'),
  GlobalMaxPool: globalPool('max'),
  Softmax: softmaxing(false),
  LogSoftmax: softmaxing(true),
  LayerNormalization: rowNorm(false),
  RMSNormalization: rowNorm(true),
  [`${FUSED}:RMSNorm`]: rowNorm(true),
  InstanceNormalization: channelNorm,
  GroupNormalization: l => l.node.version >= 21 && channelNorm(l),
  LRN: lrn,
};

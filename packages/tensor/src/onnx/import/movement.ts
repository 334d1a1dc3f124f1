/** Operators that move elements without computing on them. */
import { sizeOf } from '../../dtype.ts';
import { check } from '../../errors.ts';
import { broadcastShapes, formatShape, normalizeAxes, normalizeAxis } from '../../operator.ts';
import * as ops from '../../ops/movement.ts';
import { foldLimit, type Import, type Value } from './call.ts';
import { concatConstants, HostConstant } from './host-constant.ts';

/** 0 copies the input's size (unless `allowzero`), −1 is what is left. */
export const Reshape: Import = call => {
  const x = call.value(0);
  const shape = call.ints(1, 'shape');
  const copies = !call.flag('allowzero');
  const full = shape.map((d, i) =>
    d === 0 && copies ? (x.shape[i] ?? call.fail(`shape [${shape}] copies axis ${i} of ${formatShape(x.shape)}`)) : d,
  );
  const known = full.reduce((n, d) => (d === -1 ? n : n * d), 1);
  return x.reshape(full.map(d => (d === -1 ? sizeOf(x.shape) / known : d)));
};

/** The axes before `axis` become one, the others the second. */
export const Flatten: Import = call => {
  const x = call.value(0);
  const axis = call.int('axis', 1);
  const a = axis < 0 ? axis + x.rank : axis;
  if (!(a >= 0 && a <= x.rank)) call.fail(`attribute axis ${axis} is out of range for a tensor of rank ${x.rank}`);
  return x.reshape([sizeOf(x.shape.slice(0, a)), sizeOf(x.shape.slice(a))]);
};

export const Transpose: Import = call => {
  const x = call.value(0);
  const perm = call.intList('perm') ?? x.shape.map((_, i) => x.rank - 1 - i);
  if (perm.length !== x.rank || !x.shape.every((_, i) => perm.includes(i))) {
    call.fail(`perm [${perm}] is not a permutation of the ${x.rank} axes of ${formatShape(x.shape)}`);
  }
  return x.transpose(perm);
};

export const Squeeze: Import = call => {
  const x = call.value(0);
  const given = call.axes(1, 13);
  const axes = given ? normalizeAxes('axes', given, x.rank) : x.shape.flatMap((d, i) => (d === 1 ? [i] : []));
  check(
    axes.every(a => x.shape[a] === 1),
    () => `axes [${axes}] of ${formatShape(x.shape)} are not all 1`,
  );
  return x.reshape(x.shape.filter((_, i) => !axes.includes(i)));
};

export const Unsqueeze: Import = call => {
  const x = call.value(0);
  const given = call.axes(1, 13) ?? call.fail('its axes are missing');
  const axes = normalizeAxes('axes', given, x.rank + given.length);
  const shape = [...x.shape];
  for (const a of axes) shape.splice(a, 0, 1);
  return x.reshape(shape);
};

/** Broadcasts both ways: a 1 in the wanted shape keeps the input's size. */
export const Expand: Import = call => {
  const x = call.value(0);
  const shape = broadcastShapes('expand', x.shape, call.ints(1, 'shape'));
  return sizeOf(shape) <= foldLimit ? x.expand(shape) : call.tensor(0).expand(shape);
};

export const Tile: Import = call => {
  const x = call.value(0);
  const repeats = call.ints(1, 'repeats');
  if (repeats.length !== x.rank || repeats.some(r => r < 0)) {
    call.fail(`repeats [${repeats}] do not fit ${formatShape(x.shape)}`);
  }
  if (!(x instanceof HostConstant) || x.size * sizeOf(repeats) > foldLimit) return call.tensor(0).tile(repeats);
  return x
    .reshape(x.shape.flatMap(d => [1, d]))
    .expand(x.shape.flatMap((d, i) => [repeats[i], d]))
    .reshape(x.shape.map((d, i) => d * repeats[i]));
};

export const Concat: Import = call => {
  if (call.inputs.length === 0) call.fail('it has no inputs');
  const axis = call.axis(Number.NaN, call.value(0).rank);
  return call.folds ? concatConstants(call.constants(), axis) : ops.concat(call.tensors(), axis);
};

/** Lengths come from an attribute (before 13), an input, or the number of outputs, of which the last may be shorter. */
export const Split: Import = call => {
  const x = call.value(0);
  const axis = call.axis(0, x.rank);
  const n = x.shape[axis];
  const pieces = call.int('num_outputs') ?? call.node.outputs.length;
  if (pieces < 1) call.fail(`num_outputs ${pieces} is not positive`);
  const length = Math.ceil(n / pieces);
  const equal = () => Array.from({ length: pieces }, (_, i) => Math.max(0, Math.min(length, n - i * length)));
  const lengths =
    (call.opset < 13 ? call.intList('split') : call.has(1) ? call.ints(1, 'split') : undefined) ?? equal();
  if (lengths.some(d => d < 0) || lengths.reduce((s, d) => s + d, 0) !== n) {
    call.fail(`lengths [${lengths}] do not add up to axis ${axis} of ${formatShape(x.shape)}`);
  }
  let start = 0;
  return lengths.map(d => {
    const from = start;
    start += d;
    return x instanceof HostConstant ? x.slice(axis, from, d, 1) : x.slice(axis, from, start);
  });
};

/** Bounds are attributes up to operator set 9, inputs from 10 on. */
export const Slice: Import = call => {
  let x = call.value(0);
  const list = (i: number, name: string) =>
    call.opset < 10 ? call.intList(name) : call.has(i) ? call.ints(i, name) : undefined;
  const starts = list(1, 'starts') ?? call.fail('its starts are missing');
  const ends = list(2, 'ends') ?? call.fail('its ends are missing');
  const axes = list(3, 'axes') ?? starts.map((_, i) => i);
  const steps = (call.opset < 10 ? undefined : list(4, 'steps')) ?? starts.map(() => 1);
  if ([ends, axes, steps].some(l => l.length !== starts.length)) {
    call.fail(`starts [${starts}], ends [${ends}], axes [${axes}] and steps [${steps}] differ in length`);
  }
  starts.forEach((start, i) => {
    x = sliced(x, normalizeAxis('axes', axes[i], x.rank), start, ends[i], steps[i]);
  });
  return x;
};

function sliced(x: Value, axis: number, start: number, end: number, step: number): Value {
  check(step !== 0, 'a step is 0');
  if (!(x instanceof HostConstant)) return x.slice(axis, start, end, step);
  const n = x.shape[axis];
  const clip = (p: number, low: number, high: number) => Math.min(high, Math.max(low, p < 0 ? p + n : p));
  const [from, to] = step > 0 ? [clip(start, 0, n), clip(end, 0, n)] : [clip(start, -1, n - 1), clip(end, -1, n - 1)];
  return x.slice(axis, from, Math.max(0, Math.ceil((to - from) / step)), step);
}

/** Paddings are attributes up to operator set 10, inputs from 11 on; negative ones crop. */
export const Pad: Import = call => {
  const x = call.tensor(0);
  const mode = call.choice('mode', 'constant', 'reflect', 'edge', 'wrap');
  const pads = (call.opset < 11 ? call.intList('pads') : call.ints(1, 'pads')) ?? call.fail('its pads are missing');
  const value = call.opset < 11 ? call.float('value', 0) : call.has(2) ? (call.constant(2, 'value').values[0] ?? 0) : 0;
  const given = call.has(3) ? call.ints(3, 'axes') : x.shape.map((_, i) => i);
  const axes = given.map(a => normalizeAxis('axes', a, x.rank));
  if (pads.length !== 2 * axes.length) call.fail(`pads [${pads}] do not fit axes [${axes}]`);
  const before = (i: number) => pads[i];
  const after = (i: number) => pads[i + axes.length];
  const cropped = axes.reduce((t, a, i) => t.slice(a, Math.max(0, -before(i)), t.shape[a] - Math.max(0, -after(i))), x);
  if (mode === 'wrap') {
    return axes.reduce((t, a, i) => {
      const n = t.shape[a];
      const [b, e] = [Math.max(0, before(i)), Math.max(0, after(i))];
      if (b > n || e > n) call.fail(`wrapping [${b}, ${e}] exceeds axis ${a} of ${formatShape(t.shape)}`);
      return ops.concat([t.slice(a, n - b, n), t, t.slice(a, 0, e)], a);
    }, cropped);
  }
  const list = axes.map((a, i) => [a, Math.max(0, before(i)), Math.max(0, after(i))] as const);
  return ops.pad(cropped, list, mode, value);
};

/** Blocks of channels become blocks of pixels: depth-column-row order (DCR) or column-row-depth (CRD). */
export const DepthToSpace: Import = call => {
  const x = call.tensor(0);
  const s = call.int('blocksize') ?? call.fail('attribute blocksize is missing');
  const mode = call.choice('mode', 'DCR', 'CRD');
  if (x.rank !== 4 || !(s > 0) || x.shape[1] % (s * s) !== 0)
    call.fail(`${formatShape(x.shape)} does not divide by blocks of ${s}`);
  const [n, c, h, w] = x.shape;
  const d = c / (s * s);
  const blocks =
    mode === 'DCR'
      ? x.reshape([n, s, s, d, h, w]).transpose([0, 3, 4, 1, 5, 2])
      : x.reshape([n, d, s, s, h, w]).transpose([0, 1, 4, 2, 5, 3]);
  return blocks.reshape([n, d, h * s, w * s]);
};

export const SpaceToDepth: Import = call => {
  const x = call.tensor(0);
  const s = call.int('blocksize') ?? call.fail('attribute blocksize is missing');
  if (x.rank !== 4 || !(s > 0) || x.shape[2] % s !== 0 || x.shape[3] % s !== 0) {
    call.fail(`${formatShape(x.shape)} does not divide by blocks of ${s}`);
  }
  const [n, c, h, w] = x.shape;
  return x
    .reshape([n, c, h / s, s, w / s, s])
    .transpose([0, 3, 5, 1, 2, 4])
    .reshape([n, c * s * s, h / s, w / s]);
};

/** Lowerings of operators that move elements, of any numeric type. */
import { binary } from '../kernels/elementwise.ts';
import {
  copy,
  copyBlocks,
  depthToSpace,
  gather,
  pad,
  spaceToDepth,
  transpose as transposeSteps,
} from '../kernels/movement.ts';
import { type Resize, resize as resizeSteps } from '../kernels/movement-resize.ts';
import { expandedStrides } from '../ops/broadcast.ts';
import { stridesOf } from '../ops/numeric.ts';
import { number, numbers, text } from '../ops/operator.ts';
import { bytesOf, type Info, sizeOf } from '../values.ts';
import { shift } from './emitter.ts';
import type { Lower, Lowering } from './lowering.ts';

/** Bytes of an element. */
const width = (info: Info): number => bytesOf(info.type as 'float32');

const numeric = (l: Lowering): boolean => l.inputs[0]!.type !== 'string';

/** The numbers of an input that is constant. */
const values = (info: Info | undefined): number[] | undefined => info?.value && [...info.value.data].map(Number);

const positive = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

const transpose: Lower = l => {
  if (!numeric(l)) return false;
  const { dims } = l.inputs[0]!;
  const perm = numbers(l.node, 'perm') ?? dims.map((_, i) => dims.length - 1 - i);
  // Axes of size 1 may go anywhere: what is left in order is no transpose.
  const moved = perm.filter(axis => dims[axis] !== 1);
  if (moved.every((axis, i) => i === 0 || axis > moved[i - 1])) l.alias(0);
  else transposeSteps(l.emitter, { x: l.x(0), y: l.y(), dims, perm, size: width(l.inputs[0]!) });
  return true;
};

const concat: Lower = l => {
  if (!numeric(l)) return false;
  const [out] = l.outputs;
  const axis = positive(number(l.node, 'axis', 0), out.dims.length);
  const y = l.y();
  const outer = sizeOf(out.dims.slice(0, axis));
  const yStep = sizeOf(out.dims.slice(axis));
  const size = width(out);
  let at = 0;
  l.inputs.forEach((input, i) => {
    const length = sizeOf(input!.dims.slice(axis));
    const place = shift(y, at * size);
    if (!l.inPlace(i, at * size)) {
      copyBlocks(l.emitter, { x: l.x(i), y: place, blocks: outer, length, xStep: length, yStep, size });
    }
    at += length;
  });
  return true;
};

const split: Lower = l => {
  if (!numeric(l)) return false;
  const { dims } = l.inputs[0]!;
  const axis = positive(number(l.node, 'axis', 0), dims.length);
  const outer = sizeOf(dims.slice(0, axis));
  const xStep = sizeOf(dims.slice(axis));
  const size = width(l.inputs[0]!);
  let at = 0;
  l.outputs.forEach((output, o) => {
    const length = sizeOf(output.dims.slice(axis));
    if (l.node.outputs[o] !== '') {
      if (outer === 1) l.alias(0, o, at * size);
      else {
        const x = shift(l.x(0), at * size);
        copyBlocks(l.emitter, { x, y: l.y(o), blocks: outer, length, xStep, yStep: length, size });
      }
    }
    at += length;
  });
  return true;
};

/** First index and step along every axis of a Slice with constant bounds. */
function bounds(l: Lowering): { starts: number[]; steps: number[] } | undefined {
  const { dims } = l.inputs[0]!;
  const old = l.node.version < 10;
  const starts = old ? numbers(l.node, 'starts') : values(l.inputs[1]);
  const axes =
    (old ? numbers(l.node, 'axes') : l.inputs[3] ? values(l.inputs[3]) : undefined) ?? starts?.map((_, i) => i);
  const steps = (old || !l.inputs[4] ? undefined : values(l.inputs[4])) ?? starts?.map(() => 1);
  if (!starts || !axes || !steps) return undefined;
  const all = { starts: dims.map(() => 0), steps: dims.map(() => 1) };
  axes.forEach((given, i) => {
    const axis = positive(given, dims.length);
    const start = positive(starts[i], dims[axis]);
    all.steps[axis] = steps[i];
    all.starts[axis] = Math.min(Math.max(start, 0), steps[i] < 0 ? dims[axis] - 1 : dims[axis]);
  });
  return all;
}

const slice: Lower = l => {
  const found = numeric(l) ? bounds(l) : undefined;
  if (!found) return false;
  const { starts, steps } = found;
  const [x] = l.inputs;
  const [out] = l.outputs;
  const strides = stridesOf(x!.dims);
  const first = starts.reduce((sum, start, i) => sum + start * strides[i], 0) * width(x!);
  const size = width(x!);
  // Contiguous when only the outermost axis that is not 1 is cut.
  const cut = out.dims.findIndex(dim => dim !== 1);
  const whole =
    out.dims.every((dim, i) => i <= cut || dim === x!.dims[i]) &&
    steps.every((step, i) => step === 1 || out.dims[i] === 1);
  if (whole) l.alias(0, 0, first);
  else
    copy(l.emitter, {
      x: shift(l.x(0), first),
      y: l.y(),
      dims: out.dims,
      xStrides: strides.map((stride, i) => stride * steps[i]),
      yStrides: stridesOf(out.dims),
      size,
    });
  return true;
};

const expand: Lower = l => {
  if (!numeric(l)) return false;
  const [x] = l.inputs;
  const { dims } = l.outputs[0];
  const xStrides = expandedStrides(x!.dims, dims);
  if (sizeOf(dims) === sizeOf(x!.dims)) l.alias(0);
  else copy(l.emitter, { x: l.x(0), y: l.y(), dims, xStrides, yStrides: stridesOf(dims), size: width(x!) });
  return true;
};

const padding: Lower = l => {
  const [x] = l.inputs;
  const { dims } = x!;
  const rank = dims.length;
  const old = l.node.version < 11;
  const given = old ? numbers(l.node, 'pads') : values(l.inputs[1]);
  const value = old ? number(l.node, 'value', 0) : l.inputs[2] ? values(l.inputs[2])?.[0] : 0;
  const axes = l.inputs[3] ? values(l.inputs[3])?.map(axis => positive(axis, rank)) : dims.map((_, i) => i);
  if (x!.type !== 'float32' || !given || value === undefined || !axes || given.some(p => p < 0)) return false;
  const begins = dims.map(() => 0);
  const ends = dims.map(() => 0);
  axes.forEach((axis, i) => {
    begins[axis] = given[i];
    ends[axis] = given[i + axes.length];
  });
  const mode = text(l.node, 'mode', 'constant') as 'constant' | 'edge' | 'reflect' | 'wrap';
  const padded = dims.map((_, i) => i).filter(i => begins[i] || ends[i]);
  if (padded.length === 0) {
    l.alias(0);
    return true;
  }
  // One axis anywhere, or the last two.
  const [first] = padded;
  const plane = first < rank - 2 || rank === 1 ? first : rank - 2;
  if (padded.some(axis => axis !== plane && (plane !== rank - 2 || axis !== rank - 1))) return false;
  const two = plane === rank - 2;
  const height = dims[plane];
  const across = two ? dims[rank - 1] : sizeOf(dims.slice(plane + 1));
  if (mode !== 'constant' && (height < 2 || across < 2)) return false;
  pad(l.emitter, {
    x: l.x(0),
    y: l.y(),
    planes: sizeOf(dims.slice(0, plane)),
    height,
    width: across,
    pads: [begins[plane], two ? begins[rank - 1] : 0, ends[plane], two ? ends[rank - 1] : 0],
    mode,
    value,
  });
  return true;
};

/** Gather with constant indices; others are checked, so they are gathered by the plain operator. */
const gathering: Lower = l => {
  const [x, indices] = l.inputs;
  if (!numeric(l) || !indices!.value) return false;
  const { dims } = x!;
  const axis = positive(number(l.node, 'axis', 0), dims.length);
  const wide = indices!.type === 'int64';
  if (values(indices)!.some(i => i < -dims[axis] || i >= dims[axis])) return false;
  gather(l.emitter, {
    x: l.x(0),
    indices: l.x(1),
    y: l.y(),
    outer: sizeOf(dims.slice(0, axis)),
    axis: dims[axis],
    inner: sizeOf(dims.slice(axis + 1)),
    count: sizeOf(indices!.dims),
    wide,
    size: width(x!),
  });
  return true;
};

const rearranged =
  (emit: typeof spaceToDepth): Lower =>
  l => {
    const { type, dims } = l.inputs[0]!;
    if (width({ type, dims }) !== 4 || dims.length !== 4) return false;
    const mode = text(l.node, 'mode', 'DCR') as 'DCR';
    emit(l.emitter, {
      x: l.x(0),
      y: l.y(),
      dims: dims as [number, number, number, number],
      block: number(l.node, 'blocksize', 1),
      mode,
    } as never);
    return true;
  };

const resize: Lower = l => {
  const [x] = l.inputs;
  const [out] = l.outputs;
  const { node } = l;
  const rank = x!.dims.length;
  const mode = text(node, 'mode', 'nearest');
  const upsample = node.op === 'Upsample' || node.version < 11;
  const coordinates = upsample ? 'asymmetric' : text(node, 'coordinate_transformation_mode', 'half_pixel');
  const lead = rank - 2;
  if (x!.type !== 'float32' || rank < 2 || x!.dims.some((dim, i) => i < lead && dim !== out.dims[i])) return false;
  if ((mode !== 'nearest' && mode !== 'linear') || coordinates === 'tf_crop_and_resize') return false;
  if (number(node, 'antialias', 0) || number(node, 'exclude_outside', 0) || node.attributes.axes) return false;
  if (text(node, 'keep_aspect_ratio_policy', 'stretch') !== 'stretch') return false;
  const scales = upsample ? (numbers(node, 'scales') ?? values(l.inputs[1])) : values(l.inputs[2]);
  resizeSteps(l.emitter, {
    x: l.x(0),
    y: l.y(),
    planes: sizeOf(x!.dims.slice(0, lead)),
    height: x!.dims[lead],
    width: x!.dims[lead + 1],
    outHeight: out.dims[lead],
    outWidth: out.dims[lead + 1],
    scales: scales?.length === rank ? [scales[lead], scales[lead + 1]] : undefined,
    mode,
    coordinates: coordinates as Resize['coordinates'],
    nearest: upsample ? 'floor' : (text(node, 'nearest_mode', 'round_prefer_floor') as Resize['nearest']),
  });
  return true;
};

/** The masks of attention: where a constant condition fails, the lowest number. The smaller of x and (∞ or that number). */
const where: Lower = l => {
  const [condition, a, b] = l.inputs;
  const [out] = l.outputs;
  if (!condition!.value || a!.type !== 'float32') return false;
  const fill = [a, b].findIndex(info => info!.value?.data.length === 1 && Number(info!.value.data[0]) <= -3.4e38);
  if (fill < 0) return false;
  const low = Number([a, b][fill]!.value!.data[0]);
  const x = fill === 0 ? 2 : 1;
  if (out.dims.some((dim, i) => dim !== l.inputs[x]!.dims[i])) return false;
  const { data, dims } = condition!.value;
  const key = l.key(0);
  if (key === undefined) return false;
  const limit = l.emitter.constant(`${key} mask ${fill} ${low}`, () =>
    Float32Array.from(data as Uint8Array, holds => ((holds !== 0) === (fill === 0) ? low : Number.POSITIVE_INFINITY)),
  );
  binary(l.emitter, 'min', { a: l.x(x), b: limit, y: l.reuse(x), aDims: out.dims, bDims: dims, yDims: out.dims });
  return true;
};

export const movementLowerings: Record<string, Lower> = {
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Slice: slice,
  Expand: expand,
  Pad: padding,
  Gather: gathering,
  DepthToSpace: rearranged(depthToSpace as typeof spaceToDepth),
  SpaceToDepth: rearranged(spaceToDepth),
  Resize: resize,
  Upsample: resize,
  Where: where,
};

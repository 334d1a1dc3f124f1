/** Resize and Upsample: each axis is resampled on its own, from a table of source positions and weights. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value, zeros } from '../values.ts';
import { contents } from './access.ts';
import { wordsOf } from './broadcast.ts';
import { axisOf, type Floats, floats, need, pack, workspace } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operators, text } from './operator.ts';
import { saturate } from './saturate.ts';

/** How one axis is resampled. */
interface Axis {
  readonly size: number;
  readonly scale: number;
  /** Region of interest, as fractions of the input (tf_crop_and_resize). */
  readonly roi: readonly [number, number];
}

const f32 = Math.fround;

/** Output size and scale of every axis, from whichever of roi, scales and sizes the version and the node give. */
function plan(node: Node, inputs: Inputs<Info>): Axis[] {
  const { dims } = need(node, inputs, 0);
  const legacy = node.op === 'Upsample' || node.version < 11;
  const axes = numbers(node, 'axes')?.map(axis => axisOf(node, axis, dims.length)) ?? dims.map((_, d) => d);
  const given = (index: number) => {
    const values = contents(node, inputs, index);
    return values?.length ? values : undefined;
  };
  const scales = legacy ? (numbers(node, 'scales') ?? given(1)) : given(2);
  const sizes = legacy ? undefined : given(3);
  const policy = text(node, 'keep_aspect_ratio_policy', 'stretch');
  // Only this mode reads the region; elsewhere its value may not even be known while shapes are inferred.
  const crop =
    text(node, 'coordinate_transformation_mode', '') === 'tf_crop_and_resize' && inputs[1] && 'data' in inputs[1];
  const roi = crop ? given(1) : undefined;
  const values = scales ?? sizes;
  if (values === undefined || (scales && sizes)) return fail(node, 'expected either scales or sizes');
  if (values.length !== axes.length || values.some(value => !(value >= 0)))
    fail(node, `${scales ? 'scales' : 'sizes'} [${values}] for ${axes.length} axes of an input [${dims}]`);
  const ratios = sizes && axes.map((d, i) => sizes[i] / dims[d]);
  const common = ratios && (policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios));
  return dims.map((length, d) => {
    const i = axes.indexOf(d);
    if (i < 0) return { size: length, scale: 1, roi: [0, 1] };
    const region = [roi?.[i] ?? 0, roi?.[axes.length + i] ?? 1] as const;
    if (scales) return { size: Math.floor(f32(scales[i] * length)), scale: scales[i], roi: region };
    if (policy === 'stretch') return { size: sizes![i], scale: ratios![i], roi: region };
    return { size: Math.floor(common! * length + 0.5), scale: common!, roi: region };
  });
}

/** The source coordinate of each output position along an axis; NaN where the region leaves the input. */
function coordinates(node: Node, length: number, { size, scale, roi }: Axis): Float64Array {
  const legacy = node.op === 'Upsample' || node.version < 11;
  const mode = legacy ? 'asymmetric' : text(node, 'coordinate_transformation_mode', 'half_pixel');
  const resized = scale * length;
  const halfPixel = (x: number) => f32(f32(f32(x + 0.5) / f32(scale)) - 0.5);
  const shift = f32((length / 2) * f32(1 - f32(size / f32(resized))));
  const modes: Record<string, (x: number) => number> = {
    half_pixel: halfPixel,
    half_pixel_symmetric: x => f32(f32(shift + f32(f32(x + 0.5) / f32(scale))) - 0.5),
    pytorch_half_pixel: x => (size > 1 ? halfPixel(x) : 0),
    align_corners: x => (resized === 1 ? 0 : f32((x * (length - 1)) / (resized - 1))),
    asymmetric: x => f32(x / f32(scale)),
    tf_half_pixel_for_nn: x => f32(f32(x + 0.5) / f32(scale)),
    tf_crop_and_resize: x => {
      const [start, end] = roi;
      const at =
        size > 1
          ? start * (length - 1) + (x * (end - start) * (length - 1)) / (size - 1)
          : 0.5 * (start + end) * (length - 1);
      return at < 0 || at > length - 1 ? Number.NaN : at;
    },
  };
  const map = modes[mode] ?? fail(node, `coordinate_transformation_mode '${mode}' is not one of ONNX's`);
  return Float64Array.from({ length: size }, (_, x) => map(x));
}

/** Source index of a coordinate for nearest mode. */
function rounding(node: Node, scale: number): (x: number) => number {
  // Before version 11 the rule was left open; this is what the conformance cases and ONNX Runtime do.
  if (node.op === 'Upsample' || node.version < 11) return scale < 1 ? Math.ceil : Math.floor;
  const mode = text(node, 'nearest_mode', 'round_prefer_floor');
  const modes: Record<string, (x: number) => number> = {
    round_prefer_floor: x => Math.ceil(x - 0.5),
    round_prefer_ceil: x => Math.floor(x + 0.5),
    floor: Math.floor,
    ceil: Math.ceil,
  };
  return modes[mode] ?? fail(node, `nearest_mode '${mode}' is not one of ONNX's`);
}

/** Taps of each output position along an axis: `count` source indices (clamped to the input) and weights. */
interface Taps {
  readonly count: number;
  readonly index: Int32Array;
  readonly weight: Float64Array;
}

function tapsOf(node: Node, mode: string, length: number, axis: Axis, at: Float64Array): Taps {
  const stretch = number(node, 'antialias', 0) ? Math.min(axis.scale, 1) : 1;
  const a = number(node, 'cubic_coeff_a', -0.75);
  const reach = mode === 'nearest' ? 0 : mode === 'cubic' ? 2 : 1;
  const kernel = (x: number): number => {
    x = Math.abs(x);
    if (reach === 1) return Math.max(0, 1 - x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
  };
  const first = Math.floor(-reach / stretch) + 1;
  const count = reach === 0 ? 1 : 2 - 2 * first;
  const index = new Int32Array(at.length * count);
  const weight = new Float64Array(at.length * count).fill(1);
  const outside = number(node, 'exclude_outside', 0) !== 0;
  const round = rounding(node, axis.scale);
  const clamp = (i: number) => Math.min(Math.max(i, 0), length - 1);
  for (let o = 0; o < at.length; o++) {
    if (reach === 0) {
      index[o] = clamp(round(at[o]));
      continue;
    }
    const base = Math.floor(at[o]);
    let total = 0;
    for (let t = 0, p = o * count; t < count; t++, p++) {
      const source = base + first + t;
      index[p] = clamp(source);
      weight[p] = outside && source !== index[p] ? 0 : kernel((source - at[o]) * stretch);
      total += weight[p];
    }
    if (stretch < 1 || outside) for (let p = o * count; p < (o + 1) * count; p++) weight[p] /= total;
  }
  return { count, index, weight };
}

/** Resamples the middle axis of [outer, length, inner]. */
function resample(
  x: Floats,
  y: Floats,
  outer: number,
  length: number,
  inner: number,
  { count, index, weight }: Taps,
): void {
  const size = index.length / count;
  for (let o = 0, to = 0; o < outer; o++) {
    for (let s = 0; s < size; s++, to += inner) {
      for (let p = s * count; p < (s + 1) * count; p++) {
        const from = (o * length + index[p]) * inner;
        const w = weight[p];
        if (w !== 0) for (let i = 0; i < inner; i++) y[to + i] += w * x[from + i];
      }
    }
  }
}

/** Nearest mode copies elements of any type, all axes by tables of indices. */
function nearest(x: Value, tables: readonly Int32Array[], dims: readonly number[]): Value {
  let { words, unit } = wordsOf(x.type, x.data);
  let outer = 1;
  const data = zeros(x.type, sizeOf(dims));
  const target = wordsOf(x.type, data).words;
  for (let d = 0; d < dims.length; d++) {
    const index = tables[d];
    const length = x.dims[d];
    const inner = sizeOf(x.dims.slice(d + 1)) * unit;
    const last = d === dims.length - 1;
    if (!last && index.length === length && index.every((at, i) => at === i)) {
      outer *= length;
      continue;
    }
    const total = outer * index.length * inner;
    const y = last
      ? target
      : Array.isArray(words)
        ? new Array<string>(total)
        : new (words.constructor as Int32ArrayConstructor)(total);
    for (let o = 0, to = 0; o < outer; o++) {
      for (let s = 0; s < index.length; s++) {
        const from = (o * length + index[s]) * inner;
        for (let i = 0; i < inner; i++) y[to++] = words[from + i];
      }
    }
    words = y as typeof words;
    outer *= index.length;
  }
  return { type: x.type, dims, data };
}

function resize(node: Node, inputs: Inputs): Value[] {
  const x = need(node, inputs, 0);
  const axes = plan(node, inputs);
  const dims = axes.map(axis => axis.size);
  const mode = text(node, 'mode', 'nearest').replace('bilinear', 'linear');
  if (!['nearest', 'linear', 'cubic'].includes(mode)) fail(node, `mode '${mode}' is not one of ONNX's`);
  if (dims.length === 0) return [x];
  if (sizeOf(dims) === 0) return [{ type: x.type, dims, data: zeros(x.type, 0) }];
  if (sizeOf(x.dims) === 0) fail(node, `input [${x.dims}] is empty`);
  const places = axes.map((axis, d) => coordinates(node, x.dims[d], axis));
  const taps = axes.map((axis, d) => tapsOf(node, mode, x.dims[d], axis, places[d]));
  const left = places.some(at => at.some(Number.isNaN));
  if (mode === 'nearest' && !left)
    return [
      nearest(
        x,
        taps.map(tap => tap.index),
        dims,
      ),
    ];
  const fill = number(node, 'extrapolation_value', 0);
  let data = floats(x);
  let outer = 1;
  for (let d = 0; d < dims.length; d++) {
    const inner = sizeOf(x.dims.slice(d + 1));
    const { size, scale, roi } = axes[d];
    const kept = size === x.dims[d] && scale === 1 && roi[0] === 0 && roi[1] === 1;
    if (!kept) {
      const y = workspace(x.type, outer * size * inner);
      resample(data, y, outer, x.dims[d], inner, taps[d]);
      places[d].forEach((at, s) => {
        if (Number.isNaN(at))
          for (let o = 0; o < outer; o++) y.fill(fill, (o * size + s) * inner, (o * size + s + 1) * inner);
      });
      data = y;
    }
    outer *= size;
  }
  return [pack(x.type, dims, data instanceof Float64Array ? saturate(x.type, data.slice()) : data)];
}

const infer = (node: Node, inputs: Inputs<Info>): Info[] => [
  { type: need(node, inputs, 0).type, dims: plan(node, inputs).map(axis => axis.size) },
];

export const operators: Operators = {
  Resize: {
    attributes: [
      'mode',
      'coordinate_transformation_mode',
      'nearest_mode',
      'cubic_coeff_a',
      'exclude_outside',
      'extrapolation_value',
      'antialias',
      'axes',
      'keep_aspect_ratio_policy',
    ],
    shapeInputs: [1, 2, 3],
    infer,
    run: resize,
  },
  Upsample: { attributes: ['mode', 'scales'], shapeInputs: [1], infer, run: resize },
};

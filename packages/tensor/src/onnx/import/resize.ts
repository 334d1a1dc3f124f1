/** Interpolation of images. */
import { normalizeAxis } from '../../operator.ts';
import { gridSample } from '../../ops/grid-sample.ts';
import { type ResizeOptions, resize } from '../../ops/resize.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';

/** The size or, if `scale` is there, the factor of every axis of `x`. */
interface Target {
  readonly scale?: readonly number[];
  readonly size?: readonly number[];
}

const modes = { nearest: 'nearest', linear: 'linear', bilinear: 'linear', cubic: 'cubic' } as const;
const modeOf = (call: Call) => modes[call.choice('mode', 'nearest', 'linear', 'bilinear', 'cubic')];

/** Up to operator set 10, positions are o / scale, rounded down when enlarging and up when shrinking. */
function early(call: Call, scale: readonly number[]): Tensor {
  const mode = modeOf(call);
  const rounding = scale.some(s => s < 1) ? 'ceil' : 'floor';
  return interpolated(call, { scale }, { mode, coordinates: 'asymmetric', rounding });
}

/** Factors are an attribute in operator set 7 and 8, an input in 9. */
export const Upsample: Import = call =>
  early(call, call.opset < 9 ? (call.floatList('scales') ?? []) : [...call.constant(1, 'scales').values]);

export const Resize: Import = call => {
  if (call.opset < 11) return early(call, [...call.constant(1, 'scales').values]);
  call.ignore('extrapolation_value'); // belongs to tf_crop_and_resize
  const mode = modeOf(call);
  const target = targetOf(call);
  const shrinks = (target.scale ?? target.size!.map((d, i) => d / call.value(0).shape[i])).some(s => s < 1);
  if (call.flag('antialias') && shrinks && mode !== 'nearest') call.fail('attribute antialias 1 is not supported');
  return interpolated(call, target, {
    mode,
    coordinates: call.choice(
      'coordinate_transformation_mode',
      'half_pixel',
      'half_pixel_symmetric',
      'pytorch_half_pixel',
      'align_corners',
      'asymmetric',
    ),
    rounding: call.choice('nearest_mode', 'round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'),
    cubicCoefficient: call.float('cubic_coeff_a', -0.75),
    excludeOutside: call.flag('exclude_outside'),
  });
};

/** Scales or sizes of all axes, or of those that attribute `axes` (from operator set 18 on) names. */
function targetOf(call: Call): Target {
  const { shape } = call.value(0);
  const axes = (call.intList('axes') ?? shape.map((_, i) => i)).map(a =>
    normalizeAxis('attribute axes', a, shape.length),
  );
  const policy = call.choice('keep_aspect_ratio_policy', 'stretch', 'not_larger', 'not_smaller');
  const scales = call.has(2) ? [...call.constant(2, 'scales').values] : [];
  const given =
    scales.length > 0 ? scales : call.has(3) ? call.ints(3, 'sizes') : call.fail('it has neither scales nor sizes');
  if (given.length !== axes.length) call.fail(`scales or sizes [${given}] do not fit axes [${axes}]`);
  const spread = (whole: readonly number[]) => whole.map((v, i) => (axes.includes(i) ? given[axes.indexOf(i)] : v));
  if (scales.length > 0) return { scale: spread(shape.map(() => 1)) };
  if (policy === 'stretch') return { size: spread(shape) };
  const ratios = axes.map((a, i) => given[i] / shape[a]);
  const ratio = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
  return { size: shape.map((d, i) => (axes.includes(i) ? Math.round(d * ratio) : d)) };
}

function interpolated(call: Call, { scale, size }: Target, options: ResizeOptions): Tensor {
  const x = call.tensor(0);
  const list = scale ?? size ?? [];
  if (list.length !== x.rank) call.fail(`scales or sizes [${list}] do not fit the ${x.rank} axes of its input`);
  const idle = (i: number) => (scale ? scale[i] === 1 : size![i] === x.shape[i]);
  const part = (i: number): ResizeOptions => ({ ...options, ...(scale ? { scale: scale[i] } : { size: size![i] }) });
  const isImage = x.rank >= 3 && x.rank <= 5 && idle(0) && idle(1);
  if (isImage && (options.mode !== 'cubic' || x.rank === 4)) {
    return resize(x, { ...options, ...(scale ? { scale: scale.slice(2) } : { size: list.slice(2) }) });
  }
  if (options.mode === 'cubic') call.fail('cubic interpolation needs [batch, channels, height, width]');
  // Axis by axis, each as the last one of many lines.
  return x.shape.reduce((t, _, axis) => {
    if (idle(axis)) return t;
    const last = [...t.shape.keys()].filter(i => i !== axis).concat(axis);
    const moved = t.transpose(last);
    const lines = resize(moved.reshape([1, -1, t.shape[axis]]), part(axis));
    const back = last.map((_, i) => last.indexOf(i));
    return lines.reshape([...moved.shape.slice(0, -1), lines.shape[2]]).transpose(back);
  }, x);
}

export const GridSample: Import = call => {
  // Up to operator set 19, linear is called bilinear.
  const mode = call.choice('mode', call.opset < 20 ? 'bilinear' : 'linear', 'nearest');
  return gridSample(call.tensor(0), call.tensor(1), {
    mode: mode === 'nearest' ? 'nearest' : 'bilinear',
    padding: call.choice('padding_mode', 'zeros', 'border', 'reflection'),
    alignCorners: call.flag('align_corners'),
  });
};

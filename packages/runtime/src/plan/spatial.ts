/** Lowerings of poolings and of normalisations by channel. */
import { pool } from '../kernels/dense-pool.ts';
import type { Window } from '../kernels/dense-window.ts';
import { affine } from '../kernels/elementwise.ts';
import { number } from '../ops/operator.ts';
import { resolveWindow } from '../ops/window.ts';
import { sizeOf } from '../values.ts';
import type { Lowering } from './lowering.ts';

/** Kernel, strides, … of a node on maps [batch, channels, height, width] or [batch, channels, width]. */
export function windowOf(l: Lowering, kernelShape: readonly number[]): Window | undefined {
  const [x] = l.inputs;
  const [out] = l.outputs;
  const rank = x!.dims.length;
  if (rank !== 3 && rank !== 4) return undefined;
  const window = resolveWindow(l.node, x!.dims.slice(2), kernelShape);
  // A 1-D window is a 2-D one of height 1.
  const pair = (values: readonly number[], first: number): [number, number] =>
    rank === 3 ? [first, values[0]] : [values[0], values[1]];
  const [height, width] = pair(x!.dims.slice(2), 1);
  const [outHeight, outWidth] = pair(out.dims.slice(2), 1);
  const [batch, channels] = x!.dims;
  const { pads } = window;
  return {
    batch,
    channels,
    height,
    width,
    kernel: pair(window.kernel, 1),
    strides: pair(window.strides, 1),
    dilations: pair(window.dilations, 1),
    pads: rank === 3 ? [0, pads[0], 0, pads[1]] : [pads[0], pads[1], pads[2], pads[3]],
    outHeight,
    outWidth,
  };
}

/** MaxPool without indices, AveragePool. */
export const pooling =
  (kind: 'max' | 'average') =>
  (l: Lowering): boolean => {
    if (l.inputs[0]!.type !== 'float32' || l.outputs[1]) return false;
    const window = windowOf(l, []);
    if (!window) return false;
    const countIncludePad = number(l.node, 'count_include_pad', 0) !== 0;
    pool(l.emitter, kind, { ...window, countIncludePad }, { x: l.x(0), y: l.y() });
    return true;
  };

/** BatchNormalization that no convolution took: a factor and a summand for each channel. */
export function batchNormalization(l: Lowering): boolean {
  const parameters = [1, 2, 3, 4].map(i => l.weight(i));
  if (l.inputs[0]!.type !== 'float32' || l.outputs[1] || parameters.some(p => !p) || number(l.node, 'training_mode', 0))
    return false;
  const [gamma, beta, mean, variance] = parameters.map(p => p!.data);
  const epsilon = number(l.node, 'epsilon', 1e-5);
  const { dims } = l.inputs[0]!;
  const channels = dims[1] ?? 1;
  // Version 7 also has statistics for every feature.
  if (gamma.length !== channels) return false;
  const key = `${parameters.map(p => p!.key).join()} ${epsilon}`;
  const factors = gamma.map((g, c) => g / Math.sqrt(variance[c] + epsilon));
  const scale = l.emitter.constant(`${key} scale`, () => factors);
  const bias = l.emitter.constant(`${key} bias`, () => beta.map((b, c) => b - mean[c] * factors[c]));
  affine(l.emitter, { x: l.x(0), y: l.reuse(0), outer: dims[0], channels, inner: sizeOf(dims.slice(2)), scale, bias });
  return true;
}

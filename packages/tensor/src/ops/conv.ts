import { check } from '../errors.ts';
import type { Spec } from '../graph.ts';
import { formatShape, operator, sameDtype } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { weightGradient } from './conv-weight.ts';
import { slices } from './movement.ts';
import { product } from './unfold.ts';
import {
  checkFits,
  makeWindow,
  onnxWindow,
  outputSize,
  perAxis,
  span,
  type Window,
  type WindowOptions,
} from './window.ts';

export interface ConvOptions extends WindowOptions {
  /** Blocks of channels that do not see each other; as many as channels: a depthwise convolution. Default 1. */
  groups?: number;
  /** [output channels], added to every position. */
  bias?: Tensor;
}

export interface ConvTransposeOptions extends Omit<ConvOptions, 'padding'> {
  /** What is cut off the result: one number, one per axis, or `[begin, end]` per axis. Default 0. */
  padding?: Exclude<WindowOptions['padding'], string>;
  /** Extra positions at the end of the result, less than the stride. Default 0. */
  outputPadding?: number | readonly number[];
}

export interface ConvAttributes extends Window {
  readonly groups: number;
}

const LAYOUT = 'layout is [batch, channels, ...space]';

function checkRanks(name: string, x: Spec, w: Spec): void {
  check(
    x.shape.length >= 3 && x.shape.length <= 5 && w.shape.length === x.shape.length,
    () =>
      `${name}: input ${formatShape(x.shape)} and weight ${formatShape(w.shape)}: expected equal ranks 3 (1d), 4 (2d) or 5 (3d); ${LAYOUT}`,
  );
}

function checkBias(name: string, bias: Spec | undefined, channels: number): void {
  check(
    !bias || formatShape(bias.shape) === formatShape([channels]),
    () => `${name}: bias ${formatShape(bias!.shape)}, expected [${channels}], one for each output channel`,
  );
}

/** Σ over batch and space: the gradient of a bias. */
const perChannel = (g: Tensor): Tensor => g.sum(g.shape.flatMap((_, i) => (i === 1 ? [] : [i])));

const convOp = operator<ConvAttributes>({
  name: 'conv',
  infer: ([x, w, bias], a) => {
    checkRanks('conv', x, w);
    const channels = x.shape[1];
    check(
      channels === w.shape[1] * a.groups && w.shape[0] % a.groups === 0,
      () =>
        `conv: input ${formatShape(x.shape)}, weight ${formatShape(w.shape)}, groups ${a.groups}: expected a weight [outputs (a multiple of groups), ${channels} / groups, ...kernel]; ${LAYOUT}`,
    );
    checkBias('conv', bias, w.shape[0]);
    checkFits('conv', x.shape.slice(2), a);
    const dtype = sameDtype('conv', bias ? [x, w, bias] : [x, w]);
    return { shape: [x.shape[0], w.shape[0], ...outputSize(x.shape.slice(2), a)], dtype };
  },
  gradient: ({ inputs: [x, w, bias], grads: [g], attributes: a, needs }) => [
    needs(0) ? inputGradient(g, w, x.shape.slice(2), a) : undefined,
    needs(1) ? weightGradient(x, g, a) : undefined,
    bias && needs(2) ? perChannel(g) : undefined,
  ],
  emit: (b, inputs, { attributes: a }) => b.node('Conv', inputs, { ...onnxWindow(a), group: a.groups }),
});

/** Cuts off what negative padding of a derived window stands for. */
export function cropped<A extends Window>(x: Tensor, a: A): [Tensor, A] {
  if ([...a.begin, ...a.end].every(p => p >= 0)) return [x, a];
  const kept = a.begin.map((p, i) => [i + 2, Math.max(0, -p), x.shape[i + 2] + Math.min(0, a.end[i])] as const);
  const clip = (side: readonly number[]) => side.map(p => Math.max(0, p));
  return [slices(x, kept), { ...a, begin: clip(a.begin), end: clip(a.end) }];
}

/** Convolution with a derived window. */
export function convolve(x: Tensor, w: Tensor, a: ConvAttributes): Tensor {
  const [input, window] = cropped(x, a);
  return convOp([input, w], window);
}

/**
 * Convolution over 1, 2 or 3 spatial axes (the cross-correlation that deep learning calls so).
 *
 * @param x [batch, channels, ...space]
 * @param w [outputs, channels / groups, ...kernel]
 * @returns [batch, outputs, ...⌊(space + padding − dilation·(kernel − 1) − 1) / stride⌋ + 1]
 */
export function conv(x: Tensor, w: Tensor, { groups = 1, bias, ...options }: ConvOptions = {}): Tensor {
  checkRanks('conv', x, w);
  const window = makeWindow('conv', x.shape.slice(2), w.shape.slice(2), options);
  return convOp(bias ? [x, w, bias] : [x, w], { ...window, groups });
}

interface TransposeAttributes extends ConvAttributes {
  readonly extra: readonly number[];
}

const convTransposeOp = operator<TransposeAttributes>({
  name: 'convTranspose',
  infer: ([x, w, bias], a) => {
    checkRanks('convTranspose', x, w);
    check(
      x.shape[1] === w.shape[0] && w.shape[0] % a.groups === 0,
      () =>
        `convTranspose: input ${formatShape(x.shape)}, weight ${formatShape(w.shape)}, groups ${a.groups}: expected a weight [${x.shape[1]} (a multiple of groups), outputs / groups, ...kernel]; ${LAYOUT}`,
    );
    const channels = w.shape[1] * a.groups;
    checkBias('convTranspose', bias, channels);
    const size = x.shape
      .slice(2)
      .map((n, i) => (n - 1) * a.stride[i] + span(a, i) + a.extra[i] - a.begin[i] - a.end[i]);
    check(
      size.every(d => d > 0),
      () =>
        `convTranspose: input ${formatShape(x.shape)} and padding ${JSON.stringify([a.begin, a.end])} leave nothing`,
    );
    const dtype = sameDtype('convTranspose', bias ? [x, w, bias] : [x, w]);
    return { shape: [x.shape[0], channels, ...size], dtype };
  },
  gradient: ({ inputs: [x, w, bias], grads: [g], attributes: { extra: _, ...a }, needs }) => [
    needs(0) ? convolve(g, w, a) : undefined,
    needs(1) ? weightGradient(g, x, a) : undefined,
    bias && needs(2) ? perChannel(g) : undefined,
  ],
  emit: (b, inputs, { attributes: a }) =>
    b.node('ConvTranspose', inputs, { ...onnxWindow(a), output_padding: [...a.extra], group: a.groups }),
});

/**
 * Transposed convolution: the linear map whose adjoint is {@link conv} with the same weight and options.
 *
 * @param x [batch, channels, ...space]
 * @param w [channels, outputs / groups, ...kernel]
 * @returns [batch, outputs, ...(space − 1)·stride + dilation·(kernel − 1) + 1 + outputPadding − padding]
 */
export function convTranspose(
  x: Tensor,
  w: Tensor,
  { groups = 1, bias, outputPadding = 0, ...options }: ConvTransposeOptions = {},
): Tensor {
  checkRanks('convTranspose', x, w);
  const window = makeWindow('convTranspose', x.shape.slice(2), w.shape.slice(2), options);
  const extra = perAxis('convTranspose', 'outputPadding', outputPadding, x.rank - 2, 0);
  check(
    extra.every((e, i) => e < window.stride[i]),
    () =>
      `convTranspose: outputPadding [${extra}] must be smaller than stride [${window.stride}]; pad the result instead`,
  );
  return convTransposeOp(bias ? [x, w, bias] : [x, w], { ...window, groups, extra });
}

/**
 * Adjoint of the convolution in its input. With stride 1 it is a convolution with the flipped weight, which ONNX Runtime
 * runs up to twice as fast as ConvTranspose (depthwise: four times), unless it would copy many more taps than it has
 * results: 16 → 6 channels, 5×5 takes six times longer. For larger strides ConvTranspose beat a convolution of the
 * zero-interleaved gradient (2–4 times) and a sub-pixel convolution (1–3 times).
 *
 * @param size spatial size of the input
 */
export function inputGradient(g: Tensor, w: Tensor, size: readonly number[], a: ConvAttributes): Tensor {
  const out = g.shape.slice(2);
  const copies = g.shape[1] * product(size);
  const results = w.shape[1] * a.groups * product(out);
  if (a.stride.some(s => s !== 1) || (copies > 3 * results && product(a.kernel) > 1)) {
    const extra = size.map((n, i) => n + a.begin[i] + a.end[i] - (out[i] - 1) * a.stride[i] - span(a, i));
    return convTransposeOp([g, w], { ...a, extra });
  }
  const [begin, end] = [a.begin, a.end].map(side => side.map((p, i) => span(a, i) - 1 - p));
  return convolve(g, flipWeight(w, a.groups), { ...a, begin, end });
}

/** [O, C / groups, ...kernel] → [C, O / groups, ...kernel] with all kernel axes reversed. */
function flipWeight(w: Tensor, groups: number): Tensor {
  const [outputs, inner, ...kernel] = w.shape;
  const taps = w
    .reshape([groups, outputs / groups, inner, -1])
    .transpose([0, 2, 1, 3])
    // All kernel axes at once: one pass over the weight.
    .flip(3);
  return taps.reshape([groups * inner, outputs / groups, ...kernel]);
}

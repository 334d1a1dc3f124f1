import { check } from '../errors.ts';
import type { OnnxBuilder } from '../onnx/builder.ts';
import { formatShape, operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { checkFits, makeWindow, onnxWindow, outputSize, span, type Window, type WindowOptions } from './window.ts';

export const product = (values: readonly number[]): number => values.reduce((n, d) => n * d, 1);

const isIdentity = (w: Window): boolean =>
  product(w.kernel) === 1 && w.stride.every(s => s === 1) && [...w.begin, ...w.end].every(p => p === 0);

/** For every channel and tap a kernel that is 1 at that tap: [channels·taps, 1, ...kernel]. */
function oneHot(b: OnnxBuilder, channels: number, kernel: readonly number[], reverse = false): string {
  const taps = product(kernel);
  const eye = new Float32Array(taps * taps);
  for (let t = 0; t < taps; t++) eye[t * taps + (reverse ? taps - 1 - t : t)] = 1;
  const one = b.constant({ dtype: 'float32', shape: [taps, 1, ...kernel], data: eye });
  return b.node('Tile', [one, b.dims([channels, 1, ...kernel.map(() => 1)])]);
}

/**
 * Copies the taps of a sliding window into channels (im2col): [N, C, ...space] → [N, C·taps, ...positions]. As a depthwise
 * convolution with one-hot kernels, padding, strides and copies are one multi-threaded pass: two to three times faster
 * than Pad, a Slice per tap and Concat.
 */
export const emitUnfold = (b: OnnxBuilder, x: string, channels: number, w: Window, reverse = false): string =>
  isIdentity(w)
    ? x
    : b.node('Conv', [x, oneHot(b, channels, w.kernel, reverse)], { ...onnxWindow(w), group: channels });

interface Unfold extends Window {
  readonly size: readonly number[];
}

const unfoldOp = operator<Unfold>({
  name: 'unfold',
  infer: ([x], a) => ({
    shape: [x.shape[0], x.shape[1], product(a.kernel), ...outputSize(a.size, a)],
    dtype: x.dtype,
  }),
  gradient: ({ grads: [g], attributes: a }) => [fold(g, a)],
  emit: (b, [x], { attributes: a, inputs: [spec], outputs: [{ shape }] }) =>
    b.reshape(emitUnfold(b, x, spec.shape[1], a), shape),
});

/** Windows side by side that cover the space once. */
const tiles = (a: Unfold): boolean =>
  a.kernel.every((k, i) => k === a.stride[i] && (k === 1 || a.dilation[i] === 1) && a.begin[i] === 0);

const foldOp = operator<Unfold>({
  name: 'fold',
  infer: ([g], { size }) => ({ shape: [g.shape[0], g.shape[1], ...size], dtype: g.dtype }),
  gradient: ({ grads: [u], attributes: a }) => [unfoldWindow(u, a)],
  emit: (b, [g], { attributes: a, inputs: [spec] }) => {
    const [batch, channels, taps, ...out] = spec.shape;
    if (tiles(a)) return emitInterleave(b, g, [batch, channels], out, a);
    const extra = a.size.map((n, i) => n + a.begin[i] + a.end[i] - (out[i] - 1) * a.stride[i] - span(a, i));
    const merged = b.reshape(g, [batch, channels * taps, ...out]);
    const attributes = { ...onnxWindow(a), output_padding: extra, group: channels };
    return b.node('ConvTranspose', [merged, oneHot(b, channels, a.kernel)], attributes);
  },
});

/** [N, C, taps, ...out] → [N, C, ...size] for {@link tiles}, one axis at a time: far faster than one big Transpose. */
function emitInterleave(b: OnnxBuilder, g: string, lead: readonly number[], out: readonly number[], a: Unfold): string {
  let y = g;
  for (let i = out.length - 1; i >= 0; i--) {
    const before = product(a.kernel.slice(0, i));
    const after = out.slice(i + 1).reduce((n, d, j) => n * d * a.kernel[i + 1 + j], 1);
    const space = product(out.slice(0, i));
    const rows = [lead[0], lead[1] * before, a.kernel[i]];
    if (i === out.length - 1) {
      // Single elements: whole rows are moved, and a product with a permutation does the rest. A Transpose takes ten
      // times as long, since it copies them one by one.
      const side = a.kernel[i] * out[i];
      const moved = b.node('Transpose', [b.reshape(y, [...rows, space, out[i]])], { perm: [0, 1, 3, 2, 4] });
      const flat = b.reshape(moved, [lead[0], lead[1] * before, space, side]);
      y = b.node('MatMul', [flat, interleaving(b, a.kernel[i], out[i])]);
      continue;
    }
    // […, taps of axis i, positions before i, position i, done] → […, positions before i, position i, tap, done].
    y = b.node('Transpose', [b.reshape(y, [...rows, space * out[i], after])], { perm: [0, 1, 3, 2, 4] });
  }
  const covered = out.map((d, i) => d * a.stride[i]);
  const rest = a.size.map((n, i) => n - covered[i]);
  const full = b.reshape(y, [...lead, ...covered]);
  if (rest.every(d => d === 0)) return full;
  return b.node('Pad', [full, b.dims([0, 0, ...out.map(() => 0), 0, 0, ...rest])]);
}

/** The permutation (tap, position) → (position, tap) of a row vector. */
function interleaving(b: OnnxBuilder, taps: number, positions: number): string {
  const side = taps * positions;
  const data = new Float32Array(side * side);
  for (let t = 0; t < taps; t++)
    for (let p = 0; p < positions; p++) data[(t * positions + p) * side + p * taps + t] = 1;
  return b.constant({ dtype: 'float32', shape: [side, side], data });
}

/** {@link unfold} with a complete window. */
export const unfoldWindow = (x: Tensor, { kernel, stride, dilation, begin, end }: Window): Tensor =>
  unfoldOp([x], { kernel, stride, dilation, begin, end, size: x.shape.slice(2) });

/** Adds each tap back to where {@link unfold} took it from (col2im), its adjoint. */
export const fold = (g: Tensor, { kernel, stride, dilation, begin, end, size }: Unfold): Tensor =>
  foldOp([g], { kernel, stride, dilation, begin, end, size });

/**
 * The taps of a window that slides over the spatial axes (im2col; patches, where stride equals kernel).
 *
 * @param x [batch, channels, ...space]
 * @param kernel one entry for each spatial axis
 * @returns [batch, channels, taps, ...positions], taps in row-major order
 */
export function unfold(x: Tensor, kernel: readonly number[], options: WindowOptions = {}): Tensor {
  check(
    x.rank >= 3 && x.rank <= 5 && kernel.length === x.rank - 2,
    () =>
      `unfold: input ${formatShape(x.shape)} and kernel ${formatShape(kernel)}: expected [batch, channels, ...space] and one entry for each of 1 to 3 spatial axes`,
  );
  const window = makeWindow('unfold', x.shape.slice(2), kernel, options);
  checkFits('unfold', x.shape.slice(2), window);
  return unfoldWindow(x, window);
}

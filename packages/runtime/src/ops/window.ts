/** Sliding windows of convolutions and poolings, in any number of spatial dimensions. */
import type { Node } from '../load/graph.ts';
import { sizeOf } from '../values.ts';
import { fail, number, numbers, text } from './operator.ts';

/** One entry for each spatial axis; `pads` has all begins, then all ends. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  /** Window positions along each axis. */
  readonly output: readonly number[];
}

/** Attributes that `resolveWindow` reads. */
export const WINDOW_ATTRIBUTES = ['kernel_shape', 'strides', 'dilations', 'pads', 'auto_pad'] as const;

/** Input elements that a dilated kernel spans. */
export const span = (kernel: number, dilation: number): number => (kernel - 1) * dilation + 1;

/** A list attribute with one entry a spatial axis (two for pads), all ≥ `least`. */
export function perAxis(node: Node, name: string, count: number, fallback: number, least: number): number[] {
  const values = numbers(node, name) ?? new Array<number>(count).fill(fallback);
  if (values.length !== count || values.some(value => value < least))
    fail(node, `attribute ${name} is [${values}], expected ${count} values ≥ ${least}`);
  return values;
}

/** Padding along an axis split in two; an odd element goes to the end for SAME_UPPER, to the beginning otherwise. */
export const halves = (total: number, upper: boolean): [number, number] => {
  const less = Math.trunc(total / 2);
  return upper ? [less, total - less] : [total - less, less];
};

/**
 * Kernel, strides, dilations, pads and output size from a node's attributes for an input of the given spatial shape.
 * `ceil_mode` rounds up, without windows that would begin in the padding at the end.
 */
export function resolveWindow(node: Node, spatial: readonly number[], kernelShape: readonly number[]): Window {
  const rank = spatial.length;
  const kernel = numbers(node, 'kernel_shape') ?? [...kernelShape];
  if (kernel.length !== rank || kernel.some(size => size < 1))
    fail(node, `kernel [${kernel}] for ${rank} spatial dimensions of shape [${spatial}]`);
  if (kernelShape.length > 0 && kernel.some((size, d) => size !== kernelShape[d]))
    fail(node, `attribute kernel_shape is [${kernel}], but the weight's kernel is [${kernelShape}]`);
  const strides = perAxis(node, 'strides', rank, 1, 1);
  const dilations = perAxis(node, 'dilations', rank, 1, 1);
  const pads = perAxis(node, 'pads', 2 * rank, 0, 0).slice();
  const mode = text(node, 'auto_pad', 'NOTSET');
  const ceil = number(node, 'ceil_mode', 0) !== 0;
  const output = spatial.map((size, d) => {
    const stride = strides[d];
    const reach = span(kernel[d], dilations[d]);
    if (mode === 'SAME_UPPER' || mode === 'SAME_LOWER') {
      const count = Math.ceil(size / stride);
      [pads[d], pads[rank + d]] = halves(Math.max(0, (count - 1) * stride + reach - size), mode === 'SAME_UPPER');
      return count;
    }
    if (mode === 'VALID') pads[d] = pads[rank + d] = 0;
    const room = size + pads[d] + pads[rank + d] - reach;
    let count = Math.floor(room / stride) + 1;
    if (ceil && mode !== 'VALID') {
      count = Math.ceil(room / stride) + 1;
      if ((count - 1) * stride >= size + pads[d]) count--;
    }
    if (count < 0)
      fail(
        node,
        `a window of ${reach} does not fit into axis ${d + 2} of size ${size} with padding ${pads[d]} + ${pads[rank + d]}`,
      );
    return count;
  });
  return { kernel, strides, dilations, pads, output };
}

/**
 * Where windows meet the image, as stretches along the last axis: quadruples `(tap, output, count, source)`. Tap `tap`
 * of output positions `output … output + count − 1` reads `source + i · (last stride)`, both flat over the spatial axes.
 * Taps that fall on padding do not appear.
 */
export function stretches(window: Window, spatial: readonly number[]): Int32Array {
  const { kernel, strides, dilations, pads, output } = window;
  const last = spatial.length - 1;
  const taps = sizeOf(kernel.slice(0, last));
  const lines = sizeOf(output.slice(0, last));
  const found: number[] = [];
  for (let outer = 0; outer < taps; outer++) {
    for (let line = 0; line < lines; line++) {
      let source = 0;
      let tap = outer;
      let position = line;
      for (let d = last - 1, step = 1; d >= 0; step *= spatial[d--]) {
        const at = (position % output[d]) * strides[d] + (tap % kernel[d]) * dilations[d] - pads[d];
        if (at < 0 || at >= spatial[d]) source = -Infinity;
        source += at * step;
        position = Math.floor(position / output[d]);
        tap = Math.floor(tap / kernel[d]);
      }
      if (source < 0) continue;
      for (let k = 0; k < kernel[last]; k++) {
        const shift = k * dilations[last] - pads[last];
        const from = Math.max(0, Math.ceil(-shift / strides[last]));
        const to = Math.min(output[last], Math.floor((spatial[last] - 1 - shift) / strides[last]) + 1);
        if (to > from)
          found.push(
            outer * kernel[last] + k,
            line * output[last] + from,
            to - from,
            source * spatial[last] + from * strides[last] + shift,
          );
      }
    }
  }
  return Int32Array.from(found);
}

/** The part of stretches that lies in output positions `[from, to)`, which are then counted from `from`. */
export function clip(table: Int32Array, from: number, to: number, stride: number): Int32Array {
  const found: number[] = [];
  for (let i = 0; i < table.length; i += 4) {
    const begin = Math.max(table[i + 1], from);
    const end = Math.min(table[i + 1] + table[i + 2], to);
    if (end > begin) found.push(table[i], begin - from, end - begin, table[i + 3] + (begin - table[i + 1]) * stride);
  }
  return Int32Array.from(found);
}

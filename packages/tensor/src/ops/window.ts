import { check } from '../errors.ts';
import { formatShape } from '../operator.ts';

/**
 * Zeros around the spatial axes: one number for all sides, one per axis, or `[begin, end]` per axis. `'same'` gives
 * ⌈size / stride⌉ outputs with the odd zero at the end (`'sameLower'`: at the beginning), as ONNX `auto_pad`.
 */
export type SpatialPadding =
  | number
  | readonly (number | readonly [begin: number, end: number])[]
  | 'same'
  | 'sameLower';

export interface WindowOptions {
  /** Step between windows, one for all axes or one per axis. Default 1 (pooling: the kernel). */
  stride?: number | readonly number[];
  /** Default 0. */
  padding?: SpatialPadding;
  /** Distance between the taps of a window. Default 1. */
  dilation?: number | readonly number[];
}

/** A sliding window, one entry per spatial axis. Derived ones (in gradients) may have negative padding, which crops. */
export interface Window {
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly dilation: readonly number[];
  readonly begin: readonly number[];
  readonly end: readonly number[];
}

/** Elements that a window spans along axis `i`. */
export const span = ({ kernel, dilation }: Pick<Window, 'kernel' | 'dilation'>, i: number): number =>
  dilation[i] * (kernel[i] - 1) + 1;

/** Window positions that fit, per axis. */
export const outputSize = (size: readonly number[], w: Window): number[] =>
  size.map((n, i) => Math.floor((n + w.begin[i] + w.end[i] - span(w, i)) / w.stride[i]) + 1);

/** A list of `rank` integers ≥ `least` from one number or a list. */
export function perAxis(
  name: string,
  what: string,
  value: number | readonly number[],
  rank: number,
  least: number,
): readonly number[] {
  const list = typeof value === 'number' ? new Array<number>(rank).fill(value) : [...value];
  check(
    list.length === rank && list.every(v => Number.isInteger(v) && v >= least),
    () =>
      `${name}: ${what} ${JSON.stringify(value)}: expected integers ≥ ${least}, one or one for each of ${rank} spatial axes`,
  );
  return list;
}

/** Checks and completes the options of a window that slides over `size`. */
export function makeWindow(
  name: string,
  size: readonly number[],
  kernel: readonly number[],
  { stride = 1, padding = 0, dilation = 1 }: WindowOptions,
): Window {
  const rank = size.length;
  const w = {
    kernel,
    stride: perAxis(name, 'stride', stride, rank, 1),
    dilation: perAxis(name, 'dilation', dilation, rank, 1),
  };
  if (typeof padding === 'string') {
    const total = size.map((n, i) => Math.max(0, (Math.ceil(n / w.stride[i]) - 1) * w.stride[i] + span(w, i) - n));
    const less = total.map(t => Math.floor(t / 2));
    const more = total.map((t, i) => t - less[i]);
    return padding === 'same' ? { ...w, begin: less, end: more } : { ...w, begin: more, end: less };
  }
  const side = (s: 0 | 1): readonly number[] => {
    const list = typeof padding === 'number' ? padding : padding.map(p => (typeof p === 'number' ? p : p[s]));
    return perAxis(name, 'padding', list, rank, 0);
  };
  return { ...w, begin: side(0), end: side(1) };
}

/** Refuses windows that do not fit even once. */
export function checkFits(name: string, size: readonly number[], w: Window): void {
  check(
    outputSize(size, w).every(d => d > 0),
    () => {
      const padded = size.map((n, i) => n + w.begin[i] + w.end[i]);
      const spans = size.map((_, i) => span(w, i));
      return `${name}: a window of ${formatShape(spans)} does not fit into ${formatShape(padded)} (padding included); pad more or use a smaller kernel or dilation`;
    },
  );
}

/** The window attributes of ONNX `Conv` and its kin. */
export const onnxWindow = (w: Window) => ({
  kernel_shape: [...w.kernel],
  strides: [...w.stride],
  dilations: [...w.dilation],
  pads: [...w.begin, ...w.end],
});

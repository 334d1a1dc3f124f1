import { check } from '../errors.ts';
import { formatShape, operator } from '../operator.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { type AxisMatrix, axisMatrix, mapAxes, transposed } from './axis-map.ts';
import { concat, pad } from './movement.ts';
import { fold, product, unfoldWindow } from './unfold.ts';
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

export interface PoolOptions extends WindowOptions {
  /** Also keep a last window that reaches beyond the end, if it starts inside. Default false. */
  ceilMode?: boolean;
}

export interface AveragePoolOptions extends PoolOptions {
  /** Whether padding counts as zeros in the average (PyTorch's default) or is left out (ONNX's). Default true. */
  countIncludePad?: boolean;
}

function checkSpace(name: string, x: Tensor): void {
  check(
    x.rank >= 3 && x.rank <= 5,
    () => `${name}: input ${formatShape(x.shape)}, expected [batch, channels, ...space] with 1 to 3 spatial axes`,
  );
}

/** The window of a pooling; `ceilMode` becomes padding at the end. */
function poolWindow(name: string, x: Tensor, kernel: number | readonly number[], options: PoolOptions): Window {
  checkSpace(name, x);
  const size = x.shape.slice(2);
  const sides = perAxis(name, 'kernel', kernel, size.length, 1);
  const window = makeWindow(name, size, sides, { ...options, stride: options.stride ?? sides });
  check(
    [window.begin, window.end].every(side => side.every((p, i) => p < span(window, i))),
    () => `${name}: padding [${window.begin}], [${window.end}] must be smaller than the window [${sides}]`,
  );
  checkFits(name, size, window);
  if (!options.ceilMode) return window;
  const end = window.end.map((p, i) => {
    const start = size[i] + window.begin[i];
    const last = Math.ceil((start + p - span(window, i)) / window.stride[i]) * window.stride[i];
    // A window that would start in the padding at the end is dropped.
    return last < start ? Math.max(0, last + span(window, i) - start) : p;
  });
  return { ...window, end };
}

// ---- maximum

/** Stands for −∞ where a product with zero must stay zero. */
const LOWEST = -3.4e38;

const maxPoolOp = operator<Window>({
  name: 'maxPool',
  infer: ([x], a) => ({ shape: [x.shape[0], x.shape[1], ...outputSize(x.shape.slice(2), a)], dtype: x.dtype }),
  gradient: ({ inputs: [x], outputs: [y], grads: [g], attributes: a }) => {
    const [batch, channels, ...size] = x.shape;
    if (coversByRows(size, a)) return [gradientByRows(x, y, g, a)];
    const taps = product(a.kernel);
    const padded = pad(
      x,
      size.map((_, i) => [i + 2, a.begin[i], a.end[i]] as const),
      'constant',
      LOWEST,
    );
    const none = size.map(() => 0);
    const hits = unfoldWindow(padded, { ...a, begin: none, end: none })
      .eq(y.unsqueeze(2))
      .cast(x.dtype);
    // Of equal maxima the first counts: relu(hit − hits before it). As a product with a small matrix, since ONNX Runtime's
    // MaxPool with indices and its scatter are 10 times slower.
    const first = new Float32Array(taps * taps);
    for (let t = 0; t < taps; t++) for (let s = 0; s <= t; s++) first[t * taps + s] = s === t ? 1 : -1;
    const chosen = tensor(first, [taps, taps])
      .matmul(hits.reshape([batch, channels, taps, -1]))
      .relu()
      .reshape(hits.shape);
    return [fold(chosen.mul(g.unsqueeze(2)), { ...a, size })];
  },
  emit: (b, [x], { attributes: a }) => b.node('MaxPool', [x], onnxWindow(a)),
});

/** Elements of a row of windows up to which products with matrices of that size beat copying windows out and back. */
const ROW_LIMIT = 256;

/** Windows side by side that cover a line or a plane exactly, and a row of them is short. */
function coversByRows(size: readonly number[], a: Window): boolean {
  const row = size.at(-1)! * (size.length === 2 ? a.kernel[0] : 1);
  return (
    size.length <= 2 &&
    row <= ROW_LIMIT &&
    size.every((n, i) => n % a.kernel[i] === 0 && a.stride[i] === a.kernel[i] && a.dilation[i] === 1) &&
    [...a.begin, ...a.end].every(p => p === 0)
  );
}

/**
 * The gradient of {@link coversByRows | windows that tile}: all elements of a row of windows lie together, so that one
 * product spreads its maxima over them and another finds the first hit of each window.
 */
function gradientByRows(x: Tensor, y: Tensor, g: Tensor, { kernel }: Window): Tensor {
  const width = x.shape.at(-1)!;
  const across = kernel.at(-1)!;
  const down = kernel.length === 2 ? kernel[0] : 1;
  const [windows, row] = [width / across, width * down];
  const windowOf = (element: number) => Math.floor((element % width) / across);
  const spread = new Float32Array(windows * row);
  const first = new Float32Array(row * row);
  for (let e = 0; e < row; e++) {
    spread[windowOf(e) * row + e] = 1;
    for (let s = 0; s <= e; s++) if (windowOf(s) === windowOf(e)) first[s * row + e] = s === e ? 1 : -1;
  }
  const over = (t: Tensor) => t.reshape([-1, windows]).matmul(tensor(spread, [windows, row]));
  const hits = x.reshape([-1, row]).eq(over(y)).cast(x.dtype);
  const chosen = hits.matmul(tensor(first, [row, row])).relu();
  return chosen.mul(over(g)).reshape(x.shape);
}

/**
 * Largest value of each window. Of equal ones the first, in row-major order, gets the gradient.
 *
 * @param x [batch, channels, ...space]
 * @param kernel window size, one number or one for each spatial axis; also the default stride
 */
export const maxPool = (x: Tensor, kernel: number | readonly number[], options: PoolOptions = {}): Tensor =>
  maxPoolOp([x], poolWindow('maxPool', x, kernel, options));

// ---- average

interface Average extends Window {
  /** Whether padding is part of the average. */
  readonly counted: boolean;
}

/** The averages along one axis as a matrix; of the padding, `counted` elements at begin and end are part of them. */
function averageMatrix(n: number, w: Window, axis: number, begin: number, end: number): AxisMatrix {
  const m = axisMatrix(outputSize([n], pickAxis(w, axis))[0], n);
  for (let o = 0; o < m.rows; o++) {
    const taps = Array.from(
      { length: w.kernel[axis] },
      (_, t) => o * w.stride[axis] - w.begin[axis] + t * w.dilation[axis],
    );
    const count = taps.filter(p => p >= -begin && p < n + end).length;
    for (const p of taps) if (p >= 0 && p < n) m.data[o * n + p] += 1 / count;
  }
  return m;
}

const pickAxis = (w: Window, i: number): Window => ({
  kernel: [w.kernel[i]],
  stride: [w.stride[i]],
  dilation: [w.dilation[i]],
  begin: [w.begin[i]],
  end: [w.end[i]],
});

const averagePoolOp = operator<Average>({
  name: 'averagePool',
  infer: ([x], a) => ({ shape: [x.shape[0], x.shape[1], ...outputSize(x.shape.slice(2), a)], dtype: x.dtype }),
  gradient: ({ inputs: [x], grads: [g], attributes: a }) => {
    const sides = (i: number) => (a.counted ? ([a.begin[i], a.end[i]] as const) : ([0, 0] as const));
    return [
      mapAxes(
        g,
        x.shape.slice(2).map((n, i) => transposed(averageMatrix(n, a, i, ...sides(i)))),
      ),
    ];
  },
  emit: (b, [x], { attributes: { counted, ...a } }) =>
    b.node('AveragePool', [x], { ...onnxWindow(a), count_include_pad: Number(counted) }),
});

/**
 * Mean of each window.
 *
 * @param x [batch, channels, ...space]
 * @param kernel window size, one number or one for each spatial axis; also the default stride
 */
export function averagePool(
  x: Tensor,
  kernel: number | readonly number[],
  { countIncludePad = true, ...options }: AveragePoolOptions = {},
): Tensor {
  const window = poolWindow('averagePool', x, kernel, options);
  const { begin, end } = options.ceilMode
    ? poolWindow('averagePool', x, kernel, { ...options, ceilMode: false })
    : window;
  const reaches = window.end.some((p, i) => p > end[i]);
  // What a window reaches beyond given padding never counts, which AveragePool cannot say.
  if (countIncludePad && reaches) {
    return mapAxes(
      x,
      x.shape.slice(2).map((n, i) => averageMatrix(n, window, i, begin[i], end[i])),
    );
  }
  const counted = countIncludePad && [...begin, ...end].some(p => p > 0);
  return averagePoolOp([x], { ...window, counted });
}

// ---- global and adaptive

const space = (x: Tensor): number[] => x.shape.flatMap((_, i) => (i < 2 ? [] : [i]));

/** Mean over space: [batch, channels, 1, …]. */
export function globalAveragePool(x: Tensor): Tensor {
  checkSpace('globalAveragePool', x);
  return x.mean(space(x), true);
}

/** Maximum over space: [batch, channels, 1, …]. */
export function globalMaxPool(x: Tensor): Tensor {
  checkSpace('globalMaxPool', x);
  return x.max(space(x), true);
}

/** Begin and end of the windows that cut `n` elements into `out` nearly equal, possibly overlapping, parts. */
const parts = (n: number, out: number): (readonly [number, number])[] =>
  Array.from({ length: out }, (_, o) => [Math.floor((o * n) / out), Math.ceil(((o + 1) * n) / out)] as const);

function adaptive(
  name: string,
  x: Tensor,
  size: number | readonly number[],
): { target: readonly number[]; even: boolean } {
  checkSpace(name, x);
  const target = perAxis(name, 'size', size, x.rank - 2, 1);
  return { target, even: target.every((d, i) => x.shape[i + 2] % d === 0) };
}

/** Means over a grid of `size` windows that cover the space whatever its size. */
export function adaptiveAveragePool(x: Tensor, size: number | readonly number[]): Tensor {
  const { target, even } = adaptive('adaptiveAveragePool', x, size);
  if (target.every(d => d === 1)) return globalAveragePool(x);
  if (even)
    return averagePool(
      x,
      target.map((d, i) => x.shape[i + 2] / d),
    );
  const matrices = target.map((d, i) => {
    const m = axisMatrix(d, x.shape[i + 2]);
    for (const [o, [from, to]] of parts(m.columns, d).entries()) {
      m.data.fill(1 / (to - from), o * m.columns + from, o * m.columns + to);
    }
    return m;
  });
  return mapAxes(x, matrices);
}

/** Maxima over a grid of `size` windows that cover the space whatever its size. */
export function adaptiveMaxPool(x: Tensor, size: number | readonly number[]): Tensor {
  const { target, even } = adaptive('adaptiveMaxPool', x, size);
  if (even)
    return maxPool(
      x,
      target.map((d, i) => x.shape[i + 2] / d),
    );
  // Rows first, so that of equal maxima the first in row-major order wins within a window of each axis.
  return target.reduceRight((y, d, i) => {
    const axis = i + 2;
    return concat(
      parts(y.shape[axis], d).map(([from, to]) => firstMax(y.slice(axis, from, to), axis)),
      axis,
    );
  }, x);
}

/** Maximum along one axis by pooling, which sends the gradient to the first of equal ones. */
const firstMax = (x: Tensor, axis: number): Tensor =>
  maxPool(
    x,
    x.shape.slice(2).map((d, i) => (i + 2 === axis ? d : 1)),
  );

/** Poolings of windows and whole feature maps. */
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { type Floats, floats, need, pack, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';
import { resolveWindow, stretches, WINDOW_ATTRIBUTES, type Window } from './window.ts';

const windowOf = (node: Node, dims: readonly number[]): Window => {
  if (dims.length < 3) fail(node, `input [${dims}] has no spatial dimensions`);
  return resolveWindow(node, dims.slice(2), []);
};

export const inferPool = (node: Node, inputs: Inputs<Info>): Info[] => {
  const { type, dims } = need(node, inputs, 0);
  return [{ type, dims: [dims[0], dims[1], ...windowOf(node, dims).output] }];
};

/** Calls `map` for every stretch of every feature map: flat output and input positions, count and stride. */
function sweep(
  maps: number,
  image: number,
  width: number,
  table: Int32Array,
  visit: (to: number, from: number, count: number) => void,
): void {
  for (let c = 0; c < maps; c++)
    for (let r = 0; r < table.length; r += 4) visit(c * width + table[r + 1], c * image + table[r + 3], table[r + 2]);
}

/** A windowed pooling: output pre-filled with `start`, `visit` folds stretches in, `finish` ends. */
export function pool(
  node: Node,
  x: Value,
  start: number,
  fold: (xs: Floats, y: Floats, stride: number) => (to: number, from: number, count: number) => void,
  finish?: (y: Floats, window: Window, width: number) => void,
): Value {
  const window = windowOf(node, x.dims);
  const spatial = x.dims.slice(2);
  const width = sizeOf(window.output);
  const maps = x.dims[0] * x.dims[1];
  const y = workspace(x.type, maps * width).fill(start);
  const stride = window.strides[spatial.length - 1];
  sweep(maps, sizeOf(spatial), width, stretches(window, spatial), fold(floats(x), y, stride));
  finish?.(y, window, width);
  return pack(x.type, [x.dims[0], x.dims[1], ...window.output], y);
}

/** How many taps of each window position fall on the image (and its padding, when that counts). */
function tapCounts(
  { kernel, strides, dilations, pads, output }: Window,
  spatial: readonly number[],
  padding: boolean,
): Float64Array {
  let counts = Float64Array.of(1);
  for (let d = 0; d < spatial.length; d++) {
    const least = padding ? -pads[d] : 0;
    const limit = spatial[d] + (padding ? pads[spatial.length + d] : 0);
    const next = new Float64Array(counts.length * output[d]);
    for (let o = 0; o < output[d]; o++) {
      let count = 0;
      for (let k = 0; k < kernel[d]; k++) {
        const at = o * strides[d] - pads[d] + k * dilations[d];
        if (at >= least && at < limit) count++;
      }
      for (let i = 0; i < counts.length; i++) next[i * output[d] + o] = counts[i] * count;
    }
    counts = next;
  }
  return counts;
}

/** Index of an element of an image when its first axis is stored contiguously and the last one farthest apart. */
function columnMajor(spatial: readonly number[], at: number): number {
  let index = 0;
  for (let d = spatial.length - 1, step = sizeOf(spatial); d >= 0; d--) {
    step /= spatial[d];
    index += (at % spatial[d]) * step;
    at = Math.floor(at / spatial[d]);
  }
  return index;
}

/** Greatest element of each window with its position in the whole input. */
function maxPoolIndices(node: Node, x: Value): [Value, Value] {
  const places = new Float64Array(sizeOf(inferPool(node, [x])[0].dims));
  const y = pool(node, x, -Infinity, (xs, ys, stride) => (to, from, count) => {
    for (let i = 0, at = from; i < count; i++, at += stride) {
      if (xs[at] > ys[to + i]) {
        ys[to + i] = xs[at];
        places[to + i] = at;
      }
    }
  });
  if (number(node, 'storage_order', 0) === 1) {
    const spatial = x.dims.slice(2);
    const image = sizeOf(spatial);
    for (let i = 0; i < places.length; i++) {
      const within = places[i] % image;
      places[i] += columnMajor(spatial, within) - within;
    }
  }
  return [y, pack('int64', y.dims, places)];
}

/** One number for each feature map. */
export const global = (
  attributes: string[],
  reduce: (node: Node, xs: Floats, from: number, to: number) => number,
): Operator => ({
  attributes,
  infer(node, inputs) {
    const { type, dims } = need(node, inputs, 0);
    return [{ type, dims: dims.map((size, d) => (d < 2 ? size : 1)) }];
  },
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const xs = floats(x);
    const image = sizeOf(x.dims.slice(2));
    const y = workspace(x.type, x.dims[0] * x.dims[1]);
    for (let i = 0; i < y.length; i++) y[i] = reduce(node, xs, i * image, (i + 1) * image);
    return [
      pack(
        x.type,
        x.dims.map((size, d) => (d < 2 ? size : 1)),
        y,
      ),
    ];
  },
});

export const POOL = [...WINDOW_ATTRIBUTES, 'ceil_mode'];

export const poolOperators: Operators = {
  MaxPool: {
    attributes: [...POOL, 'storage_order'],
    infer(node, inputs) {
      const [y] = inferPool(node, inputs);
      return node.outputs[1] ? [y, { type: 'int64', dims: y.dims }] : [y];
    },
    run(node, inputs) {
      const x = need(node, inputs, 0);
      if (node.outputs[1]) return maxPoolIndices(node, x);
      return [
        pool(node, x, -Infinity, (xs, y, stride) => (to, from, count) => {
          for (let i = 0, at = from; i < count; i++, at += stride) if (!(xs[at] <= y[to + i])) y[to + i] = xs[at];
        }),
      ];
    },
  },
  AveragePool: {
    attributes: [...POOL, 'count_include_pad'],
    infer: inferPool,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const sum = (xs: Floats, y: Floats, stride: number) => (to: number, from: number, count: number) => {
        for (let i = 0, at = from; i < count; i++, at += stride) y[to + i] += xs[at];
      };
      return [
        pool(node, x, 0, sum, (y, window, width) => {
          const counts = tapCounts(window, x.dims.slice(2), number(node, 'count_include_pad', 0) !== 0);
          for (let i = 0; i < y.length; i++) y[i] /= counts[i % width];
        }),
      ];
    },
  },
  GlobalMaxPool: global([], (_, xs, from, to) => {
    let best = -Infinity;
    for (let i = from; i < to; i++) if (!(xs[i] <= best)) best = xs[i];
    return best;
  }),
  GlobalAveragePool: global([], (_, xs, from, to) => {
    let sum = 0;
    for (let i = from; i < to; i++) sum += xs[i];
    return sum / (to - from);
  }),
};

/** Poolings: windows, whole feature maps, regions of interest, and back. */
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { contents } from './access.ts';
import { type Floats, floats, need, pack, workspace } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operator, type Operators, text } from './operator.ts';
import { perAxis, resolveWindow, stretches, WINDOW_ATTRIBUTES, type Window } from './window.ts';

const windowOf = (node: Node, dims: readonly number[]): Window => {
  if (dims.length < 3) fail(node, `input [${dims}] has no spatial dimensions`);
  return resolveWindow(node, dims.slice(2), []);
};

const inferPool = (node: Node, inputs: Inputs<Info>): Info[] => {
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
function pool(
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
const global = (
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

const POOL = [...WINDOW_ATTRIBUTES, 'ceil_mode'];

/** |x|ᵖ with the two common exponents spared a call of pow. */
const power = (x: number, p: number): number => (p === 2 ? x * x : p === 1 ? Math.abs(x) : Math.abs(x) ** p);

/** Shape of MaxUnpool's output before and after `output_shape` enlarges it. */
function unpooled(node: Node, inputs: Inputs<Info>): { natural: number[]; dims: number[] } {
  const { dims } = need(node, inputs, 0);
  const rank = dims.length - 2;
  const kernel = perAxis(node, 'kernel_shape', rank, 1, 1);
  const strides = perAxis(node, 'strides', rank, 1, 1);
  const pads = perAxis(node, 'pads', 2 * rank, 0, 0);
  const natural = dims.map((size, d) =>
    d < 2 ? size : (size - 1) * strides[d - 2] - pads[d - 2] - pads[rank + d - 2] + kernel[d - 2],
  );
  const given = contents(node, inputs, 2) ?? natural;
  if (given.length !== natural.length || given.some((size, d) => size < natural[d]))
    fail(node, `output_shape [${given}] is smaller than the unpooled [${natural}]`);
  return { natural, dims: given };
}

/** Regions × channels × pooled height × pooled width; `height` and `width` come from attributes. */
const regionDims = (node: Node, inputs: Inputs<Info>, size: readonly number[]): number[] => [
  need(node, inputs, 1).dims[0],
  need(node, inputs, 0).dims[1],
  ...size,
];

const alignSize = (node: Node): [number, number] => [number(node, 'output_height', 1), number(node, 'output_width', 1)];

/** The four neighbours of a place and their weights, as RoiAlign clamps them; undefined outside the image. */
function corners(y: number, x: number, height: number, width: number): { at: number[]; weight: number[] } | undefined {
  if (y < -1 || y > height || x < -1 || x > width) return undefined;
  y = Math.min(Math.max(y, 0), height - 1);
  x = Math.min(Math.max(x, 0), width - 1);
  const [top, left] = [Math.floor(y), Math.floor(x)];
  const [bottom, right] = [Math.min(top + 1, height - 1), Math.min(left + 1, width - 1)];
  const [down, over] = [y - top, x - left];
  return {
    at: [top * width + left, top * width + right, bottom * width + left, bottom * width + right],
    weight: [(1 - down) * (1 - over), (1 - down) * over, down * (1 - over), down * over],
  };
}

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
  LpPool: {
    attributes: [...POOL, 'p'],
    infer: inferPool,
    run(node, inputs) {
      const p = number(node, 'p', 2);
      const sum = (xs: Floats, y: Floats, stride: number) => (to: number, from: number, count: number) => {
        for (let i = 0, at = from; i < count; i++, at += stride) y[to + i] += power(xs[at], p);
      };
      return [
        pool(node, need(node, inputs, 0), 0, sum, y => {
          for (let i = 0; i < y.length; i++) y[i] **= 1 / p;
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
  GlobalLpPool: global(['p'], (node, xs, from, to) => {
    const p = number(node, 'p', 2);
    let sum = 0;
    for (let i = from; i < to; i++) sum += power(xs[i], p);
    return sum ** (1 / p);
  }),
  MaxUnpool: {
    attributes: ['kernel_shape', 'strides', 'pads'],
    shapeInputs: [2],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: unpooled(node, inputs).dims }],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const { natural, dims } = unpooled(node, inputs);
      const y = workspace(x.type, sizeOf(dims));
      const xs = floats(x);
      const places = floats(need(node, inputs, 1));
      for (let i = 0; i < xs.length; i++) {
        // The index counts elements of the natural shape.
        let at = 0;
        for (let d = dims.length - 1, step = 1, rest = places[i]; d >= 0; step *= dims[d--]) {
          at += (rest % natural[d]) * step;
          rest = Math.floor(rest / natural[d]);
        }
        y[at] = xs[i];
      }
      return [pack(x.type, dims, y)];
    },
  },
  MaxRoiPool: {
    attributes: ['pooled_shape', 'spatial_scale'],
    infer: (node, inputs) => [
      { type: need(node, inputs, 0).type, dims: regionDims(node, inputs, numbers(node, 'pooled_shape', [1, 1])) },
    ],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const rois = floats(need(node, inputs, 1));
      const [rows, columns] = numbers(node, 'pooled_shape', [1, 1]);
      const scale = number(node, 'spatial_scale', 1);
      const [, channels, height, width] = x.dims;
      const dims = regionDims(node, inputs, [rows, columns]);
      const xs = floats(x);
      const y = workspace(x.type, sizeOf(dims));
      const clamp = (at: number, limit: number) => Math.min(Math.max(at, 0), limit);
      for (let r = 0, to = 0; r < dims[0]; r++) {
        const [left, top, right, bottom] = [1, 2, 3, 4].map(i => Math.round(rois[5 * r + i] * scale));
        const tall = Math.max(bottom - top + 1, 1) / rows;
        const wide = Math.max(right - left + 1, 1) / columns;
        for (let c = 0; c < channels; c++) {
          const at = (rois[5 * r] * channels + c) * height * width;
          for (let i = 0; i < rows; i++) {
            const [i0, i1] = [
              clamp(Math.floor(i * tall) + top, height),
              clamp(Math.ceil((i + 1) * tall) + top, height),
            ];
            for (let j = 0; j < columns; j++) {
              const j0 = clamp(Math.floor(j * wide) + left, width);
              const j1 = clamp(Math.ceil((j + 1) * wide) + left, width);
              let best = i1 > i0 && j1 > j0 ? -Infinity : 0;
              for (let p = i0; p < i1; p++) for (let q = j0; q < j1; q++) best = Math.max(best, xs[at + p * width + q]);
              y[to++] = best;
            }
          }
        }
      }
      return [pack(x.type, dims, y)];
    },
  },
  RoiAlign: {
    attributes: [
      'coordinate_transformation_mode',
      'mode',
      'output_height',
      'output_width',
      'sampling_ratio',
      'spatial_scale',
    ],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: regionDims(node, inputs, alignSize(node)) }],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const rois = floats(need(node, inputs, 1));
      const batches = floats(need(node, inputs, 2));
      const [rows, columns] = alignSize(node);
      const dims = regionDims(node, inputs, [rows, columns]);
      const [, channels, height, width] = x.dims;
      const scale = number(node, 'spatial_scale', 1);
      const ratio = number(node, 'sampling_ratio', 0);
      const max = text(node, 'mode', 'avg') === 'max';
      const half = node.version >= 16 && text(node, 'coordinate_transformation_mode', 'half_pixel') === 'half_pixel';
      const shift = half ? 0.5 : 0;
      const xs = floats(x);
      const y = workspace(x.type, sizeOf(dims));
      for (let r = 0; r < dims[0]; r++) {
        const [left, top, right, bottom] = [0, 1, 2, 3].map(i => rois[4 * r + i] * scale - shift);
        // Without half pixels a malformed region is at least one element.
        const tall = (half ? bottom - top : Math.max(bottom - top, 1)) / rows;
        const wide = (half ? right - left : Math.max(right - left, 1)) / columns;
        const down = ratio > 0 ? ratio : Math.ceil(tall);
        const over = ratio > 0 ? ratio : Math.ceil(wide);
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j < columns; j++) {
            const points = [];
            for (let p = 0; p < down; p++)
              for (let q = 0; q < over; q++)
                points.push(
                  corners(top + (i + (p + 0.5) / down) * tall, left + (j + (q + 0.5) / over) * wide, height, width),
                );
            for (let c = 0; c < channels; c++) {
              const at = (batches[r] * channels + c) * height * width;
              let result = max && points.length > 0 ? -Infinity : 0;
              for (const point of points) {
                const terms = point ? point.at.map((offset, k) => xs[at + offset] * point.weight[k]) : [0];
                if (max) result = Math.max(result, ...terms);
                else result += terms.reduce((sum, term) => sum + term, 0);
              }
              y[((r * channels + c) * rows + i) * columns + j] = max ? result : result / Math.max(points.length, 1);
            }
          }
        }
      }
      return [pack(x.type, dims, y)];
    },
  },
};

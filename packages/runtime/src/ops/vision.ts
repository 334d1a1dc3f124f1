/** Sampling grids, boxes and crops. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value, zeros } from '../values.ts';
import { contents } from './access.ts';
import { copyStrided } from './broadcast.ts';
import { axisOf, type Floats, floats, need, pack, roundEven, scalar, stridesOf, workspace } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operators, text } from './operator.ts';

/** `x` mirrored at `low` and `high` until it lies between them. */
function reflect(x: number, low: number, high: number): number {
  const range = high - low;
  if (range <= 0) return low;
  const away = Math.abs(x - low) % (2 * range);
  return low + (away > range ? 2 * range - away : away);
}

/** Weights of the four neighbours of a fraction, Keys' cubic with a = −0.75. */
function cubicWeights(t: number): number[] {
  const a = -0.75;
  const near = (x: number) => ((a + 2) * x - (a + 3)) * x * x + 1;
  const far = (x: number) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return [far(1 + t), near(t), near(1 - t), far(2 - t)];
}

const gridDims = (node: Node, inputs: Inputs<Info>): number[] => {
  const [x, grid] = [need(node, inputs, 0).dims, need(node, inputs, 1).dims];
  if (grid.length !== x.length || grid[0] !== x[0] || grid[grid.length - 1] !== x.length - 2)
    fail(node, `grid [${grid}] does not fit an input [${x}]`);
  return [x[0], x[1], ...grid.slice(1, -1)];
};

function gridSample(node: Node, inputs: Inputs): Value[] {
  const x = need(node, inputs, 0);
  const dims = gridDims(node, inputs);
  const spatial = x.dims.slice(2);
  const rank = spatial.length;
  const strides = stridesOf(spatial);
  const [batch, channels] = x.dims;
  const mode = text(node, 'mode', 'linear');
  const padding = text(node, 'padding_mode', 'zeros');
  const aligned = number(node, 'align_corners', 0) !== 0;
  const xs = floats(x);
  const grid = floats(need(node, inputs, 1));
  const image = sizeOf(spatial);
  const places = sizeOf(dims.slice(2));
  const y = workspace(x.type, sizeOf(dims));
  if (image === 0 && y.length > 0) fail(node, `input [${x.dims}] is empty`);
  const border = (d: number): [number, number] => (aligned ? [0, spatial[d] - 1] : [-0.5, spatial[d] - 0.5]);
  /** Index along axis d after padding; −1 reads zero. */
  const pixel = (i: number, d: number): number => {
    if (i >= 0 && i < spatial[d]) return i;
    if (padding === 'zeros') return -1;
    if (padding === 'border') return Math.min(Math.max(i, 0), spatial[d] - 1);
    return Math.min(Math.max(Math.trunc(reflect(i, ...border(d))), 0), spatial[d] - 1);
  };
  for (let n = 0; n < batch; n++) {
    for (let p = 0; p < places; p++) {
      let offsets = [0];
      let weights = [1];
      for (let d = 0; d < rank; d++) {
        // The grid lists coordinates from the last axis to the first.
        const unit = grid[(n * places + p) * rank + rank - 1 - d];
        let at = aligned ? ((unit + 1) / 2) * (spatial[d] - 1) : ((unit + 1) * spatial[d] - 1) / 2;
        if (mode === 'nearest') at = roundEven(at);
        const [low, high] = border(d);
        if (at < low || at > high) {
          // The four taps of a cubic are brought to the border one by one, as in PyTorch.
          if (padding === 'border' && !mode.endsWith('cubic')) at = Math.min(Math.max(at, 0), spatial[d] - 1);
          else if (padding === 'reflection') at = reflect(at, low, high);
        }
        const base = mode === 'nearest' ? Math.trunc(at) : Math.floor(at);
        const t = at - base;
        const own = mode === 'nearest' ? [1] : mode.endsWith('cubic') ? cubicWeights(t) : [1 - t, t];
        const first = base - (own.length === 4 ? 1 : 0);
        const [nextOffsets, nextWeights]: [number[], number[]] = [[], []];
        own.forEach((weight, k) => {
          const index = pixel(first + k, d);
          if (!(index >= 0)) return;
          for (let i = 0; i < offsets.length; i++) {
            nextOffsets.push(offsets[i] + index * strides[d]);
            nextWeights.push(weights[i] * weight);
          }
        });
        [offsets, weights] = [nextOffsets, nextWeights];
      }
      for (let c = 0; c < channels; c++) {
        const from = (n * channels + c) * image;
        let sum = 0;
        for (let i = 0; i < offsets.length; i++) sum += weights[i] * xs[from + offsets[i]];
        y[(n * channels + c) * places + p] = sum;
      }
    }
  }
  return [pack(x.type, dims, y)];
}

/** Batch, spatial shape and output shape of AffineGrid, from its `size` input [N, C, (D,) H, W]. */
function affineShape(node: Node, inputs: Inputs<Info>) {
  const size = contents(node, inputs, 1) ?? fail(node, 'input 1 is missing');
  if (size.length !== 4 && size.length !== 5) fail(node, `size [${size}]: expected [N, C, H, W] or [N, C, D, H, W]`);
  const spatial = size.slice(2);
  return { spatial, dims: [size[0], ...spatial, spatial.length] };
}

function affineGrid(node: Node, inputs: Inputs): Value[] {
  const theta = need(node, inputs, 0);
  const { spatial, dims } = affineShape(node, inputs);
  const rank = spatial.length;
  const aligned = number(node, 'align_corners', 0) !== 0;
  const t = floats(theta);
  const y = workspace(theta.type, sizeOf(dims));
  const unit = (i: number, size: number) =>
    aligned ? (size === 1 ? -1 : (2 * i) / (size - 1) - 1) : (2 * i + 1) / size - 1;
  const places = sizeOf(spatial);
  for (let n = 0, to = 0; n < dims[0]; n++) {
    for (let p = 0; p < places; p++) {
      const at: number[] = [];
      for (let d = rank - 1, rest = p; d >= 0; d--) {
        at.push(unit(rest % spatial[d], spatial[d]));
        rest = Math.floor(rest / spatial[d]);
      }
      for (let r = 0; r < rank; r++) {
        const row = (n * rank + r) * (rank + 1);
        y[to++] = at.reduce((sum, value, k) => sum + value * t[row + k], t[row + rank]);
      }
    }
  }
  return [pack(theta.type, dims, y)];
}

/** Intersection over union of two boxes [y1, x1, y2, x2] with ordered corners. */
function overlap(b: Floats, i: number, j: number): number {
  const tall = Math.min(b[i + 2], b[j + 2]) - Math.max(b[i], b[j]);
  const wide = Math.min(b[i + 3], b[j + 3]) - Math.max(b[i + 1], b[j + 1]);
  if (!(tall > 0 && wide > 0)) return 0;
  const area = (k: number) => (b[k + 2] - b[k]) * (b[k + 3] - b[k + 1]);
  return (tall * wide) / (area(i) + area(j) - tall * wide);
}

function nonMaxSuppression(node: Node, inputs: Inputs): Value[] {
  const boxes = need(node, inputs, 0);
  const scores = need(node, inputs, 1);
  const limit = scalar(inputs[2]);
  const iou = scalar(inputs[3]);
  const least = inputs[4] && scalar(inputs[4]);
  const [batch, classes, count] = scores.dims;
  const s = floats(scores);
  const b = floats(boxes).slice();
  // Boxes come as a centre (x, y, width, height) or as two corners in any order.
  for (let i = 0; i < b.length; i += 4) {
    const [p, q, r, t] = b.subarray(i, i + 4);
    const box = number(node, 'center_point_box', 0) ? [q - t / 2, p - r / 2, q + t / 2, p + r / 2] : [p, q, r, t];
    b.set([Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3])], i);
  }
  const found: number[] = [];
  for (let n = 0; n < batch; n++) {
    for (let c = 0; c < classes; c++) {
      const at = (n * classes + c) * count;
      const order = Array.from({ length: count }, (_, i) => i).filter(i => least === undefined || s[at + i] > least);
      order.sort((i, j) => s[at + j] - s[at + i] || i - j);
      const kept: number[] = [];
      for (const i of order) {
        if (kept.length >= limit) break;
        const own = (n * count + i) * 4;
        if (kept.every(j => !(overlap(b, own, (n * count + j) * 4) > iou))) kept.push(i);
      }
      for (const i of kept) found.push(n, c, i);
    }
  }
  return [pack('int64', [found.length / 3, 3], Float64Array.from(found))];
}

/** Output shape of CenterCropPad. */
function centred(node: Node, inputs: Inputs<Info>): number[] {
  const dims = [...need(node, inputs, 0).dims];
  const shape = contents(node, inputs, 1) ?? [];
  const axes = numbers(node, 'axes')?.map(axis => axisOf(node, axis, dims.length)) ?? dims.map((_, d) => d);
  if (shape.length !== axes.length) fail(node, `shape [${shape}] for ${axes.length} axes`);
  for (const [i, axis] of axes.entries()) dims[axis] = shape[i];
  return dims;
}

export const operators: Operators = {
  GridSample: {
    attributes: ['align_corners', 'mode', 'padding_mode'],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: gridDims(node, inputs) }],
    run: gridSample,
  },
  AffineGrid: {
    attributes: ['align_corners'],
    shapeInputs: [1],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: affineShape(node, inputs).dims }],
    run: affineGrid,
  },
  NonMaxSuppression: { attributes: ['center_point_box'], dynamic: true, run: nonMaxSuppression },
  CenterCropPad: {
    attributes: ['axes'],
    shapeInputs: [1],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: centred(node, inputs) }],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const dims = centred(node, inputs);
      const data = zeros(x.type, sizeOf(dims));
      const common = dims.map((size, d) => Math.min(size, x.dims[d]));
      // The first element of the common block inside a shape; an odd element is left over at the end.
      const start = (from: readonly number[]) =>
        stridesOf(from).reduce((sum, stride, d) => sum + stride * Math.floor((from[d] - common[d]) / 2), 0);
      copyStrided(
        x.type,
        common,
        { data: x.data, strides: stridesOf(x.dims), start: start(x.dims) },
        { data, strides: stridesOf(dims), start: start(dims) },
      );
      return [{ type: x.type, dims, data }];
    },
  },
};

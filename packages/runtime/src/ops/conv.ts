/** Convolutions: images to columns, columns times weights. */
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { contents } from './access.ts';
import { type Floats, floats, need, pack, product, roundEven, saturate, transposed, workspace } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operators, text } from './operator.ts';
import { clip, halves, perAxis, resolveWindow, span, stretches, WINDOW_ATTRIBUTES, type Window } from './window.ts';

/** Elements of the column buffer: about a second-level cache of float32. */
const COLUMN_ELEMENTS = 2 ** 18;

/** Checks a convolution's shapes and resolves its window. `x` is [N, C, …], `w` is [M, C / group, …kernel]. */
function geometry(
  node: Node,
  x: readonly number[],
  w: readonly number[],
): { window: Window; group: number; dims: number[] } {
  const group = number(node, 'group', 1);
  if (x.length < 3 || w.length !== x.length || x[1] !== w[1] * group || w[0] % group !== 0)
    fail(node, `input [${x}] and weight [${w}] do not fit with group ${group}`);
  const window = resolveWindow(node, x.slice(2), w.slice(2));
  return { window, group, dims: [x[0], w[0], ...window.output] };
}

/** The columns of `channels` images for one stretch table: [channels · taps, width], zero where taps meet padding. */
function toColumns(
  x: Floats,
  at: number,
  channels: number,
  image: number,
  table: Int32Array,
  stride: number,
  taps: number,
  width: number,
  columns: Floats,
): void {
  columns.fill(0, 0, channels * taps * width);
  for (let c = 0; c < channels; c++, at += image) {
    for (let r = 0; r < table.length; r += 4) {
      const to = (c * taps + table[r]) * width + table[r + 1];
      const from = at + table[r + 3];
      for (let i = 0, count = table[r + 2]; i < count; i++) columns[to + i] = x[from + i * stride];
    }
  }
}

/** The reverse of `toColumns`: adds columns onto images. */
function addColumns(
  columns: Floats,
  columnsAt: number,
  channels: number,
  taps: number,
  width: number,
  table: Int32Array,
  stride: number,
  y: Floats,
  at: number,
  image: number,
): void {
  for (let c = 0; c < channels; c++, at += image) {
    for (let r = 0; r < table.length; r += 4) {
      const from = columnsAt + (c * taps + table[r]) * width + table[r + 1];
      const to = at + table[r + 3];
      for (let i = 0, count = table[r + 2]; i < count; i++) y[to + i * stride] += columns[from + i];
    }
  }
}

/** A convolution on numbers; the result has the type of `make`. */
function convolve(
  node: Node,
  x: Floats,
  xDims: readonly number[],
  w: Floats,
  wDims: readonly number[],
  bias: Floats | undefined,
  make: (length: number) => Floats,
): { y: Floats; dims: number[] } {
  const { window, group, dims } = geometry(node, xDims, wDims);
  const [batch, channels] = xDims;
  const [maps, depth] = wDims;
  const spatial = xDims.slice(2);
  const image = sizeOf(spatial);
  const taps = sizeOf(window.kernel);
  const width = sizeOf(window.output);
  const stride = window.strides[spatial.length - 1];
  const y = make(sizeOf(dims));
  if (bias) for (let i = 0; i < batch * maps; i++) y.fill(bias[i % maps], i * width, (i + 1) * width);
  if (y.length === 0 || x.length === 0) return { y, dims };
  const rows = depth * taps;
  const direct = taps === 1 && width === image && [...window.pads].every(pad => pad === 0);
  const chunk = direct ? width : Math.min(width, Math.max(64, Math.floor(COLUMN_ELEMENTS / rows)));
  const table = direct ? new Int32Array(0) : stretches(window, spatial);
  const columns = make(direct ? 0 : rows * chunk);
  const part = chunk < width ? make((maps / group) * chunk) : y;
  for (let from = 0; from < width; from += chunk) {
    const count = Math.min(chunk, width - from);
    const clipped = chunk < width ? clip(table, from, from + count, stride) : table;
    for (let n = 0; n < batch; n++) {
      for (let g = 0; g < group; g++) {
        const at = (n * channels + g * depth) * image;
        const own = maps / group;
        const wAt = g * own * rows;
        const yAt = (n * maps + g * own) * width;
        if (direct) {
          product(own, width, rows, w, wAt, x, at, y, yAt);
          continue;
        }
        toColumns(x, at, depth, image, clipped, stride, taps, count, columns);
        if (part === y) {
          product(own, width, rows, w, wAt, columns, 0, y, yAt);
          continue;
        }
        part.fill(0);
        product(own, count, rows, w, wAt, columns, 0, part, 0);
        for (let m = 0; m < own; m++)
          for (let i = 0, to = yAt + m * width + from; i < count; i++) y[to + i] += part[m * count + i];
      }
    }
  }
  return { y, dims };
}

const inferConv = (node: Node, inputs: Inputs<Info>): Info[] => {
  const x = need(node, inputs, 0);
  return [{ type: x.type, dims: geometry(node, x.dims, need(node, inputs, 1).dims).dims }];
};

/** Integers less their zero point, one for the whole value or one for each entry of the first axis. */
function centred(value: Value, zeroPoint: Value | undefined): Float64Array {
  const numbers = Float64Array.from(floats(value));
  if (!zeroPoint) return numbers;
  const zero = floats(zeroPoint);
  const each = numbers.length / zero.length;
  for (let i = 0; i < numbers.length; i++) numbers[i] -= zero[zero.length === 1 ? 0 : Math.floor(i / each)];
  return numbers;
}

const float64 = (length: number): Floats => new Float64Array(length);

/** Window of a transposed convolution: its image is the output, its positions are the input's elements. */
function transposedGeometry(node: Node, x: readonly number[], w: readonly number[]) {
  const group = number(node, 'group', 1);
  const rank = x.length - 2;
  if (rank < 1 || w.length !== x.length || x[1] !== w[0] || x[1] % group !== 0)
    fail(node, `input [${x}] and weight [${w}] do not fit with group ${group}`);
  const kernel = w.slice(2);
  const strides = perAxis(node, 'strides', rank, 1, 1);
  const dilations = perAxis(node, 'dilations', rank, 1, 1);
  const extra = perAxis(node, 'output_padding', rank, 0, 0);
  const pads = perAxis(node, 'pads', 2 * rank, 0, 0).slice();
  const mode = text(node, 'auto_pad', 'NOTSET');
  const same = mode.startsWith('SAME');
  // Some exporters give all dimensions, batch and channels too.
  const given = numbers(node, 'output_shape')?.slice(-rank);
  const image = kernel.map((size, d) => {
    const full = strides[d] * (x[d + 2] - 1) + extra[d] + span(size, dilations[d]);
    if (mode === 'VALID') pads[d] = pads[rank + d] = 0;
    if (!given && !same) return full - pads[d] - pads[rank + d];
    const length = given ? given[d] : x[d + 2] * strides[d];
    [pads[d], pads[rank + d]] = halves(Math.max(0, full - length), mode === 'SAME_UPPER');
    return length;
  });
  if (image.some(size => size < 0)) fail(node, `output shape [${image}] is negative; look at pads and output_padding`);
  const window: Window = { kernel, strides, dilations, pads, output: x.slice(2) };
  return { window, image, group, dims: [x[0], w[1] * group, ...image] };
}

/** Bilinear sample of an image at a fractional place; zero outside. */
function sample(x: Floats, at: number, height: number, width: number, row: number, column: number): number {
  if (row <= -1 || row >= height || column <= -1 || column >= width) return 0;
  const top = Math.floor(row);
  const left = Math.floor(column);
  const down = row - top;
  const right = column - left;
  const line = at + top * width + left;
  const above = top >= 0;
  const below = top + 1 < height;
  let sum = 0;
  if (left >= 0) {
    if (above) sum += (1 - down) * (1 - right) * x[line];
    if (below) sum += down * (1 - right) * x[line + width];
  }
  if (left + 1 < width) {
    if (above) sum += (1 - down) * right * x[line + 1];
    if (below) sum += down * right * x[line + width + 1];
  }
  return sum;
}

const CONV = ['group', ...WINDOW_ATTRIBUTES];

/** Channels and image window of Col2Im; the kernel is its block shape. */
function blocks(node: Node, inputs: Inputs<Info>) {
  const x = need(node, inputs, 0).dims;
  const image = contents(node, inputs, 1) ?? [];
  const block = contents(node, inputs, 2) ?? [];
  const rank = image.length;
  const taps = sizeOf(block);
  const strides = perAxis(node, 'strides', rank, 1, 1);
  const dilations = perAxis(node, 'dilations', rank, 1, 1);
  const pads = perAxis(node, 'pads', 2 * rank, 0, 0);
  const output = image.map(
    (size, d) => Math.floor((size + pads[d] + pads[rank + d] - span(block[d], dilations[d])) / strides[d]) + 1,
  );
  if (x.length !== 3 || x[1] % taps !== 0 || x[2] !== sizeOf(output))
    fail(node, `input [${x}] does not hold blocks [${block}] of an image [${image}]`);
  const window: Window = { kernel: block, strides, dilations, pads, output };
  return { window, image, channels: x[1] / taps, taps, dims: [x[0], x[1] / taps, ...image] };
}

export const convOperators: Operators = {
  Conv: {
    attributes: CONV,
    infer: inferConv,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const w = need(node, inputs, 1);
      const bias = inputs[2] && floats(inputs[2]);
      const { y, dims } = convolve(node, floats(x), x.dims, floats(w), w.dims, bias, n => workspace(x.type, n));
      return [pack(x.type, dims, y)];
    },
  },
  ConvInteger: {
    attributes: CONV,
    infer: (node, inputs) => [{ type: 'int32', dims: inferConv(node, inputs)[0].dims }],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const w = need(node, inputs, 1);
      const { y, dims } = convolve(
        node,
        centred(x, inputs[2]),
        x.dims,
        centred(w, inputs[3]),
        w.dims,
        undefined,
        float64,
      );
      return [pack('int32', dims, y)];
    },
  },
  QLinearConv: {
    attributes: CONV,
    infer(node, inputs) {
      const { dims } = geometry(node, need(node, inputs, 0).dims, need(node, inputs, 3).dims);
      return [{ type: need(node, inputs, 7).type, dims }];
    },
    run(node, inputs) {
      const [x, w, zero] = [0, 3, 7].map(index => need(node, inputs, index));
      const [xScale, yScale] = [1, 6].map(index => floats(need(node, inputs, index))[0]);
      const wScale = floats(need(node, inputs, 4));
      const bias = inputs[8] && floats(inputs[8]);
      const { y, dims } = convolve(node, centred(x, inputs[2]), x.dims, centred(w, inputs[5]), w.dims, bias, float64);
      const offset = floats(zero)[0];
      const width = sizeOf(dims.slice(2));
      for (let i = 0; i < y.length; i++) {
        const map = Math.floor(i / width) % dims[1];
        const scale = Math.fround((xScale * wScale[wScale.length === 1 ? 0 : map]) / yScale);
        y[i] = roundEven(Math.fround(y[i] * scale)) + offset;
      }
      return [pack(zero.type, dims, saturate(zero.type, y))];
    },
  },
  ConvTranspose: {
    attributes: [...CONV, 'output_padding', 'output_shape'],
    infer(node, inputs) {
      const x = need(node, inputs, 0);
      return [{ type: x.type, dims: transposedGeometry(node, x.dims, need(node, inputs, 1).dims).dims }];
    },
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const w = need(node, inputs, 1);
      const { window, image, group, dims } = transposedGeometry(node, x.dims, w.dims);
      const [batch, channels] = x.dims;
      const depth = channels / group;
      const own = w.dims[1];
      const taps = sizeOf(window.kernel);
      const width = sizeOf(window.output);
      const size = sizeOf(image);
      const table = stretches(window, image);
      const stride = window.strides[image.length - 1];
      const y = workspace(x.type, sizeOf(dims));
      const bias = inputs[2] && floats(inputs[2]);
      if (bias) for (let i = 0; i < batch * dims[1]; i++) y.fill(bias[i % dims[1]], i * size, (i + 1) * size);
      const xs = floats(x);
      const ws = floats(w);
      const rows = own * taps;
      const columns = workspace(x.type, rows * width);
      for (let g = 0; g < group; g++) {
        const turned = transposed(depth, rows, ws.subarray(g * depth * rows, (g + 1) * depth * rows));
        for (let n = 0; n < batch; n++) {
          columns.fill(0);
          product(rows, width, depth, turned, 0, xs, (n * channels + g * depth) * width, columns, 0);
          addColumns(columns, 0, own, taps, width, table, stride, y, (n * dims[1] + g * own) * size, size);
        }
      }
      return [pack(x.type, dims, y)];
    },
  },
  Col2Im: {
    attributes: ['strides', 'dilations', 'pads'],
    shapeInputs: [1, 2],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: blocks(node, inputs).dims }],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const { window, image, channels, taps, dims } = blocks(node, inputs);
      const size = sizeOf(image);
      const y = workspace(x.type, sizeOf(dims));
      const table = stretches(window, image);
      const xs = floats(x);
      const each = xs.length / x.dims[0];
      for (let n = 0; n < x.dims[0]; n++)
        addColumns(
          xs,
          n * each,
          channels,
          taps,
          x.dims[2],
          table,
          window.strides[image.length - 1],
          y,
          n * channels * size,
          size,
        );
      return [pack(x.type, dims, y)];
    },
  },
  DeformConv: {
    attributes: ['group', 'kernel_shape', 'strides', 'dilations', 'pads', 'offset_group'],
    infer: inferConv,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const w = need(node, inputs, 1);
      const { window, group, dims } = geometry(node, x.dims, w.dims);
      if (x.dims.length !== 4)
        fail(node, `input [${x.dims}]: deformable convolution is defined on images, [N, C, H, W]`);
      const [batch, channels, height, width] = x.dims;
      const { kernel, strides, dilations, pads, output } = window;
      const [xs, ws, offset] = [x, w, need(node, inputs, 2)].map(floats);
      const mask = inputs[4] && floats(inputs[4]);
      const offsetGroups = number(node, 'offset_group', 1);
      const taps = kernel[0] * kernel[1];
      const places = output[0] * output[1];
      const depth = w.dims[1];
      const own = dims[1] / group;
      const y = workspace(x.type, sizeOf(dims));
      const bias = inputs[3] && floats(inputs[3]);
      if (bias) for (let i = 0; i < batch * dims[1]; i++) y.fill(bias[i % dims[1]], i * places, (i + 1) * places);
      const columns = workspace(x.type, depth * taps * places);
      for (let n = 0; n < batch; n++) {
        for (let g = 0; g < group; g++) {
          for (let c = 0, to = 0; c < depth; c++) {
            const channel = g * depth + c;
            const set = n * offsetGroups + Math.floor((channel * offsetGroups) / channels);
            for (let tap = 0; tap < taps; tap++) {
              const from = (set * taps + tap) * 2 * places;
              const row = Math.floor(tap / kernel[1]) * dilations[0] - pads[0];
              const column = (tap % kernel[1]) * dilations[1] - pads[1];
              for (let p = 0; p < places; p++, to++) {
                const i = Math.floor(p / output[1]) * strides[0] + row + offset[from + p];
                const j = (p % output[1]) * strides[1] + column + offset[from + places + p];
                const value = sample(xs, (n * channels + channel) * height * width, height, width, i, j);
                columns[to] = mask ? value * mask[(set * taps + tap) * places + p] : value;
              }
            }
          }
          const rows = depth * taps;
          product(own, places, rows, ws, g * own * rows, columns, 0, y, (n * dims[1] + g * own) * places);
        }
      }
      return [pack(x.type, dims, y)];
    },
  },
};

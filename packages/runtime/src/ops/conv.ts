/** Convolutions: images to columns, columns times weights. */
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf } from '../values.ts';
import { type Floats, floats, need, pack, product, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operators } from './operator.ts';
import { clip, resolveWindow, stretches, WINDOW_ATTRIBUTES, type Window } from './window.ts';

/** Elements of the column buffer: about a second-level cache of float32. */
const COLUMN_ELEMENTS = 2 ** 18;

/** Checks a convolution's shapes and resolves its window. `x` is [N, C, …], `w` is [M, C / group, …kernel]. */
export function geometry(
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

/** A convolution on numbers; the result has the type of `make`. */
export function convolve(
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

export const inferConv = (node: Node, inputs: Inputs<Info>): Info[] => {
  const x = need(node, inputs, 0);
  return [{ type: x.type, dims: geometry(node, x.dims, need(node, inputs, 1).dims).dims }];
};

export const CONV = ['group', ...WINDOW_ATTRIBUTES];

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
};

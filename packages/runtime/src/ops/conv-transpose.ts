/** Convolutions run backwards: columns times weights, added onto images; and Col2Im, the second half alone. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf } from '../values.ts';
import { contents } from './access.ts';
import { CONV } from './conv.ts';
import { type Floats, floats, need, pack, product, transposed, workspace } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operators, text } from './operator.ts';
import { halves, perAxis, span, stretches, type Window } from './window.ts';

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

export const operators: Operators = {
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
};

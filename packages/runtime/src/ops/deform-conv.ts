/** Deformable convolution: every tap of every window reads at a place of its own. */
import './common.ts';
import { sizeOf } from '../values.ts';
import { geometry, inferConv } from './conv.ts';
import { type Floats, floats, need, pack, product, workspace } from './numeric.ts';
import { fail, number, type Operators } from './operator.ts';

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

export const operators: Operators = {
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

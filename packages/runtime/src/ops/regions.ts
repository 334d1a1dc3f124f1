/** Poolings of regions of interest. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf } from '../values.ts';
import { floats, need, pack, workspace } from './numeric.ts';
import { type Inputs, number, numbers, type Operators, text } from './operator.ts';

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

export const operators: Operators = {
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

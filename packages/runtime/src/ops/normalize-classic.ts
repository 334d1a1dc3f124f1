/** Normalisations of older networks, without parameters to learn. */
import './common.ts';
import { sizeOf } from '../values.ts';
import { expandedStrides, offsetsOf } from './broadcast.ts';
import { axisFrom } from './normalize.ts';
import { axisOf, floats, likeFirst, need, pack, split, workspace } from './numeric.ts';
import { number, numbers, type Operators } from './operator.ts';

export const operators: Operators = {
  LRN: {
    attributes: ['alpha', 'beta', 'bias', 'size'],
    infer: likeFirst,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const [batch, channels, places] = split(x.dims, 1);
      const size = number(node, 'size', 1);
      const alpha = number(node, 'alpha', 1e-4) / size;
      const beta = number(node, 'beta', 0.75);
      const bias = number(node, 'bias', 1);
      const before = Math.floor((size - 1) / 2);
      const after = Math.ceil((size - 1) / 2);
      const xs = floats(x);
      const y = workspace(x.type, xs.length);
      for (let n = 0; n < batch; n++) {
        for (let c = 0; c < channels; c++) {
          const at = (n * channels + c) * places;
          const from = n * channels + Math.max(0, c - before);
          const to = n * channels + Math.min(channels - 1, c + after);
          for (let p = 0; p < places; p++) {
            let sum = 0;
            for (let k = from; k <= to; k++) sum += xs[k * places + p] ** 2;
            y[at + p] = xs[at + p] / (bias + alpha * sum) ** beta;
          }
        }
      }
      return [pack(x.type, x.dims, y)];
    },
  },
  LpNormalization: {
    attributes: ['axis', 'p'],
    infer: likeFirst,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const [outer, length, inner] = split(x.dims, axisFrom(node, x.dims));
      const p = number(node, 'p', 2);
      const xs = floats(x);
      const y = workspace(x.type, xs.length);
      for (let o = 0; o < outer; o++) {
        for (let i = 0; i < inner; i++) {
          const at = o * length * inner + i;
          let norm = 0;
          for (let k = 0; k < length; k++) norm += Math.abs(xs[at + k * inner]) ** p;
          norm **= 1 / p;
          // A row of zeros stays one.
          if (norm > 0) for (let k = 0; k < length; k++) y[at + k * inner] = xs[at + k * inner] / norm;
        }
      }
      return [pack(x.type, x.dims, y)];
    },
  },
  MeanVarianceNormalization: {
    attributes: ['axes'],
    infer: likeFirst,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const axes = numbers(node, 'axes', [0, 2, 3]).map(axis => axisOf(node, axis, x.dims.length));
      const kept = x.dims.map((size, d) => (axes.includes(d) ? 1 : size));
      // The group of each element: its position in the shape without the reduced axes.
      const group = offsetsOf(x.dims, expandedStrides(kept, x.dims));
      const xs = floats(x);
      const groups = sizeOf(kept);
      const count = xs.length / groups;
      const mean = new Float64Array(groups);
      const variance = new Float64Array(groups);
      for (let i = 0; i < xs.length; i++) mean[group[i]] += xs[i] / count;
      for (let i = 0; i < xs.length; i++) variance[group[i]] += (xs[i] - mean[group[i]]) ** 2 / count;
      const y = workspace(x.type, xs.length);
      for (let i = 0; i < xs.length; i++) y[i] = (xs[i] - mean[group[i]]) / (Math.sqrt(variance[group[i]]) + 1e-9);
      return [pack(x.type, x.dims, y)];
    },
  },
};

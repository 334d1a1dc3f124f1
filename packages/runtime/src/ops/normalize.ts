/** Normalisations: statistics of a run of elements, then scale and shift. */
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { expandedStrides, offsetsOf } from './broadcast.ts';
import { axisOf, type Floats, floats, likeFirst, need, pack, workspace } from './numeric.ts';
import { type Inputs, number, type Operator, type Operators } from './operator.ts';

export const EPSILON = 1e-5;

/** Mean and variance (population) of `length` contiguous elements. */
export function moments(x: Floats, at: number, length: number): [mean: number, variance: number] {
  let mean = 0;
  for (let i = at; i < at + length; i++) mean += x[i];
  mean /= length;
  let variance = 0;
  for (let i = at; i < at + length; i++) variance += (x[i] - mean) ** 2;
  return [mean, variance / length];
}

/** Mean of the squares of `length` contiguous elements. */
export function meanSquare(x: Floats, at: number, length: number): number {
  let sum = 0;
  for (let i = at; i < at + length; i++) sum += x[i] * x[i];
  return sum / length;
}

/** A parameter of shape `dims` as it meets the elements of a row of shape `row`. */
function rowParameter(value: Value, row: readonly number[]): Floats {
  const data = floats(value);
  const length = sizeOf(row);
  if (data.length === length) return data;
  const offsets = offsetsOf(row, expandedStrides(value.dims, row));
  return Float64Array.from(offsets, at => data[at]);
}

/** Layer normalisation over axes from `axis` on: y = (x − mean) / √(variance + ε) · scale + shift. */
export function layerNorm(x: Value, axis: number, scale: Value, shift: Value | undefined, epsilon: number) {
  const xs = floats(x);
  const length = sizeOf(x.dims.slice(axis));
  const rows = sizeOf(x.dims.slice(0, axis));
  const y = workspace(x.type, xs.length);
  const means = workspace(x.type, rows);
  const inverses = workspace(x.type, rows);
  const row = x.dims.slice(axis);
  const gains = rowParameter(scale, row);
  const shifts = shift && rowParameter(shift, row);
  for (let r = 0, at = 0; r < rows; r++, at += length) {
    const [mean, variance] = moments(xs, at, length);
    const inverse = 1 / Math.sqrt(variance + epsilon);
    means[r] = mean;
    inverses[r] = inverse;
    for (let i = 0; i < length; i++) y[at + i] = (xs[at + i] - mean) * inverse * gains[i] + (shifts ? shifts[i] : 0);
  }
  return { y, means, inverses };
}

/** Root-mean-square normalisation over axes from `axis` on. */
export function rmsNorm(x: Value, axis: number, scale: Value, epsilon: number) {
  const xs = floats(x);
  const row = x.dims.slice(axis);
  const length = sizeOf(row);
  const rows = sizeOf(x.dims.slice(0, axis));
  const y = workspace(x.type, xs.length);
  const inverses = workspace(x.type, rows);
  const gains = rowParameter(scale, row);
  for (let r = 0, at = 0; r < rows; r++, at += length) {
    const inverse = 1 / Math.sqrt(meanSquare(xs, at, length) + epsilon);
    inverses[r] = inverse;
    for (let i = 0; i < length; i++) y[at + i] = xs[at + i] * inverse * gains[i];
  }
  return { y, inverses };
}

export const axisFrom = (node: Node, dims: readonly number[]): number =>
  axisOf(node, number(node, 'axis', -1), dims.length);

/** Per-channel mean and population variance of a [N, C, …] input. */
function channelMoments(x: Floats, batch: number, channels: number, places: number): [Floats, Floats] {
  const mean = new Float64Array(channels);
  const variance = new Float64Array(channels);
  const count = batch * places;
  const each = (use: (value: number, c: number) => void) => {
    for (let i = 0; i < x.length; i++) use(x[i], Math.floor(i / places) % channels);
  };
  each((value, c) => (mean[c] += value / count));
  each((value, c) => (variance[c] += (value - mean[c]) ** 2 / count));
  return [mean, variance];
}

/** Whether statistics are taken from the batch: an attribute since version 14, more than one output before. */
const isTraining = (node: Node): boolean =>
  node.version >= 14
    ? number(node, 'training_mode', 0) !== 0
    : number(node, 'is_test', 0) === 0 && node.outputs.slice(1).some(name => name !== '');

const BatchNormalization: Operator = {
  attributes: ['epsilon', 'momentum', 'training_mode', 'spatial', 'is_test', 'consumed_inputs'],
  infer(node, inputs: Inputs<Info>) {
    const { type, dims } = need(node, inputs, 0);
    const statistics = [3, 4, 3, 4].map(i => need(node, inputs, i)).map(info => ({ type: info.type, dims: info.dims }));
    return [{ type, dims }, ...statistics].slice(0, node.outputs.length);
  },
  run(node, inputs) {
    const [x, scale, shift, mean, variance] = [0, 1, 2, 3, 4].map(i => need(node, inputs, i));
    const dims = x.dims.length === 1 ? [x.dims[0], 1] : x.dims;
    // Not spatial (version 7): every feature has its own statistics.
    const channels = number(node, 'spatial', 1) ? dims[1] : sizeOf(dims.slice(1));
    const batch = dims[0];
    const places = sizeOf(dims.slice(1)) / channels;
    const epsilon = number(node, 'epsilon', EPSILON);
    const xs = floats(x);
    const training = isTraining(node);
    const [gains, shifts, means, variances] = [scale, shift, mean, variance].map(floats);
    const [mu, sigma] = training ? channelMoments(xs, batch, channels, places) : [means, variances];
    const y = workspace(x.type, xs.length);
    for (let n = 0, at = 0; n < batch; n++) {
      for (let c = 0; c < channels; c++, at += places) {
        const gain = gains[c] / Math.sqrt(sigma[c] + epsilon);
        const offset = shifts[c] - mu[c] * gain;
        for (let p = at; p < at + places; p++) y[p] = xs[p] * gain + offset;
      }
    }
    const outputs = [pack(x.type, x.dims, y)];
    if (training) {
      const momentum = number(node, 'momentum', 0.9);
      const blend = (old: Floats, current: Floats) =>
        Float64Array.from(old, (value, c) => value * momentum + current[c] * (1 - momentum));
      for (const statistic of [blend(means, mu), blend(variances, sigma), mu, sigma])
        outputs.push(pack(mean.type, mean.dims, statistic));
    }
    return outputs.slice(0, node.outputs.length);
  },
};

export const normalizeOperators: Operators = {
  BatchNormalization,
  LayerNormalization: {
    attributes: ['axis', 'epsilon', 'stash_type'],
    infer(node, inputs) {
      const { type, dims } = need(node, inputs, 0);
      const axis = axisFrom(node, dims);
      const rest = { type: 'float32' as const, dims: dims.map((size, d) => (d < axis ? size : 1)) };
      return [{ type, dims }, rest, rest].slice(0, node.outputs.length);
    },
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const axis = axisFrom(node, x.dims);
      const { y, means, inverses } = layerNorm(
        x,
        axis,
        need(node, inputs, 1),
        inputs[2],
        number(node, 'epsilon', EPSILON),
      );
      const dims = x.dims.map((size, d) => (d < axis ? size : 1));
      return [pack(x.type, x.dims, y), pack('float32', dims, means), pack('float32', dims, inverses)].slice(
        0,
        node.outputs.length,
      );
    },
  },
  RMSNormalization: {
    attributes: ['axis', 'epsilon', 'stash_type'],
    infer: likeFirst,
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const { y } = rmsNorm(x, axisFrom(node, x.dims), need(node, inputs, 1), number(node, 'epsilon', EPSILON));
      return [pack(x.type, x.dims, y)];
    },
  },
};

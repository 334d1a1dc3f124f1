/** Pad: every mode and version. */
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value, zeros } from '../values.ts';
import { contents } from './access.ts';
import { copyStrided, take } from './broadcast.ts';
import { narrow } from './half.ts';
import { axisOf, need, stridesOf } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operator, text } from './operator.ts';

/** Pads before and after each axis. */
function padsOf(node: Node, inputs: Inputs<Info>): { before: number[]; after: number[] } {
  const { dims } = need(node, inputs, 0);
  const rank = dims.length;
  const pads =
    (node.version < 11 ? numbers(node, 'pads') : contents(node, inputs, 1)) ?? fail(node, 'pads are missing');
  const axes = (node.version < 18 ? undefined : contents(node, inputs, 3)) ?? dims.map((_, i) => i);
  if (pads.length !== 2 * axes.length) fail(node, `pads [${pads}] do not fit ${axes.length} axes of [${dims}]`);
  const [before, after] = [new Array<number>(rank).fill(0), new Array<number>(rank).fill(0)];
  axes.forEach((given, k) => {
    const axis = axisOf(node, given, rank);
    before[axis] = pads[k];
    after[axis] = pads[k + axes.length];
  });
  return { before, after };
}

/** Source index of each index along a padded axis, by mode. */
const PAD_INDEX: Readonly<Record<string, (i: number, dim: number) => number>> = {
  edge: (i, dim) => Math.max(0, Math.min(dim - 1, i)),
  wrap: (i, dim) => ((i % dim) + dim) % dim,
  reflect(i, dim) {
    const period = Math.max(1, 2 * (dim - 1));
    const at = ((i % period) + period) % period;
    return Math.min(at, period - at);
  },
};

export const pad: Operator = {
  attributes: ['mode', 'pads', 'value'],
  shapeInputs: [1, 3],
  infer(node, inputs) {
    const { type, dims } = need(node, inputs, 0);
    const { before, after } = padsOf(node, inputs);
    const out = dims.map((dim, i) => before[i] + dim + after[i]);
    if (out.some(dim => dim < 0)) fail(node, `negative pads take more than an input of shape [${dims}] has`);
    return [{ type, dims: out }];
  },
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const [{ type, dims }] = pad.infer!(node, inputs);
    const { before } = padsOf(node, inputs);
    const mode = text(node, 'mode', 'constant');
    if (mode !== 'constant') {
      const indexOf = PAD_INDEX[mode] ?? fail(node, `unknown mode ${mode}`);
      let out: Value = x;
      dims.forEach((dim, axis) => {
        const from = x.dims[axis];
        if (dim === from && before[axis] === 0) return;
        if (from === 0 && dim > 0) fail(node, `cannot pad an empty axis by mode ${mode}`);
        out = take(
          out,
          axis,
          Array.from({ length: dim }, (_, i) => indexOf(i - before[axis], from)),
        );
      });
      return [out];
    }
    const data = zeros(type, sizeOf(dims));
    const old = node.version < 11 ? narrow(type, [1], Float32Array.of(number(node, 'value', 0))) : undefined;
    const fill = (old ?? inputs[2])?.data[0];
    if (fill) (data as unknown[]).fill(fill);
    // Negative pads cut: the block that stays starts further inside.
    const kept = x.dims.map((dim, i) => Math.max(0, Math.min(dim, dims[i] - before[i]) - Math.max(0, -before[i])));
    const [from, to] = [stridesOf(x.dims), stridesOf(dims)];
    const start = (strides: readonly number[], sign: number) =>
      strides.reduce((sum, stride, i) => sum + stride * Math.max(0, sign * before[i]), 0);
    copyStrided(
      type,
      kept,
      { data: x.data, strides: from, start: start(from, -1) },
      { data, strides: to, start: start(to, 1) },
    );
    return [{ type, dims, data }];
  },
};

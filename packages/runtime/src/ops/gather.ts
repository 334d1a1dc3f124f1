/** Gather: slices by index. */
import type { Node } from '../load/graph.ts';
import type { Value } from '../values.ts';
import { take } from './broadcast.ts';
import { axisOf, need } from './numeric.ts';
import { fail, number, type Operator, type Operators } from './operator.ts';

/** The indices in a value; negative ones count from `limit`. */
export function indicesOf(node: Node, value: Value, limit: number): Int32Array {
  const out = new Int32Array(value.data.length);
  for (let i = 0; i < out.length; i++) {
    const index = Number(value.data[i]);
    if (!(index >= -limit && index < limit)) fail(node, `index ${index} is outside an axis of ${limit} elements`);
    out[i] = index < 0 ? index + limit : index;
  }
  return out;
}

export const axisAttribute = (node: Node, rank: number, fallback = 0): number =>
  axisOf(node, number(node, 'axis', fallback), rank);

const gather: Operator = {
  attributes: ['axis'],
  infer(node, inputs) {
    const [{ type, dims }, indices] = [need(node, inputs, 0), need(node, inputs, 1)];
    const axis = axisAttribute(node, dims.length);
    return [{ type, dims: [...dims.slice(0, axis), ...indices.dims, ...dims.slice(axis + 1)] }];
  },
  run(node, inputs) {
    const [value, indices] = [need(node, inputs, 0), need(node, inputs, 1)];
    const [{ dims }] = gather.infer!(node, inputs);
    const axis = axisAttribute(node, value.dims.length);
    return [{ ...take(value, axis, indicesOf(node, indices, value.dims[axis])), dims }];
  },
};

export const flat = (value: Value): Value => ({ ...value, dims: [value.data.length] });

export const gatherOperators: Operators = {
  Gather: gather,
};

/** Softmax and its relatives, along one axis or, before version 13, over everything from an axis on. */
import type { Node } from '../load/graph.ts';
import { axisOf, type Floats, floats, likeFirst, need, pack, split, workspace } from './numeric.ts';
import { number, type Operator, type Operators } from './operator.ts';

/** A row: elements `at + i · step` for i < length. */
type Row = (x: Floats, y: Floats, at: number, step: number, length: number) => void;

export function softmaxRow(x: Floats, y: Floats, at: number, step: number, length: number): void {
  const end = at + length * step;
  let max = -Infinity;
  for (let i = at; i < end; i += step) if (x[i] > max) max = x[i];
  let sum = 0;
  for (let i = at; i < end; i += step) sum += y[i] = Math.exp(x[i] - max);
  for (let i = at; i < end; i += step) y[i] /= sum;
}

export function logSoftmaxRow(x: Floats, y: Floats, at: number, step: number, length: number): void {
  const end = at + length * step;
  let max = -Infinity;
  for (let i = at; i < end; i += step) if (x[i] > max) max = x[i];
  let sum = 0;
  for (let i = at; i < end; i += step) sum += Math.exp(x[i] - max);
  const shift = max + Math.log(sum);
  for (let i = at; i < end; i += step) y[i] = x[i] - shift;
}

/** One at the first greatest element, zero elsewhere. */
function hardmaxRow(x: Floats, y: Floats, at: number, step: number, length: number): void {
  let best = at;
  for (let i = 1, p = at + step; i < length; i++, p += step) if (x[p] > x[best]) best = p;
  if (length > 0) y[best] = 1;
}

/** Rows along a node's axis: version 13 changed both the default and what the axis means. */
function rowsOf(node: Node, dims: readonly number[]): [outer: number, length: number, inner: number] {
  if (node.version >= 13)
    return split(dims.length === 0 ? [1] : dims, axisOf(node, number(node, 'axis', -1), dims.length || 1));
  const given = number(node, 'axis', 1);
  // The axis may equal the rank here, which makes every element a row.
  const axis = given === dims.length ? given : axisOf(node, given, dims.length);
  const [outer, length, inner] = split([...dims, 1], axis);
  return [outer, length * inner, 1];
}

const alongRows = (row: Row): Operator => ({
  attributes: ['axis'],
  infer: likeFirst,
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const [outer, length, inner] = rowsOf(node, x.dims);
    const xs = floats(x);
    const y = workspace(x.type, xs.length);
    for (let o = 0; o < outer; o++) for (let i = 0; i < inner; i++) row(xs, y, o * length * inner + i, inner, length);
    return [pack(x.type, x.dims, y)];
  },
});

export const softmaxOperators: Operators = {
  Softmax: alongRows(softmaxRow),
  LogSoftmax: alongRows(logSoftmaxRow),
  Hardmax: alongRows(hardmaxRow),
};

/** Reductions over axes. */
import type { Node } from '../load/graph.ts';
import { arrayOf, type DataType, type Info } from '../values.ts';
import { axesOf, isBig, isFloat } from './access.ts';
import { offsetsOf } from './broadcast.ts';
import { narrow, room, widen } from './half.ts';
import { axisOf, need, stridesOf } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';
import { toBig } from './scalar.ts';

// Bodies serve numbers and BigInts alike and are typed by the former.
type Elements = ArrayLike<number>;
type Step = (sum: number, x: number) => number;

interface Reduction {
  readonly step: Step;
  /** What the sum starts with; undefined starts with the first element and `empty` stands for no elements. */
  readonly start?: number;
  readonly empty?: (type: DataType) => number | bigint;
  /** Makes the result of the sum and the number of elements. */
  readonly finish?: (sum: number, count: number) => number;
  /** int64 is reduced in BigInts; otherwise (roots, logarithms, means) in float64. */
  readonly exact?: boolean;
  /** Multiplies 32-bit integers with wraparound. */
  readonly int32?: Step;
}

/** Smallest or largest number of a type. */
function limit(type: DataType, sign: 1 | -1): number | bigint {
  if (isFloat(type)) return sign * Infinity;
  if (type === 'bool') return sign > 0 ? 1 : 0;
  const bits = Number(/\d+/.exec(type));
  const unsigned = type.startsWith('u');
  const top = 2n ** BigInt(unsigned ? bits : bits - 1) - 1n;
  const value = sign > 0 ? top : unsigned ? 0n : -top - 1n;
  return isBig(type) ? value : Number(value);
}

function plan(node: Node, inputs: Inputs<Info>, since: number) {
  const x = need(node, inputs, 0);
  const rank = x.dims.length;
  const given = axesOf(node, inputs, 1, since) ?? [];
  const reduced = new Array<boolean>(rank).fill(given.length === 0 && !number(node, 'noop_with_empty_axes', 0));
  for (const axis of given) reduced[axisOf(node, axis, rank)] = true;
  const keep = number(node, 'keepdims', 1);
  return { reduced, dims: x.dims.map((dim, i) => (reduced[i] ? 1 : dim)).filter((_, i) => keep || !reduced[i]) };
}

function fold(x: Elements, base: number, offsets: Int32Array, step: Step, sum: number, from: number): number {
  for (let i = from; i < offsets.length; i++) sum = step(sum, x[base + offsets[i]]);
  return sum;
}

/** ln Σ exp(x), taken off the largest element. */
function logSumExp(x: Elements, base: number, offsets: Int32Array): number {
  const top = fold(x, base, offsets, Math.max, -Infinity, 0);
  if (!Number.isFinite(top)) return top;
  let sum = 0;
  for (let i = 0; i < offsets.length; i++) sum += Math.exp(x[base + offsets[i]] - top);
  return top + Math.log(sum);
}

function reduce(reduction: Reduction | typeof logSumExp, since = 18): Operator {
  return {
    attributes: ['axes', 'keepdims', 'noop_with_empty_axes'],
    shapeInputs: [1],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: plan(node, inputs, since).dims }],
    run(node, inputs) {
      const value = need(node, inputs, 0);
      const { type } = value;
      if (type === 'string') return fail(node, 'does not reduce strings');
      const { reduced, dims } = plan(node, inputs, since);
      const strides = stridesOf(value.dims);
      const offsets = (flag: boolean) => {
        const axes = value.dims.flatMap((_, i) => (reduced[i] === flag ? i : []));
        return offsetsOf(
          axes.map(i => value.dims[i]),
          axes.map(i => strides[i]),
        );
      };
      const [outer, inner] = [offsets(false), offsets(true)];
      const exact = typeof reduction === 'object' && reduction.exact;
      const widened = widen(value);
      const rounds = isBig(type) && !exact;
      const x = (rounds ? Float64Array.from(widened as Float64Array, Number) : widened) as Float64Array;
      const out = (rounds ? new Float64Array(outer.length) : room(type, outer.length)) as Float64Array;
      if (typeof reduction === 'function') for (let k = 0; k < out.length; k++) out[k] = reduction(x, outer[k], inner);
      else {
        const { finish, empty } = reduction;
        const step = (/int32/.test(type) && reduction.int32) || reduction.step;
        const first = reduction.start === undefined ? 1 : 0;
        const none = first ? empty!(type) : isBig(type) && exact ? BigInt(reduction.start!) : reduction.start!;
        for (let k = 0; k < out.length; k++) {
          const start = first && inner.length ? x[outer[k]] : (none as number);
          const sum = fold(x, outer[k], inner, step, start, first);
          out[k] = finish ? finish(sum, inner.length) : sum;
        }
      }
      if (!rounds) return [narrow(type, dims, out)];
      const bigs = new (arrayOf(type))(out.length) as BigInt64Array;
      for (let k = 0; k < out.length; k++) bigs[k] = toBig(out[k]);
      return [{ type, dims, data: bigs }];
    },
  };
}

const add: Step = (sum, x) => sum + x;
const addSquare: Step = (sum, x) => sum + x * x;
const extreme = (sign: 1 | -1): Operator =>
  reduce({
    // A NaN is kept: it is neither above nor below anything.
    step: (top, x) => ((sign > 0 ? top >= x : top <= x) || Number.isNaN(top) ? top : x),
    empty: type => limit(type, -sign as 1 | -1),
    exact: true,
  });

export const reduceOperators: Operators = {
  ReduceSum: reduce({ start: 0, step: add, exact: true }, 13),
  ReduceSumSquare: reduce({ start: 0, step: addSquare, exact: true }),
  ReduceL1: reduce({ start: 0, step: (sum, x) => (x < 0 ? sum - x : sum + x), exact: true }),
  ReduceL2: reduce({ start: 0, step: addSquare, finish: Math.sqrt }),
  ReduceProd: reduce({ start: 1, step: (product, x) => product * x, int32: Math.imul, exact: true }),
  ReduceMean: reduce({ start: 0, step: add, finish: (sum, count) => sum / count }),
  ReduceLogSum: reduce({ start: 0, step: add, finish: Math.log }),
  ReduceLogSumExp: reduce(logSumExp),
  ReduceMax: extreme(1),
  ReduceMin: extreme(-1),
};

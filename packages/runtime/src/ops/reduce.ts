/** Reductions over axes, and their kin along one axis: ArgMax, ArgMin, CumSum, CumProd, TopK. */
import type { Node } from '../load/graph.ts';
import { arrayOf, type DataType, type Info, type NumericArray, sizeOf } from '../values.ts';
import { axesOf, contents, isBig, isFloat } from './access.ts';
import { offsetsOf } from './broadcast.ts';
import { narrow, room, widen } from './half.ts';
import { axisOf, need, split, stridesOf } from './numeric.ts';
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

const argExtreme = (sign: 1 | -1): Operator => {
  const infer = (node: Node, inputs: Inputs<Info>): Info[] => {
    const { dims } = need(node, inputs, 0);
    const axis = axisOf(node, number(node, 'axis', 0), dims.length);
    const keep = number(node, 'keepdims', 1);
    return [{ type: 'int64', dims: dims.flatMap((dim, i) => (i !== axis ? dim : keep ? 1 : [])) }];
  };
  return {
    attributes: ['axis', 'keepdims', 'select_last_index'],
    infer,
    run(node, inputs) {
      const value = need(node, inputs, 0);
      const [outer, length, inner] = split(value.dims, axisOf(node, number(node, 'axis', 0), value.dims.length));
      if (length === 0 && outer * inner > 0) fail(node, `the axis is empty in an input of shape [${value.dims}]`);
      const last = number(node, 'select_last_index', 0) !== 0;
      const x = widen(value) as Float64Array;
      const data = new BigInt64Array(outer * inner);
      for (let k = 0; k < data.length; k++) {
        const base = Math.floor(k / inner) * length * inner + (k % inner);
        let [best, at] = [x[base], 0];
        for (let i = 1; i < length; i++) {
          const v = x[base + i * inner];
          if ((sign > 0 ? v > best : v < best) || (last && v === best)) [best, at] = [v, i];
        }
        data[k] = BigInt(at);
      }
      return [{ ...infer(node, inputs)[0], data }];
    },
  };
};

const cumulative = (start: number, step: Step, int32: Step = step): Operator => ({
  attributes: ['exclusive', 'reverse'],
  infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const value = need(node, inputs, 0);
    const { type, dims } = value;
    if (type === 'string') return fail(node, 'does not take strings');
    const [axis] = contents(node, inputs, 1) ?? fail(node, 'input 1 (axis) is missing');
    const [outer, length, inner] = split(dims, axisOf(node, axis, dims.length));
    const [exclusive, reverse] = [number(node, 'exclusive', 0), number(node, 'reverse', 0)];
    const x = widen(value) as Float64Array;
    const out = room(type, x.length) as Float64Array;
    const next = type.endsWith('int32') ? int32 : step;
    const stride = reverse ? -inner : inner;
    for (let k = 0; k < outer * inner; k++) {
      let at = Math.floor(k / inner) * length * inner + (k % inner) + (reverse ? (length - 1) * inner : 0);
      let sum = (isBig(type) ? BigInt(start) : start) as number;
      for (let i = 0; i < length; i++, at += stride) {
        const total = next(sum, x[at]);
        out[at] = exclusive ? sum : total;
        sum = total;
      }
    }
    return [narrow(type, dims, out)];
  },
});

/** Positions 0 … n−1 of the k first elements by `before`, in order. */
function firstOf(n: number, k: number, before: (i: number, j: number) => number): Uint32Array {
  if (k * 16 > n) {
    const all = new Uint32Array(n);
    for (let i = 0; i < n; i++) all[i] = i;
    return all.sort(before).subarray(0, k);
  }
  // Few of many (a language model's sampling): insert into a short sorted list.
  const best = new Uint32Array(k);
  for (let i = 0, size = 0; i < n; i++) {
    if (size === k && (k === 0 || before(i, best[k - 1]) > 0)) continue;
    let at = size < k ? size++ : k - 1;
    for (; at > 0 && before(i, best[at - 1]) < 0; at--) best[at] = best[at - 1];
    best[at] = i;
  }
  return best;
}

const topK: Operator = {
  attributes: ['axis', 'k', 'largest', 'sorted'],
  shapeInputs: [1],
  infer(node, inputs) {
    const { type, dims } = need(node, inputs, 0);
    const axis = axisOf(node, number(node, 'axis', -1), dims.length);
    const k = node.version < 10 ? number(node, 'k') : contents(node, inputs, 1)?.[0];
    if (k === undefined || k < 0 || k > dims[axis]) fail(node, `k is ${k}, but the axis has ${dims[axis]} elements`);
    const out = dims.map((dim, i) => (i === axis ? k : dim));
    return [
      { type, dims: out },
      { type: 'int64', dims: out },
    ];
  },
  run(node, inputs) {
    const value = need(node, inputs, 0);
    const [{ type, dims }] = topK.infer!(node, inputs);
    const axis = axisOf(node, number(node, 'axis', -1), dims.length);
    const [outer, length, inner] = split(value.dims, axis);
    const k = dims[axis];
    const [x, keys] = [value.data as NumericArray, widen(value) as Float64Array];
    const values = new (arrayOf(type as 'float32'))(sizeOf(dims));
    const indices = new BigInt64Array(values.length);
    const sign = number(node, 'largest', 1) ? -1 : 1;
    for (let row = 0; row < outer * inner; row++) {
      const [o, r] = [Math.floor(row / inner), row % inner];
      const base = o * length * inner + r;
      // Equal elements in the order of their positions; NaN counts as greater than everything.
      const chosen = firstOf(length, k, (i, j) => {
        const [a, b] = [keys[base + i * inner], keys[base + j * inner]];
        if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return i - j;
        return a > b || Number.isNaN(a) ? sign : -sign;
      });
      for (let i = 0, at = o * k * inner + r; i < k; i++, at += inner) {
        values[at] = x[base + chosen[i] * inner];
        indices[at] = BigInt(chosen[i]);
      }
    }
    return [
      { type, dims, data: values },
      { type: 'int64', dims, data: indices },
    ];
  },
};

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
  ArgMax: argExtreme(1),
  ArgMin: argExtreme(-1),
  CumSum: cumulative(0, add),
  CumProd: cumulative(1, (product, x) => product * x, Math.imul),
  TopK: topK,
};

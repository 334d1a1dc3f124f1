/** Along one axis: ArgMax and ArgMin, TopK, running sums and products. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { arrayOf, type Info, type NumericArray, sizeOf } from '../values.ts';
import { contents, isBig } from './access.ts';
import { narrow, room, widen } from './half.ts';
import { axisOf, need, split } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';

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

// Bodies serve numbers and BigInts alike and are typed by the former.
type Step = (sum: number, x: number) => number;

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

export const operators: Operators = {
  ArgMax: argExtreme(1),
  ArgMin: argExtreme(-1),
  TopK: topK,
  CumSum: cumulative(0, (sum, x) => sum + x),
  CumProd: cumulative(1, (product, x) => product * x, Math.imul),
};

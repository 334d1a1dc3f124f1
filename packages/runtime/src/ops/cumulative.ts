/** Running sums and products along an axis. */
import './common.ts';
import { contents, isBig } from './access.ts';
import { narrow, room, widen } from './half.ts';
import { axisOf, need, split } from './numeric.ts';
import { fail, number, type Operator, type Operators } from './operator.ts';

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

export const cumulativeOperators: Operators = {
  CumSum: cumulative(0, (sum, x) => sum + x),
  CumProd: cumulative(1, (product, x) => product * x, Math.imul),
};

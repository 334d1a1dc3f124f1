/** Poolings that few networks use: by p-norm, and MaxUnpool, which puts maxima back where MaxPool found them. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf } from '../values.ts';
import { contents } from './access.ts';
import { type Floats, floats, need, pack, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operators } from './operator.ts';
import { global, inferPool, POOL, pool } from './pool.ts';
import { perAxis } from './window.ts';

/** |x|ᵖ with the two common exponents spared a call of pow. */
const power = (x: number, p: number): number => (p === 2 ? x * x : p === 1 ? Math.abs(x) : Math.abs(x) ** p);

/** Shape of MaxUnpool's output before and after `output_shape` enlarges it. */
function unpooled(node: Node, inputs: Inputs<Info>): { natural: number[]; dims: number[] } {
  const { dims } = need(node, inputs, 0);
  const rank = dims.length - 2;
  const kernel = perAxis(node, 'kernel_shape', rank, 1, 1);
  const strides = perAxis(node, 'strides', rank, 1, 1);
  const pads = perAxis(node, 'pads', 2 * rank, 0, 0);
  const natural = dims.map((size, d) =>
    d < 2 ? size : (size - 1) * strides[d - 2] - pads[d - 2] - pads[rank + d - 2] + kernel[d - 2],
  );
  const given = contents(node, inputs, 2) ?? natural;
  if (given.length !== natural.length || given.some((size, d) => size < natural[d]))
    fail(node, `output_shape [${given}] is smaller than the unpooled [${natural}]`);
  return { natural, dims: given };
}

export const operators: Operators = {
  LpPool: {
    attributes: [...POOL, 'p'],
    infer: inferPool,
    run(node, inputs) {
      const p = number(node, 'p', 2);
      const sum = (xs: Floats, y: Floats, stride: number) => (to: number, from: number, count: number) => {
        for (let i = 0, at = from; i < count; i++, at += stride) y[to + i] += power(xs[at], p);
      };
      return [
        pool(node, need(node, inputs, 0), 0, sum, y => {
          for (let i = 0; i < y.length; i++) y[i] **= 1 / p;
        }),
      ];
    },
  },
  GlobalLpPool: global(['p'], (node, xs, from, to) => {
    const p = number(node, 'p', 2);
    let sum = 0;
    for (let i = from; i < to; i++) sum += power(xs[i], p);
    return sum ** (1 / p);
  }),
  MaxUnpool: {
    attributes: ['kernel_shape', 'strides', 'pads'],
    shapeInputs: [2],
    infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: unpooled(node, inputs).dims }],
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const { natural, dims } = unpooled(node, inputs);
      const y = workspace(x.type, sizeOf(dims));
      const xs = floats(x);
      const places = floats(need(node, inputs, 1));
      for (let i = 0; i < xs.length; i++) {
        // The index counts elements of the natural shape.
        let at = 0;
        for (let d = dims.length - 1, step = 1, rest = places[i]; d >= 0; step *= dims[d--]) {
          at += (rest % natural[d]) * step;
          rest = Math.floor(rest / natural[d]);
        }
        y[at] = xs[i];
      }
      return [pack(x.type, dims, y)];
    },
  },
};

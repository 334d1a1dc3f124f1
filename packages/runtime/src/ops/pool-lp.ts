/** Poolings by p-norm. */
import './common.ts';
import { type Floats, need } from './numeric.ts';
import { number, type Operators } from './operator.ts';
import { global, inferPool, POOL, pool } from './pool.ts';

/** |x|ᵖ with the two common exponents spared a call of pow. */
const power = (x: number, p: number): number => (p === 2 ? x * x : p === 1 ? Math.abs(x) : Math.abs(x) ** p);

export const lpPoolOperators: Operators = {
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
};

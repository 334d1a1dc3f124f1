import { expect, it } from 'vitest';
import { elements, i64, value } from '../../test/tables.ts';

const of = (op: string, x: number, attributes: Record<string, number> = {}) =>
  Number(elements(op, [value('float64', [x])], { attributes })[0]);

it('each is its formula, on both sides of zero', () => {
  for (const x of [-2, -0.25, 0, 0.25, 3]) {
    expect(of('Softsign', x)).toBeCloseTo(x / (1 + Math.abs(x)), 12);
    expect(of('Mish', x)).toBeCloseTo(x * Math.tanh(Math.log(1 + Math.exp(x))), 12);
    expect(of('Swish', x, { alpha: 2 })).toBeCloseTo(x / (1 + Math.exp(-2 * x)), 12);
    expect(of('Celu', x, { alpha: 0.5 })).toBeCloseTo(x < 0 ? 0.5 * (Math.exp(2 * x) - 1) : x, 12);
    expect(of('Selu', x, { alpha: 2, gamma: 3 })).toBeCloseTo(x < 0 ? 6 * (Math.exp(x) - 1) : 3 * x, 12);
    expect(of('ThresholdedRelu', x, { alpha: 0.25 })).toBe(x > 0.25 ? x : 0);
    expect(of('Shrink', x, { lambd: 1, bias: 0.5 })).toBe(x < -1 ? x + 0.5 : x > 1 ? x - 0.5 : 0);
  }
});

it('Shrink takes integers', () => {
  expect(elements('Shrink', [i64([-3, 0, 3])], { attributes: { lambd: 1, bias: 1 } })).toEqual([-2n, 0n, 2n]);
});

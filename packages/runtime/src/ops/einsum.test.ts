import { describe, expect, it } from 'vitest';
import { distance, numbers, random, run } from '../../test/operators.ts';
import type { Value } from '../values.ts';

const at = (x: Value, ...index: number[]) =>
  Number(x.data[index.reduce((flat, i, d) => flat * x.dims[d] + (x.dims[d] === 1 ? 0 : i), 0)]);

describe('Einsum', () => {
  const einsum = (equation: string, ...values: Value[]) => run('Einsum', values, { attributes: { equation } });
  const sizes: Record<string, number> = { a: 2, b: 3, c: 4, d: 5, e: 2 };

  it.each([
    'ab,bc->ac',
    'ab,bc',
    'ab->ba',
    'aab->ab',
    'aa->',
    'aa',
    'abc->b',
    'ab,cb,b->ac',
    'abc,abd->acd',
    'abc,abd->adc',
    'a,b->ab',
    'ab,ab->',
    'abc, cd -> abd',
    'ab,ac,ad->bcd',
    'aab,b->a',
    'ab,c->c',
    'ba',
  ])('%s equals the sum over all labels', equation => {
    const [left, right] = equation.replaceAll(' ', '').split('->');
    const terms = left.split(',');
    const values = terms.map((term, i) =>
      random(
        [...term].map(label => sizes[label]),
        i + 1,
      ),
    );
    const labels = [...new Set(left.replaceAll(',', ''))];
    const output =
      right ??
      labels
        .filter(l => left.split(l).length === 2)
        .sort()
        .join('');
    const dims = [...output].map(label => sizes[label]);
    const expected = new Array(dims.reduce((x, y) => x * y, 1)).fill(0);
    const total = labels.reduce((count, label) => count * sizes[label], 1);
    for (let step = 0; step < total; step++) {
      const place: Record<string, number> = {};
      labels.reduce((rest, label) => {
        place[label] = rest % sizes[label];
        return Math.floor(rest / sizes[label]);
      }, step);
      const term = values.reduce((product, v, i) => product * at(v, ...[...terms[i]].map(l => place[l])), 1);
      expected[[...output].reduce((flat, l) => flat * sizes[l] + place[l], 0)] += term;
    }
    const [y] = einsum(equation, ...values);
    expect(y.dims).toEqual(dims);
    expect(distance(numbers([y]), expected)).toBeLessThan(1e-5);
  });

  it('broadcasts an ellipsis from its end', () => {
    const [x, w] = [random([2, 3, 4, 5], 1), random([3, 5, 2], 2)];
    expect(distance(numbers(einsum('...ij,...jk->...ik', x, w)), numbers(run('MatMul', [x, w])))).toBeLessThan(1e-5);
    const one = random([1, 4, 5], 3);
    expect(distance(numbers(einsum('...ij,...jk', one, w)), numbers(run('MatMul', [one, w])))).toBeLessThan(1e-5);
    expect(einsum('b...->...b', x)[0].dims).toEqual([3, 4, 5, 2]);
    expect(einsum('...ii->...', random([4, 3, 3], 1))[0].dims).toEqual([4]);
  });

  it('refuses sizes and operands that do not fit', () => {
    expect(() => einsum('ij,jk->ik', random([2, 3], 1), random([4, 2], 1))).toThrow(/'j' is both 3 and 4/);
    expect(() => einsum('ij->ik', random([2, 3], 1))).toThrow(/'k' is in no operand/);
    expect(() => einsum('ijk->i', random([2, 3], 1))).toThrow(/operand 'ijk' for a value \[2,3\]/);
    expect(() => einsum('i,j', random([2], 1))).toThrow(/2 operands for 1 inputs/);
  });
});

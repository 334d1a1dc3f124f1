import { describe, expect, it } from 'vitest';
import { elements, f32, i64, iota, result, run, scalar, value } from '../../test/tables.ts';

describe('ArgMax and ArgMin', () => {
  it('take the first or the last of equal elements', () => {
    const x = f32([3, 1, 3, 1], [2, 2]);
    expect(result('ArgMax', [x])).toEqual([
      [1, 2],
      [0n, 0n],
    ]);
    expect(result('ArgMax', [x], { attributes: { select_last_index: 1, keepdims: 0 } })).toEqual([[2], [1n, 1n]]);
    expect(elements('ArgMin', [x], { attributes: { axis: -1 } })).toEqual([1n, 1n]);
    expect(elements('ArgMax', [i64([2n ** 60n, 2n ** 60n + 1n])])).toEqual([1n]);
    expect(() => run('ArgMax', [f32([], [0, 2])])).toThrow('the axis is empty');
  });
});

describe('cumulative', () => {
  const sum = (attributes: Record<string, number>, axis: number) =>
    elements('CumSum', [iota(2, 3), scalar('int64', axis)], { attributes });

  it('sums along an axis, exclusive or reversed', () => {
    expect(sum({}, 1)).toEqual([0, 1, 3, 3, 7, 12]);
    expect(sum({ exclusive: 1 }, -1)).toEqual([0, 0, 1, 0, 3, 7]);
    expect(sum({ reverse: 1 }, 0)).toEqual([3, 5, 7, 3, 4, 5]);
    expect(sum({ reverse: 1, exclusive: 1 }, 1)).toEqual([3, 2, 0, 9, 5, 0]);
  });

  it('of integers is exact and wraps', () => {
    expect(elements('CumSum', [i64([2n ** 62n, 2n ** 62n]), scalar('int32', 0)])).toEqual([2n ** 62n, -(2n ** 63n)]);
    expect(elements('CumProd', [value('int32', [65537, 65537]), scalar('int32', 0)], { version: 26 })).toEqual([
      65537, 131073,
    ]);
  });
});

describe('TopK', () => {
  it('orders equal elements by position and NaN as the greatest', () => {
    const x = f32([1, 3, Number.NaN, 3, 2]);
    const top = (k: number, largest: number) =>
      run('TopK', [x, i64([k])], { attributes: { largest }, outputs: 2 }).map(v => [...(v.data as BigInt64Array)]);
    expect(top(4, 1)).toEqual([
      [Number.NaN, 3, 3, 2],
      [2n, 1n, 3n, 4n],
    ]);
    expect(top(5, 0)).toEqual([
      [1, 2, 3, 3, Number.NaN],
      [0n, 4n, 1n, 3n, 2n],
    ]);
    expect(top(0, 1)).toEqual([[], []]);
  });

  it('agrees with sorting, whether it takes few or many', () => {
    const x = Array.from({ length: 400 }, (_, i) => Math.round(Math.sin(i * i) * 40));
    const order = x.map((_, i) => i).sort((i, j) => x[j] - x[i] || i - j);
    for (const k of [1, 5, 24, 26, 400]) {
      const [values, indices] = run('TopK', [f32(x), i64([k])], { outputs: 2 });
      expect(Array.from(indices.data, Number)).toEqual(order.slice(0, k));
      expect([...values.data]).toEqual(order.slice(0, k).map(i => x[i]));
    }
  });

  it('runs along any axis; k was an attribute before version 10', () => {
    const settings = { version: 7, attributes: { k: 1, axis: 0 }, outputs: 2 };
    expect(run('TopK', [f32([1, 5, 4, 2], [2, 2])], settings).map(v => [v.dims, [...v.data]])).toEqual([
      [
        [1, 2],
        [4, 5],
      ],
      [
        [1, 2],
        [1n, 0n],
      ],
    ]);
    expect(() => run('TopK', [f32([1]), i64([2])], { outputs: 2 })).toThrow('k is 2, but the axis has 1 elements');
  });
});

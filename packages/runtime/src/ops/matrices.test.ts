import { expect, it } from 'vitest';
import { elements, f32, i64, iota, run, scalar } from '../../test/tables.ts';

it('Det of batches, with pivots', () => {
  const batch = elements('Det', [f32([0, 1, 1, 0, 2, 3, 4, 5, 1, 2, 2, 4], [3, 2, 2])]);
  [-1, -2, 0].forEach((expected, i) => {
    expect(batch[i]).toBeCloseTo(expected, 6);
  });
  expect(elements('Det', [f32([0, 0, 3, 2, 5, 7, 0, 4, 9], [3, 3])])[0]).toBeCloseTo(24, 5);
  expect(() => run('Det', [iota(2, 3)])).toThrow(/square/);
});

it('EyeLike puts ones on a diagonal', () => {
  expect(elements('EyeLike', [iota(2, 3)], { attributes: { k: 1 } })).toEqual([0, 1, 0, 0, 0, 1]);
  expect(elements('EyeLike', [iota(2, 3)], { attributes: { k: -1, dtype: 7 } })).toEqual([0n, 0n, 0n, 1n, 0n, 0n]);
});

it('Trilu keeps a triangle, moved by k', () => {
  const trilu = (upper: number, k: number) =>
    elements('Trilu', [f32([1, 2, 3, 4, 5, 6], [2, 3]), scalar('int64', k)], { attributes: { upper } });
  expect(trilu(1, 0)).toEqual([1, 2, 3, 0, 5, 6]);
  expect(trilu(0, 0)).toEqual([1, 0, 0, 4, 5, 0]);
  expect(trilu(1, 2)).toEqual([0, 0, 3, 0, 0, 0]);
  expect(trilu(0, -1)).toEqual([0, 0, 0, 4, 0, 0]);
  expect(trilu(1, -9)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(trilu(0, -9)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(elements('Trilu', [f32([], [2, 0, 3])])).toEqual([]);
  expect(elements('Trilu', [i64([1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2])])).toEqual([1n, 2n, 0n, 4n, 5n, 6n, 0n, 8n]);
});

import { describe, expect, it } from 'vitest';
import { i64, iota, result, run, scalar } from '../../test/tables.ts';

describe('Gather', () => {
  it('takes slices by index, from the end when negative', () => {
    expect(result('Gather', [iota(3, 2), i64([2, -3])])).toEqual([
      [2, 2],
      [4, 5, 0, 1],
    ]);
    expect(result('Gather', [iota(3, 2), scalar('int32', 1)])).toEqual([[2], [2, 3]]);
    expect(result('Gather', [iota(2, 2), i64([1, 0, 0, 1], [2, 2])], { attributes: { axis: 1 } })).toEqual([
      [2, 2, 2],
      [1, 0, 0, 1, 3, 2, 2, 3],
    ]);
    expect(result('Gather', [iota(2, 2), i64([], [0])])).toEqual([[0, 2], []]);
    expect(() => run('Gather', [iota(3), i64([3])])).toThrow('n (Gather): index 3 is outside an axis of 3 elements');
    expect(() => run('Gather', [iota(3), i64([-4])])).toThrow('index -4');
  });
});

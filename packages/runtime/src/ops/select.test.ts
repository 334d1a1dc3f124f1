import { describe, expect, it } from 'vitest';
import { elements, f32, i64, iota, result, run, scalar, value } from '../../test/tables.ts';

describe('OneHot', () => {
  it('puts the depth at an axis and ignores indices outside', () => {
    const inputs = [i64([1, -1, 5]), scalar('int64', 3), f32([2, 7])];
    expect(result('OneHot', inputs)).toEqual([
      [3, 3],
      [2, 7, 2, 2, 2, 7, 2, 2, 2],
    ]);
    expect(result('OneHot', inputs, { attributes: { axis: 0 } })).toEqual([
      [3, 3],
      [2, 2, 2, 7, 2, 2, 2, 7, 2],
    ]);
    expect(elements('OneHot', [f32([0]), f32([2], []), value('int64', [0, 1])])).toEqual([1n, 0n]);
  });
});

describe('selections whose size depends on the data', () => {
  it('NonZero lists coordinates', () => {
    expect(result('NonZero', [f32([0, 1, 2, 0, 0, 3], [2, 3])])).toEqual([
      [2, 3],
      [0n, 0n, 1n, 1n, 2n, 2n],
    ]);
    expect(result('NonZero', [i64([0, 0])])).toEqual([[1, 0], []]);
  });

  it('Compress keeps slices or elements', () => {
    const chosen = value('bool', [0, 1]);
    expect(result('Compress', [iota(2, 3), chosen], { attributes: { axis: 1 } })).toEqual([
      [2, 1],
      [1, 4],
    ]);
    expect(result('Compress', [iota(2, 3), chosen])).toEqual([[1], [1]]);
  });

  const unique = (x: Parameters<typeof run>[1][number], attributes: Record<string, number>) =>
    run('Unique', [x], { attributes, outputs: 4 }).map(v =>
      Array.from(v.data as ArrayLike<unknown>, item => (typeof item === 'bigint' ? Number(item) : item)),
    );

  it('Unique sorts, counts and maps back', () => {
    expect(unique(f32([2, 1, 1, 3]), {})).toEqual([
      [1, 2, 3],
      [1, 0, 3],
      [1, 0, 0, 2],
      [2, 1, 1],
    ]);
    expect(unique(f32([2, 1, 1, 3]), { sorted: 0 })).toEqual([
      [2, 1, 3],
      [0, 1, 3],
      [0, 1, 1, 2],
      [1, 2, 1],
    ]);
    expect(unique(value('string', ['b', 'a', 'b']), {})).toEqual([
      ['a', 'b'],
      [1, 0],
      [1, 0, 1],
      [1, 2],
    ]);
    expect(unique(f32([Number.NaN, 1, Number.NaN]), {})[0]).toEqual([1, Number.NaN]);
    expect(unique(f32([1, 0, 1, 0, 0, 0], [2, 3]), { axis: 1 })).toEqual([
      [0, 1, 0, 0],
      [1, 0],
      [1, 0, 1],
      [1, 2],
    ]);
    expect(unique(f32([]), {})).toEqual([[], [], [], []]);
  });
});

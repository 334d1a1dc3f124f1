import { describe, expect, it } from 'vitest';
import { elements, i64, result, run, scalar, value } from '../../test/tables.ts';

describe('Constant', () => {
  it.each<[string, Record<string, number | number[] | string | string[]>, unknown]>([
    ['float', { value_float: 0.5 }, [[], [0.5]]],
    ['floats', { value_floats: [1, 2] }, [[2], [1, 2]]],
    ['int', { value_int: -3 }, [[], [-3n]]],
    ['ints', { value_ints: [] }, [[0], []]],
    ['string', { value_string: 'a' }, [[], ['a']]],
    ['strings', { value_strings: ['a', 'b'] }, [[2], ['a', 'b']]],
  ])('%s', (_, attributes, expected) => expect(result('Constant', [], { attributes })).toEqual(expected));

  it('writes a sparse tensor out', () => {
    const sparse = { type: 'int64', dims: [2, 3], indices: Int32Array.of(1, 5), values: i64([7, 8]) } as const;
    expect(result('Constant', [], { attributes: { sparse_value: sparse } })).toEqual([
      [2, 3],
      [0n, 7n, 0n, 0n, 0n, 8n],
    ]);
    expect(() => run('Constant', [])).toThrow('expected exactly one attribute');
  });
});

it('ConstantOfShape fills with zeros of float32, or a value of any type', () => {
  expect(result('ConstantOfShape', [i64([2, 1])])).toEqual([
    [2, 1],
    [0, 0],
  ]);
  expect(result('ConstantOfShape', [i64([])], { attributes: { value: value('bool', [1]) } })).toEqual([[], [1]]);
  expect(elements('ConstantOfShape', [i64([2])], { attributes: { value: i64([-4]) } })).toEqual([-4n, -4n]);
  expect(() => run('ConstantOfShape', [i64([-1])])).toThrow('shape [-1] is negative');
});

it('Range counts like a loop, of any type', () => {
  const range = (type: 'float32' | 'int64' | 'float16' | 'int16', ...numbers: number[]) =>
    elements(
      'Range',
      numbers.map(n => scalar(type, n)),
    );
  expect(range('float32', 1, 2, 0.25)).toEqual([1, 1.25, 1.5, 1.75]);
  expect(range('int64', 5, -1, -2)).toEqual([5n, 3n, 1n]);
  expect(range('int16', 3, 3, 1)).toEqual([]);
  expect(range('float16', 0, 1, 0.5)).toEqual([0, 0.5]);
  expect(() => range('int64', 0, 1, 0)).toThrow('delta is 0');
});

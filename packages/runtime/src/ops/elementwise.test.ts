import { describe, expect, it } from 'vitest';
import { elements, f32, i64, iota, result, run, scalar, value } from '../../test/tables.ts';
import type { DataType, Value } from '../values.ts';

describe('arithmetic', () => {
  it('broadcasts as nested loops do', () => {
    const shapes = [[], [1], [3], [2, 1], [2, 3], [4, 1, 3], [4, 2, 1], [1, 1, 1], [0, 3], [4, 0, 1]];
    for (const a of shapes) {
      for (const b of shapes) {
        const [x, y] = [iota(...a), iota(...b)];
        let outcome: [number[], unknown[]];
        try {
          outcome = result('Sub', [x, y]);
        } catch (error) {
          expect((error as Error).message).toContain('do not broadcast');
          continue;
        }
        const [dims, data] = outcome;
        const pick = (v: Value, index: number[]) =>
          v.dims.reduce((at, dim, i) => at * dim + (dim === 1 ? 0 : index[index.length - v.dims.length + i]), 0);
        data.forEach((item, i) => {
          const index = dims.map((dim, d) => Math.floor(i / dims.slice(d + 1).reduce((p, q) => p * q, 1)) % dim);
          expect(item).toBe(pick(x, index) - pick(y, index));
        });
      }
    }
  });

  it.each<[string, DataType, (number | bigint)[], (number | bigint)[], unknown[]]>([
    ['Add', 'int8', [127, -128], [1, -1], [-128, 127]],
    ['Sub', 'uint8', [0], [1], [255]],
    ['Mul', 'int32', [65537], [65537], [131073]],
    ['Mul', 'uint32', [4294967295], [4294967295], [1]],
    ['Add', 'int64', [2n ** 63n - 1n], [1], [-(2n ** 63n)]],
    ['Mul', 'uint64', [2n ** 63n], [3], [2n ** 63n]],
    ['Div', 'int32', [-7, 7, -2147483648], [2, -2, -1], [-3, -3, -2147483648]],
    ['Div', 'int64', [-7, 7], [2, -2], [-3n, -3n]],
    ['Div', 'int64', [5], [0], [0n]],
    ['Mod', 'int32', [-7, 7, 6], [3, -3, 3], [2, -2, 0]],
    ['Mod', 'int64', [-7, 7, 6], [3, -3, 3], [2n, -2n, 0n]],
    ['Max', 'int64', [3, -4], [2, -3], [3n, -3n]],
    ['Min', 'uint8', [3, 200], [2, 250], [2, 200]],
    ['Add', 'float16', [2048], [1], [2048]],
    ['Add', 'bfloat16', [256], [1], [256]],
    ['Mul', 'float16', [60000], [2], [Infinity]],
    ['Div', 'float32', [1, -1, 0], [0, 0, 0], [Infinity, -Infinity, Number.NaN]],
  ])('%s of %s', (op, type, a, b, expected) => {
    expect(elements(op, [value(type, a), value(type, b)])).toEqual(expected);
  });

  it('takes remainders with the sign of the dividend when fmod is set', () => {
    const settings = { attributes: { fmod: 1 } };
    expect(elements('Mod', [value('int32', [-7, 7]), value('int32', [3, -3])], settings)).toEqual([-1, 1]);
    expect(elements('Mod', [f32([-4.5, 5.5]), f32([2, -2])], settings)).toEqual([-0.5, 1.5]);
  });

  it('raises to powers of other types', () => {
    const cases: [DataType, number[], DataType, number[], unknown[]][] = [
      ['float32', [2, 9], 'int64', [3, -1], [8, Math.fround(1 / 9)]],
      ['int32', [2, 3, -2, 2], 'int32', [10, 21, 3, -1], [1024, Math.imul(3 ** 20, 3) | 0, -8, 0]],
      ['int64', [3, -1, -1, 2], 'int64', [40, -3, -2, -1], [BigInt.asIntN(64, 3n ** 40n), -1n, 1n, 0n]],
      ['int64', [2, 9], 'float32', [3.5, 0.5], [11n, 3n]],
      ['int32', [4], 'float32', [0.5], [2]],
    ];
    for (const [type, x, exponent, y, expected] of cases) {
      expect(elements('Pow', [value(type, x), value(exponent, y)])).toEqual(expected);
    }
    expect(elements('Pow', [f32([1, -1, 1]), f32([Infinity, -Infinity, Number.NaN])])).toEqual([1, 1, Number.NaN]);
  });

  it('refuses mixed types and types it does not take, naming the node', () => {
    expect(() => run('Add', [f32([1]), i64([1])])).toThrow(
      'n (Add): inputs have types float32 and int64, expected one type',
    );
    expect(() => run('Add', [value('string', ['a']), value('string', ['b'])])).toThrow('n (Add): does not take string');
    expect(() => run('Exp', [i64([1])])).toThrow('n (Exp): does not take int64');
    expect(() => run('And', [f32([1]), f32([1])])).toThrow('n (And): does not take float32');
  });

  it('places the second operand at an axis before version 7', () => {
    const settings = { version: 6, attributes: { broadcast: 1, axis: 1 } };
    expect(elements('Add', [iota(1, 2, 2), f32([10, 20])], settings)).toEqual([10, 11, 22, 23]);
    expect(elements('PRelu', [f32([-1, -1, -1, -1], [1, 2, 2]), f32([2, 3])], { version: 6 })).toEqual([
      -2, -2, -3, -3,
    ]);
  });
});

describe('many inputs', () => {
  it('folds over all of them, broadcasting', () => {
    expect(elements('Sum', [f32([1]), f32([2, 3]), scalar('float32', 4)])).toEqual([7, 8]);
    expect(elements('Mean', [f32([1]), f32([2, 3]), f32([6])])).toEqual([3, Math.fround(10 / 3)]);
    expect(elements('Max', [f32([1])])).toEqual([1]);
    expect(elements('Max', [f32([1, Number.NaN]), f32([Number.NaN, 2])])).toEqual([Number.NaN, Number.NaN]);
  });
});

describe('comparisons and logic', () => {
  it('compares numbers, BigInts, booleans and strings', () => {
    expect(elements('Equal', [value('string', ['a', 'b']), value('string', ['a'])])).toEqual([1, 0]);
    expect(elements('Equal', [value('bool', [1, 0]), value('bool', [1, 1])])).toEqual([1, 0]);
    expect(elements('Less', [i64([2n ** 62n]), i64([2n ** 62n + 1n])])).toEqual([1]);
    expect(elements('GreaterOrEqual', [f32([Number.NaN, 1, 1]), f32([1, 1, 2])])).toEqual([0, 1, 0]);
    expect(elements('Greater', [value('float16', [2]), value('float16', [1.5])])).toEqual([1]);
    expect(elements('Xor', [value('bool', [1, 0]), value('bool', [1])])).toEqual([0, 1]);
    expect(elements('Not', [value('bool', [1, 0])])).toEqual([0, 1]);
  });

  it('chooses by condition, whatever the type', () => {
    const condition = value('bool', [1, 0], [2, 1]);
    expect(result('Where', [condition, i64([1, 2]), scalar('int64', 9)])).toEqual([
      [2, 2],
      [1n, 2n, 9n, 9n],
    ]);
    expect(elements('Where', [condition, value('string', ['a']), value('string', ['b'])])).toEqual(['a', 'b']);
    expect(elements('Where', [scalar('bool', 0), value('float16', [1]), value('float16', [0.5, 2])])).toEqual([0.5, 2]);
  });
});

describe('functions of one number', () => {
  it('rounds halves to even', () => {
    const x = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 4503599627370495.5];
    expect(elements('Round', [value('float64', x)])).toEqual([0, 2, 2, -0, -2, -2, 0, 4503599627370496]);
  });

  it('clips with missing, crossing and integer bounds', () => {
    expect(elements('Clip', [f32([-2, 0, 5, Number.NaN]), undefined, scalar('float32', 3)])).toEqual([
      -2,
      0,
      3,
      Number.NaN,
    ]);
    expect(elements('Clip', [f32([1]), scalar('float32', 4), scalar('float32', 2)])).toEqual([2]);
    expect(elements('Clip', [i64([-9, 9]), scalar('int64', -1), scalar('int64', 1)])).toEqual([-1n, 1n]);
    expect(elements('Clip', [f32([-9, 9])], { version: 6, attributes: { min: -1, max: 1 } })).toEqual([-1, 1]);
    expect(elements('Clip', [value('float16', [-9, 9]), scalar('float16', -0.5)])).toEqual([-0.5, 9]);
  });

  it('knows the error function to float64 precision', () => {
    const known = [
      0, 0.5204998778130465, 0.8427007929497149, 0.9953222650189527, 0.9999779095030014, -0.8427007929497149, 1,
    ];
    (elements('Erf', [value('float64', [0, 0.5, 1, 2, 3, -1, Infinity])]) as number[]).forEach((y, i) => {
      expect(Math.abs(y - known[i])).toBeLessThan(4e-16);
    });
  });

  it('keeps signs, infinities and NaN', () => {
    const x = f32([-Infinity, -1, 0, Infinity, Number.NaN]);
    expect(elements('Relu', [x])).toEqual([0, 0, 0, Infinity, Number.NaN]);
    expect(elements('Sigmoid', [x])).toEqual([0, Math.fround(1 / (1 + Math.E)), 0.5, 1, Number.NaN]);
    expect(elements('Softplus', [x])).toEqual([
      0,
      Math.fround(Math.log(1 + Math.exp(-1))),
      Math.fround(Math.LN2),
      Infinity,
      Number.NaN,
    ]);
    expect(elements('IsInf', [x], { attributes: { detect_negative: 0 } })).toEqual([0, 0, 0, 1, 0]);
    expect(elements('IsInf', [x], { attributes: { detect_negative: 0, detect_positive: 0 } })).toEqual([0, 0, 0, 0, 0]);
    expect(elements('IsNaN', [x])).toEqual([0, 0, 0, 0, 1]);
    expect(elements('Sign', [i64([-5, 0, 5])])).toEqual([-1n, 0n, 1n]);
    expect(elements('Abs', [value('int8', [-128, -3])])).toEqual([-128, 3]);
    expect(elements('Neg', [i64([-(2n ** 63n)])])).toEqual([-(2n ** 63n)]);
  });

  it('accepts empty tensors and scalars', () => {
    expect(result('Exp', [f32([], [0, 3])])).toEqual([[0, 3], []]);
    expect(result('Sqrt', [scalar('float32', 4)])).toEqual([[], [2]]);
  });
});

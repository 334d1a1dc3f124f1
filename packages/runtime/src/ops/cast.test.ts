import { describe, expect, it } from 'vitest';
import { elements, f32, run, scalar, value } from '../../test/tables.ts';
import type { DataType } from '../values.ts';

const NUMBERS: Partial<Record<DataType, number>> = {
  ...{ float32: 1, uint8: 2, int8: 3, uint16: 4, int16: 5, int32: 6, int64: 7, string: 8, bool: 9, float16: 10 },
  ...{ float64: 11, uint32: 12, uint64: 13, bfloat16: 16 },
};

const cast = (from: DataType, items: (number | bigint | string)[], to: DataType) =>
  elements('Cast', [value(from, items)], { attributes: { to: NUMBERS[to]! } });

describe('Cast', () => {
  it.each<[DataType, (number | bigint | string)[], DataType, unknown[]]>([
    ['float32', [2.9, -2.9, 300], 'int32', [2, -2, 300]],
    ['float32', [2.9, -2.9], 'int64', [2n, -2n]],
    ['float64', [1e30, Number.NaN], 'int64', [-(2n ** 63n), -(2n ** 63n)]],
    ['int32', [300, -1], 'uint8', [44, 255]],
    ['int64', [2n ** 40n + 7n, -1], 'int32', [7, -1]],
    ['int64', [-1], 'uint64', [2n ** 64n - 1n]],
    ['uint64', [2n ** 64n - 1n], 'float32', [2 ** 64]],
    ['float32', [0, -0, 0.2, Number.NaN], 'bool', [0, 0, 1, 1]],
    ['int64', [0, 2n ** 32n], 'bool', [0, 1]],
    ['bool', [1, 0], 'float16', [1, 0]],
    ['float64', [1 + 2 ** -11 + 2 ** -40], 'float16', [1 + 2 ** -10]],
    ['float32', [1e6], 'float16', [Infinity]],
    ['float16', [0.5, -2], 'bfloat16', [0.5, -2]],
    [
      'string',
      ['3.5', '-INF', ' +inf', 'NaN', '1e-5'],
      'float32',
      [3.5, -Infinity, Infinity, Number.NaN, Math.fround(1e-5)],
    ],
    ['string', ['9223372036854775807', '-3'], 'int64', [2n ** 63n - 1n, -3n]],
    ['string', ['17', '-3'], 'int8', [17, -3]],
    [
      'float32',
      [0.1, 1, -1e-7, 16777216, Infinity, Number.NaN],
      'string',
      ['0.1', '1', '-1e-7', '16777216', 'INF', 'NaN'],
    ],
    ['float64', [0.1 + 0.2], 'string', ['0.30000000000000004']],
    ['float16', [0.1], 'string', ['0.1']],
    ['bfloat16', [3.140625], 'string', ['3.14']],
    ['int64', [-(2n ** 63n)], 'string', ['-9223372036854775808']],
  ])('%s %s → %s', (from, items, to, expected) => expect(cast(from, items, to)).toEqual(expected));

  it('writes the shortest decimal that reads back the same float32', () => {
    const x = Array.from({ length: 500 }, (_, i) => Math.fround(Math.tan(i * 7.3) * 10 ** ((i % 30) - 15)));
    const texts = cast('float32', x, 'string') as string[];
    expect(texts.map(text => Math.fround(Number(text)))).toEqual(x);
    expect(Math.max(...texts.map(text => text.replace(/e.*|[-.]|^-?0\.0*/g, '').length))).toBeLessThan(17);
  });

  it('refuses texts that are no numbers and types it cannot make', () => {
    expect(() => cast('string', ['1,5'], 'float32')).toThrow('n (Cast): cannot read "1,5" as a number');
    expect(() => run('Cast', [f32([1])], { attributes: { to: 22 } })).toThrow('n (Cast): cannot make int4 values');
    expect(() => run('Cast', [f32([1])], { attributes: { to: 17 } })).toThrow('float8e4m3fn is not supported');
  });

  it('follows another input', () => {
    expect(elements('CastLike', [f32([1.5]), scalar('int64', 0)])).toEqual([1n]);
  });
});

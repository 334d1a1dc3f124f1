import { expect, it } from 'vitest';
import { elements, f32, run, value } from '../../test/tables.ts';
import type { DataType } from '../values.ts';

it('BitShift shifts unsigned integers, by the whole width to 0', () => {
  const shift = (type: DataType, x: bigint[], by: number[], direction: string) =>
    elements('BitShift', [value(type, x), value(type, by)], { attributes: { direction } });
  expect(shift('uint8', [16n, 129n], [4, 1], 'LEFT')).toEqual([0, 2]);
  expect(shift('uint32', [2n ** 31n, 5n], [31, 32], 'RIGHT')).toEqual([1, 0]);
  expect(shift('uint64', [1n, 1n], [63, 64], 'LEFT')).toEqual([2n ** 63n, 0n]);
});

it('BitCast reads the same bytes as another type of the same width', () => {
  expect(elements('BitCast', [f32([1])], { attributes: { to: 6 }, version: 26 })).toEqual([0x3f800000]);
  expect(() => run('BitCast', [f32([1])], { attributes: { to: 5 }, version: 26 })).toThrow('bits of float32 as int16');
});

it('bitwise logic, of BigInts too', () => {
  expect(elements('BitwiseXor', [value('uint64', [2n ** 64n - 1n]), value('uint64', [1])])).toEqual([2n ** 64n - 2n]);
  expect(elements('BitwiseAnd', [value('int8', [-1]), value('int8', [85])])).toEqual([85]);
  expect(elements('BitwiseOr', [value('uint8', [5]), value('uint8', [2])])).toEqual([7]);
  expect(elements('BitwiseNot', [value('int64', [0])])).toEqual([-1n]);
  expect(() => run('BitwiseOr', [f32([1]), f32([1])])).toThrow('does not take float32');
});

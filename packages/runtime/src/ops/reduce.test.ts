import { describe, expect, it } from 'vitest';
import { elements, f32, i64, iota, result, value } from '../../test/tables.ts';
import type { DataType } from '../values.ts';

const reduce = (op: string, dims: number[], axes: number[] | undefined, attributes: Record<string, number> = {}) =>
  result(op, axes ? [iota(...dims), i64(axes)] : [iota(...dims)], { attributes });

describe('axes', () => {
  it.each<[number[], number[] | undefined, Record<string, number>, number[], number[]]>([
    [[2, 3], [0], {}, [1, 3], [3, 5, 7]],
    [[2, 3], [-1], { keepdims: 0 }, [2], [3, 12]],
    [[2, 1, 3], [2, -3], { keepdims: 0 }, [1], [15]],
    [[2, 2, 2], [0, 2], {}, [1, 2, 1], [10, 18]],
    [[2, 2, 2], [1], { keepdims: 0 }, [2, 2], [2, 4, 10, 12]],
    [[2, 3], undefined, {}, [1, 1], [15]],
    [[2, 3], [], { keepdims: 0 }, [], [15]],
    [[1, 2], [], { noop_with_empty_axes: 1 }, [1, 2], [0, 1]],
    [[], undefined, {}, [], [0]],
    [[2, 0], [1], { keepdims: 0 }, [2], [0, 0]],
    [[2, 0], [0], {}, [1, 0], []],
  ])('sum of %j over %j %j', (dims, axes, attributes, shape, sums) => {
    expect(reduce('ReduceSum', dims, axes, attributes)).toEqual([shape, sums]);
  });

  it('are an attribute before version 18, and of ReduceSum before 13', () => {
    const attributes = { axes: [1], keepdims: 0 };
    expect(elements('ReduceMean', [iota(2, 3)], { version: 17, attributes })).toEqual([1, 4]);
    expect(elements('ReduceSum', [iota(2, 3)], { version: 11, attributes })).toEqual([3, 12]);
    expect(() => reduce('ReduceSum', [2, 3], [2])).toThrow(/n \(ReduceSum\).*axis 2/);
  });

  it('left out of a reduction over none still apply the rest of it', () => {
    const settings = { attributes: { noop_with_empty_axes: 1 } };
    expect(elements('ReduceSumSquare', [f32([-3, 2])], settings)).toEqual([9, 4]);
    expect(elements('ReduceL1', [f32([-3, 2])], settings)).toEqual([3, 2]);
  });
});

describe('kinds', () => {
  const x = f32([1, -2, 3]);
  it.each([
    ['ReduceSumSquare', 14],
    ['ReduceL1', 6],
    ['ReduceL2', Math.sqrt(14)],
    ['ReduceProd', -6],
    ['ReduceMean', 2 / 3],
    ['ReduceLogSum', Math.log(2)],
    ['ReduceLogSumExp', Math.log(Math.E + Math.exp(-2) + Math.exp(3))],
    ['ReduceMax', 3],
    ['ReduceMin', -2],
  ])('%s', (op, expected) => expect(elements(op, [x])).toEqual([Math.fround(expected)]));

  it.each<[string, DataType, unknown]>([
    ['ReduceSum', 'float32', 0],
    ['ReduceProd', 'int64', 1n],
    ['ReduceMean', 'float32', Number.NaN],
    ['ReduceLogSum', 'float32', -Infinity],
    ['ReduceLogSumExp', 'float64', -Infinity],
    ['ReduceMax', 'float16', -Infinity],
    ['ReduceMax', 'int8', -128],
    ['ReduceMin', 'uint32', 2 ** 32 - 1],
    ['ReduceMin', 'int64', 2n ** 63n - 1n],
    ['ReduceMax', 'uint64', 0n],
    ['ReduceMin', 'bool', 1],
  ])('%s of no %s', (op, type, expected) => {
    expect(elements(op, [value(type, [], [0]), i64([0])], { attributes: { keepdims: 0 } })).toEqual([expected]);
  });

  it('reduces int64 exactly, truncating what is no integer', () => {
    const big = i64([2n ** 60n, 3, -5]);
    expect(elements('ReduceSum', [big])).toEqual([2n ** 60n - 2n]);
    expect(elements('ReduceMax', [big])).toEqual([2n ** 60n]);
    expect(elements('ReduceMean', [i64([-3, -4])])).toEqual([-3n]);
    expect(elements('ReduceL2', [i64([3, 3])])).toEqual([4n]);
    expect(elements('ReduceProd', [value('int32', [65537, 65537])])).toEqual([131073]);
  });

  it('keeps large exponents finite, and infinities and NaN what they are', () => {
    expect(elements('ReduceLogSumExp', [f32([1000, 1000])])).toEqual([Math.fround(1000 + Math.LN2)]);
    expect(elements('ReduceLogSumExp', [f32([-Infinity, -Infinity])])).toEqual([-Infinity]);
    expect(elements('ReduceMax', [f32([1, Number.NaN, 3])])).toEqual([Number.NaN]);
  });
});

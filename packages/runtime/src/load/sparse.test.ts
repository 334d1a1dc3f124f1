import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import { Reader } from './protobuf.ts';
import { sparseHeader, sparseValue } from './sparse.ts';
import { file, type Part, part, sparse, tensor } from './testing.ts';

function parse(fields: Part) {
  const bytes = file(fields);
  const reader = new Reader(bytes);
  const header = sparseHeader(reader, { start: 0, end: bytes.length }, "'w'");
  return sparseValue(reader, header, "'w'", {});
}

const values = (...data: number[]): Part => tensor('w', 1, [data.length], part(9, Float32Array.from(data)));
const indices = (dims: number[], ...data: (number | bigint)[]): Part =>
  tensor('', 7, dims, part(9, BigInt64Array.from(data, BigInt)));

describe('sparse tensors', () => {
  it('reads flat indices and coordinates alike', () => {
    const expected = {
      type: 'float32',
      dims: [3, 4],
      indices: Int32Array.of(1, 6, 11),
      values: { type: 'float32', dims: [3], data: Float32Array.of(5, 6, 7) },
    };
    expect(parse(sparse(values(5, 6, 7), indices([3], 1, 6, 11), [3, 4]))).toEqual(expected);
    expect(parse(sparse(values(5, 6, 7), indices([3, 2], 0, 1, 1, 2, 2, 3), [3, 4]))).toEqual(expected);
  });

  it('reads tensors without non-zeros, and without elements', () => {
    for (const dims of [
      [3, 4],
      [0, 4],
    ]) {
      for (const shape of [[0], [0, 2]]) {
        expect(parse(sparse(values(), indices(shape), dims)).indices).toEqual(new Int32Array(0));
      }
    }
  });

  it('keeps positions beyond 2³¹ exact', () => {
    const dims = [2 ** 20, 2 ** 20];
    const last = 2 ** 40 - 1;
    const flat = parse(sparse(values(1, 2), indices([2], 2 ** 31, last), dims));
    expect(flat.indices).toEqual(Float64Array.of(2 ** 31, last));
    const pairs = parse(sparse(values(1, 2), indices([2, 2], 2 ** 11, 0, 2 ** 20 - 1, 2 ** 20 - 1), dims));
    expect(pairs.indices).toEqual(Float64Array.of(2 ** 31, last));
  });

  it.each<[string, Part, string]>([
    [
      'an index at the end',
      sparse(values(1), indices([1], 12), [3, 4]),
      'sparse index 12 of entry 0 lies outside 0 to 11',
    ],
    [
      'a negative index',
      sparse(values(1), indices([1], -1), [3, 4]),
      'sparse index -1 of entry 0 lies outside 0 to 11',
    ],
    ['an index of 2⁴⁰', sparse(values(1), indices([1], 2 ** 40), [3, 4]), 'lies outside 0 to 11'],
    ['an index of 2⁶³ − 1', sparse(values(1), indices([1], 2n ** 63n - 1n), [3, 4]), 'lies outside 0 to 11'],
    [
      'a coordinate outside',
      sparse(values(1), indices([1, 2], 0, 4), [3, 4]),
      'sparse index 4 of entry 0 lies outside 0 to 3',
    ],
    ['an index given twice', sparse(values(1, 2), indices([2], 5, 5), [3, 4]), 'given twice at entry 1'],
    ['descending indices', sparse(values(1, 2), indices([2], 5, 4), [3, 4]), 'not ascending at entry 1'],
    ['more values than indices', sparse(values(1, 2), indices([1], 5), [3, 4]), 'shape [1], expected [2] or [2, 2]'],
    [
      'three coordinates of two',
      sparse(values(1), indices([1, 3], 0, 0, 0), [3, 4]),
      'shape [1, 3], expected [1] or [1, 2]',
    ],
    ['a scalar', sparse(values(1), indices([1], 0), []), 'needs at least one dimension'],
    [
      'values of two dimensions',
      sparse(tensor('w', 1, [1, 1], part(9, [0, 0, 0, 0])), indices([1], 0), [4]),
      'expected [n]',
    ],
    ['int32 indices', sparse(values(1), tensor('', 6, [1], part(9, [0, 0, 0, 0])), [4]), 'are int32, expected int64'],
    ['a size that overflows', sparse(values(1), indices([1], 0), [2 ** 40, 2 ** 40]), 'impossible shape'],
    ['2⁴⁰ values that are not there', sparse(tensor('w', 1, [2 ** 40]), indices([1], 0), [4]), "'w', values: 0 values"],
    ['2⁴⁰ indices that are not there', sparse(values(1), tensor('', 7, [2 ** 40]), [4]), "'w', indices: 0 values"],
    ['no indices', part(1, values(1)), 'needs values and indices'],
  ])('refuses %s', (_, fields, message) => {
    expect(() => parse(fields)).toThrow(FormatError);
    expect(() => parse(fields)).toThrow(message);
  });
});

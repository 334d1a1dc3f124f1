import { describe, expect, it } from 'vitest';
import { f32, i64, iota, nodeOf, value } from '../../test/tables.ts';
import { broadcastShapes, copyStrided, expandedStrides, forEachRow, offsetsOf, take } from './broadcast.ts';

const node = nodeOf('Add', []);

describe('broadcastShapes', () => {
  it.each([
    [
      [[2, 3], [3]],
      [2, 3],
    ],
    [[[], [4]], [4]],
    [
      [
        [2, 1],
        [1, 5],
        [3, 1, 1],
      ],
      [3, 2, 5],
    ],
    [
      [
        [0, 1],
        [1, 4],
      ],
      [0, 4],
    ],
    [[[1], [0]], [0]],
  ])('%j → %j', (shapes, expected) => expect(broadcastShapes(node, shapes)).toEqual(expected));

  it('names the node, the shapes and the dimensions that differ', () => {
    expect(() => broadcastShapes(node, [[2, 3], [4]])).toThrow(
      'n (Add): shapes [2,3] and [4] do not broadcast: 3 against 4',
    );
  });
});

describe('forEachRow', () => {
  it('makes one row of operands of equal shape', () => {
    const rows: number[][] = [];
    forEachRow(
      [2, 3, 4],
      [
        [12, 4, 1],
        [12, 4, 1],
      ],
      ([a, b], [p, q], n) => rows.push([a, b, p, q, n]),
    );
    expect(rows).toEqual([[0, 0, 1, 1, 24]]);
  });

  it('visits nothing of an empty shape and one element of a scalar', () => {
    expect([...offsetsOf([2, 0, 3], [0, 3, 1])]).toEqual([]);
    expect([...offsetsOf([], [])]).toEqual([0]);
  });

  it('agrees with nested loops for random strides', () => {
    for (let seed = 0; seed < 50; seed++) {
      const random = (n: number) => Math.floor(Math.abs(Math.sin(seed * 97 + n * 31)) * 4);
      const dims = [random(1) + 1, random(2) + 1, random(3) + 1];
      const strides = [random(4) - 1, random(5), random(6) - 2];
      const expected: number[] = [];
      for (let i = 0; i < dims[0]; i++) {
        for (let j = 0; j < dims[1]; j++) {
          for (let k = 0; k < dims[2]; k++) expected.push(i * strides[0] + j * strides[1] + k * strides[2]);
        }
      }
      expect([...offsetsOf(dims, strides)]).toEqual(expected);
    }
  });
});

describe('copyStrided', () => {
  it('moves 8-byte elements and the bits of NaNs', () => {
    const bits = BigUint64Array.of(0x7ff8000000001234n, 5n, 6n, 0xfff0000000000001n);
    const source = new Float64Array(bits.buffer);
    const target = new Float64Array(4);
    copyStrided('float64', [2, 2], { data: source, strides: [1, 2] }, { data: target, strides: [2, 1] });
    expect([...new BigUint64Array(target.buffer)]).toEqual([bits[0], bits[2], bits[1], bits[3]]);
  });

  it('expands and reverses', () => {
    const target = new Array<string>(6).fill('');
    const strides = expandedStrides([3], [2, 3]).map(stride => -stride);
    copyStrided('string', [2, 3], { data: ['a', 'b', 'c'], strides, start: 2 }, { data: target, strides: [3, 1] });
    expect(target).toEqual(['c', 'b', 'a', 'c', 'b', 'a']);
  });
});

describe('take', () => {
  it.each([0, 1, 2])('gathers along axis %i', axis => {
    const x = iota(2, 3, 40);
    const index = [1, 0, 1];
    const { dims, data } = take(x, axis, index);
    const at = [0, 0, 0];
    for (let i = 0; i < data.length; i++) {
      [at[0], at[1], at[2]] = [Math.floor(i / dims[2] / dims[1]), Math.floor(i / dims[2]) % dims[1], i % dims[2]];
      at[axis] = index[at[axis]];
      expect(data[i]).toBe((at[0] * 3 + at[1]) * 40 + at[2]);
    }
  });

  it('takes any type', () => {
    expect(take(i64([7, 8, 9]), 0, [2, 0]).data).toEqual(BigInt64Array.of(9n, 7n));
    expect(take(value('string', ['a', 'b'], [1, 2]), 1, [1, 1]).data).toEqual(['b', 'b']);
    expect(take(f32([], [0, 3]), 1, [1]).dims).toEqual([0, 1]);
  });
});

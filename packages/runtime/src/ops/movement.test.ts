import { describe, expect, it } from 'vitest';
import { elements, f32, i64, iota, nodeOf, result, run, scalar, value } from '../../test/tables.ts';
import type { Value } from '../values.ts';
import { loadOperators } from './index.ts';

const operators = await loadOperators();

const dimsOf = (op: string, inputs: (Value | undefined)[], settings = {}) => [...run(op, inputs, settings)[0].dims];

describe('Reshape', () => {
  it.each([
    [[2, 3, 4], [4, -1], 0, [4, 6]],
    [[2, 3, 4], [0, 0, -1, 2], 0, [2, 3, 2, 2]],
    [[2, 0, 3], [0, -1], 0, [2, 0]],
    [[2, 0, 3], [3, 0, 7], 1, [3, 0, 7]],
    [[1], [], 0, []],
  ])('%j as %j (allowzero %i) is %j', (from, shape, allowzero, expected) => {
    expect(dimsOf('Reshape', [iota(...from), i64(shape)], { attributes: { allowzero } })).toEqual(expected);
  });

  it('refuses other sizes', () => {
    expect(() => run('Reshape', [iota(2, 3), i64([4])])).toThrow(
      'n (Reshape): cannot shape [2,3] as [4]: the sizes differ',
    );
    expect(() => run('Reshape', [iota(2, 3), i64([4, -1])])).toThrow('cannot shape [2,3] as [4,-1]');
    expect(() => run('Reshape', [iota(2), i64([1, 1, 0])])).toThrow('copies dimension 2 of [2]');
  });

  it('needs a known shape to be planned', () => {
    const node = nodeOf('Reshape', [iota(2), i64([2])]);
    const unknown = { type: 'int64', dims: [1] } as const;
    expect(() => operators.Reshape.infer!(node, [iota(2), unknown])).toThrow("input 1 (x1) decides the output's shape");
  });
});

describe('axes of length 1', () => {
  it('are taken off and put in, by attribute before version 13', () => {
    expect(dimsOf('Squeeze', [iota(1, 2, 1)])).toEqual([2]);
    expect(dimsOf('Squeeze', [iota(1, 2, 1), i64([-1])])).toEqual([1, 2]);
    expect(dimsOf('Squeeze', [iota(1, 2, 1)], { version: 11, attributes: { axes: [0] } })).toEqual([2, 1]);
    expect(dimsOf('Unsqueeze', [iota(2), i64([-1, 0])])).toEqual([1, 2, 1]);
    expect(dimsOf('Unsqueeze', [iota(2)], { version: 11, attributes: { axes: [1] } })).toEqual([2, 1]);
    expect(() => run('Squeeze', [iota(2), i64([0])])).toThrow('axis 0 of [2] is not 1');
    expect(() => run('Unsqueeze', [iota(2), i64([1, -2])])).toThrow('axes [1,-2] repeat');
  });

  it('Flatten makes matrices at any axis', () => {
    const shapes = [-3, -1, 0, 1, 3].map(axis => dimsOf('Flatten', [iota(2, 3, 4)], { attributes: { axis } }));
    expect(shapes).toEqual([
      [1, 24],
      [6, 4],
      [1, 24],
      [2, 12],
      [24, 1],
    ]);
    expect(dimsOf('Flatten', [iota()], { attributes: { axis: 0 } })).toEqual([1, 1]);
  });
});

describe('Shape and Size', () => {
  it('are constants, cut by start and end', () => {
    const cut = (attributes: Record<string, number>) => elements('Shape', [iota(2, 3, 4)], { attributes });
    expect(cut({})).toEqual([2n, 3n, 4n]);
    expect(cut({ start: 1 })).toEqual([3n, 4n]);
    expect(cut({ start: -2, end: -1 })).toEqual([3n]);
    expect(cut({ start: 2, end: 1 })).toEqual([]);
    expect(cut({ start: -9, end: 9 })).toEqual([2n, 3n, 4n]);
    expect(result('Size', [iota(2, 3)])).toEqual([[], [6n]]);
    const [info] = operators.Shape.infer!(nodeOf('Shape', [iota(1)]), [{ type: 'string', dims: [5, 0] }]);
    expect(info.value!.data).toEqual(BigInt64Array.of(5n, 0n));
  });
});

describe('Transpose', () => {
  it('orders axes as asked, reversed by default, for every type', () => {
    const settings = { attributes: { perm: [1, 2, 0] } };
    expect(result('Transpose', [iota(2, 1, 3)], settings)).toEqual([
      [1, 3, 2],
      [0, 3, 1, 4, 2, 5],
    ]);
    expect(result('Transpose', [i64([1, 2, 3, 4], [2, 2])])).toEqual([
      [2, 2],
      [1n, 3n, 2n, 4n],
    ]);
    expect(elements('Transpose', [value('string', ['a', 'b', 'c', 'd'], [2, 2])])).toEqual(['a', 'c', 'b', 'd']);
    expect(elements('Transpose', [value('bool', [1, 0, 0, 1, 1, 1], [2, 3])])).toEqual([1, 1, 0, 1, 0, 1]);
    expect(() => run('Transpose', [iota(2, 2)], { attributes: { perm: [0, 0] } })).toThrow('perm [0,0] does not order');
  });

  it('undone by its inverse', () => {
    const x = iota(2, 3, 4, 5);
    const [y] = run('Transpose', [x], { attributes: { perm: [2, 0, 3, 1] } });
    expect(run('Transpose', [y], { attributes: { perm: [1, 3, 0, 2] } })).toEqual([x]);
  });
});

describe('Slice', () => {
  const slice = (starts: number[], ends: number[], axes?: number[], steps?: number[]) =>
    result('Slice', [iota(2, 5), i64(starts), i64(ends), axes && i64(axes), steps && i64(steps)]);

  it.each<[number[], number[], number[] | undefined, number[] | undefined, [number[], number[]]]>([
    [
      [0, 1],
      [1, 3],
      undefined,
      undefined,
      [
        [1, 2],
        [1, 2],
      ],
    ],
    [
      [-2],
      [1000],
      [1],
      undefined,
      [
        [2, 2],
        [3, 4, 8, 9],
      ],
    ],
    [
      [0],
      [5],
      [-1],
      [2],
      [
        [2, 3],
        [0, 2, 4, 5, 7, 9],
      ],
    ],
    [
      [-1],
      [-1000],
      [1],
      [-2],
      [
        [2, 3],
        [4, 2, 0, 9, 7, 5],
      ],
    ],
    [
      [3],
      [0],
      [1],
      [-1],
      [
        [2, 3],
        [3, 2, 1, 8, 7, 6],
      ],
    ],
    [[4], [2], [1], undefined, [[2, 0], []]],
    [
      [9],
      [-9],
      [0],
      [-1],
      [
        [2, 5],
        [5, 6, 7, 8, 9, 0, 1, 2, 3, 4],
      ],
    ],
    [
      [-9],
      [-99],
      [0],
      [-1],
      [
        [1, 5],
        [0, 1, 2, 3, 4],
      ],
    ],
    [
      [2 ** 62],
      [-(2 ** 63)],
      [1],
      [-4],
      [
        [2, 2],
        [4, 0, 9, 5],
      ],
    ],
  ])('%j to %j, axes %j, steps %j', (starts, ends, axes, steps, expected) => {
    expect(slice(starts, ends, axes, steps)).toEqual(expected);
  });

  it('of an empty axis is empty; a step of 0 is refused; version 9 has attributes', () => {
    expect(result('Slice', [f32([], [0, 2]), i64([-1]), i64([-9]), i64([0]), i64([-1])])).toEqual([[0, 2], []]);
    expect(() => slice([0], [1], [0], [0])).toThrow('the step along axis 0 is 0');
    const attributes = { starts: [1], ends: [3], axes: [1] };
    expect(elements('Slice', [iota(2, 5)], { version: 9, attributes })).toEqual([1, 2, 6, 7]);
  });
});

describe('Concat and Split', () => {
  it('are inverses on every axis', () => {
    const x = iota(3, 4, 5);
    for (const [axis, parts] of [
      [0, [1, 0, 2]],
      [1, [3, 1]],
      [-1, [2, 2, 1]],
    ] as [number, number[]][]) {
      const split = run('Split', [x, i64(parts)], { attributes: { axis }, outputs: parts.length });
      expect(run('Concat', split, { attributes: { axis } })).toEqual([x]);
    }
  });

  it('split evenly, the last part shorter, as each version says it', () => {
    const lengths = (version: number, outputs: number, attributes = {}) =>
      run('Split', [iota(7)], { version, outputs, attributes }).map(part => part.dims[0]);
    expect(lengths(18, 3, { num_outputs: 3 })).toEqual([3, 3, 1]);
    expect(lengths(18, 4, { num_outputs: 4 })).toEqual([2, 2, 2, 1]);
    expect(lengths(11, 2, { split: [5, 2] })).toEqual([5, 2]);
    expect(lengths(13, 7)).toEqual([1, 1, 1, 1, 1, 1, 1]);
    expect(() => lengths(11, 2, { split: [5, 1] })).toThrow('parts of [5,1] do not add up to the 7 elements of axis 0');
  });

  it('concatenates strings and refuses what differs', () => {
    const attributes = { axis: 0 };
    expect(elements('Concat', [value('string', ['a']), value('string', ['b', 'c'])], { attributes })).toEqual([
      'a',
      'b',
      'c',
    ]);
    expect(() => run('Concat', [iota(2, 2), iota(2, 3)], { attributes })).toThrow(
      '[2,2] and [2,3] differ outside axis 0',
    );
    expect(() => run('Concat', [iota(1), i64([1])], { attributes })).toThrow('float32 and int64');
  });
});

describe('repeating', () => {
  it('Tile and Expand', () => {
    expect(result('Tile', [iota(1, 2), i64([2, 2])])).toEqual([
      [2, 4],
      [0, 1, 0, 1, 0, 1, 0, 1],
    ]);
    expect(result('Tile', [iota(2), i64([0])])).toEqual([[0], []]);
    expect(result('Expand', [iota(2, 1), i64([2])])).toEqual([
      [2, 2],
      [0, 0, 1, 1],
    ]);
    expect(result('Expand', [iota(3, 1), i64([1, 1, 2])])[0]).toEqual([1, 3, 2]);
    expect(() => run('Expand', [iota(3), i64([2])])).toThrow('do not broadcast');
  });
});

describe('Pad', () => {
  const pad = (x: Value, pads: number[], mode: string, fill?: Value, axes?: number[]) =>
    result('Pad', [x, i64(pads), fill, axes && i64(axes)], { attributes: { mode } });

  it.each([
    ['constant', [2, 1], [0, 0, 0, 1, 2, 0]],
    ['edge', [2, 1], [0, 0, 0, 1, 2, 2]],
    ['reflect', [2, 2], [2, 1, 0, 1, 2, 1, 0]],
    ['reflect', [4, 0], [0, 1, 2, 1, 0, 1, 2]],
    ['wrap', [2, 4], [1, 2, 0, 1, 2, 0, 1, 2, 0]],
    ['constant', [-1, 2], [1, 2, 0, 0]],
    ['constant', [3, -2], [0, 0, 0, 0]],
    ['edge', [-1, -1], [1]],
  ])('%s %j', (mode, pads, expected) => expect(pad(iota(3), pads, mode)).toEqual([[expected.length], expected]));

  it('fills with any value, on chosen axes', () => {
    expect(pad(iota(1, 2), [0, 1, 1, 0], 'constant', scalar('float32', 9))).toEqual([
      [2, 3],
      [9, 0, 1, 9, 9, 9],
    ]);
    expect(pad(i64([1]), [1, 0], 'constant', scalar('int64', -1))[1]).toEqual([-1n, 1n]);
    expect(pad(value('string', ['a']), [1, 1], 'constant', scalar('string', '-'))[1]).toEqual(['-', 'a', '-']);
    expect(pad(iota(2, 2), [1, 0], 'edge', undefined, [-1])).toEqual([
      [2, 3],
      [0, 0, 1, 2, 2, 3],
    ]);
    expect(elements('Pad', [value('float16', [1])], { version: 2, attributes: { pads: [1, 0], value: 0.5 } })).toEqual([
      0.5, 1,
    ]);
  });

  it('refuses what cannot be', () => {
    expect(() => pad(iota(3), [-2, -2], 'constant')).toThrow('negative pads take more');
    expect(() => pad(iota(3), [1], 'constant')).toThrow('pads [1] do not fit 1 axes of [3]');
    expect(() => pad(f32([]), [1, 0], 'edge')).toThrow('cannot pad an empty axis by mode edge');
    expect(() => pad(iota(3), [1, 1], 'mirror')).toThrow('unknown mode mirror');
  });
});

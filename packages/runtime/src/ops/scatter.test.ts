import { describe, expect, it } from 'vitest';
import { elements, f32, i64, iota, result, run, value } from '../../test/tables.ts';

describe('gathers by element', () => {
  it('GatherElements picks one element for each index', () => {
    const indices = i64([0, -1, 1, 0], [2, 2]);
    expect(elements('GatherElements', [iota(2, 2), indices])).toEqual([0, 3, 2, 1]);
    expect(elements('GatherElements', [iota(2, 2), indices], { attributes: { axis: 1 } })).toEqual([0, 1, 3, 2]);
    // The indices may be smaller than the data on the other axes.
    expect(elements('GatherElements', [iota(3, 4), i64([2, 2], [1, 2])])).toEqual([8, 9]);
    expect(() => run('GatherElements', [iota(2, 2), i64([0])])).toThrow('indices of shape [1] do not fit');
  });

  it('GatherND takes tuples, with batch axes', () => {
    expect(result('GatherND', [iota(2, 2, 3), i64([1, 0, 0, -1], [2, 2])])).toEqual([
      [2, 3],
      [6, 7, 8, 3, 4, 5],
    ]);
    const batched = { attributes: { batch_dims: 1 } };
    expect(result('GatherND', [iota(2, 3), i64([2, 0], [2, 1])], batched)).toEqual([[2], [2, 3]]);
    expect(result('GatherND', [iota(2, 3, 2), i64([1, 0, 2, 2], [2, 2, 1])], batched)).toEqual([
      [2, 2, 2],
      [2, 3, 0, 1, 10, 11, 10, 11],
    ]);
    expect(() => run('GatherND', [iota(2), i64([0, 0], [1, 2])])).toThrow('tuples of 2 indices');
    expect(() => run('GatherND', [iota(2), i64([2], [1, 1])])).toThrow('index 2');
  });
});

describe('scatters', () => {
  const settings = (reduction: string) => ({ attributes: { reduction } });

  it.each([
    ['none', [0, 30, 2]],
    ['add', [0, 61, 2]],
    ['mul', [0, 900, 2]],
    ['max', [0, 30, 2]],
    ['min', [0, 1, 2]],
  ])('ScatterElements %s', (reduction, expected) => {
    expect(elements('ScatterElements', [iota(3), i64([1, -2]), f32([30, 30])], settings(reduction))).toEqual(expected);
  });

  it('write along an axis and leave their input as it was', () => {
    const x = iota(2, 3);
    const written = elements('ScatterElements', [x, i64([2, 0], [2, 1]), f32([-1, -2], [2, 1])], {
      attributes: { axis: 1 },
    });
    expect(written).toEqual([0, 1, -1, -2, 4, 5]);
    expect(x).toEqual(iota(2, 3));
    expect(elements('Scatter', [iota(2), i64([1]), f32([7])], { version: 9 })).toEqual([0, 7]);
  });

  it('reduce every type: halves round, integers wrap', () => {
    expect(
      elements('ScatterElements', [value('float16', [2048]), i64([0]), value('float16', [1])], settings('add')),
    ).toEqual([2048]);
    expect(
      elements('ScatterElements', [value('int32', [65537]), i64([0]), value('int32', [65537])], settings('mul')),
    ).toEqual([131073]);
    expect(elements('ScatterElements', [i64([5]), i64([0]), i64([7])], settings('max'))).toEqual([7n]);
    expect(elements('ScatterElements', [value('string', ['a']), i64([0]), value('string', ['b'])])).toEqual(['b']);
    expect(() => run('ScatterElements', [iota(1), i64([0]), f32([1])], settings('median'))).toThrow(
      'unknown reduction median',
    );
  });

  it('ScatterND writes slices, the last of equal indices last', () => {
    const updates = f32([1, 2, 3, 4, 5, 6], [3, 2]);
    expect(elements('ScatterND', [f32([0, 0, 0, 0], [2, 2]), i64([0, -1, 0], [3, 1]), updates])).toEqual([5, 6, 3, 4]);
    expect(elements('ScatterND', [iota(2, 2), i64([1, 0], [1, 2]), f32([9])], settings('add'))).toEqual([0, 1, 11, 3]);
    expect(() => run('ScatterND', [iota(2, 2), i64([0], [1, 1]), f32([1])])).toThrow('updates of shape [1]');
  });

  it('TensorScatter writes rows of a cache, around the end when circular', () => {
    const past = f32(new Array(12).fill(0), [2, 1, 3, 2]);
    const update = f32([1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 2, 2]);
    const circular = { version: 24, attributes: { mode: 'circular' } };
    expect(elements('TensorScatter', [past, update, i64([0, 2])], circular)).toEqual([
      1, 2, 3, 4, 0, 0, 7, 8, 0, 0, 5, 6,
    ]);
    expect(() => run('TensorScatter', [past, update, i64([0, 2])], { version: 24 })).toThrow('write index 3');
  });
});

import { describe, expect, it } from 'vitest';
import { elements, i64, iota, run } from '../../test/tables.ts';

describe('blocks', () => {
  it('DepthToSpace undoes SpaceToDepth', () => {
    const x = iota(2, 3, 4, 6);
    const attributes = { blocksize: 2 };
    const [deep] = run('SpaceToDepth', [x], { attributes });
    expect(deep.dims).toEqual([2, 12, 2, 3]);
    expect(run('DepthToSpace', [deep], { attributes })).toEqual([x]);
  });

  it('CRD keeps the channels outermost', () => {
    const settings = { attributes: { blocksize: 2, mode: 'CRD' } };
    expect(elements('DepthToSpace', [iota(1, 8, 1, 1)], settings)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(elements('DepthToSpace', [iota(1, 8, 1, 1)], { attributes: { blocksize: 2 } })).toEqual([
      0, 2, 4, 6, 1, 3, 5, 7,
    ]);
    expect(() => run('DepthToSpace', [iota(1, 3, 1, 1)], settings)).toThrow('blocks of 2 do not divide');
  });
});

it('ReverseSequence reverses the first elements of each sequence', () => {
  const attributes = { time_axis: 0, batch_axis: 1 };
  expect(elements('ReverseSequence', [iota(3, 2), i64([2, 3])], { attributes })).toEqual([2, 5, 0, 3, 4, 1]);
  const other = { time_axis: 1, batch_axis: 0 };
  expect(elements('ReverseSequence', [iota(2, 3), i64([1, 0])], { attributes: other })).toEqual([0, 1, 2, 3, 4, 5]);
  expect(() => run('ReverseSequence', [iota(2, 1), i64([3])], { attributes })).toThrow('length 3 is outside 0 … 2');
});

import { describe, expect, it } from 'vitest';
import { f32, i64, numbers, run } from '../../test/operators.ts';

describe('regions', () => {
  const x = f32(
    [1, 1, 4, 4],
    Array.from({ length: 16 }, (_, i) => i),
  );

  it('MaxRoiPool divides a rounded box', () => {
    const rois = f32([1, 5], [0, 0.4, 0.6, 3.4, 2.6]);
    expect(numbers(run('MaxRoiPool', [x, rois], { attributes: { pooled_shape: [1, 2] } }))).toEqual([13, 15]);
  });

  it('RoiAlign of a linear image is the image at the centre of each bin', () => {
    const rois = f32([1, 4], [1, 1, 3, 3]);
    const attributes = { output_height: 2, output_width: 2, sampling_ratio: 2 };
    // Bins of one element; without half-pixel shifts their centres lie half an element further.
    expect(numbers(run('RoiAlign', [x, rois, i64([1], [0])], { attributes }))).toEqual([5, 6, 9, 10]);
    expect(numbers(run('RoiAlign', [x, rois, i64([1], [0])], { attributes, version: 10 }))).toEqual([
      7.5, 8.5, 11.5, 12.5,
    ]);
  });
});

import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, random, run } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';

describe('GridSample', () => {
  const x = f32([1, 1, 1, 4], [10, 20, 30, 40]);
  /** Samples at places counted in elements of the last axis. */
  const sample = (places: number[], attributes: Record<string, Attribute>, aligned = false) => {
    const unit = (p: number) => (aligned ? (2 * p) / 3 - 1 : (2 * p + 1) / 4 - 1);
    const grid = f32(
      [1, 1, places.length, 2],
      places.flatMap(p => [unit(p), 0]),
    );
    return numbers(run('GridSample', [x, grid], { attributes: { ...attributes, align_corners: aligned ? 1 : 0 } }));
  };

  it.each([
    ['linear', 'zeros', [0, 0.5, -0.5, 3.5, 9], [10, 15, 5, 20, 0]],
    ['linear', 'border', [-0.5, 3.5, 9], [10, 40, 40]],
    ['linear', 'reflection', [-1, 4.25, 3.25], [10, 37.5, 40]],
    ['nearest', 'zeros', [0.4, 0.5, 1.5, -0.6], [10, 10, 30, 0]],
    ['nearest', 'border', [-2, 7], [10, 40]],
    ['nearest', 'reflection', [-2, 5], [20, 30]],
    ['cubic', 'border', [1, 1.5, -3], [20, 25, 10]],
  ])('%s, %s', (mode, padding, places, expected) => {
    expect(distance(sample(places, { mode, padding_mode: padding }), expected)).toBeLessThan(1e-4);
  });

  it('aligns corners, and has the names of version 16', () => {
    expect(distance(sample([0, 1.5, 3], {}, true), [10, 25, 40])).toBeLessThan(1e-4);
    expect(distance(sample([-1, 4], { padding_mode: 'reflection' }, true), [20, 30])).toBeLessThan(1e-4);
    expect(distance(sample([0.5], { mode: 'bilinear' }), [15])).toBeLessThan(1e-4);
  });

  it('interpolates volumes: a linear function is met exactly', () => {
    const volume = f32(
      [1, 1, 3, 3, 3],
      Array.from({ length: 27 }, (_, i) => Math.floor(i / 9) * 100 + (Math.floor(i / 3) % 3) * 10 + (i % 3)),
    );
    const grid = f32([1, 1, 1, 1, 3], [0.25, -0.5, 0.5]);
    const y = numbers(run('GridSample', [volume, grid], { attributes: { align_corners: 1 } }));
    expect(y[0]).toBeCloseTo(150 + 5 + 1.25, 4);
  });

  it('inverts AffineGrid of the identity', () => {
    const image = random([2, 3, 4, 5], 1);
    for (const align_corners of [0, 1]) {
      const theta = f32([2, 2, 3], [1, 0, 0, 0, 1, 0]);
      const [grid] = run('AffineGrid', [theta, i64([4], [2, 3, 4, 5])], { attributes: { align_corners } });
      expect(grid.dims).toEqual([2, 4, 5, 2]);
      const y = run('GridSample', [image, grid], { attributes: { align_corners } });
      expect(distance(numbers(y), Array.from(image.data as Float32Array))).toBeLessThan(1e-5);
    }
  });
});

describe('NonMaxSuppression', () => {
  const boxes = f32([1, 4, 4], [0, 0, 1, 1, 0.1, 0, 1.1, 1, 0, 2, 1, 3, 1, 1, 0, 0]);
  const scores = f32([1, 1, 4], [0.8, 0.9, 0.3, 0.7]);
  const keep = (...rest: (ReturnType<typeof f32> | undefined)[]) =>
    numbers(run('NonMaxSuppression', [boxes, scores, ...rest])).filter((_, i) => i % 3 === 2);

  it('keeps the best of what overlaps, in order of score', () => {
    expect(keep(i64([1], [9]), f32([1], [0.5]))).toEqual([1, 2]);
    expect(keep(i64([1], [9]), f32([1], [0.9]))).toEqual([1, 0, 2]);
    expect(keep(i64([1], [1]), f32([1], [0.5]))).toEqual([1]);
    expect(keep(i64([1], [9]), f32([1], [0.5]), f32([1], [0.3]))).toEqual([1]);
    expect(keep()).toEqual([]);
  });

  it('keeps a box whose overlap equals the threshold, and reads centres', () => {
    const touching = f32([1, 2, 4], [0, 0, 1, 2, 0, 1, 1, 3]);
    const centres = f32([1, 2, 4], [1, 0.5, 2, 1, 2, 0.5, 2, 1]);
    const pair = f32([1, 1, 2], [1, 0.5]);
    for (const [given, center_point_box] of [
      [touching, 0],
      [centres, 1],
    ] as const) {
      const count = (iou: number) =>
        run('NonMaxSuppression', [given, pair, i64([1], [9]), f32([1], [iou])], { attributes: { center_point_box } })[0]
          .dims[0];
      expect([count(0.34), count(0.33)]).toEqual([2, 1]);
    }
  });
});

describe('CenterCropPad', () => {
  it.each([
    [[1, 2, 3, 4, 5], 3, [2, 3, 4]],
    [[1, 2, 3, 4, 5], 2, [2, 3]],
    [[1, 2, 3], 6, [0, 1, 2, 3, 0, 0]],
    [[1, 2], 4, [0, 1, 2, 0]],
  ])('%j to %i', (items, size, expected) => {
    expect(numbers(run('CenterCropPad', [f32([items.length], items), i64([1], [size])]))).toEqual(expected);
  });

  it('crops one axis and pads another', () => {
    const [y] = run('CenterCropPad', [f32([2, 3], [1, 2, 3, 4, 5, 6]), i64([2], [1, 4])], {
      attributes: { axes: [-1, 0] },
    });
    expect([y.dims, numbers([y])]).toEqual([
      [4, 1],
      [0, 2, 5, 0],
    ]);
  });
});

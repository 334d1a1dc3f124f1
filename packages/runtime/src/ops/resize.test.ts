import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, random, run, value } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';

const line = f32([1, 1, 4], [1, 2, 3, 4]);
const scale = (s: number, attributes: Record<string, Attribute>, version = 19) =>
  numbers(run('Resize', [line, undefined, f32([3], [1, 1, s])], { attributes, version }));

describe('Resize of a line', () => {
  it.each([
    [2, { mode: 'nearest' }, [1, 1, 2, 2, 3, 3, 4, 4]],
    [0.5, { mode: 'nearest' }, [1, 3]],
    [0.5, { mode: 'nearest', nearest_mode: 'ceil' }, [2, 4]],
    [0.5, { mode: 'nearest', nearest_mode: 'round_prefer_ceil' }, [2, 4]],
    [1.5, { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' }, [1, 1, 2, 3, 3, 4]],
    [2, { mode: 'linear' }, [1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4]],
    [2, { mode: 'linear', coordinate_transformation_mode: 'asymmetric' }, [1, 1.5, 2, 2.5, 3, 3.5, 4, 4]],
    [1.75, { mode: 'linear', coordinate_transformation_mode: 'align_corners' }, [1, 1.5, 2, 2.5, 3, 3.5, 4]],
    [0.25, { mode: 'linear', coordinate_transformation_mode: 'pytorch_half_pixel' }, [1]],
    [0.25, { mode: 'linear' }, [2.5]],
    [0.5, { mode: 'linear', antialias: 1 }, [1.625, 3.375]],
    // A cubic reproduces a straight line away from the ends.
    [0.5, { mode: 'cubic' }, [1.40625, 3.59375]],
  ])('by %f with %j', (s, attributes, expected) => {
    expect(distance(scale(s, attributes), expected)).toBeLessThan(1e-6);
  });

  it('before version 11: rounds down, or up where it shrinks', () => {
    const old = (s: number, mode: string) =>
      numbers(run('Resize', [line, f32([3], [1, 1, s])], { version: 10, attributes: { mode } }));
    expect(old(1.5, 'nearest')).toEqual([1, 1, 2, 3, 3, 4]);
    expect(old(0.6, 'nearest')).toEqual([1, 3]);
    expect(old(2, 'linear')).toEqual([1, 1.5, 2, 2.5, 3, 3.5, 4, 4]);
    expect(numbers(run('Upsample', [line], { version: 7, attributes: { scales: [1, 1, 2] } }))).toEqual([
      1, 1, 2, 2, 3, 3, 4, 4,
    ]);
  });

  it('crops, and extrapolates outside', () => {
    const crop = (mode: string) =>
      numbers(
        run('Resize', [line, f32([6], [0, 0, 0.5, 1, 1, 1.5]), undefined, i64([3], [1, 1, 3])], {
          attributes: { mode, coordinate_transformation_mode: 'tf_crop_and_resize', extrapolation_value: 9 },
        }),
      );
    expect(crop('linear')).toEqual([2.5, 4, 9]);
    expect(crop('nearest')).toEqual([2, 4, 9]);
  });

  it('leaves out what lies outside when asked', () => {
    const y = scale(2, { mode: 'cubic', exclude_outside: 1 });
    const weights = (t: number) => {
      const a = -0.75;
      const near = (x: number) => ((a + 2) * x - (a + 3)) * x * x + 1;
      const far = (x: number) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
      return [far(1 + t), near(t), near(1 - t), far(2 - t)];
    };
    // Position 0 lies at −0.25: of its four taps −2 … 1 only the last two exist.
    const [, , p, q] = weights(0.75);
    expect(y[0]).toBeCloseTo((p * 1 + q * 2) / (p + q), 5);
  });
});

describe('Resize of more', () => {
  it('is one axis after the other', () => {
    const x = random([2, 5, 4], 1);
    const both = run('Resize', [x, undefined, undefined, i64([2], [3, 7])], {
      attributes: { mode: 'cubic', axes: [1, 2] },
    });
    const [rows] = run('Resize', [x, undefined, undefined, i64([1], [3])], {
      attributes: { mode: 'cubic', axes: [1] },
    });
    const one = run('Resize', [rows, undefined, undefined, i64([1], [7])], {
      attributes: { mode: 'cubic', axes: [-1] },
    });
    expect(distance(numbers(both), numbers(one))).toBeLessThan(1e-6);
  });

  it('keeps the aspect ratio', () => {
    const size = (policy: string) =>
      run('Resize', [random([2, 6, 10], 1), undefined, undefined, i64([2], [9, 40])], {
        attributes: { axes: [1, 2], keep_aspect_ratio_policy: policy },
      })[0].dims;
    expect([size('stretch'), size('not_larger'), size('not_smaller')]).toEqual([
      [2, 9, 40],
      [2, 9, 15],
      [2, 24, 40],
    ]);
  });

  it('copies any type in nearest mode, and rounds and saturates integers otherwise', () => {
    const words = { type: 'string' as const, dims: [2], data: ['a', 'b'] };
    const by = (s: number) => [undefined, f32([1], [s])] as const;
    expect(run('Resize', [words, ...by(2)])[0].data).toEqual(['a', 'a', 'b', 'b']);
    const big = run('Resize', [i64([2], [5, -6]), ...by(1.5)]);
    expect(numbers(big)).toEqual([5, 5, -6]);
    const bytes = value('uint8', [2], [255, 0]);
    expect(numbers(run('Resize', [bytes, ...by(2)], { attributes: { mode: 'linear' } }))).toEqual([255, 191, 64, 0]);
    expect(Math.max(...numbers(run('Resize', [bytes, ...by(4)], { attributes: { mode: 'cubic' } })))).toBe(255);
  });

  it('refuses contradictions', () => {
    expect(() => run('Resize', [line])).toThrow(/either scales or sizes/);
    expect(() => run('Resize', [line, undefined, f32([2], [1, 2])])).toThrow(/scales \[1,2\] for 3 axes/);
    expect(() => scale(2, { mode: 'quintic' })).toThrow(/'quintic'/);
  });
});

import { describe, expect, it } from 'vitest';
import { distance, f32, numbers, random, run } from '../../test/operators.ts';

describe('DeformConv', () => {
  it('without offsets is Conv; whole offsets move the window; the mask scales', () => {
    const x = random([1, 2, 5, 5], 1);
    const w = random([3, 2, 2, 2], 2);
    const still = f32([1, 8, 4, 4], [0]);
    const expected = numbers(run('Conv', [x, w]));
    expect(distance(numbers(run('DeformConv', [x, w, still])), expected)).toBeLessThan(1e-5);
    const half = f32([1, 4, 4, 4], [0.5]);
    expect(
      distance(
        numbers(run('DeformConv', [x, w, still, undefined, half])),
        expected.map(v => v / 2),
      ),
    ).toBeLessThan(1e-5);
    // Rows one lower: the window of row i + 1, and padding under the last one.
    const moved = f32(
      [1, 8, 4, 4],
      Array.from({ length: 128 }, (_, i) => (Math.floor(i / 16) % 2 === 0 ? 1 : 0)),
    );
    const shifted = numbers(run('Conv', [x, w], { attributes: { pads: [0, 0, 1, 0] } }));
    const below = shifted.filter((_, i) => Math.floor(i / 4) % 5 > 0);
    expect(distance(numbers(run('DeformConv', [x, w, moved])), below)).toBeLessThan(1e-5);
  });
});

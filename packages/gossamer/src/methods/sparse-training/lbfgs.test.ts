import { describe, expect, it } from 'vitest';
import { minimize } from './lbfgs.ts';

describe('minimize', () => {
  it('finds the minimum of the Rosenbrock valley', () => {
    const { x, value } = minimize(
      ([a, b]) => ({
        value: (1 - a) ** 2 + 100 * (b - a * a) ** 2,
        gradient: Float64Array.of(-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)),
      }),
      Float64Array.of(-1.2, 1),
    );
    expect(value).toBeLessThan(1e-16);
    expect(x[0]).toBeCloseTo(1, 7);
    expect(x[1]).toBeCloseTo(1, 7);
  });

  it('solves a badly scaled quadratic in more variables than it remembers', () => {
    const scales = Float64Array.from({ length: 12 }, (_, i) => 10 ** (i / 3));
    const { x } = minimize(
      v => ({
        value: v.reduce((s, w, i) => s + (scales[i] * (w - i) ** 2) / 2, 0),
        gradient: v.map((w, i) => scales[i] * (w - i)),
      }),
      new Float64Array(12),
      { memory: 5, iterations: 500 },
    );
    for (const [i, v] of x.entries()) expect(v).toBeCloseTo(i, 4);
  });

  it('stays at a minimum, and stops where nothing lowers the value', () => {
    const flat = minimize(() => ({ value: 1, gradient: new Float64Array(2) }), Float64Array.of(3, 4));
    expect([...flat.x, flat.value]).toEqual([3, 4, 1]);
    const wrong = minimize(() => ({ value: 1, gradient: Float64Array.of(1) }), Float64Array.of(3));
    expect(wrong.x[0]).toBeCloseTo(3, 6);
  });
});

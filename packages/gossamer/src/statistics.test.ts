import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import {
  bootstrap,
  formatInterval,
  pairedInterval,
  quantile,
  ranks,
  spearman,
  statistics,
  tQuantile,
} from './statistics.ts';

describe('statistics', () => {
  it('are mean and sample deviation', () => {
    expect(statistics([2, 4, 4, 6])).toEqual({ mean: 4, std: Math.sqrt(8 / 3), n: 4 });
    expect(statistics([7])).toEqual({ mean: 7, std: 0, n: 1 });
  });
});

describe('tQuantile', () => {
  it('agrees with the tables', () => {
    const table: [number, number, number][] = [
      [0.975, 1, 12.7062047],
      [0.975, 2, 4.30265273],
      [0.975, 4, 2.77644511],
      [0.975, 30, 2.04227246],
      [0.95, 9, 1.83311293],
      [0.995, 1000, 2.58075],
    ];
    for (const [p, df, t] of table) expect(tQuantile(p, df)).toBeCloseTo(t, 5);
    expect(tQuantile(0.5, 7)).toBeCloseTo(0, 9);
    expect(tQuantile(0.1, 5)).toBe(-tQuantile(0.9, 5));
  });
});

describe('pairedInterval', () => {
  it('is the t interval of the differences', () => {
    const { mean, halfWidth, low, high } = pairedInterval([3, 5, 4, 6, 7], [2, 3, 3, 5, 4]);
    expect(mean).toBeCloseTo(1.6, 12);
    // Differences 1, 2, 1, 1, 3: deviation √0.8, over √5, times 2.776.
    expect(halfWidth).toBeCloseTo((2.776445 * Math.sqrt(0.8)) / Math.sqrt(5), 5);
    expect(high - low).toBeCloseTo(2 * halfWidth, 12);
  });

  it('covers the truth as often as it says', () => {
    const random = new Random(3);
    let inside = 0;
    for (let i = 0; i < 400; i++) {
      const values = [...random.fork(i).normal(5, 1, 2)];
      const { low, high } = pairedInterval(values, [0, 0, 0, 0, 0]);
      if (low <= 1 && 1 <= high) inside++;
    }
    // 95 % of 400 is 380, with a deviation of 4.4.
    expect(Math.abs(inside - 380)).toBeLessThan(14);
  });

  it('says when there is no power at all', () => {
    expect(formatInterval(pairedInterval([2], [1]))).toBe('+1.00 (one pair, no interval)');
    expect(formatInterval(pairedInterval([1, 1], [2, 2]))).toBe('−1.00 ± 0.00 (95 % interval −1.00 … −1.00, 2 pairs)');
    expect(() => pairedInterval([1], [])).toThrow('1 and 0 values');
  });
});

describe('ranks and spearman', () => {
  it('share the ranks of equal values', () => {
    expect(ranks([10, 20, 10, 5])).toEqual([2.5, 4, 2.5, 1]);
  });

  it('sees monotone relations and their absence', () => {
    expect(spearman([1, 2, 3, 4], [1, 8, 27, 1000])).toBeCloseTo(1, 12);
    expect(spearman([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1, 12);
    expect(spearman([1, 2, 3], [5, 5, 5])).toBe(0);
    // 1 − 6Σd²/(n(n² − 1)) with d = 1, 1, 0, 0, 0.
    expect(spearman([1, 2, 3, 4, 5], [2, 1, 3, 4, 5])).toBeCloseTo(0.9, 12);
    expect(() => spearman([1], [1])).toThrow('at least 2');
  });
});

describe('bootstrap', () => {
  it('spreads like the standard error', () => {
    const values = new Random(1).normal(400);
    const mean = (at: Int32Array) => at.reduce((s, i) => s + values[i], 0) / at.length;
    const drawn = bootstrap(400, mean, { random: new Random(2), samples: 2000 });
    expect(drawn).toHaveLength(2000);
    expect(quantile(drawn, 0.975) - quantile(drawn, 0.025)).toBeCloseTo((2 * 1.96) / 20, 1);
    expect(bootstrap(400, mean, { random: new Random(2), samples: 5 })).toEqual(
      bootstrap(400, mean, { random: new Random(2), samples: 5 }),
    );
  });

  it('interpolates quantiles', () => {
    expect([0, 0.25, 0.5, 1].map(p => quantile([1, 2, 3, 4], p))).toEqual([1, 1.75, 2.5, 4]);
    expect(() => quantile([], 0.5)).toThrow('0 values');
  });
});

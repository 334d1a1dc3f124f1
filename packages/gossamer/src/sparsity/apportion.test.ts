import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { apportion, countOf, proportionalShares, type Receiver } from './apportion.ts';

describe('countOf', () => {
  it('rounds as asked, and is not fooled by floating-point products', () => {
    expect(countOf(1 - 0.9, 10, 'floor')).toBe(1);
    expect(countOf(0.57, 100, 'floor')).toBe(57);
    expect(countOf(0.07, 100, 'ceil')).toBe(7);
    expect(countOf(0.25, 10, 'floor')).toBe(2);
    expect(countOf(0.25, 10, 'ceil')).toBe(3);
    expect(countOf(0.25, 10)).toBe(3);
    expect(countOf(0.24, 10)).toBe(2);
    for (let n = 1; n < 130; n++) {
      for (let k = 0; k <= n; k++)
        for (const r of ['floor', 'round', 'ceil'] as const) expect(countOf(k / n, n, r)).toBe(k);
    }
  });
});

function receivers(seed: number): Receiver[] {
  const random = new Random(seed);
  const [count] = random.integers(1, 1, 8);
  return Array.from({ length: count }, () => {
    const [upper] = random.integers(1, 1, 30);
    const [lower] = random.integers(1, 0, seed % 2 ? upper + 1 : 1);
    // Few distinct weights, so that claims tie.
    return { weight: seed % 3 ? random.uniform(1, 0.1, 5)[0] : random.integers(1, 1, 4)[0], lower, upper };
  });
}
const sumOf = (values: number[]) => values.reduce((a, b) => a + b, 0);

describe('proportionalShares', () => {
  it('meets the total and the bounds with one common factor', () => {
    for (let seed = 0; seed < 100; seed++) {
      const list = receivers(seed);
      const [low, high] = [sumOf(list.map(r => r.lower)), sumOf(list.map(r => r.upper))];
      for (let total = low; total <= high; total += 1.37) {
        const shares = proportionalShares(list, total);
        expect(Math.abs(sumOf(shares) - total)).toBeLessThan(1e-9);
        const factors = list.map((r, i) => shares[i] / r.weight);
        const free = list.map((r, i) => shares[i] > r.lower + 1e-9 && shares[i] < r.upper - 1e-9);
        const epsilon = factors.find((_, i) => free[i]);
        if (epsilon === undefined) continue;
        list.forEach((r, i) => {
          expect(shares[i]).toBeGreaterThanOrEqual(r.lower);
          expect(shares[i]).toBeLessThanOrEqual(r.upper);
          if (free[i]) expect(factors[i]).toBeCloseTo(epsilon, 9);
          else if (shares[i] > r.upper - 1e-9 && r.lower < r.upper) expect(factors[i]).toBeLessThan(epsilon + 1e-6);
        });
      }
    }
  });

  it('refuses totals beyond the bounds and serves nobody with nothing', () => {
    expect(() => proportionalShares([{ weight: 1, lower: 2, upper: 3 }], 4)).toThrow('total 4 lies outside 2…3');
    expect(proportionalShares([], 0)).toEqual([]);
  });
});

describe('apportion', () => {
  /** Webster's method by its definition: one unit after the other to the highest claim. */
  function oneByOne(list: Receiver[], total: number): number[] {
    const shares = list.map(r => r.lower);
    for (let given = sumOf(shares); given < total; given++) {
      let best = -1;
      list.forEach((r, i) => {
        const claim = r.weight / (2 * shares[i] + 1);
        if (shares[i] < r.upper && (best < 0 || claim > list[best].weight / (2 * shares[best] + 1))) best = i;
      });
      shares[best]++;
    }
    return shares;
  }

  it('equals giving unit by unit, never takes back when the total grows, and adds up', () => {
    for (let seed = 0; seed < 120; seed++) {
      const list = receivers(seed);
      const [low, high] = [sumOf(list.map(r => r.lower)), sumOf(list.map(r => r.upper))];
      let previous = list.map(r => r.lower);
      for (let total = low; total <= high; total++) {
        const shares = apportion(list, total);
        expect(sumOf(shares)).toBe(total);
        expect(shares).toEqual(oneByOne(list, total));
        shares.forEach((s, i) => {
          expect(s).toBeGreaterThanOrEqual(previous[i]);
        });
        previous = shares;
      }
    }
  });
});

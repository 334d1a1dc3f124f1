import { describe, expect, it } from 'vitest';
import { sparsityAt, tokenCurve } from './pretraining-schedule.ts';

describe('sparsityAt', () => {
  it('is 0 up to a, S_f from b on, and cubic between', () => {
    const curve = { sparsity: 0.8 };
    expect([0, 0.25, 0.75, 1].map(x => sparsityAt(x, curve))).toEqual([0, 0, 0.8, 0.8]);
    expect(sparsityAt(0.5, curve)).toBeCloseTo(0.8 * (1 - 0.5 ** 3), 12);
    expect(sparsityAt(0.5, { ...curve, exponent: 1 })).toBeCloseTo(0.4, 12);
  });
});

describe('tokenCurve', () => {
  const weights = { prunable: 1000 };

  it('by tokens, N̄/N_0 is 1 − S_f·(¾(b − a) + 1 − b)', () => {
    const { average } = tokenCurve({ sparsity: 0.8, of: 'tokens' }, weights);
    expect(average).toBeCloseTo(0.5, 12);
    for (const [start, end, exponent] of [
      [0, 0.5, 3],
      [0.3, 1, 1],
      [0.1, 0.9, 2],
    ]) {
      const curve = { sparsity: 0.6, start, end, exponent, of: 'tokens' } as const;
      const steps = 20_000;
      const sum = Array.from({ length: steps }, (_, i) => 1 - sparsityAt((i + 0.5) / steps, curve));
      const mean = sum.reduce((a, b) => a + b) / steps;
      expect(tokenCurve(curve, weights).average).toBeCloseTo(mean, 6);
    }
  });

  it('by compute, shares of compute and tokens agree with the schedule integrated token by token', () => {
    for (const [start, end, dense] of [
      [0.25, 0.75, 0],
      [0, 0.5, 400],
      [0.5, 1, 100],
    ]) {
      const curve = { sparsity: 0.8, start, end };
      const { at, tokensAt, average } = tokenCurve(curve, { prunable: 1000, dense });
      // Goes through the tokens in small steps and pays 6·n for each, with n by the compute spent so far.
      const parts = 100_000;
      const all = (1000 + dense) * average;
      let spent = 0;
      for (let i = 0; i < parts; i++) {
        const x = spent / (parts * all);
        if (i % 9973 === 0) expect(at(i / parts)).toBeCloseTo(x, 3);
        spent += dense + 1000 * (1 - sparsityAt(x, curve));
      }
      expect(spent / parts / all).toBeCloseTo(1, 4);
      for (const x of [0.1, start, 0.4, end, 0.9]) expect(at(tokensAt(x))).toBeCloseTo(x, 5);
      expect([tokensAt(0), tokensAt(1)]).toEqual([0, expect.closeTo(1, 12)]);
    }
  });

  it('with S_f = 0, compute and tokens are the same', () => {
    const { at, tokensAt, average } = tokenCurve({ sparsity: 0 }, weights);
    expect([at(0.37), tokensAt(0.37), average]).toEqual([0.37, 0.37, 1]);
  });

  it('sparse tokens are cheaper: half of the compute lies before half of the tokens', () => {
    expect(tokenCurve({ sparsity: 0.8 }, weights).tokensAt(0.5)).toBeLessThan(0.4);
  });

  it('refuses windows and sparsities that make no sense', () => {
    const refused = (curve: Parameters<typeof tokenCurve>[0], message: string) =>
      expect(() => tokenCurve(curve, weights)).toThrow(message);
    refused({ sparsity: 0.5, start: 0.75, end: 0.75 }, 'expected shares 0 ≤ start < end ≤ 1');
    refused({ sparsity: 0.5, start: 0.8, end: 0.2 }, 'from 0.8 to 0.2');
    refused({ sparsity: 1 }, 'final sparsity 1; expected 0 ≤ s < 1');
    refused({ sparsity: 0.5, exponent: 0 }, 'exponent 0');
    refused({ sparsity: 0.5, of: 'steps' as never }, 'shares of steps');
  });
});

import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { type Run, runOf, runSize, trainingCompute } from './run-size.ts';
import {
  accumulatedLoss,
  bootstrapLaw,
  compareSizes,
  fitLaw,
  type Law,
  predict,
  relativeError,
} from './scaling-law.ts';
import { planPretraining } from './scaling-planner.ts';

const truth: Law = { E: 1.2, A: 40, alpha: 0.35, B: 120, beta: 0.4 };
const sizes = [2e4, 4e4, 1e5, 2.5e5, 8e5];
const tokens = [2e5, 6e5, 2e6, 6e6];
const dense: Run[] = sizes.flatMap(n => tokens.map(d => ({ tokens: d, loss: predict(truth, n, d), active: [[0, n]] })));
/** From n to a fifth of it at half of the tokens, with the loss of the average size. */
const sparse: Run[] = sizes.slice(1).flatMap(n =>
  tokens.map(d => {
    const active = [[0, n] as const, [d / 2, n / 5] as const];
    return { tokens: d, loss: predict(truth, 0.6 * n, d), active };
  }),
);

describe('fitLaw', () => {
  it('finds planted coefficients, from dense and sparse runs together', () => {
    const { law, objective } = fitLaw([...dense, ...sparse]);
    expect(objective).toBeLessThan(1e-7);
    for (const key of ['alpha', 'beta'] as const) expect(Math.abs(law[key] / truth[key] - 1)).toBeLessThan(0.05);
    expect(law.E).toBeCloseTo(truth.E, 1);
  });

  it('finds them in spite of noise and outliers', () => {
    const random = new Random(3);
    const noise = random.normal(dense.length);
    const noisy = dense.map((r, i) => ({ ...r, loss: r.loss * Math.exp(0.0005 * noise[i] + (i === 7 ? 0.1 : 0)) }));
    const { law } = fitLaw(noisy);
    for (const key of ['alpha', 'beta'] as const) expect(Math.abs(law[key] / truth[key] - 1)).toBeLessThan(0.05);
  });

  it('every fitted law falls with size and tokens, even where the data do not', () => {
    const upside = dense.map(r => ({ ...r, loss: 10 - r.loss }));
    for (const { law } of [fitLaw(upside), fitLaw(dense)]) {
      for (const [i, n] of sizes.entries()) {
        for (const [j, d] of tokens.entries()) {
          if (i > 0) expect(predict(law, n, d)).toBeLessThanOrEqual(predict(law, sizes[i - 1], d));
          if (j > 0) expect(predict(law, n, d)).toBeLessThanOrEqual(predict(law, n, tokens[j - 1]));
        }
      }
      expect(Math.min(law.alpha, law.beta, law.A, law.B, law.E)).toBeGreaterThanOrEqual(0);
    }
  });

  it('keeps exponents that are given', () => {
    const { law } = fitLaw(dense, { fixed: { alpha: 0.35, beta: 0.28 } });
    expect(law.alpha).toBeCloseTo(0.35, 12);
    expect(law.beta).toBeCloseTo(0.28, 12);
  });

  it('refuses fewer than 6 runs, and runs that lack counts', () => {
    expect(() => fitLaw(dense.slice(0, 5))).toThrow('5 runs; five coefficients need at least 6');
    expect(() => fitLaw([...dense, { name: 'x', tokens: 1e5, loss: 2, active: [] }])).toThrow(
      'run x: has no active parameter counts',
    );
    expect(() => fitLaw([...dense, { tokens: 1e5, loss: 2, active: [[5, 10]] }])).toThrow(
      'begin at token 5; expected 0',
    );
    expect(() => fitLaw([...dense, { tokens: 0, loss: 2, active: [[0, 10]] }])).toThrow('tokens 0');
    const falling = [[0, 10] as const, [0, 5] as const];
    expect(() => fitLaw([...dense, { tokens: 9, loss: 2, active: falling }])).toThrow('expected rising tokens');
    expect(() => fitLaw(dense, { delta: 0 })).toThrow('delta 0; expected more than 0');
    expect(() => fitLaw(dense, { fixed: { beta: -0.3 } })).toThrow('beta is given as -0.3; expected more than 0');
  });
});

describe('bootstrapLaw', () => {
  it('is narrow around well determined exponents, and names those that are not', () => {
    const { intervals, undetermined } = bootstrapLaw(dense, { samples: 20 });
    expect(undetermined).toEqual([]);
    expect(intervals.alpha.low).toBeLessThanOrEqual(truth.alpha * 1.001);
    expect(intervals.alpha.high).toBeLessThan(truth.alpha * 1.1);
    // One number of tokens says nothing of β.
    const narrow = sizes.flatMap((n, i) =>
      [1, 1.02].map(f => ({ ...dense[4 * i], tokens: 2e5 * f, loss: 1 + n ** -0.1 * f })),
    );
    expect(bootstrapLaw(narrow, { samples: 20 }).undetermined).toContain('beta');
    expect(bootstrapLaw(narrow, { samples: 20, fixed: { beta: 0.3 } }).undetermined).not.toContain('beta');
  }, 20_000);
});

describe('sizes of runs', () => {
  const run: Run = {
    tokens: 1024,
    loss: 2,
    active: [
      [0, 100],
      [256, 60],
      [512, 20],
    ],
  };

  it('averages over tokens, and compute is exactly 6·N̄·D', () => {
    const mean = (100 * 256 + 60 * 256 + 20 * 512) / 1024;
    expect(runSize(run)).toBe(mean);
    expect(trainingCompute(run)).toBe(6 * mean * 1024);
    expect(runSize(run, 'average-compute')).toBeCloseTo(
      (100 ** 2 * 256 + 60 ** 2 * 256 + 20 ** 2 * 512) / 1024 / mean,
      12,
    );
    expect([runSize(run, 'initial'), runSize(run, 'final')]).toEqual([100, 20]);
  });

  it('weighs batches of different sizes by their tokens', () => {
    const uneven = runOf(
      [
        { step: 0, active: 100 },
        { step: 3, active: 50 },
      ],
      { steps: 4, tokensPerStep: 8, loss: 1 },
    );
    expect(uneven.active).toEqual([
      [0, 100],
      [24, 50],
    ]);
    expect(runSize(uneven)).toBe(87.5);
    // Pruning that ends with the training costs nothing less, and is what is left.
    const late = runOf(
      [
        { step: 0, active: 100 },
        { step: 4, active: 50 },
      ],
      { steps: 4, tokensPerStep: 8, loss: 1 },
    );
    expect([runSize(late), runSize(late, 'final'), trainingCompute(late)]).toEqual([100, 50, 6 * 100 * 32]);
    // The same steps, the last one three times as long.
    expect(runSize({ ...uneven, tokens: 48 })).toBe(75);
  });
});

describe('compareSizes', () => {
  it('finds that the average explains both families, and the final count does not', () => {
    const all = [...dense, ...sparse];
    const held = all.filter((_, i) => i % 5 === 2);
    const [initial, final, average] = compareSizes(
      all.filter(r => !held.includes(r)),
      held,
    );
    expect([initial.size, final.size, average.size]).toEqual(['initial', 'final', 'average']);
    expect(average.held).toBeLessThan(1e-3);
    expect(average.held).toBeLessThan(initial.held / 10);
    expect(average.held).toBeLessThan(final.held / 10);
    expect(relativeError(average.law, held)).toBe(average.held);
    expect(() => compareSizes(all, [])).toThrow('no runs are held out');
    expect(() => compareSizes(all, [{ tokens: 1e5, loss: 2, active: [] }])).toThrow('held-out run 1: has no active');
  });
});

describe('accumulatedLoss', () => {
  it('is the law itself for a constant size', () => {
    for (const r of dense.slice(0, 6)) expect(accumulatedLoss(truth, r)).toBeCloseTo(r.loss, 6);
  });

  it('agrees with the law at the average size to first order in the change of size', () => {
    // Weighed by D^β as progress is, the two halves do not count the same; this change leaves that mean alone.
    const [D, n] = [2e6, 2e5];
    const share = 0.5 ** (1 + truth.beta);
    const off = (change: number) => {
      const active = [[0, n * (1 + change * (1 - share))] as const, [D / 2, n * (1 - change * share)] as const];
      return Math.abs(accumulatedLoss(truth, { tokens: D, active }, 20_000) - predict(truth, n, D));
    };
    // Second order: a tenth of the change, a hundredth of the difference.
    expect(off(0.05) / off(0.5)).toBeLessThan(0.02);
    expect(off(0.05)).toBeLessThan(1e-4);
  });

  it('is nearer to the law of the average than to those of the initial and final size', () => {
    for (const { tokens, active } of sparse) {
      const [[, n], [half]] = active;
      const r: Run = {
        tokens,
        loss: 1,
        active: [
          [0, n],
          [half, n / 2],
        ],
      };
      const loss = accumulatedLoss(truth, r);
      const gap = (size: 'average' | 'initial' | 'final') =>
        Math.abs(loss - predict(truth, runSize(r, size), r.tokens));
      expect(gap('average')).toBeLessThan(gap('initial'));
      expect(gap('average')).toBeLessThan(gap('final'));
    }
  });
});

describe('planPretraining', () => {
  it('spends the compute and ends at the wanted size', () => {
    const rows = planPretraining(truth, { finalSize: 1e5, compute: 1e12 });
    expect(rows.map(r => r.sparsity)).toEqual([0, 0.2, 0.4, 0.6, 0.8]);
    for (const r of rows) {
      expect(r.initialSize * (1 - r.sparsity)).toBeCloseTo(1e5, 6);
      expect((6 * r.averageSize * r.tokens) / 1e12).toBeCloseTo(1, 12);
      expect(r.loss).toBe(predict(truth, r.averageSize, r.tokens));
      expect(r.denseInference / r.inference).toBeCloseTo(r.averageSize / 1e5, 12);
    }
    expect(rows[0].averageSize).toBe(1e5);
    const [half] = planPretraining(truth, { finalSize: 1e5, compute: 1e12, sparsities: [0.8], of: 'tokens' });
    expect(half.averageSize).toBeCloseTo(2.5e5, 3);
    expect(() => planPretraining(truth, { finalSize: 0, compute: 1 })).toThrow('final size of 0');
    expect(() => planPretraining(truth, { finalSize: 1, compute: 0 })).toThrow('0 operations');
  });
});

import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { type Allocation, allocate, type Claimant, minimumWeights, rawDensity } from './allocation.ts';
import { proportionalShares } from './apportion.ts';

const claimant = (name: string, shape: number[], options: Partial<Claimant> = {}): Claimant => ({
  name,
  shape,
  outAxis: 0,
  inAxis: shape.length > 1 ? 1 : -1,
  units: shape.reduce((a, b) => a * b, 1),
  ...options,
});
const lenet = [claimant('fc1', [300, 784]), claimant('fc2', [100, 300]), claimant('fc3', [10, 100])];
const mobile = [
  claimant('stem', [32, 3, 3, 3]),
  claimant('dw', [32, 1, 3, 3]),
  claimant('pw', [64, 32, 1, 1]),
  claimant('conv', [128, 64, 3, 3]),
  claimant('fc', [10, 128]),
];
const units = (layers: readonly Claimant[]) => layers.reduce((n, l) => n + l.units, 0);
const sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);

/** Densities of ER/ERK as in the RigL code: dense layers are taken out one maximum after the other. */
function rigl(layers: readonly Claimant[], rule: 'er' | 'erk', density: number): number[] {
  const dense = new Set<Claimant>();
  for (;;) {
    const free = layers.filter(l => !dense.has(l));
    const budget = density * units(layers) - units([...dense]);
    const epsilon = budget / free.reduce((n, l) => n + rawDensity(l, rule) * l.units, 0);
    const largest = Math.max(...free.map(l => rawDensity(l, rule)));
    if (epsilon * largest <= 1) return layers.map(l => (dense.has(l) ? 1 : epsilon * rawDensity(l, rule)));
    for (const l of free) if (rawDensity(l, rule) === largest) dense.add(l);
  }
}

describe('rawDensity', () => {
  it('takes all dimensions for ERK and two for ER', () => {
    expect(rawDensity(mobile[3], 'erk')).toBe((128 + 64 + 3 + 3) / (128 * 64 * 9));
    expect(rawDensity(mobile[3], 'er')).toBe((128 + 64) / (128 * 64));
    expect(rawDensity(lenet[0], 'erk')).toBe(rawDensity(lenet[0], 'er'));
    expect(rawDensity(claimant('w', [3, 4, 5], { outAxis: 2, inAxis: 0 }), 'er')).toBe(8 / 15);
  });
});

describe('allocate', () => {
  it('uniform prunes round(s·n) of every layer', () => {
    for (const s of [0, 0.5, 0.9, 0.95, 0.987]) {
      expect(allocate(mobile, s)).toEqual(mobile.map(l => l.units - Math.round(s * l.units)));
    }
    expect(allocate([claimant('w', [3])], 0.5, { rounding: 'floor' })).toEqual([2]);
    expect(allocate([claimant('w', [3])], 0.5, { rounding: 'ceil' })).toEqual([1]);
  });

  it.each(['er', 'erk'] as const)('%s follows the paper, within one weight a layer, and meets the total', rule => {
    for (const layers of [lenet, mobile]) {
      for (const s of [0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.995]) {
        const densities = rigl(layers, rule, 1 - s);
        const counts = allocate(layers, s, { allocation: rule });
        expect(sum(counts)).toBe(units(layers) - Math.round(s * units(layers)));
        counts.forEach((n, i) => {
          expect(Math.abs(n - densities[i] * layers[i].units)).toBeLessThan(1 + 1e-6);
          expect(n).toBeLessThanOrEqual(layers[i].units);
        });
        const exact = proportionalShares(
          layers.map(l => ({ weight: rawDensity(l, rule) * l.units, lower: 0, upper: l.units })),
          (1 - s) * units(layers),
        );
        exact.forEach((share, i) => {
          expect(share / layers[i].units).toBeCloseTo(densities[i], 9);
        });
      }
    }
  });

  it('erk leaves a depth-wise layer dense', () => {
    const counts = allocate(mobile, 0.9, { allocation: 'erk' });
    expect(counts[1]).toBe(mobile[1].units);
    expect(counts[3]).toBeLessThan(0.1 * mobile[3].units);
  });

  it('uniform+ keeps the first layer dense and at least a fifth of the last', () => {
    const high = allocate(mobile, 0.9, { allocation: 'uniform+' });
    expect([high[0], high[4]]).toEqual([864, 256]);
    expect(sum(high)).toBe(units(mobile) - Math.round(0.9 * units(mobile)));
    expect(high[2] / mobile[2].units).toBeCloseTo(high[3] / mobile[3].units, 3);
    const low = allocate(mobile, 0.7, { allocation: 'uniform+' });
    expect(low[4] / mobile[4].units).toBeCloseTo(low[3] / mobile[3].units, 2);
  });

  it('meets the total around fixed layers, minimum and maximum for every rule', () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = new Random(seed);
      const layers = mobile.map(l => {
        const [a, b] = random.integers(2, 0, Math.floor(l.units / 4));
        return { ...l, lower: Math.floor(a / 8), upper: l.units - b };
      });
      const s = 0.5 + 0.4 * random.uniform(1)[0];
      for (const allocation of ['uniform', 'uniform+', 'er', 'erk'] as Allocation[]) {
        if (allocation === 'uniform+') layers[0].upper = layers[0].units;
        const fixed: Record<string, number> = seed % 2 ? { pw: 0.4 } : {};
        const counts = allocate(layers, s, { allocation, fixed });
        // Uniform rounds in each layer, unless something is fixed; the others round the total.
        const parts = allocation === 'uniform' && seed % 2 === 0 ? layers.map(l => l.units) : [units(layers)];
        expect(sum(counts)).toBe(sum(parts.map(n => n - Math.round(s * n))));
        counts.forEach((n, i) => {
          expect(n).toBeGreaterThanOrEqual(layers[i].lower);
          expect(n).toBeLessThanOrEqual(layers[i].upper);
        });
        if (seed % 2) expect(counts[2]).toBe(mobile[2].units - Math.round(0.4 * mobile[2].units));
      }
    }
  });

  it('does not depend on the order of the layers, and never gives more at a higher sparsity', () => {
    const twins = [...mobile, claimant('pw2', [64, 32, 1, 1]), claimant('conv2', [128, 64, 3, 3])];
    for (const allocation of ['uniform', 'uniform+', 'er', 'erk'] as const) {
      let previous = twins.map(l => l.units);
      // The last layer of this net alone is too large for more than 89 % with uniform+.
      for (let s = 0; s < (allocation === 'uniform+' ? 0.89 : 0.99); s += 0.0103) {
        const counts = allocate(twins, s, { allocation });
        // Only uniform+ asks which layer is first and which last.
        if (allocation !== 'uniform+')
          expect(allocate(twins.toReversed(), s, { allocation }).toReversed()).toEqual(counts);
        counts.forEach((n, i) => {
          expect(n).toBeLessThanOrEqual(previous[i]);
        });
        previous = counts;
      }
    }
  });

  it('refuses what cannot be met, and says what can', () => {
    const tight = [claimant('a', [10, 10], { lower: 30 }), claimant('b', [10, 10], { upper: 50 })];
    expect(() => allocate(tight, 0.9)).toThrow('keep 30: at most 0.85 is feasible');
    expect(() => allocate(tight, 0.1)).toThrow('at least 0.25 is needed');
    expect(sum(allocate(tight, 0.85))).toBe(30);
    for (const s of [1, 1.2, -0.1, Number.NaN]) expect(() => allocate(lenet, s)).toThrow('outside 0 ≤ s < 1');
    expect(() => allocate(lenet, 0.5, { fixed: { fc4: 0 } })).toThrow(
      "'fc4': no such layer; the layers are fc1, fc2, fc3",
    );
    expect(() => allocate(lenet, 0.5, { fixed: { fc1: 1.5 } })).toThrow('layer fc1 is outside 0…1');
    expect(() => allocate(lenet, 0.99, { fixed: { fc1: 0 } })).toThrow('is feasible');
  });
});

describe('minimumWeights', () => {
  it('reads counts and percentages of all weights', () => {
    expect(minimumWeights(undefined, 1000)).toBe(0);
    expect(minimumWeights(7, 1000)).toBe(7);
    expect(minimumWeights('0.05%', 266_200)).toBe(133);
    expect(minimumWeights('7%', 100)).toBe(7);
  });
  it('refuses the rest', () => {
    for (const bad of [-1, 1.5, Number.NaN, 'x%', '%', '5'] as number[]) {
      expect(() => minimumWeights(bad, 100)).toThrow('minimum');
    }
  });
});

import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { layer, Mask, magnitude, prune } from '../../sparsity/index.ts';
import { initialRate, relativeChange, retraining, type Vary } from './soup-retraining.ts';

const plans = (vary: Vary) =>
  [0, 1, 2].map(copy => retraining({ vary, epochs: 4, weightDecay: 1e-3 }, { phase: 2, copy, copies: 3, rate: 0.1 }));

const distinct = (values: readonly unknown[]) => new Set(values).size;

describe('retraining', () => {
  it('lets copies differ in one factor', () => {
    const keys = ['seed', 'weightDecay', 'epochs', 'learningRate'] as const;
    const differing = { seed: 0, weight_decay: 1, retrain_length: 2, retrain_schedule: 3 } as const;
    for (const vary of Object.keys(differing) as Vary[]) {
      const counts = keys.map(key => distinct(plans(vary).map(p => p[key])));
      expect(counts).toEqual(keys.map((_, i) => (i === differing[vary] ? 3 : 1)));
    }
    expect(plans('weight_decay').map(p => p.weightDecay)).toEqual([5e-4, 1e-3, 2e-3]);
    expect(plans('retrain_length').map(p => p.epochs)).toEqual([2, 4 * 0.5 * 3 ** 0.5, 6]);
    expect(plans('retrain_schedule').map(p => +p.learningRate.toFixed(4))).toEqual([0.05, 0.0707, 0.1]);
  });

  it('gives every phase, copy and run another order of batches', () => {
    const seeds = [0, 1].flatMap(seed =>
      [1, 2, 3].flatMap(phase =>
        [0, 1, 2].map(copy => retraining({ epochs: 1, seed }, { phase, copy, copies: 3, rate: 1 }).seed),
      ),
    );
    expect(distinct(seeds)).toBe(18);
  });

  it('decays linearly to 0, but for FT', () => {
    const at = { phase: 1, copy: 0, copies: 1, rate: 0.1 };
    expect([0, 5, 10].map(retraining({ epochs: 1 }, at).schedule(10))).toEqual([1, 0.5, 0]);
    expect([0, 5, 10].map(retraining({ epochs: 1, schedule: 'FT' }, at).schedule(10))).toEqual([1, 1, 1]);
  });

  it('refuses factors that it does not know', () => {
    expect(() => plans('width' as Vary)).toThrow("vary 'width'");
  });
});

describe('initialRate', () => {
  const base = { epochs: 2, pretrainEpochs: 10, learningRate: 0.1 };
  it('is what each schedule says', () => {
    expect(initialRate(base, 0.9)).toBe(0.1);
    expect(initialRate({ ...base, schedule: 'ALLR' }, 0.5)).toBeCloseTo(0.05, 12);
    expect(initialRate({ ...base, schedule: 'ALLR' }, 0.1)).toBeCloseTo(0.02, 12);
    expect(initialRate({ ...base, schedule: 'FT' }, 0.9)).toBeCloseTo(0.001, 12);
    expect(initialRate({ ...base, schedule: 'FT', lastLearningRate: 0.03 }, 0.9)).toBe(0.03);
    // The linear schedule of 10 epochs is at a fifth when 2 are left.
    expect(initialRate({ ...base, schedule: 'LRW' }, 0.9)).toBeCloseTo(0.02, 12);
    expect(initialRate({ ...base, epochs: 20, schedule: 'LRW' }, 0)).toBe(0.1);
  });

  it('needs the length of the pretraining where that counts', () => {
    expect(() => initialRate({ epochs: 2, schedule: 'ALLR' }, 0.5)).toThrow('needs pretrainEpochs');
    expect(() => initialRate({ epochs: 0 }, 0.5)).toThrow('0 epochs');
    expect(() => initialRate({ epochs: 1, schedule: 'CLR' as 'FT' }, 0.5)).toThrow("schedule 'CLR'");
  });
});

describe('relativeChange', () => {
  const make = (values: Float32Array) => layer('w', [8, values.length / 8], values);
  it('is 1 where all weights have one magnitude, less for magnitude pruning, of the live weights only', () => {
    const flat = make(new Float32Array(64).map((_, i) => (i % 2 ? 1 : -1)));
    const half = new Mask([['w', { shape: [8, 8], keep: Uint8Array.from({ length: 64 }, (_, i) => Number(i < 32)) }]]);
    expect(relativeChange([flat], half)).toBeCloseTo(1, 12);
    const values = new Random(1).normal(800);
    const mask = prune([make(values)], l => magnitude(l.values), { sparsity: 0.5 });
    const d = relativeChange([make(values)], mask);
    const gone = values.filter((_, i) => mask.get('w')[i] === 0);
    const norm = (x: Float32Array) => Math.sqrt(x.reduce((a, v) => a + v * v, 0));
    expect(d).toBeCloseTo(norm(gone) / (norm(values) * Math.sqrt(0.5)), 6);
    expect(d).toBeLessThan(1);
    // Weights that were zero before neither count as live nor as pruned.
    const padded = layer('w', [8, 200], Float32Array.from([...values, ...new Float32Array(800)]));
    const wide = new Mask([
      ['w', { shape: [8, 200], keep: Uint8Array.from([...mask.get('w'), ...new Uint8Array(800)]) }],
    ]);
    expect(relativeChange([padded], wide)).toBeCloseTo(d, 12);
    expect(relativeChange([flat], Mask.ones([flat]))).toBe(0);
  });
});

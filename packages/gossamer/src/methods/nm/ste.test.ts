import { describe, expect, it } from 'vitest';
import { magnitude, prune } from '../../sparsity/index.ts';
import { layer } from '../../sparsity/layer.ts';
import { STE } from './ste.ts';
import { largestOfEach, watch } from './testing.ts';

describe('STE', () => {
  it('the mask holds the n largest of every m present dense weights before every step, and pruned weights return', async () => {
    const { seen, weights } = await watch(new STE({ granularity: '2:4' }));
    expect(seen.map(s => s.step)).toEqual(Array.from({ length: 41 }, (_, i) => i));
    let returned = 0;
    for (const [i, { values, keep }] of seen.entries()) {
      for (const [name, k] of keep) {
        expect(k.join('')).toBe(largestOfEach(values.get(name)!, 2, 4).join(''));
        if (i > 0) returned += k.reduce((n, on, j) => n + (on > seen[i - 1].keep.get(name)![j] ? 1 : 0), 0);
      }
    }
    expect(returned).toBeGreaterThan(0);
    // What is left at the end: the last mask, with exact zeros, on the last dense weights.
    const { values, keep } = seen.at(-1)!;
    for (const [name, k] of keep) {
      expect(weights.get(name)).toEqual(values.get(name)!.map((w, i) => (k[i] ? w : 0)));
      expect(weights.get(name)!.some(w => Object.is(w, -0))).toBe(false);
    }
  });

  it('prunes any unit to any share, too', async () => {
    const { seen } = await watch(new STE({ sparsity: 0.75, granularity: 'filter', exclude: ['last'] }), { steps: 5 });
    for (const { values, keep } of seen) {
      for (const [name, k] of keep) {
        const v = values.get(name)!;
        const rows = { 'h.0.qkv.weight': 96, 'h.0.mlp.fc1.weight': 64, 'h.0.mlp.fc2.weight': 32 }[name]!;
        const l = layer(name, [rows, v.length / rows], v);
        const expected = prune([l], x => magnitude(x.values), { sparsity: 0.75, granularity: 'filter' });
        expect(k).toEqual(expected.get(name));
      }
    }
  });

  it('refuses rows that m does not divide, and impossible shares', async () => {
    await expect(watch(new STE({ granularity: '2:5' }))).rejects.toThrow(/are not a multiple of 5/);
    expect(() => new STE({ sparsity: 1 })).toThrow('expected 0 ≤ s < 1');
    await expect(watch(new STE({}))).rejects.toThrow('needs a sparsity');
  });
});

import { describe, expect, it } from 'vitest';
import { rankBySign, SET } from './set.ts';
import { changes, places, watch } from './testing.ts';

describe('SET', () => {
  it('moves a constant fraction to random places with random values, except at the end', async () => {
    const { seen } = await watch(new SET({ sparsity: 0.8, interval: 10 }));
    expect(changes(seen)).toEqual([10, 20, 30]);
    for (const s of seen.filter(({ step }) => [10, 20, 30].includes(step))) {
      for (const name of s.mask.names) {
        const [died, born] = [places(s, name, 1, 0), places(s, name, 0, 1)];
        const live = s.before.kept(name);
        expect(died.length).toBe(Math.round(0.3 * live));
        expect(born.length).toBe(died.length);
        for (const i of born) expect(s.weights.get(name)![i]).not.toBe(0);
        // The same share of the positive and of the negative weights, those nearest zero.
        const [w, keep] = [s.values.get(name)!, s.before.get(name)];
        for (const sign of [1, -1]) {
          const own = [...w.keys()].filter(i => keep[i] === 1 && Math.sign(w[i]) === sign);
          const lost = died.filter(i => Math.sign(w[i]) === sign);
          expect(Math.abs(lost.length - 0.3 * own.length)).toBeLessThanOrEqual(1);
          const left = own.filter(i => !died.includes(i));
          expect(Math.max(...lost.map(i => Math.abs(w[i])))).toBeLessThanOrEqual(
            Math.min(...left.map(i => Math.abs(w[i]))),
          );
        }
      }
    }
  });

  it('ranks weights among those of their sign', () => {
    const values = Float32Array.of(3, -1, 0.5, -9, 2, 7, -4);
    const keep = Uint8Array.of(1, 1, 1, 1, 1, 0, 1);
    // Positive: 0.5 < 2 < 3; negative: −1 > −4 > −9.
    const rank = (r: number) => Math.fround((r + 0.5) / 3);
    expect(Array.from(rankBySign(values, keep))).toEqual([rank(2), rank(0), rank(0), rank(2), rank(1), 0, rank(1)]);
  });
});

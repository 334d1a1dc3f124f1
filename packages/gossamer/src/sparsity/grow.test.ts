import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { dropLowest, exchange, growHighest, moveTowardsHighest } from './grow.ts';
import { countOnes } from './mask.ts';
import { keepHighest } from './select.ts';

describe('dropLowest and growHighest', () => {
  it('change exactly as many as asked, at the right end, ties to the lower index', () => {
    const keep = Uint8Array.of(1, 1, 1, 0, 0, 1);
    const scores = Float32Array.of(2, 1, 1, 7, 7, 3);
    expect([...dropLowest(keep, scores, 1)]).toEqual([1, 1, 0, 0, 0, 1]);
    expect([...dropLowest(keep, scores, 4)]).toEqual([0, 0, 0, 0, 0, 0]);
    expect([...growHighest(keep, scores, 1)]).toEqual([1, 1, 1, 1, 0, 1]);
    expect([...growHighest(keep, scores, 0)]).toEqual([...keep]);
    expect(() => dropLowest(keep, scores, 5)).toThrow('drop 5 of 4 live');
    expect(() => growHighest(keep, scores, 3)).toThrow('growHighest: asked for 3 of 2 dead');
  });
});

describe('exchange', () => {
  it('keeps the number of live positions and tells who died and was born', () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = new Random(seed);
      const n = 60;
      const keep = random.bernoulli(n, 0.4);
      const live = countOnes(keep);
      const [drop, grow] = [random.normal(n).map(Math.round), random.normal(n)];
      for (const regrowDropped of [true, false]) {
        const count = Math.min(live, n - live, seed % 20);
        const result = exchange(keep, count, drop, grow, { regrowDropped });
        expect(countOnes(result.keep)).toBe(live);
        expect(countOnes(result.died)).toBe(countOnes(result.born));
        if (!regrowDropped) expect(countOnes(result.born)).toBe(count);
        for (let i = 0; i < n; i++) expect(result.keep[i] - keep[i]).toBe(result.born[i] - result.died[i]);
        const least = Math.min(...drop.filter((_, i) => result.keep[i] && keep[i] && !result.born[i]));
        const dead = drop.filter((_, i) => result.died[i]);
        if (!regrowDropped) expect(Math.max(...dead)).toBeLessThanOrEqual(least);
      }
    }
  });

  it('may bring a dropped position straight back, unless told not to', () => {
    const keep = Uint8Array.of(1, 1, 0);
    const [drop, grow] = [Float32Array.of(1, 2, 0), Float32Array.of(9, 0, 5)];
    expect([...exchange(keep, 1, drop, grow).keep]).toEqual([1, 1, 0]);
    expect(countOnes(exchange(keep, 1, drop, grow).born)).toBe(0);
    expect([...exchange(keep, 1, drop, grow, { regrowDropped: false }).keep]).toEqual([0, 1, 1]);
  });
});

describe('moveTowardsHighest', () => {
  it('with fraction 1 ends at the highest scores, with less makes ⌈f·q⌉ swaps', () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = new Random(seed);
      const keep = random.bernoulli(50, 0.5);
      const scores = seed % 2 ? random.normal(50) : random.normal(50).map(Math.round);
      const all = moveTowardsHighest(keep, scores);
      const sorted = (k: Uint8Array) =>
        [...scores]
          .filter((_, i) => k[i])
          .map(v => v + 0)
          .sort((a, b) => a - b);
      const [ideal] = keepHighest([{ name: 's', scores }], countOnes(keep));
      expect(sorted(all.keep)).toEqual(sorted(ideal));
      const q = countOnes(all.born);
      for (const f of [0, 0.1, 0.5]) {
        const some = moveTowardsHighest(keep, scores, f);
        expect([countOnes(some.born), countOnes(some.died), countOnes(some.keep)]).toEqual([
          Math.ceil(f * q),
          Math.ceil(f * q),
          countOnes(keep),
        ]);
      }
      expect(countOnes(moveTowardsHighest(all.keep, scores).born)).toBe(0);
    }
  });

  it('leaves a mask alone among equal scores', () => {
    const keep = Uint8Array.of(0, 1, 0, 1);
    expect([...moveTowardsHighest(keep, new Float32Array(4).fill(1)).keep]).toEqual([...keep]);
  });
});

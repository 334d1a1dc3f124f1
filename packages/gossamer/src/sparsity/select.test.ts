import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { keepHighest, pick, type Scored } from './select.ts';

/** By sorting, as the definition says: score, then name, then index. */
function bySorting(parts: readonly Scored[], keep: number): number[][] {
  const all = parts.flatMap((p, part) => Array.from(p.scores, (score, i) => ({ score, part, i, name: p.name })));
  all.sort((a, b) =>
    a.score === b.score ? (a.name < b.name ? -1 : a.name > b.name ? 1 : a.i - b.i) : a.score < b.score ? 1 : -1,
  );
  const masks = parts.map(p => Array.from(p.scores, () => 0));
  for (const { part, i } of all.slice(0, keep)) masks[part][i] = 1;
  return masks;
}

const odd = [0, -0, 1, -1, Infinity, -Infinity, 1e-45, -1e-45, 1.1754943508222875e-38, 3.4028234663852886e38, -3.4e38];

describe('keepHighest', () => {
  it('equals sorting for every count, on ties, zeros of both signs, subnormals and infinities', () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = new Random(seed);
      const [count] = random.integers(1, 1, 5);
      const parts = Array.from({ length: count }, (_, p) => {
        const [n] = random.integers(1, 0, 12);
        const kind = seed % 3;
        const scores =
          kind === 0 ? random.normal(n) : kind === 1 ? random.normal(n).map(Math.round) : new Float32Array(n);
        if (kind === 2) scores.set(Array.from(random.integers(n, 0, odd.length), c => odd[c]));
        return { name: `layer${(p * 7) % 5}`, scores };
      });
      const total = parts.reduce((n, p) => n + p.scores.length, 0);
      for (let keep = 0; keep <= total; keep++) {
        expect(keepHighest(parts, keep).map(m => [...m])).toEqual(bySorting(parts, keep));
      }
    }
  });

  it('finds exact counts among many values that share their upper bits', () => {
    const random = new Random(5);
    const scores = random.uniform(50_000, 1, 1.0001);
    const expected = [...scores].sort((a, b) => b - a)[12_344];
    const [mask] = keepHighest([{ name: 'w', scores }], 12_345);
    expect(mask.reduce((n, k) => n + k, 0)).toBe(12_345);
    expect(scores.every((s, i) => s === expected || mask[i] === (s > expected ? 1 : 0))).toBe(true);
  });

  it('does not depend on the order of the parts', () => {
    const random = new Random(1);
    const parts = ['b', 'a', 'c'].map(name => ({ name, scores: random.normal(40).map(Math.round) }));
    const forward = keepHighest(parts, 50);
    expect(keepHighest(parts.toReversed(), 50).toReversed()).toEqual(forward);
  });

  it('leaves views and inputs alone', () => {
    const buffer = Float32Array.of(9, 1, 2, 3, 9);
    expect([...keepHighest([{ name: 'v', scores: buffer.subarray(1, 4) }], 1)[0]]).toEqual([0, 0, 1]);
    expect([...buffer]).toEqual([9, 1, 2, 3, 9]);
  });

  it('refuses NaN of either sign with its layer, and impossible counts', () => {
    const bits = new Uint32Array([0x3f800000, 0xffc00001]);
    const parts = [
      { name: 'fine', scores: Float32Array.of(1) },
      { name: 'bad', scores: new Float32Array(bits.buffer) },
    ];
    expect(() => keepHighest(parts, 1)).toThrow('layer bad: score 1 is NaN');
    expect(() => keepHighest(parts, 0)).toThrow('layer bad');
    expect(() => keepHighest([parts[0]], 2)).toThrow('asked for 2 of 1');
    expect(() => keepHighest([parts[0]], 0.5)).toThrow('asked for 0.5');
  });
});

describe('pick', () => {
  const scores = Float32Array.of(3, 1, 2, 1, 3);
  it('chooses among live or dead positions only', () => {
    const keep = Uint8Array.of(1, 1, 0, 1, 0);
    expect([...pick(scores, 2, 'lowest', keep, 1)]).toEqual([0, 1, 0, 1, 0]);
    expect([...pick(scores, 1, 'lowest', keep, 1)]).toEqual([0, 1, 0, 0, 0]);
    expect([...pick(scores, 1, 'highest', keep, 0)]).toEqual([0, 0, 0, 0, 1]);
    expect(() => pick(scores, 3, 'highest', keep, 0, 'grow')).toThrow('grow: asked for 3 of 2 dead positions');
  });
});

import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { exchangeLayer } from './exchange.ts';
import { parseGranularity, unitsOf } from './granularity.ts';
import { type Layer, layer } from './layer.ts';
import { countOnes } from './mask.ts';
import { prune, unitsAlive } from './prune.ts';
import { randomScore } from './score.ts';

const layers = (seed: number): Layer[] => {
  const random = new Random(seed);
  const make = (name: string, shape: number[], options = {}) =>
    layer(name, shape, random.fork(name).normal(shape.reduce((a, b) => a * b)), options);
  return [
    make('fc', [8, 12]),
    make('conv', [8, 4, 3, 3]),
    make('grouped', [8, 4, 3, 1], { groups: 2 }),
    make('matmul', [12, 8], { outAxis: 1, inAxis: 0 }),
  ];
};

/** Runs of m along an axis, written out: the values of `keep` in each, by plain index arithmetic. */
function runs({ shape, outAxis, inAxis }: Layer, keep: Uint8Array, m: number, axis: 'in' | 'out'): number[] {
  const along = axis === 'in' ? inAxis : outAxis;
  const stride = shape.slice(along + 1).reduce((a, b) => a * b, 1);
  const counts = new Map<string, number>();
  keep.forEach((k, i) => {
    const place = Math.floor(i / stride) % shape[along];
    const rest = i - place * stride;
    const run = `${rest} ${Math.floor(place / m)}`;
    counts.set(run, (counts.get(run) ?? 0) + k);
  });
  return [...counts.values()];
}

describe('exchangeLayer', () => {
  const granularities = ['element', 'filter', 'channel', 'kernel', 'filter-shape', 'layer', 'block:4x1', 'block:2x2'];

  it.each(granularities)('%s: as many units are born as die, the worst out and the best in', granularity => {
    for (let seed = 0; seed < 4; seed++) {
      const random = new Random(seed).fork(granularity);
      for (const l of layers(seed)) {
        const units = unitsOf(l, parseGranularity(granularity));
        const score = () => randomScore(l.values.length, random.fork(l.name));
        const keep = prune([l], score, { sparsity: 0.6, granularity }).get(l.name);
        const [drop, grow] = [random.normal(keep.length).map(Math.abs), random.normal(keep.length).map(Math.abs)];
        for (const regrowDropped of [true, false]) {
          const moved = exchangeLayer(l, keep, 0.4, drop, grow, { granularity, norm: 'sum', regrowDropped });
          const [before, after] = [keep, moved.keep].map(k => unitsAlive(k, units));
          // Units move whole.
          expect(moved.keep.every((k, e) => k === after[units.of?.[e] ?? e])).toBe(true);
          expect(countOnes(after)).toBe(countOnes(before));
          const sums = [drop, grow].map(values => {
            const sum = new Float32Array(units.count);
            for (const [e, v] of values.entries()) sum[units.of?.[e] ?? e] += v;
            return sum;
          });
          const of = (was: number, is: number) => [...before.keys()].filter(u => before[u] === was && after[u] === is);
          const gone = of(1, 0);
          expect(of(0, 1)).toHaveLength(gone.length);
          if (!regrowDropped) {
            expect(gone).toHaveLength(Math.min(Math.round(0.4 * countOnes(before)), before.length - countOnes(before)));
            expect(Math.max(...gone.map(u => sums[0][u]), 0)).toBeLessThanOrEqual(
              Math.min(...of(1, 1).map(u => sums[0][u])),
            );
          }
          const lowest = Math.min(...of(0, 1).map(u => sums[1][u]));
          expect(lowest).toBeGreaterThanOrEqual(Math.max(0, ...of(0, 0).map(u => sums[1][u])));
        }
      }
    }
  });

  it.each(['2:4', '1:4', '3:4', '2:4:out', '1:4:out', '1:2'])(
    '%s: counts stay, and every run keeps to the pattern',
    text => {
      const pattern = parseGranularity(text) as { n: number; m: number; axis: 'in' | 'out' };
      const own = 1 - pattern.n / pattern.m;
      let moved = 0;
      for (let seed = 0; seed < 3; seed++) {
        const random = new Random(seed).fork(text);
        for (const l of layers(seed)) {
          for (const sparsity of [own / 2, own, own + 0.5 * (1 - own)]) {
            const keep = prune([l], () => random.uniform(l.values.length), { sparsity, granularity: text }).get(l.name);
            const [drop, grow] = [random.normal(keep.length).map(Math.abs), random.normal(keep.length).map(Math.abs)];
            for (const regrowDropped of [true, false]) {
              for (const share of [0, 0.3, 1]) {
                const result = exchangeLayer(l, keep, share, drop, grow, { granularity: text, regrowDropped });
                expect(countOnes(result.keep)).toBe(countOnes(keep));
                expect(countOnes(result.born)).toBe(countOnes(result.died));
                if (share === 0) expect(result.keep).toEqual(keep);
                moved += countOnes(result.born);
                const live = runs(l, result.keep, pattern.m, pattern.axis);
                if (sparsity < own) expect(Math.min(...live)).toBeGreaterThanOrEqual(pattern.n);
                else expect(Math.max(...live)).toBeLessThanOrEqual(pattern.n);
                if (sparsity === own) expect(Math.min(...live)).toBe(pattern.n);
              }
            }
          }
        }
      }
      expect(moved).toBeGreaterThan(200);
    },
  );

  it('under a full pattern every run regrows what it lost, by the highest scores of its own', () => {
    const l = layer('w', [1, 8], new Float32Array(8));
    const keep = Uint8Array.of(1, 1, 0, 0, 1, 1, 0, 0);
    const drop = Float32Array.of(1, 5, 0, 0, 6, 7, 0, 0);
    const grow = Float32Array.of(0, 0, 1, 2, 9, 9, 8, 8);
    const options = { granularity: '2:4' };
    expect([...exchangeLayer(l, keep, 0.25, drop, grow, options).keep]).toEqual([0, 1, 0, 1, 1, 1, 0, 0]);
    // Three of four go; in the second run the dropped one has the highest growth and comes back.
    expect([...exchangeLayer(l, keep, 0.75, drop, grow, options).keep]).toEqual([0, 0, 1, 1, 1, 1, 0, 0]);
    const never = { ...options, regrowDropped: false };
    expect([...exchangeLayer(l, keep, 0.75, drop, grow, never).keep]).toEqual([0, 0, 1, 1, 0, 1, 1, 0]);
  });

  it('keeps the best of what it would drop where no other place is free', () => {
    const l = layer('w', [1, 4], new Float32Array(4));
    const keep = Uint8Array.of(1, 1, 1, 0);
    const drop = Float32Array.of(3, 1, 2, 0);
    const options = { granularity: '3:4', regrowDropped: false };
    expect([...exchangeLayer(l, keep, 1, drop, drop, options).keep]).toEqual([1, 0, 1, 1]);
    const element = { granularity: 'element', regrowDropped: false };
    expect([...exchangeLayer(l, keep, 1, drop, drop, element).keep]).toEqual([1, 0, 1, 1]);
  });
});

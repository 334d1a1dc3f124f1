import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import type { Allocation } from './allocation.ts';
import { keepNM, type NM, parseGranularity, unitsOf } from './granularity.ts';
import { type Layer, layer } from './layer.ts';
import { countOnes, type Mask } from './mask.ts';
import { bernoulliMask, prune } from './prune.ts';
import { sparsitySchedule } from './schedule.ts';
import { magnitude, randomScore } from './score.ts';

/** A small net of random widths, all multiples of 4 so that every granularity fits. */
function net(seed: number): Layer[] {
  const random = new Random(seed);
  const [a, b, c, k] = random.integers(4, 2, 5);
  const make = (name: string, shape: number[], options = {}) =>
    layer(name, shape, random.fork(name).normal(shape.reduce((x, y) => x * y, 1)), options);
  return [
    make('conv1', [4, 4, k, 1], { heads: { count: 2, axis: 'out' } }),
    make('conv2', [4 * b, 4 * a, 3, 3], { heads: { count: 4, axis: 'out' } }),
    make('fc', [8 * c, 8 * b], { heads: { count: 2, axis: 'in' } }),
    make('matmul', [4 * c, 12], { outAxis: 1, inAxis: 0, heads: { count: 4, axis: 'out' } }),
  ];
}
const weight = (l: Layer) => magnitude(l.values);
const coarse = (l: Layer) => l.values.map(v => Math.round(Math.abs(v)));
const total = (layers: readonly Layer[]) => layers.reduce((n, l) => n + l.values.length, 0);

describe('prune', () => {
  const scores: Record<string, (l: Layer) => Float32Array> = {
    magnitude: weight,
    'many ties': coarse,
    random: l => randomScore(l.values.length, new Random(3).fork(l.name)),
    signed: l => l.values,
  };
  const granularities = [
    'element',
    'filter',
    'channel',
    'kernel',
    'filter-shape',
    'head',
    'layer',
    'block:4x1',
    'block:2x2',
  ];
  const patterns = ['2:4', '1:4', '3:4', '1:2:out'];
  const allocations: Allocation[] = ['uniform', 'uniform+', 'er', 'erk', 'global'];
  const schedules = (['cubic', 'linear', 'cosine', 'iterative', 'one-shot', 'constant'] as const).map(
    kind => (final: number) =>
      sparsitySchedule({ kind, final, every: 25, ...(kind !== 'iterative' && kind !== 'one-shot' && { end: 110 }) }),
  );

  /** Units kept in all layers together, by the definition of the allocations. */
  const expected = (units: number[], sparsity: number, allocation: Allocation) => {
    const parts = allocation === 'uniform' ? units : [units.reduce((a, b) => a + b, 0)];
    return parts.reduce((n, u) => n + u - Math.round(sparsity * u), 0);
  };

  it.each(Object.keys(scores))(
    '%s: exact counts and nested masks for every granularity, allocation and schedule',
    score => {
      for (const [g, granularity] of [...granularities, ...patterns].entries()) {
        const layers = net(g);
        const parsed = parseGranularity(granularity);
        const divisions = layers.map(l => unitsOf(l, parsed));
        const final = parsed.kind === 'nm' ? 1 - parsed.n / parsed.m : 0.85;
        for (const [a, allocation] of allocations.entries()) {
          // A dense first layer leaves too little for the others of such small nets, or contradicts the pattern.
          if (allocation === 'uniform+' && granularity !== 'element') continue;
          const schedule = schedules[(g + a) % schedules.length](final);
          let previous: Mask | undefined;
          for (const step of schedule.updateSteps()) {
            const sparsity = schedule.at(step);
            const mask: Mask = prune(layers, scores[score], {
              sparsity,
              granularity,
              allocation,
              norm: 'sum',
              within: previous,
            });
            let kept = 0;
            layers.forEach((l, i) => {
              const keep = mask.get(l.name);
              const { of, count } = divisions[i];
              const live = new Uint8Array(count);
              for (let e = 0; e < keep.length; e++) live[of?.[e] ?? e] |= keep[e];
              expect(keep.every((k, e) => k === live[of?.[e] ?? e])).toBe(true);
              kept += countOnes(live);
              if (allocation === 'uniform') expect(countOnes(live)).toBe(count - Math.round(sparsity * count));
            });
            expect(kept).toBe(
              expected(
                divisions.map(d => d.count),
                sparsity,
                allocation,
              ),
            );
            if (previous) expect(mask.isWithin(previous)).toBe(true);
            previous = mask;
          }
        }
      }
    },
  );

  it('nests without a previous mask, too, as long as scores stay: no layer keeps more at a higher sparsity', () => {
    const layers = net(5);
    for (const allocation of allocations) {
      const sparse = prune(layers, weight, { sparsity: 0.8, allocation });
      const sparser = prune(layers, weight, { sparsity: 0.9, allocation });
      expect(sparser.isWithin(sparse)).toBe(true);
    }
  });

  it('N:M ends in exactly the pattern, and is on the way a part of it', () => {
    for (const text of patterns) {
      const pattern = parseGranularity(text) as NM;
      const layers = net(11);
      const full = prune(layers, weight, { granularity: text });
      for (const l of layers) expect(full.get(l.name)).toEqual(keepNM(l, weight(l), pattern));
      const sparsity = 1 - pattern.n / pattern.m;
      for (const allocation of ['uniform', 'erk', 'global'] as const) {
        expect(prune(layers, weight, { granularity: text, sparsity, allocation }).equals(full)).toBe(true);
        expect(full.isWithin(prune(layers, weight, { granularity: text, sparsity: sparsity / 2, allocation }))).toBe(
          true,
        );
      }
      // Beyond the pattern, a part of it stays: nowhere more than n of m, and counts remain exact.
      const further = sparsity + 0.7 * (1 - sparsity);
      for (const allocation of allocations.filter(a => a !== 'uniform+')) {
        const mask = prune(layers, weight, { granularity: text, sparsity: further, allocation });
        expect(mask.isWithin(full)).toBe(true);
        const units = layers.map(l => l.values.length);
        expect(mask.kept()).toBe(expected(units, further, allocation));
        const nested = prune(layers, coarse, { granularity: text, sparsity: further, allocation: 'erk', within: mask });
        expect(nested.isWithin(mask)).toBe(true);
      }
      const dense = { granularity: text, sparsity: further, allocation: 'uniform+' } as const;
      expect(() => prune(layers, weight, dense)).toThrow('uniform+ leaves the first layer dense');
      const own = Object.fromEntries(layers.map((l, i) => [l.name, i % 2 ? sparsity / 2 : further]));
      const mixed = prune(layers, weight, { granularity: text, sparsity: own });
      for (const [i, l] of layers.entries()) {
        expect(mixed.kept(l.name)).toBe(l.values.length - Math.round(own[l.name] * l.values.length));
        const [less, more] = i % 2 ? [full, mixed] : [mixed, full];
        expect(less.get(l.name).every((k, u) => k <= more.get(l.name)[u])).toBe(true);
      }
    }
  });

  it('global: one threshold, exact count by floor, independent of the order of layers', () => {
    for (let seed = 0; seed < 20; seed++) {
      const layers = net(seed);
      for (const score of [weight, coarse]) {
        const options = { sparsity: 0.05 + 0.045 * seed, allocation: 'global', rounding: 'floor' } as const;
        const mask = prune(layers, score, options);
        expect(mask.kept()).toBe(total(layers) - Math.floor(options.sparsity * total(layers) + 1e-9));
        let [pruned, kept] = [-Infinity, Infinity];
        for (const l of layers) {
          score(l).forEach((s, e) => {
            if (mask.get(l.name)[e]) kept = Math.min(kept, s);
            else pruned = Math.max(pruned, s);
          });
        }
        expect(pruned).toBeLessThanOrEqual(kept);
        expect(prune(layers.toReversed(), score, options).equals(mask)).toBe(true);
      }
    }
  });

  it('minimum: every layer keeps its largest, one threshold decides the rest, and the total stays exact', () => {
    for (let seed = 0; seed < 20; seed++) {
      const layers = net(seed).map((l, i) =>
        layer(
          l.name,
          l.shape,
          l.values.map(v => v * 10 ** -i),
          l,
        ),
      );
      const n = total(layers);
      const minimum = 3 + seed;
      const sparsity = 0.5;
      const mask = prune(layers, weight, { sparsity, allocation: 'global', minimum });
      expect(mask.kept()).toBe(n - Math.round(sparsity * n));
      const ranked = layers.flatMap(l => {
        const values = Array.from(weight(l), (s, e) => ({ name: l.name, s, e })).sort((a, b) => b.s - a.s);
        return values.map((v, place) => ({ ...v, safe: place < minimum }));
      });
      ranked.sort((a, b) => Number(b.safe) - Number(a.safe) || b.s - a.s);
      ranked.forEach(({ name, e }, place) => {
        expect(mask.get(name)[e]).toBe(place < mask.kept() ? 1 : 0);
      });
    }
  });

  it('minimum: holds for each allocation, changes nothing at 0, and refuses the infeasible with the limit', () => {
    const layers = net(2);
    const n = total(layers);
    for (const allocation of ['uniform', 'er', 'erk', 'global'] as const) {
      const mask = prune(layers, weight, { sparsity: 0.7, allocation, minimum: '5%' });
      for (const l of layers) {
        expect(mask.kept(l.name)).toBeGreaterThanOrEqual(Math.min(Math.floor(0.05 * n), l.values.length));
      }
      const plain = prune(layers, weight, { sparsity: 0.7, allocation });
      expect(prune(layers, weight, { sparsity: 0.7, allocation, minimum: 0 }).equals(plain)).toBe(true);
      const floor = layers.reduce((sum, l) => sum + Math.min(40, l.values.length), 0);
      expect(() => prune(layers, weight, { sparsity: 0.99, allocation, minimum: 40 })).toThrow(
        `at most ${1 - floor / n} is feasible`,
      );
      const blocks = prune(layers, weight, { sparsity: 0.7, allocation, minimum: 14, granularity: 'block:4x1' });
      for (const l of layers) expect(blocks.kept(l.name)).toBeGreaterThanOrEqual(Math.min(14, l.values.length));
    }
  });

  it('lets weights return unless told to stay within the previous mask', () => {
    const l = layer('w', [4], Float32Array.of(1, 2, 3, 4));
    const first = prune([l], () => Float32Array.of(1, 2, 3, 4), { sparsity: 0.5 });
    const turned = () => Float32Array.of(9, 8, 1, 2);
    expect([...prune([l], turned, { sparsity: 0.5 }).get('w')]).toEqual([1, 1, 0, 0]);
    expect(prune([l], turned, { sparsity: 0.5, within: first }).equals(first)).toBe(true);
    expect([...prune([l], turned, { sparsity: 0.75, within: first }).get('w')]).toEqual([0, 0, 0, 1]);
    expect(() => prune([l], turned, { sparsity: 0.25, within: first })).toThrow('at least 0.5 is needed');
  });

  it('breaks ties of many exact zeros by index, exactly', () => {
    const l = layer('w', [8], Float32Array.of(0, -0, 0, 1, 0, -0, 0, 0));
    expect([...prune([l], weight, { sparsity: 0.5 }).get('w')]).toEqual([1, 1, 1, 1, 0, 0, 0, 0]);
  });

  it('takes a sparsity for each layer', () => {
    const layers = net(4);
    const mask = prune(layers, weight, { sparsity: { conv1: 0, conv2: 0.5, fc: 0.75, matmul: 1 } });
    expect(layers.map(l => mask.density(l.name))).toEqual([1, 0.5, 0.25, 0]);
    expect(() => prune(layers, weight, { sparsity: { conv1: 0 } })).toThrow('no entry for conv2, fc, matmul');
    const more = { conv1: 0, conv2: 0, fc: 0, matmul: 0, fc2: 0 };
    expect(() => prune(layers, weight, { sparsity: more })).toThrow("'fc2': no such layer");
  });

  it('takes a granularity for each layer, counts exact in units of each', () => {
    const layers = net(5);
    const blocks = new Set(['conv2', 'fc']);
    const granularity = (l: Layer) => (blocks.has(l.name) ? 'block:2x1:kernel:pad' : 'element');
    const mask = prune(layers, weight, { sparsity: 0.6, granularity });
    for (const l of layers) {
      const alone = prune([l], weight, { sparsity: 0.6, granularity: granularity(l) });
      expect(mask.get(l.name)).toEqual(alone.get(l.name));
    }
    expect(() => prune(layers, weight, { sparsity: 0.6, granularity, allocation: 'erk' })).toThrow(
      'allocation erk divides units among layers, but they differ in size (element, block:2x1:kernel:pad)',
    );
    const same = prune(layers, weight, { sparsity: 0.6, granularity: () => 'filter', allocation: 'erk' });
    expect(same.equals(prune(layers, weight, { sparsity: 0.6, granularity: 'filter', allocation: 'erk' }))).toBe(true);
  });

  it('is dense at 0, leaves weights and scores alone, and refuses bad input by name', () => {
    const layers = net(6);
    const before = layers.map(l => l.values.slice());
    const fixed = new Map(layers.map(l => [l.name, weight(l)]));
    const copy = new Map(layers.map(l => [l.name, weight(l)]));
    expect(prune(layers, l => fixed.get(l.name)!, { sparsity: 0 }).density()).toBe(1);
    prune(layers, l => fixed.get(l.name)!, { sparsity: 0.5, minimum: 4, allocation: 'global' });
    prune(layers, l => fixed.get(l.name)!, { granularity: '2:4' });
    expect(fixed).toEqual(copy);
    expect(layers.map(l => l.values)).toEqual(before);
    const poison = (value: number) => (l: Layer) => weight(l).fill(l.name === 'fc' ? value : 1, 2, 3);
    expect(() => prune(layers, poison(Number.NaN), { sparsity: 0.5 })).toThrow('layer fc: score 2 is NaN');
    expect(() => prune(layers, poison(Infinity), { sparsity: 0.5 })).toThrow('layer fc: score 2 is Infinity');
    expect(() => prune(layers, () => new Float32Array(3), { sparsity: 0.5 })).toThrow('conv1: 3 scores for');
    expect(() => prune(layers, weight, {})).toThrow('needs a sparsity');
    expect(() => prune(layers, weight, { granularity: '2:4', minimum: 3 })).toThrow('minimum');
    expect(() => prune([...layers, layers[0]], weight, { sparsity: 0.5 })).toThrow('appears twice');
  });
});

describe('bernoulliMask', () => {
  it('keeps each layer’s share within 4σ, the same for the same seed in any order', () => {
    const layers = ['a', 'b'].map(name => layer(name, [100, 200], new Float32Array(20_000)));
    const density = { a: 0.1, b: 0.6 };
    const mask = bernoulliMask(layers, density, new Random(9));
    for (const l of layers) {
      const p = density[l.name as 'a' | 'b'];
      expect(Math.abs(mask.kept(l.name) - 20_000 * p)).toBeLessThan(4 * Math.sqrt(20_000 * p * (1 - p)));
    }
    expect(bernoulliMask(layers.toReversed(), density, new Random(9)).equals(mask)).toBe(true);
    expect(bernoulliMask(layers, density, new Random(10)).equals(mask)).toBe(false);
    expect(() => bernoulliMask(layers, { a: 0.1 }, new Random(1))).toThrow('no density for layer b');
  });
});

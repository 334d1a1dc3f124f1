import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import {
  expandUnits,
  formatGranularity,
  groupScores,
  keepNM,
  type NM,
  outputBlock,
  parseGranularity,
  unitsOf,
} from './granularity.ts';
import { type Layer, layer } from './layer.ts';

const random = new Random(7);
const make = (shape: number[], options: Partial<Layer> = {}, name = 'w') =>
  layer(name, shape, random.fork(shape.join()).normal(shape.reduce((a, b) => a * b, 1)), options);

describe('parseGranularity', () => {
  it('reads back what it writes', () => {
    const texts = ['element', 'filter', 'channel', 'kernel', 'filter-shape', 'head', 'layer'];
    texts.push('block:4x1', 'block:2x8:pad', '2:4', '1:16:out', '2:4:pad', '3:7:out:pad', 'block:4x1:kernel');
    texts.push('block:2x3:kernel:pad');
    for (const text of texts) expect(formatGranularity(parseGranularity(text))).toBe(text);
  });

  it('knows aliases and defaults', () => {
    expect(parseGranularity('row')).toEqual({ kind: 'filter' });
    expect(parseGranularity('column')).toEqual({ kind: 'channel' });
    expect(parseGranularity('2:4')).toEqual({ kind: 'nm', n: 2, m: 4, axis: 'in', ragged: 'refuse' });
    expect(parseGranularity('2:4:in')).toEqual(parseGranularity('2:4'));
    expect(parseGranularity('block:4x1:kernel:pad')).toEqual(outputBlock(4, 'pad'));
    expect(formatGranularity(outputBlock(2))).toBe('block:2x1:kernel');
  });

  it('refuses what it does not know', () => {
    for (const text of ['', 'rows', '4:4', '0:4', '5:4', '2:4:up', 'block:0x1', 'block:4', '2.5:4', '-1:4']) {
      expect(() => parseGranularity(text), text).toThrow('granularity');
    }
    for (const size of [0, 1.5, -2]) expect(() => outputBlock(size)).toThrow('outputBlock');
  });
});

/** Coordinates of each element, by the definition of row-major order. */
function coordinates({ shape, outAxis, inAxis }: Layer, element: number): { o: number; i: number; k: string } {
  const at = shape.map((d, a) => Math.floor(element / shape.slice(a + 1).reduce((n, x) => n * x, 1)) % d);
  return {
    o: at[outAxis],
    i: inAxis < 0 ? 0 : at[inAxis],
    k: at.filter((_, a) => a !== outAxis && a !== inAxis).join(),
  };
}

describe('unitsOf', () => {
  const layers = [
    make([6, 4, 3, 2], { heads: { count: 3, axis: 'out' } }),
    make([4, 6, 3, 2], { outAxis: 1, inAxis: 0, heads: { count: 2, axis: 'out' } }),
    make([6, 8], { heads: { count: 4, axis: 'in' } }),
    make([2, 6, 4], { outAxis: 1, inAxis: 2, heads: { count: 2, axis: 'out' } }),
    make([6], { heads: { count: 2, axis: 'out' } }),
  ];
  const label: Record<string, (c: { o: number; i: number; k: string }, l: Layer) => string> = {
    element: c => `${c.o} ${c.i} ${c.k}`,
    filter: c => `${c.o}`,
    channel: c => `${c.i}`,
    kernel: c => `${c.o} ${c.i}`,
    'filter-shape': c => `${c.i} ${c.k}`,
    layer: () => '',
    'block:2x1': c => `${c.o >> 1} ${c.i} ${c.k}`,
    'block:4x3:pad': c => `${c.o >> 2} ${Math.floor(c.i / 3)} ${c.k}`,
    'block:4x1:kernel:pad': c => `${c.o >> 2} ${c.i}`,
    'block:3x2:kernel:pad': c => `${Math.floor(c.o / 3)} ${c.i >> 1}`,
    head: (c, l) => {
      const { count, axis } = l.heads!;
      return axis === 'out'
        ? `${Math.floor((c.o * count) / l.shape[l.outAxis])}`
        : `${Math.floor((c.i * count) / l.shape[l.inAxis])}`;
    },
  };

  it.each(Object.keys(label))('%s: groups exactly the elements that share their coordinates', text => {
    for (const l of layers) {
      const units = unitsOf(l, parseGranularity(text));
      const groups = new Map<string, number[]>();
      for (let e = 0; e < l.values.length; e++) {
        const key = label[text](coordinates(l, e), l);
        groups.set(key, [...(groups.get(key) ?? []), e]);
      }
      expect(units.count).toBe(groups.size);
      const used = new Set<number>();
      for (const elements of groups.values()) {
        const ids = new Set(elements.map(e => units.of?.[e] ?? e));
        expect(ids.size).toBe(1);
        const [id] = ids;
        used.add(id);
        expect(typeof units.sizes === 'number' ? units.sizes : units.sizes[id]).toBe(elements.length);
      }
      expect(used.size).toBe(groups.size);
    }
  });

  it('an output block of one channel is a kernel', () => {
    for (const l of layers) expect(unitsOf(l, outputBlock(1))).toEqual(unitsOf(l, { kind: 'kernel' }));
  });

  it('refuses blocks that do not fit and heads that are not known', () => {
    expect(() => unitsOf(make([6, 4], {}, 'fc'), parseGranularity('block:4x1'))).toThrow(
      'layer fc: 6 × 4 channels are not a multiple of block 4x1',
    );
    expect(() => unitsOf(make([6, 4, 3, 3], {}, 'conv'), outputBlock(4))).toThrow("with 'block:4x1:kernel:pad'");
    expect(() => unitsOf(make([6, 4], {}, 'fc'), { kind: 'head' })).toThrow('layer fc: granularity head needs');
  });
});

describe('groupScores', () => {
  it('agrees with the definition for each norm', () => {
    const l = make([6, 5, 3]);
    const units = unitsOf(l, parseGranularity('block:4x2:pad'));
    const of = (u: number) => [...l.values].filter((_, e) => units.of![e] === u);
    const norms = {
      l1: (v: number[]) => v.reduce((n, x) => n + Math.abs(x), 0),
      l2: (v: number[]) => Math.sqrt(v.reduce((n, x) => n + x * x, 0)),
      sum: (v: number[]) => v.reduce((n, x) => n + x, 0),
      mean: (v: number[]) => v.reduce((n, x) => n + x, 0) / v.length,
      max: (v: number[]) => Math.max(...v),
    };
    for (const [norm, f] of Object.entries(norms)) {
      const scores = groupScores(l.values, units, norm as keyof typeof norms);
      for (let u = 0; u < units.count; u++) expect(scores[u]).toBeCloseTo(f(of(u)), 5);
    }
  });

  it('lets NaN through, also in max', () => {
    const units = unitsOf(make([2, 3]), { kind: 'filter' });
    for (const norm of ['l1', 'l2', 'sum', 'mean', 'max'] as const) {
      expect(groupScores(Float32Array.of(1, Number.NaN, 2, 1, 2, 3), units, norm)[0]).toBeNaN();
    }
  });

  it('expands decisions to all elements of a unit', () => {
    const units = unitsOf(make([2, 3]), { kind: 'channel' });
    expect([...expandUnits(Uint8Array.of(1, 0, 1), units)]).toEqual([1, 0, 1, 1, 0, 1]);
  });
});

describe('keepNM', () => {
  const runs = (l: Layer, { m, axis = 'in' }: NM) => {
    const groups = new Map<string, number[]>();
    for (let e = 0; e < l.values.length; e++) {
      const { o, i, k } = coordinates(l, e);
      const key = axis === 'in' ? `${o} ${k} ${Math.floor(i / m)}` : `${i} ${k} ${Math.floor(o / m)}`;
      groups.set(key, [...(groups.get(key) ?? []), e]);
    }
    return [...groups.values()];
  };

  it('keeps the n highest of every run along the right axis, ties to the lower index', () => {
    const layers = [
      make([8, 12]),
      make([12, 8], { outAxis: 1, inAxis: 0 }),
      make([8, 8, 3, 3]),
      make([4, 12, 2, 3], { outAxis: 1, inAxis: 0 }),
      make([5, 9]),
    ];
    for (const l of layers) {
      const coarse = l.values.map(v => Math.round(2 * Math.abs(v)));
      for (const text of ['2:4:pad', '1:4:out:pad', '3:4:pad', '1:8:pad', '5:6:out:pad']) {
        const pattern = parseGranularity(text) as NM;
        const keep = keepNM(l, coarse, pattern);
        for (const run of runs(l, pattern)) {
          const best = [...run].sort((a, b) => coarse[b] - coarse[a] || a - b).slice(0, pattern.n);
          expect(run.filter(e => keep[e] === 1)).toEqual(best.sort((a, b) => a - b));
        }
      }
    }
  });

  it('refuses a remainder unless told to pad, and NaN', () => {
    const l = make([4, 6], {}, 'fc');
    expect(() => keepNM(l, l.values, { kind: 'nm', n: 2, m: 4 })).toThrow(
      'layer fc: its 6 input channels are not a multiple of 4',
    );
    expect(() =>
      keepNM(
        l,
        l.values.map(() => Number.NaN),
        { kind: 'nm', n: 1, m: 3 },
      ),
    ).toThrow('layer fc: score 0 is NaN');
  });
});

import { describe, expect, it } from 'vitest';
import { checkLayers, flops, layer, layoutOf, maskable } from './layer.ts';

const zeros = (shape: number[]) => new Float32Array(shape.reduce((a, b) => a * b, 1));
const make = (name: string, shape: number[], options = {}) => layer(name, shape, zeros(shape), options);

describe('layer', () => {
  it('knows the axes of the usual weights', () => {
    expect(make('fc', [10, 20])).toMatchObject({ kind: 'linear', outAxis: 0, inAxis: 1, positions: 1 });
    expect(make('conv', [8, 4, 3, 3])).toMatchObject({ kind: 'conv', outAxis: 0, inAxis: 1 });
    expect(make('dw', [8, 1, 3, 3]).kind).toBe('depthwise');
    expect(make('gate', [8])).toMatchObject({ kind: 'vector', outAxis: 0, inAxis: -1 });
    expect(make('e', [100, 16], { kind: 'embedding' })).toMatchObject({ outAxis: 1, inAxis: 0, positions: 0 });
  });

  it('refuses what does not fit', () => {
    expect(() => layer('a', [2, 3], new Float32Array(5))).toThrow('layer a: shape [2, 3] does not describe 5 values');
    expect(() => layer('a', [], new Float32Array(1))).toThrow('scalar');
    expect(() => make('a', [2, 3], { outAxis: 1 })).toThrow('output axis 1 and input axis 1');
    expect(() => make('a', [6, 4], { heads: { count: 4, axis: 'out' } })).toThrow('4 heads do not divide its 6 output');
    expect(() => make('a', [6, 4], { positions: Number.NaN })).toThrow('positions');
    expect(() => make('a', [6, 4, 3, 3], { groups: 1.5 })).toThrow('layer a: 1.5 groups');
  });

  it('counts two operations a weight and position', () => {
    expect(flops(make('conv', [8, 4, 3, 3], { positions: 100 }), 7)).toBe(1400);
  });

  it('finds every element by output, input and kernel position, whatever the order of the axes', () => {
    const cases = [
      { shape: [3, 4, 2, 5], outAxis: 0, inAxis: 1 },
      { shape: [3, 4, 2, 5], outAxis: 1, inAxis: 0 },
      { shape: [2, 3, 4], outAxis: 1, inAxis: 2 },
      { shape: [2, 3, 4], outAxis: 2, inAxis: 0 },
      { shape: [3, 4], outAxis: 1, inAxis: 0 },
    ];
    for (const { shape, ...axes } of cases) {
      const strides = shape.map((_, a) => shape.slice(a + 1).reduce((n, d) => n * d, 1));
      const rest = shape.map((_, a) => a).filter(a => a !== axes.outAxis && a !== axes.inAxis);
      const layout = layoutOf(make('w', shape, axes));
      const seen = new Set<number>();
      for (let o = 0; o < layout.out; o++) {
        for (let i = 0; i < layout.in; i++) {
          for (let k = 0; k < layout.kernel; k++) {
            const element = o * layout.outStride + i * layout.inStride + layout.kernelOffset[k];
            const at = strides.map((s, a) => Math.floor(element / s) % shape[a]);
            const kernel = rest.reduce((n, a) => n * shape[a] + at[a], 0);
            expect([at[axes.outAxis], at[axes.inAxis], kernel]).toEqual([o, i, k]);
            seen.add(element);
          }
        }
      }
      expect(seen.size).toBe(strides[0] * shape[0]);
    }
  });
});

describe('checkLayers', () => {
  it('refuses none, twice the same name and tied tensors', () => {
    expect(() => checkLayers([])).toThrow('no maskable tensor');
    expect(() => checkLayers([make('a', [2, 2]), make('a', [2, 2])])).toThrow('layer a appears twice');
    const shared = zeros([2, 2]);
    expect(() => checkLayers([layer('a', [2, 2], shared), layer('b', [2, 2], shared.subarray(0))])).toThrow(
      'layers a and b share one tensor',
    );
    const two = new Float32Array(8);
    checkLayers([layer('a', [2, 2], two.subarray(0, 4)), layer('b', [2, 2], two.subarray(4))]);
  });
});

describe('maskable', () => {
  const all = [
    make('stem', [8, 3, 3, 3]),
    make('b.0.dw', [8, 1, 3, 3]),
    make('b.0.pw', [16, 8, 1, 1]),
    make('head', [4, 16]),
  ];

  it('leaves out by position, kind, name and wildcard, and tells their share', () => {
    const left = (exclude: string[]) => maskable(all, exclude).excluded.map(l => l.name);
    expect(left([])).toEqual([]);
    expect(left(['first', 'last'])).toEqual(['stem', 'head']);
    expect(left(['depthwise'])).toEqual(['b.0.dw']);
    expect(left(['b.*'])).toEqual(['b.0.dw', 'b.0.pw']);
    expect(left(['head', 'head'])).toEqual(['head']);
    expect(maskable(all, ['first']).excludedShare).toBe(216 / (216 + 72 + 128 + 64));
  });

  it('refuses an entry that matches nothing and a list that matches everything', () => {
    expect(() => maskable(all, ['b?0'])).toThrow("exclude 'b?0': no such layer or kind; the layers are stem, b.0.dw");
    expect(() => maskable(all, ['*'])).toThrow('leaves no layer to mask');
  });
});

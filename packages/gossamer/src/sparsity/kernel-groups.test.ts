import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { outputBlock } from './granularity.ts';
import { type KernelGroupMaskOptions, kernelGroupMask } from './kernel-groups.ts';
import { type Layer, layer, layoutOf } from './layer.ts';
import { prune } from './prune.ts';

const make = (name: string, shape: number[], options: Partial<Layer> = {}) =>
  layer(name, shape, new Random(shape.length).fork(name).normal(shape.reduce((a, b) => a * b)), options);

const layers = [
  make('conv', [10, 6, 3, 3]),
  make('pointwise', [16, 9, 1, 1]),
  make('fc', [7, 12]),
  make('product', [12, 8], { outAxis: 1, inAxis: 0 }),
  make('grouped', [12, 4, 3, 3], { groups: 2 }),
  make('odd groups', [10, 3, 1, 1], { groups: 2 }),
];

/** Which inputs each output channel reads, as text, and whether kernels are whole. */
function supports(l: Layer, keep: Uint8Array): string[] {
  const { out, in: inputs, outStride, inStride, kernelOffset } = layoutOf(l);
  return Array.from({ length: out }, (_, o) =>
    Array.from({ length: inputs }, (_, i) => {
      const taps = [...kernelOffset].map(k => keep[o * outStride + i * inStride + k]);
      expect(new Set(taps).size).toBe(1);
      return taps[0];
    }).join(''),
  );
}

describe('kernelGroupMask', () => {
  it('gives all channels of a group one support, and keeps round((1 − s) · units)', () => {
    for (const group of [1, 2, 4, 5]) {
      for (const sparsity of [0, 0.3, 0.5, 0.77]) {
        for (const norm of ['l1', 'l2'] as const) {
          const mask = kernelGroupMask(layers, { sparsity, group, norm });
          for (const l of layers) {
            const rows = supports(l, mask.get(l.name));
            const size = rows.length / l.groups;
            let units = 0;
            let kept = 0;
            rows.forEach((support, o) => {
              const isFirst = (o % size) % group === 0;
              if (!isFirst) expect(support).toBe(rows[o - 1]);
              else {
                units += support.length;
                kept += support.replaceAll('0', '').length;
              }
            });
            expect(kept, l.name).toBe(units - Math.round(sparsity * units));
          }
        }
      }
    }
  });

  it('is what the granularity of output blocks prunes, for layers without groups', () => {
    const plain = layers.filter(l => l.groups === 1);
    for (const norm of ['l1', 'l2'] as const) {
      const mask = kernelGroupMask(plain, { sparsity: 0.6, group: 4, norm });
      const same = prune(plain, l => l.values, { sparsity: 0.6, granularity: outputBlock(4, 'pad'), norm });
      expect(mask.equals(same)).toBe(true);
    }
  });

  it('balanced: every group keeps the same number of inputs', () => {
    const mask = kernelGroupMask(layers, { sparsity: 0.4, group: 3, balanced: true });
    for (const l of layers) {
      const counts = supports(l, mask.get(l.name)).map(s => s.replaceAll('0', '').length);
      const inputs = layoutOf(l).in;
      expect(new Set(counts)).toEqual(new Set([inputs - Math.round(0.4 * inputs)]));
    }
  });

  it('keeps the units of highest norm, of rows in a given order and scaled', () => {
    const l = layer('w', [4, 2], Float32Array.of(1, 5, 2, 0, 4, -1, 3, 2));
    const kept = (options: Partial<KernelGroupMaskOptions>) =>
      [...kernelGroupMask([l], { sparsity: 0.5, group: 2, ...options }).get('w')].join('');
    expect(kept({})).toBe('01011010');
    // Rows 0 2 | 1 3: units 5 6 | 5 2, of equal ones the first stays.
    expect(kept({ orders: new Map([['w', [0, 2, 1, 3]]]) })).toBe('11001100');
    expect(kept({ rowScales: new Map([['w', [0, 10, 1, 1]]]) })).toBe('10101010');
  });

  it('global: one ranking by the mean weight', () => {
    const strong = layer('strong', [4, 2, 3, 3], new Float32Array(72).fill(0.5));
    const weak = layer('weak', [4, 8], new Float32Array(32).fill(0.4));
    const mask = kernelGroupMask([weak, strong], { sparsity: 0.5, group: 4, scope: 'global' });
    expect(mask.kept('strong')).toBe(72);
    expect(mask.kept('weak')).toBe(3 * 4);
    expect(() => kernelGroupMask([weak], { sparsity: 0.5, scope: 'global', balanced: true })).toThrow('balanced');
  });

  it('refuses groups and sparsities that leave nothing to group', () => {
    const l = layers[2];
    expect(() => kernelGroupMask([l], { sparsity: 1 })).toThrow('layer fc: sparsity 1; expected 0 ≤ s < 1');
    expect(() => kernelGroupMask([l], { sparsity: 0.5, group: 8 })).toThrow('groups of 8 output channels; it has 7');
    expect(() => kernelGroupMask([layers[4]], { sparsity: 0.5, group: 8 })).toThrow('it has 12 in 2 groups');
    const bias = layer('bias', [8], new Float32Array(8));
    expect(() => kernelGroupMask([bias], { sparsity: 0.5 })).toThrow('layer bias: a vector');
    expect(() => kernelGroupMask([l], { sparsity: 0.5, rowScales: new Map([['fc', [1]]]) })).toThrow('1 row scales');
  });
});

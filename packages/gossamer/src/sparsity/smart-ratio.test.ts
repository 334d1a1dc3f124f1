import { describe, expect, it } from 'vitest';
import { type Layer, layer } from './layer.ts';
import { prune } from './prune.ts';
import { smartRatio } from './smart-ratio.ts';

const of = (name: string, shape: number[]): Layer =>
  layer(
    name,
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i + 1),
  );
const net = [of('a', [16, 3, 3, 3]), of('b', [32, 16, 3, 3]), of('c', [64, 32, 3, 3]), of('fc', [10, 64])];

describe('smartRatio', () => {
  it('keeps (L − l + 1)² + (L − l + 1) in proportion, 30 % of linear layers, exactly the total', () => {
    const shares = smartRatio(net, 0.95);
    const kept = net.map(l => (1 - shares[l.name]) * l.values.length);
    const total = net.reduce((n, l) => n + l.values.length, 0);
    expect(kept.reduce((a, b) => a + b)).toBeCloseTo(total - Math.floor(0.95 * total), 6);
    expect(1 - shares.fc).toBeCloseTo(0.3, 2);
    expect((1 - shares.a) / (1 - shares.c)).toBeCloseTo(6, 0);
    expect((1 - shares.b) / (1 - shares.c)).toBeCloseTo(3, 1);
    const mask = prune(net, l => l.values, { sparsity: shares, rounding: 'floor' });
    expect(mask.kept()).toBe(total - Math.floor(0.95 * total));
  });

  it('cuts a share of more than 1 and gives the rest to the others', () => {
    const shares = smartRatio(net, 0.5);
    expect(shares.a).toBe(0);
    const total = net.reduce((n, l) => n + l.values.length, 0);
    const kept = net.reduce((n, l) => n + (1 - shares[l.name]) * l.values.length, 0);
    expect(kept).toBeCloseTo(total - Math.floor(0.5 * total), 6);
  });

  it('refuses totals that the linear layers alone exceed, or that the others cannot reach', () => {
    const wide = [of('a', [4, 3, 3, 3]), of('fc', [100, 64])];
    expect(() => smartRatio(wide, 0.9)).toThrow('fc alone keep what all layers may');
    expect(() => smartRatio(wide, 0.1)).toThrow('use a higher sparsity');
    expect(() => smartRatio(net, 1)).toThrow('outside 0 ≤ s < 1');
  });
});

import { describe, expect, it } from 'vitest';
import { prune } from '../../sparsity/index.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { RigL } from './rigl.ts';
import { changes, places, watch } from './testing.ts';

describe('RigL', () => {
  it('starts with ERK densities, never changes the number of weights, and stops at 75 %', async () => {
    const { seen, model } = await watch(new RigL({ sparsity: 0.8, interval: 5 }));
    const { layers } = await modelLayers(model, [{ dtype: 'float32', shape: [1, 20] }]);
    const erk = prune(layers, l => l.values, { sparsity: 0.8, allocation: 'erk' });
    for (const { mask } of seen) for (const n of erk.names) expect(mask.kept(n)).toBe(erk.kept(n));
    expect(changes(seen)).toEqual([5, 10, 15, 20, 25]);
    for (const [name, p] of (await modelLayers(model, [{ dtype: 'float32', shape: [1, 20] }])).parameters) {
      const keep = seen.at(-1)!.mask.get(name);
      expect((await p.data()).every((w, i) => keep[i] === 1 || w === 0)).toBe(true);
    }
  });

  it('drops the smallest weights and grows the largest dense gradients, just dropped ones included', async () => {
    const { seen } = await watch(new RigL({ sparsity: 0.7, interval: 5 }));
    for (const { step, before, mask, values, gradients } of seen.filter(
      s => s.step % 5 === 0 && s.step > 0 && s.step < 30,
    )) {
      for (const name of mask.names) {
        const [w, g] = [values.get(name)!, gradients.get(name)!];
        const all = [...w.keys()];
        const live = all.filter(i => before.get(name)[i] === 1).sort((a, b) => Math.abs(w[a]) - Math.abs(w[b]));
        // f(t) = α/2·(1 + cos(t·π/T_end)) with T_end = 30.
        const count = Math.round(0.15 * (1 + Math.cos((Math.PI * step) / 30)) * live.length);
        const rest = new Set(live.slice(count));
        const dead = all.filter(i => !rest.has(i)).sort((a, b) => Math.abs(g[b]) - Math.abs(g[a]));
        const expected = [...rest, ...dead.slice(0, count)].sort((a, b) => a - b);
        expect(all.filter(i => mask.get(name)[i] === 1)).toEqual(expected);
      }
    }
  });

  it('starts new weights at zero, without momentum', async () => {
    const { seen } = await watch(new RigL({ sparsity: 0.8, interval: 5, grow: 'random' }));
    let grown = 0;
    for (const s of seen) {
      for (const name of s.mask.names) {
        for (const i of places(s, name, 0, 1)) {
          grown++;
          expect(s.weights.get(name)![i]).toBe(0);
          expect(s.momentum.get(name)![i]).toBe(0);
        }
      }
    }
    expect(grown).toBeGreaterThan(20);
  });

  it('refuses shares outside 0…1 and empty intervals', () => {
    expect(() => new RigL({ sparsity: 1 })).toThrow('expected 0 ≤ s < 1');
    expect(() => new RigL({ sparsity: 0.9, fraction: 1.5 })).toThrow('fraction 1.5');
    expect(() => new RigL({ sparsity: 0.9, interval: 0 })).toThrow('interval 0');
    expect(() => new RigL({ sparsity: 0.9, until: 2 })).toThrow('until 2');
  });
});

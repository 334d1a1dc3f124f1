import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MLP } from '../../nn/container.ts';
import { prune } from '../../sparsity/index.ts';
import { magnitude } from '../../sparsity/score.ts';
import { EdgePopup } from './edge-popup.ts';
import { search, temporary } from './testing.ts';

describe('EdgePopup', () => {
  it('keeps the weights of highest |s| in each layer, from scores uniform in ±1/√n_in', async () => {
    const { seen } = await search(new EdgePopup({ sparsity: 0.6 }));
    const first = seen[0].scores.get('fc1.weight')!;
    expect(Math.max(...first.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(12));
    expect(Math.max(...first.map(Math.abs))).toBeGreaterThan(0.95 / Math.sqrt(12));
    expect(Math.abs(first.reduce((a, b) => a + b) / first.length)).toBeLessThan(0.05);
    for (const { mask, scores, layers } of seen) {
      const wanted = prune(layers, l => magnitude(scores.get(l.name)!), { sparsity: 0.6, rounding: 'floor' });
      expect(mask.equals(wanted)).toBe(true);
    }
    expect(seen.at(-1)!.mask.equals(seen[0].mask)).toBe(false);
  });

  it('changes no parameter at all, the norm included', async () => {
    const { seen, before } = await search(new EdgePopup({ sparsity: 0.6 }));
    for (const [name, values] of seen.at(-1)!.state) {
      if (!name.includes('running')) expect(values, name).toEqual(before.get(name));
    }
  });

  it('of random weights keeps the sign and gives them one size, if asked, and searches those', async () => {
    const model = new MLP([12, 64, 64, 4], { random: new Random(5) });
    const { seen } = await search(new EdgePopup({ sparsity: 0.5, weights: 'signed-constant', scoreRate: 0.5 }), {
      model,
    });
    // Signed constants of size √(2/(n_in·k)).
    const signs = seen[0].state.get([...seen[0].state.keys()].find(k => k.endsWith('weight'))!)!;
    expect(new Set(signs.map(Math.abs)).size).toBe(1);
    expect(Math.abs(signs[0])).toBeCloseTo(Math.sqrt(2 / (12 * 0.5)), 6);
    expect(seen.at(-1)!.state.get(seen[0].mask.names[0])).toEqual(seen[0].state.get(seen[0].mask.names[0]));
    expect(seen.at(-1)!.mask.equals(seen[0].mask)).toBe(false);
  });

  it('goes on from its state with the same signed constants', async () => {
    const { folder, remove } = await temporary();
    try {
      const run = async (options: { out?: string; stopAt?: number }) => {
        const model = new MLP([12, 16, 4], { random: new Random(5) });
        const popup = new EdgePopup({ sparsity: 0.5, weights: 'signed-constant', scoreRate: 0.5 });
        return (await search(popup, { ...options, model })).seen.at(-1)!;
      };
      const whole = await run({});
      await run({ out: folder, stopAt: 24 });
      const again = await run({ out: folder });
      expect(again.mask.equals(whole.mask)).toBe(true);
      expect(again.state).toEqual(whole.state);
    } finally {
      await remove();
    }
  });

  it('refuses weights it does not know', () => {
    expect(() => new EdgePopup({ sparsity: 0.5, weights: 'normal' as never })).toThrow("weights 'normal'");
  });
});

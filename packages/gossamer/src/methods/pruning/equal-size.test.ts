import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MLP } from '../../nn/container.ts';
import { magnitude, prune } from '../../sparsity/index.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { modelSize, widthFor } from './equal-size.ts';

const model = () => new MLP([20, 16, 5], { random: new Random(1) });
const input = [{ dtype: 'float32', shape: [1, 20] }] as const;

describe('modelSize', () => {
  it('counts everything in a dense model, in 4 bytes each', async () => {
    const net = model();
    const bytes = 4 * (320 + 16 + 80 + 5);
    expect(await modelSize(net, await modelLayers(net, input))).toEqual({
      parameters: 421,
      nonzeros: 421,
      bytes: { dense: bytes, bitmask: bytes, csr: bytes, relative: bytes },
    });
  });

  it('adds the index of masked weights, and 4 bytes for each bias and each weight outside the mask', async () => {
    const net = model();
    const found = await modelLayers(net, input);
    for (const chosen of [found.layers, found.layers.slice(1)]) {
      const mask = prune(chosen, l => magnitude(l.values), { sparsity: 0.75 });
      const { nonzeros, bytes } = await modelSize(net, found, mask);
      const rest = 421 - mask.size();
      expect(nonzeros).toBe(mask.size() / 4 + rest);
      // Both layers have a multiple of 8 elements.
      expect(bytes.bitmask).toBe(4 * nonzeros + mask.size() / 8);
      const rows = chosen.reduce((n, l) => n + l.shape[0] + 1, 0);
      expect(bytes.csr).toBe(6 * mask.kept() + 4 * rows + 4 * rest);
      expect(bytes.dense).toBe(4 * 421);
      expect(bytes.relative).toBeGreaterThanOrEqual(4 * nonzeros + Math.ceil((5 * mask.kept()) / 8));
      expect(bytes.relative).toBeLessThan(bytes.csr);
    }
  });
});

describe('widthFor', () => {
  it('is the narrowest width with at least the budget, by brute force', () => {
    const parameters = (w: number) => 3 * w * w + 7 * w + 2;
    for (let budget = 1; budget < 800; budget++) {
      let w = 1;
      while (parameters(w) < budget) w++;
      expect(widthFor(parameters, budget, 20)).toBe(w);
    }
  });

  it('refuses a budget beyond the widest model', () => {
    expect(() => widthFor(w => 10 * w, 101, 10)).toThrow(
      /at width 10 there are 100 parameters, fewer than the budget 101/,
    );
    expect(() => widthFor(w => w, 1, 0)).toThrow(/widest 0/);
  });
});

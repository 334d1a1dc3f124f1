import { describe, expect, it } from 'vitest';
import { grasp } from './grasp.ts';
import { derivatives, highest, network } from './testing.ts';

describe('GraSP', () => {
  it('removes the highest −θ⊙Hg of the softened network', async () => {
    const at = await network();
    for (const temperature of [1, 200]) {
      const { hg } = await derivatives(at, temperature);
      const mask = await grasp(at, { sparsity: 0.8, temperature });
      const expected = highest(
        at.layers.layers.map((l, i) => l.values.map((w, j) => w * hg[i][j])),
        0.8,
      );
      const wrong = mask.names.reduce(
        (n, name, i) => n + expected[i].filter((k, j) => k !== mask.get(name)[j]).length,
        0,
      );
      // Sums in another order may swap two scores at the cut.
      expect(wrong).toBeLessThanOrEqual(2);
      expect(mask.kept()).toBe(352 - 282);
    }
  });
});

import { describe, expect, it } from 'vitest';
import { snip } from './snip.ts';
import { derivatives, highest, network } from './testing.ts';

describe('SNIP', () => {
  it('keeps the connections of highest |g·w|, whatever the scale of the loss', async () => {
    const at = await network();
    const { g } = await derivatives(at);
    for (const sparsity of [0, 0.5, 0.9, 0.98]) {
      const mask = await snip(at, { sparsity });
      const expected = highest(
        at.layers.layers.map((l, i) => l.values.map((w, j) => Math.abs(w * g[i][j]))),
        sparsity,
      );
      expect(mask.names.map(n => Array.from(mask.get(n)))).toEqual(expected);
    }
    const louder = { ...at, task: (...args: Parameters<typeof at.task>) => ({ loss: at.task(...args).loss.mul(100) }) };
    expect((await snip(louder, { sparsity: 0.9 })).equals(await snip(at, { sparsity: 0.9 }))).toBe(true);
  });

  it('leaves excluded layers alone', async () => {
    const mask = await snip(await network(), { sparsity: 0.9, exclude: ['last'] });
    expect(mask.names).toEqual(['layers.0.weight', 'layers.1.weight']);
    expect(mask.kept()).toBe(320 - 288);
  });
});

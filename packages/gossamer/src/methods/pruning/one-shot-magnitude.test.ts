import { describe, expect, it } from 'vitest';
import { magnitude, prune } from '../../sparsity/index.ts';
import { oneShotMagnitude } from './one-shot-magnitude.ts';
import { network } from './testing.ts';

describe('one-shot magnitude pruning', () => {
  it('prunes every layer alike, or as the allocation says', async () => {
    const { layers } = await network();
    const uniform = oneShotMagnitude(layers.layers, { sparsity: 0.75 });
    expect(uniform.names.map(n => uniform.kept(n))).toEqual([48, 32, 8]);
    const erk = oneShotMagnitude(layers.layers, { sparsity: 0.75, allocation: 'erk' });
    expect(erk.kept()).toBe(88);
    // Density ∝ (in + out)/(in·out): 28/192, 24/128, 12/32.
    expect(erk.kept('layers.2.weight') / erk.kept('layers.0.weight')).toBeCloseTo(12 / 28, 1);
    const expected = prune(layers.layers, l => magnitude(l.values), { sparsity: 0.75, allocation: 'global' });
    expect(oneShotMagnitude(layers.layers, { sparsity: 0.75, allocation: 'global' }).equals(expected)).toBe(true);
  });
});

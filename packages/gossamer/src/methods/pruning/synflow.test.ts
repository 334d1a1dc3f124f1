import { describe, expect, it } from 'vitest';
import { findCollapse } from '../../sparsity/collapse.ts';
import { prune } from '../../sparsity/index.ts';
import { synapticFlow } from '../../sparsity/synaptic-flow.ts';
import { oneShotMagnitude } from './one-shot-magnitude.ts';
import { synflow } from './synflow.ts';
import { network, spec } from './testing.ts';

describe('SynFlow', () => {
  it('keeps every layer up to the largest possible sparsity, where one round and magnitude collapse', async () => {
    const sizes = [12, 40, 6, 40, 6, 40, 4];
    const { model, layers } = await network(sizes);
    const n = layers.layers.reduce((sum, l) => sum + l.values.length, 0);
    const sparsity = 1 - (layers.layers.length + 2) / n;
    const mask = await synflow(model, spec, layers, { sparsity });
    expect(mask.kept()).toBe(layers.layers.length + 2);
    expect(await findCollapse(model, spec, layers, mask)).toMatchObject({ connected: true, empty: [], severed: [] });
    const once = await synflow(model, spec, layers, { sparsity, rounds: 1 });
    expect((await findCollapse(model, spec, layers, once)).empty.length).toBeGreaterThan(0);
    const magnitudes = oneShotMagnitude(layers.layers, { sparsity, allocation: 'global' });
    expect((await findCollapse(model, spec, layers, magnitudes)).empty.length).toBeGreaterThan(0);
  });

  it('is one ranking by flow if there is one round, and nested in more', async () => {
    const { model, layers } = await network();
    const flow = (await (await synapticFlow(model, spec, layers))())!;
    const expected = prune(layers.layers, l => flow.get(l.name)!, { sparsity: 0.7, allocation: 'global' });
    expect((await synflow(model, spec, layers, { sparsity: 0.7, rounds: 1 })).equals(expected)).toBe(true);
    const half = await synflow(model, spec, layers, { sparsity: 1 - Math.sqrt(0.3), rounds: 5 });
    const full = await synflow(model, spec, layers, { sparsity: 0.7, rounds: 10 });
    expect(full.isWithin(half)).toBe(true);
    expect(full.kept()).toBe(352 - Math.round(0.7 * 352));
  });

  it('refuses no rounds and full sparsity', async () => {
    const { model, layers } = await network();
    await expect(synflow(model, spec, layers, { sparsity: 0.5, rounds: 0 })).rejects.toThrow('0 rounds');
    await expect(synflow(model, spec, layers, { sparsity: 1 })).rejects.toThrow('outside 0 ≤ s < 1');
  });
});

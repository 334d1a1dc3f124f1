import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MLP } from '../../nn/container.ts';
import { prune } from '../../sparsity/index.ts';
import { magnitude } from '../../sparsity/score.ts';
import { Hydra } from './hydra.ts';
import { search } from './testing.ts';

describe('Hydra', () => {
  it('starts from scores proportional to the weights, √(6/n_in) at most: the magnitude mask of each layer', async () => {
    const { seen } = await search(new Hydra({ sparsity: 0.8 }));
    const [{ mask, layers, scores }] = seen;
    expect(mask.equals(prune(layers, l => magnitude(l.values), { sparsity: 0.8, rounding: 'floor' }))).toBe(true);
    for (const l of layers) {
      const s = scores.get(l.name)!;
      expect(Math.max(...s.map(Math.abs))).toBeCloseTo(Math.sqrt(6 / l.shape[1]), 5);
      const ratio = s[0] / l.values[0];
      s.forEach((v, i) => {
        expect(v).toBeCloseTo(ratio * l.values[i], 5);
      });
    }
  });

  it('searches with frozen weights, then trains the weights under the mask it found', async () => {
    const { seen, before } = await search(new Hydra({ sparsity: 0.7, until: 0.5, scoreRate: 0.5 }));
    expect(seen[20].mask.equals(seen[0].mask)).toBe(false);
    for (const { step, mask, state } of seen) {
      if (step >= 20) expect(mask.equals(seen[20].mask)).toBe(true);
      for (const name of mask.names) {
        if (step <= 20) expect(state.get(name)).toEqual(before.get(name));
        else expect(state.get(name)).not.toEqual(before.get(name));
      }
      if (step <= 20) expect(state.get('fc1.bias')).toEqual(before.get('fc1.bias'));
    }
  });

  it('searches for a sixth of the training unless told otherwise', async () => {
    const { seen } = await search(new Hydra({ sparsity: 0.7 }));
    expect(seen[7].state.get('fc1.weight')).toEqual(seen[0].state.get('fc1.weight'));
    expect(seen[8].state.get('fc1.weight')).not.toEqual(seen[0].state.get('fc1.weight'));
  });

  it('refuses an untrained network unless allowed', async () => {
    const fresh = () => ({ model: new MLP([12, 24, 4], { random: new Random(8) }) });
    await expect(search(new Hydra({ sparsity: 0.5 }), fresh())).rejects.toThrow('hydra: the network looks untrained');
    await search(new Hydra({ sparsity: 0.5, untrained: true }), fresh());
  });
});

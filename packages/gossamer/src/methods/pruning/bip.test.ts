import { Random, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { MLP } from '../../nn/container.ts';
import { prune } from '../../sparsity/index.ts';
import { magnitude } from '../../sparsity/score.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { BiP, type BiPOptions, maskGradient } from './bip.ts';
import { pretrained, search, temporary } from './testing.ts';

const column = (values: ArrayLike<number>) =>
  tensor({ dtype: 'float32', shape: [values.length], data: Float32Array.from(values) });

/** A search, with the mini-batches of the mask steps and the gradients on them. */
async function watched(options: BiPOptions) {
  const bip = new BiP(options);
  const upper: { batch: Batch; step: number; gradients: ReadonlyMap<string, Float32Array> }[] = [];
  const update = bip.update.bind(bip);
  bip.update = (training: Training) =>
    update({
      ...training,
      denseGradients: async batch => {
        const gradients = await training.denseGradients(batch);
        upper.push({ batch: batch!, step: training.step, gradients });
        return gradients;
      },
    });
  return { ...(await search(bip)), upper, bip };
}

describe('dℓ/dm (eq. 8)', () => {
  it('is exact for a linear loss: −(2/γ)·m⊙c² at θ*(m) = −(1/γ)·m⊙c', async () => {
    const random = new Random(3);
    const c = random.normal(50);
    const m = random.bernoulli(50, 0.5);
    for (const gamma of [0.5, 1, 4]) {
      const theta = c.map((v, i) => (-m[i] * v) / gamma);
      const found = await maskGradient(column(theta), column(m), column(c), 1 / gamma).data();
      // The loss Σ cᵢ·mᵢ·θ*ᵢ(m) by its own derivative, m being real: d/dm (−m²c²/γ).
      found.forEach((v, i) => {
        expect(v).toBeCloseTo((-2 / gamma) * m[i] * c[i] * c[i], 4);
      });
    }
  });

  it('is θ⊙g without the implicit gradient', async () => {
    const random = new Random(4);
    const [theta, g, m] = [random.normal(20), random.normal(20), random.bernoulli(20, 0.5)];
    const found = await maskGradient(column(theta), column(m), column(g), 0).data();
    expect(found).toEqual(theta.map((t, i) => Math.fround(t * g[i])));
  });
});

describe('BiP', () => {
  it('takes a mask step after every weight step, at the new weights, along dℓ/dm through |m̃|', async () => {
    for (const inverseGamma of [0, 1]) {
      const plain = { scoreMomentum: 0, scoreDecay: 0 };
      const { seen, upper } = await watched({ sparsity: 0.7, inverseGamma, scoreRate: 0.5, ...plain });
      expect(upper.map(u => u.step)).toEqual(Array.from({ length: 36 }, (_, i) => i + 1));
      expect(seen.slice(36).every(s => s.mask.equals(seen[36].mask))).toBe(true);
      for (const { step, gradients } of upper) {
        const [before, after] = [seen[step - 1], seen[step]];
        const rate = 0.25 * (1 + Math.cos((Math.PI * (step - 1)) / 36));
        for (const [name, s] of before.scores) {
          // Between the two, the weights were trained under the old mask.
          const [theta, g, m] = [after.weights.get(name)!, gradients.get(name)!, before.mask.get(name)];
          const next = after.scores.get(name)!;
          const wrong = s.filter((v, i) => {
            const step = (theta[i] - inverseGamma * m[i] * g[i]) * g[i] * Math.sign(v);
            return Math.abs(next[i] - (v - rate * step)) > 1e-6;
          });
          expect(wrong).toHaveLength(0);
        }
      }
      expect(seen.at(-1)!.mask.equals(seen[0].mask)).toBe(false);
    }
  });

  it('starts at the magnitude mask and keeps n − floor(s·n) weights of all at every step, one in each layer', async () => {
    const { seen } = await watched({ sparsity: 0.9 });
    const { mask, layers } = seen[0];
    expect(mask.equals(prune(layers, l => magnitude(l.values), { sparsity: 0.9, allocation: 'global' }))).toBe(true);
    const n = mask.size();
    for (const s of seen) {
      expect(s.mask.kept()).toBe(n - Math.floor(0.9 * n));
      for (const name of s.mask.names) expect(s.mask.kept(name)).toBeGreaterThan(0);
    }
  });

  it('trains live weights only: a weight that returns has the value it left with', async () => {
    const { seen, model } = await watched({ sparsity: 0.8, scoreRate: 1 });
    let returned = 0;
    for (let t = 1; t < seen.length; t++) {
      for (const [name, now] of seen[t].weights) {
        const [keep, next, before] = [
          seen[t - 1].mask.get(name),
          seen[t].mask.get(name),
          seen[t - 1].weights.get(name)!,
        ];
        expect(now.every((w, i) => keep[i] === 1 || w === before[i])).toBe(true);
        returned += keep.filter((k, i) => k === 0 && next[i] === 1).length;
      }
    }
    expect(returned).toBeGreaterThan(10);
    const { mask } = seen.at(-1)!;
    for (const [name, p] of model.namedParameters()) {
      if (!mask.has(name)) continue;
      const values = await p.data();
      expect(values.every((w, i) => (mask.get(name)[i] === 1 ? w !== 0 : Object.is(w, 0)))).toBe(true);
    }
  });

  it('draws the mask batches from a loader of their own, or the same ones for the ablation', async () => {
    const { data } = await pretrained();
    const lower = new DataLoader(data, { batchSize: 16, shuffle: true });
    const at = (step: number) => lower.batchAt(Math.floor(step / 8), step % 8);
    const own = (await watched({ sparsity: 0.5 })).upper;
    const same = (await watched({ sparsity: 0.5, batches: 'same' })).upper;
    for (const { step, batch } of same) expect(batch).toEqual(await at(step - 1));
    for (const { step, batch } of own) expect(batch).not.toEqual(await at(step - 1));
    const rows = own.slice(0, 8).flatMap(u => Array.from(u.batch.inputs.data as Float32Array));
    expect(rows.sort()).toEqual(Array.from(data.fields.inputs.data as Float32Array).sort());
    const slow = (await watched({ sparsity: 0.5, lowerSteps: 5 })).upper;
    expect(slow.map(u => u.step)).toEqual([5, 10, 15, 20, 25, 30, 35]);
  });

  it('masks whole filters or channels, and leaves the first and the last layer dense', async () => {
    for (const granularity of ['filter', 'channel'] as const) {
      const { seen, bip } = await watched({ sparsity: 0.5, granularity });
      expect(bip.selection!.excluded.map(l => l.name)).toEqual(['fc1.weight', 'fc3.weight']);
      for (const { mask, layers } of seen) {
        for (const l of layers) {
          const [out, width] = l.shape;
          const keep = mask.get(l.name);
          const first = (i: number) => (granularity === 'filter' ? i - (i % width) : i % width);
          expect(keep.every((k, i) => k === keep[first(i)])).toBe(true);
          expect(mask.kept(l.name)).toBe(l.values.length / 2);
          expect(out % 2).toBe(0);
        }
      }
    }
  });

  it('divides by smart-ratio, and by layer', async () => {
    const smart = (await watched({ sparsity: 0.8, allocation: 'smart-ratio' })).seen;
    const n = smart[0].mask.size();
    for (const { mask } of smart) {
      expect(mask.kept()).toBe(n - Math.floor(0.8 * n));
      expect(mask.kept('fc3.weight')).toBe(64 - Math.floor(0.7 * 64));
      expect(mask.density('fc1.weight') / mask.density('fc2.weight')).toBeCloseTo(3, 0);
    }
    const even = (await watched({ sparsity: 0.81, allocation: 'uniform' })).seen;
    for (const { mask } of even) {
      for (const name of mask.names) expect(mask.kept(name)).toBe(mask.size(name) - Math.floor(0.81 * mask.size(name)));
    }
  });

  it('starts from random scores if asked, and with frozen norms', async () => {
    const { seen, before } = await watched({ sparsity: 0.5, init: 'kaiming', norms: 'frozen' });
    const random = seen[0].scores.get('fc1.weight')!;
    expect(Math.sqrt(random.reduce((v, x) => v + x * x, 0) / random.length)).toBeCloseTo(Math.sqrt(2 / 12), 1);
    expect(seen.at(-1)!.state.get('norm.weight')).toEqual(before.get('norm.weight'));
    expect(seen.at(-1)!.state.get('fc1.weight')).not.toEqual(before.get('fc1.weight'));
  });

  it('keeps an N:M pattern at every step', async () => {
    const { seen } = await watched({ sparsity: 0.5, granularity: '2:4', scoreRate: 1 });
    for (const { mask } of seen) {
      for (const name of mask.names) {
        const keep = mask.get(name);
        // All widths are multiples of four.
        for (let i = 0; i < keep.length; i += 4) expect(keep.slice(i, i + 4).reduce((a, b) => a + b)).toBe(2);
      }
    }
    expect(seen.at(-1)!.mask.equals(seen[0].mask)).toBe(false);
  });

  it('goes on from its state, the batches of the mask steps included', async () => {
    const { folder, remove } = await temporary();
    try {
      const options = { sparsity: 0.8, scoreRate: 1, scoreMomentum: 0.9 };
      const whole = (await search(new BiP(options))).seen.at(-1)!;
      await search(new BiP(options), { out: folder, stopAt: 24 });
      const again = (await search(new BiP(options), { out: folder })).seen.at(-1)!;
      expect(again.mask.equals(whole.mask)).toBe(true);
      expect(again.scores).toEqual(whole.scores);
      expect(again.state).toEqual(whole.state);
    } finally {
      await remove();
    }
  });

  it('refuses untrained networks, empty layers, and options without sense', async () => {
    const fresh = () => ({ model: new MLP([12, 24, 4], { random: new Random(8) }) });
    await expect(search(new BiP({ sparsity: 0.5 }), fresh())).rejects.toThrow('the network looks untrained');
    await search(new BiP({ sparsity: 0.5, untrained: true }), fresh());
    const few = { sparsity: 0.96, granularity: 'filter', allocation: 'global', exclude: [] } as const;
    await expect(search(new BiP(few))).rejects.toThrow('sparsity 0.96 leaves nothing of');
    await expect(search(new BiP({ sparsity: 0.999 }))).rejects.toThrow('sparsity 0.999 leaves nothing of');
    expect(() => new BiP({ sparsity: 0.5, inverseGamma: -1 })).toThrow('1/γ is -1');
    expect(() => new BiP({ sparsity: 0.5, lowerSteps: 0 })).toThrow('0 lower steps');
    expect(() => new BiP({ sparsity: 0.5, init: 'zero' as never })).toThrow("'zero'");
    expect(() => new BiP({ sparsity: 0.5, batches: 'other' as never })).toThrow("'other'");
  });
});

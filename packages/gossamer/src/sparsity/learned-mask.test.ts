import { Random, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { network, pretrained, search, temporary } from '../methods/pruning/testing.ts';
import { prune } from './index.ts';
import type { Layer } from './layer.ts';
import { LearnedMask, type LearnedMaskDesign, type LearnedMaskOptions, type LearnedMaskStart } from './learned-mask.ts';
import { knowledge } from './pretrained.ts';
import { magnitude } from './score.ts';

class Searched extends LearnedMask {
  readonly name = 'searched';
  constructor(options: LearnedMaskOptions, design: Partial<LearnedMaskDesign> = {}) {
    super(options, { rank: 'magnitude', frozen: true, gradient: 'step', ...design });
  }
  protected start(layers: readonly Layer[]): LearnedMaskStart {
    return { scores: new Map(layers.map(l => [l.name, l.values])) };
  }
}

describe('LearnedMask', () => {
  it('keeps exactly n − floor(s·n) of each layer, or of all, at every step, the highest of the scores', async () => {
    for (const allocation of ['uniform', 'global'] as const) {
      for (const rank of ['magnitude', 'score'] as const) {
        const { seen } = await search(new Searched({ sparsity: 0.77, allocation }, { rank }));
        expect(new Set(seen.map(s => s.mask.kept())).size).toBe(1);
        for (const { mask, scores, layers } of seen.slice(1)) {
          const total = layers.reduce((n, l) => n + l.values.length, 0);
          if (allocation === 'global') expect(mask.kept()).toBe(total - Math.floor(0.77 * total));
          else
            for (const l of layers)
              expect(mask.kept(l.name)).toBe(l.values.length - Math.floor(0.77 * l.values.length));
          const wanted = prune(layers, l => (rank === 'score' ? scores.get(l.name)! : magnitude(scores.get(l.name)!)), {
            sparsity: 0.77,
            allocation,
            rounding: 'floor',
          });
          expect(mask.equals(wanted)).toBe(true);
        }
        expect(seen.at(-1)!.mask.equals(seen[0].mask)).toBe(false);
      }
    }
  });

  it('steps the scores by SGD along ∂L/∂(w⊙m)⊙w·sign(s), masked positions included', async () => {
    const options = { sparsity: 0.6, scoreRate: 0.3, scoreMomentum: 0.8, scoreDecay: 0.01 };
    const { seen } = await search(new Searched(options));
    const velocity = new Map<string, Float64Array>();
    for (const [i, { step, scores, weights, gradients: g }] of seen.slice(0, -1).entries()) {
      const rate = 0.15 * (1 + Math.cos((Math.PI * step) / 40));
      for (const [name, s] of scores) {
        const [w, d] = [weights.get(name)!, g.get(name)!];
        const v = velocity.get(name) ?? new Float64Array(s.length);
        const next = seen[i + 1].scores.get(name)!;
        for (let j = 0; j < s.length; j++) v[j] = 0.8 * v[j] + d[j] * w[j] * Math.sign(s[j]) + 0.01 * s[j];
        expect(s.every((x, j) => Math.abs(next[j] - (x - rate * v[j])) < 1e-5)).toBe(true);
        velocity.set(name, v);
      }
    }
  });

  it('freezes weights and biases to the bit, whatever momentum and weight decay do, and clears their momentum', async () => {
    const { seen, model, before } = await search(new Searched({ sparsity: 0.8 }));
    for (const s of seen) {
      for (const [name, values] of s.state) if (!/norm/.test(name)) expect(values, name).toEqual(before.get(name));
      for (const [name, m] of s.momentum)
        if (!/norm/.test(name))
          expect(
            m.every(v => v === 0),
            name,
          ).toBe(true);
    }
    const { mask } = seen.at(-1)!;
    for (const [name, p] of model.namedParameters()) {
      if (!mask.has(name)) continue;
      const keep = mask.get(name);
      expect(await p.data()).toEqual(before.get(name)!.map((w, i) => (keep[i] ? w : 0)));
    }
  });

  it('lets norms learn or not', async () => {
    for (const norms of ['trained', 'frozen'] as const) {
      const { seen, before } = await search(new Searched({ sparsity: 0.5, norms }));
      const scale = seen.at(-1)!.state.get('norm.weight')!;
      if (norms === 'frozen') expect(scale).toEqual(before.get('norm.weight'));
      else expect(scale).not.toEqual(before.get('norm.weight'));
      // Running statistics follow the mask in any case.
      expect(seen.at(-1)!.state.get('norm.running_mean')).not.toEqual(before.get('norm.running_mean'));
    }
  });

  it('after `until`, keeps mask and scores and trains the weights from a clear momentum', async () => {
    const { seen, before } = await search(new Searched({ sparsity: 0.7, until: 0.5 }));
    const [half, last] = [seen[20], seen.at(-1)!];
    for (const s of seen.slice(20)) expect(s.mask.equals(half.mask)).toBe(true);
    for (const [name, values] of half.scores) expect(last.scores.get(name)).toEqual(values);
    for (const name of half.mask.names) {
      expect(half.state.get(name)).toEqual(before.get(name));
      const keep = half.mask.get(name);
      const now = last.state.get(name)!;
      for (let i = 0; i < keep.length; i++) expect(now[i] === before.get(name)![i]).toBe(keep[i] === 0);
    }
    // A weight's gradient is that of the effective weight where it lives.
    const [a, b] = [seen[20], seen[21]];
    for (const name of a.mask.names) {
      const keep = a.mask.get(name);
      b.state.get(name)!.forEach((w, i) => {
        const w0 = a.state.get(name)![i];
        const step = keep[i] ? a.rate * (a.gradients.get(name)![i] + 1e-3 * w0) : 0;
        expect(Math.abs(w - (w0 - step))).toBeLessThan(1e-6);
      });
    }
  });

  it('masks whole units and N:M runs, too', async () => {
    const filters = (await search(new Searched({ sparsity: 0.5, granularity: 'filter' }))).seen;
    for (const { mask, layers } of filters) {
      for (const l of layers) {
        const width = l.values.length / l.shape[0];
        expect(mask.get(l.name).every((k, i, keep) => k === keep[i - (i % width)])).toBe(true);
        expect(mask.kept(l.name) / width).toBe(l.shape[0] - Math.floor(l.shape[0] / 2));
      }
    }
    const runs = (await search(new Searched({ sparsity: 0.5, granularity: '2:4' }))).seen;
    for (const { mask } of runs) {
      for (const name of mask.names) {
        const keep = mask.get(name);
        for (let i = 0; i < keep.length; i += 4) expect(keep.slice(i, i + 4).reduce((a, b) => a + b)).toBe(2);
      }
    }
  });

  it('goes on from its state with the same bits', async () => {
    const { folder, remove } = await temporary();
    try {
      const whole = await search(new Searched({ sparsity: 0.8, until: 0.7 }));
      await search(new Searched({ sparsity: 0.8, until: 0.7 }), { out: folder, stopAt: 16 });
      const resumed = await search(new Searched({ sparsity: 0.8, until: 0.7 }), { out: folder });
      expect(resumed.seen[0].step).toBe(16);
      for (const [name, values] of whole.seen.at(-1)!.scores) {
        expect(resumed.seen.at(-1)!.scores.get(name)).toEqual(values);
      }
      for (const [name, values] of whole.seen.at(-1)!.state) {
        expect(resumed.seen.at(-1)!.state.get(name), name).toEqual(values);
      }
    } finally {
      await remove();
    }
  });

  it('refuses weights that change under it, and options without sense', async () => {
    const thief = {
      name: 'thief',
      mask: undefined,
      prepare: async () => {},
      settle: (p: { assign(t: Tensor): unknown; mul(x: number): Tensor; rank: number }) => {
        if (p.rank > 1) p.assign(p.mul(0.9));
      },
      state: () => ({ arrays: {}, json: null }),
      restore: () => {},
    };
    const others = { others: [thief as never] };
    await expect(search(new Searched({ sparsity: 0.5 }), others)).rejects.toThrow(
      'changed while their mask is learned',
    );
    expect(() => new Searched({ sparsity: 1 })).toThrow('sparsity 1; expected 0 ≤ s < 1');
    expect(() => new Searched({ sparsity: 0.5, until: 0 })).toThrow('until 0 is outside');
    expect(() => new Searched({ sparsity: 0.5, scoreMomentum: 1 })).toThrow('momentum 1');
    expect(() => new Searched({ sparsity: 0.5, norms: 'on' as never })).toThrow("norms 'on'");
  });
});

describe('knowledge', () => {
  it('tells trained networks from untrained ones', async () => {
    const { model, data, task } = await pretrained();
    const batches = [await data.batch([...Array(32).keys()])];
    const known = await knowledge({ model, task, batches, layers: { parameters: new Map() } });
    expect(known.loss).toBeLessThan(0.5 * known.exchanged);
    const fresh = await network();
    const unknown = await knowledge(fresh);
    expect(Math.abs(unknown.loss / unknown.exchanged - 1)).toBeLessThan(0.1);
  });

  it('exchanges targets, not inputs, and within the batch', async () => {
    const inputs = { dtype: 'float32' as const, shape: [5, 2], data: new Random(1).normal(10) };
    const targets = { dtype: 'float32' as const, shape: [5, 2], data: new Random(2).normal(10) };
    const task = (_: unknown, batch: Record<string, Tensor>) => ({ loss: batch.inputs.mul(batch.targets).mean() });
    const model = (x: Tensor) => x;
    const result = await knowledge({ model, task, batches: [{ inputs, targets }], layers: { parameters: new Map() } });
    const rolled = [...targets.data.slice(4), ...targets.data.slice(0, 4)];
    const mean = (t: ArrayLike<number>) => inputs.data.reduce((sum, x, i) => sum + x * t[i], 0) / 10;
    expect(result.loss).toBeCloseTo(mean(targets.data), 5);
    expect(result.exchanged).toBeCloseTo(mean(rolled), 5);
  });
});

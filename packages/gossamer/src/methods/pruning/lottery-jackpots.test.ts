import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { DataLoader } from '../../data/loader.ts';
import { MLP } from '../../nn/container.ts';
import { Linear } from '../../nn/linear.ts';
import type { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import { countOnes, Mask } from '../../sparsity/mask.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { prune } from '../../sparsity/prune.ts';
import { magnitude } from '../../sparsity/score.ts';
import type { TensorBatch } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { criteriaOverlap } from './jackpot-diagnostics.ts';
import { LotteryJackpots, type LotteryJackpotsOptions } from './lottery-jackpots.ts';
import { pretrained, search, spec, temporary } from './testing.ts';

const find = async (options: LotteryJackpotsOptions) => {
  const jackpots = new LotteryJackpots(options);
  return { jackpots, ...(await search(jackpots)) };
};

const bytes = (a: Float32Array) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

describe('LotteryJackpots', () => {
  it('starts at the global magnitude mask with M = 1 and 0.99, the last layer dense', async () => {
    const { seen, jackpots } = await find({ sparsity: 0.8 });
    const [{ mask, scores, layers }] = seen;
    const wanted = prune(layers, l => magnitude(l.values), { sparsity: 0.8, allocation: 'global', rounding: 'floor' });
    expect(mask.equals(wanted)).toBe(true);
    expect(jackpots.selection!.excluded.map(l => l.name)).toEqual(['fc3.weight']);
    for (const name of mask.names) {
      expect(scores.get(name)).toEqual(Float32Array.from(mask.get(name), b => (b === 1 ? 1 : 0.99)));
    }
  });

  it('never changes a weight or the number of zeros of a layer', async () => {
    for (const allocation of ['global', 'uniform', 'erk'] as const) {
      const { seen, before } = await find({ sparsity: 0.75, allocation });
      for (const { mask, state } of seen) {
        for (const name of mask.names) {
          expect(mask.kept(name)).toBe(seen[0].mask.kept(name));
          expect(Buffer.compare(bytes(state.get(name)!), bytes(before.get(name)!))).toBe(0);
        }
      }
      expect(seen.at(-1)!.mask.equals(seen[0].mask)).toBe(false);
    }
  });

  it('swaps as many in as out, ⌈r·q⌉ in each layer, the best for the worst', async () => {
    for (const restriction of ['quartic', 0.3] as const) {
      const { seen, jackpots } = await find({ sparsity: 0.7, restriction });
      expect(jackpots.log.map(l => l.step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
      for (let t = 1; t < seen.length; t++) {
        const [before, { mask, scores }] = [seen[t - 1].mask, seen[t]];
        // Five epochs of eight steps.
        const r = restriction === 'quartic' ? (1 - Math.floor((t - 1) / 8) / 5) ** 4 : restriction;
        let [wanted, made] = [0, 0];
        for (const name of mask.names) {
          const m = scores.get(name)!;
          const [b, next] = [before.get(name), mask.get(name)];
          const all = [...m.keys()];
          const dead = all.filter(i => b[i] === 0).sort((i, j) => m[j] - m[i]);
          const live = all.filter(i => b[i] === 1).sort((i, j) => m[i] - m[j]);
          let q = 0;
          while (q < live.length && q < dead.length && m[dead[q]] > m[live[q]]) q++;
          const swaps = Math.ceil(r * q);
          const born = all.filter(i => b[i] === 0 && next[i] === 1);
          const died = all.filter(i => b[i] === 1 && next[i] === 0);
          expect(born).toHaveLength(swaps);
          expect(died).toHaveLength(swaps);
          expect(born.map(i => m[i]).sort()).toEqual(
            dead
              .slice(0, swaps)
              .map(i => m[i])
              .sort(),
          );
          expect(died.map(i => m[i]).sort()).toEqual(
            live
              .slice(0, swaps)
              .map(i => m[i])
              .sort(),
          );
          wanted += q;
          made += swaps;
        }
        expect(jackpots.log[t - 1]).toEqual({ step: t, wanted, made });
      }
    }
  });

  it('without restriction, the mask is the top-k of M', async () => {
    const { seen } = await find({ sparsity: 0.7, restriction: 'none' });
    for (const { mask, scores } of seen) {
      for (const name of mask.names) {
        const m = scores.get(name)!;
        const [kept, gone] = [1, 0].map(b => m.filter((_, i) => mask.get(name)[i] === b));
        expect(kept.reduce((a, b) => Math.min(a, b))).toBeGreaterThanOrEqual(gone.reduce((a, b) => Math.max(a, b)));
      }
    }
  });

  it('moves M at masked positions by ∂L/∂(W⊙b)⊙W, with W dense', async () => {
    const { seen } = await find({ sparsity: 0.8, scoreRate: 0.2 });
    const [first, second] = seen;
    for (const name of first.mask.names) {
      const [w, g, m] = [first.weights.get(name)!, first.gradients.get(name)!, first.scores.get(name)!];
      const moved = second.scores.get(name)!;
      let masked = 0;
      for (let i = 0; i < m.length; i++) {
        expect(Math.abs(moved[i] - (m[i] - 0.2 * (g[i] * w[i] + 5e-4 * m[i])))).toBeLessThan(1e-6);
        if (first.mask.get(name)[i] === 0 && g[i] * w[i] !== 0) masked++;
      }
      expect(masked).toBeGreaterThan(0.5 * (m.length - first.mask.kept(name)));
    }
  });

  it('with a learning rate of 0 the mask stays that of magnitude', async () => {
    for (const maskedScore of [0.99, 1]) {
      const { seen } = await find({ sparsity: 0.8, scoreRate: 0, restriction: 'none', maskedScore });
      for (const { mask } of seen) expect(mask.equals(seen[0].mask)).toBe(true);
    }
  });

  it('starts from other criteria with the same number of weights in each layer', async () => {
    const [chosen] = (await find({ sparsity: 0.8 })).seen;
    for (const init of ['random', 'gradient'] as const) {
      const [{ mask }] = (await find({ sparsity: 0.8, init })).seen;
      for (const name of mask.names) expect(mask.kept(name)).toBe(chosen.mask.kept(name));
      expect(mask.equals(chosen.mask)).toBe(false);
    }
  });

  it('measures what swaps do to the loss, which for a linear loss is what gradients say', async () => {
    const { data } = await pretrained();
    const model = new Linear(12, 4, { random: new Random(2) });
    // Without curvature the first order is all there is.
    const task = (m: Module, { inputs }: TensorBatch) => ({
      loss: m
        .forward(inputs)
        .mul(inputs.slice(1, 0, 4))
        .mean(),
    });
    const jackpots = new LotteryJackpots({ sparsity: 0.5, exclude: [], untrained: true, probe: 3, scoreRate: 1 });
    await new Trainer({
      model,
      task,
      train: new DataLoader(data, { batchSize: 16, shuffle: true }),
      optimizer: new SGD(model.parameters()),
      steps: 12,
      sparsifiers: [jackpots],
    }).run();
    expect(jackpots.effects.map(e => e.step)).toEqual([3, 6, 9, 12]);
    expect(jackpots.effects.some(e => Math.abs(e.actual) > 1e-3)).toBe(true);
    for (const { predicted, actual } of jackpots.effects) expect(predicted).toBeCloseTo(actual, 6);
  });

  it('changes nothing by measuring', async () => {
    const options = { sparsity: 0.5, restriction: 0.01 };
    const [watched, plain] = [await find({ ...options, probe: 10 }), await find(options)];
    const [a, b] = [watched, plain].map(({ seen }) => seen.at(-1)!);
    expect(a.mask.equals(b.mask)).toBe(true);
    for (const [name, values] of b.state) expect(a.state.get(name), name).toEqual(values);
  });

  it('goes on from its state', async () => {
    const { folder, remove } = await temporary();
    try {
      const whole = await find({ sparsity: 0.8 });
      await search(new LotteryJackpots({ sparsity: 0.8 }), { out: folder, stopAt: 24 });
      const again = new LotteryJackpots({ sparsity: 0.8 });
      const { seen } = await search(again, { out: folder });
      expect(seen.at(-1)!.mask.equals(whole.seen.at(-1)!.mask)).toBe(true);
      expect(again.log).toEqual(whole.jackpots.log);
    } finally {
      await remove();
    }
  });

  it('refuses untrained networks, emptied layers, and options without sense', async () => {
    const fresh = () => ({ model: new MLP([12, 24, 4], { random: new Random(8) }) });
    await expect(search(new LotteryJackpots({ sparsity: 0.5 }), fresh())).rejects.toThrow('set untrained: true');
    await search(new LotteryJackpots({ sparsity: 0.5, untrained: true }), fresh());
    await expect(find({ sparsity: 0.999 })).rejects.toThrow('sparsity 0.999 leaves nothing of');
    expect(() => new LotteryJackpots({ sparsity: 0.5, maskedScore: 1.1 })).toThrow('maskedScore 1.1');
    expect(() => new LotteryJackpots({ sparsity: 0.5, restriction: 0 })).toThrow('restriction 0');
    expect(() => new LotteryJackpots({ sparsity: 0.5, init: 'best' as never })).toThrow("init 'best'");
    expect(() => new LotteryJackpots({ sparsity: 0.5, probe: -1 })).toThrow('probe -1');
  });
});

describe('criteriaOverlap', () => {
  it('is 1 with the criterion that made the mask, and about the density with random ones', async () => {
    const { model, task, data } = await pretrained();
    const layers = await modelLayers(model, spec);
    const batches = [await data.batch([...Array(64).keys()])];
    const at = { model, task, batches, layers, mode: 'eval' as const };
    const mask = prune(layers.layers, l => magnitude(l.values), { sparsity: 0.5 });
    const overlap = await criteriaOverlap(mask, at);
    expect(overlap.magnitude).toBe(1);
    expect(overlap.random).toBeGreaterThan(0.4);
    expect(overlap.random).toBeLessThan(0.6);
    // The complement shares nothing with it.
    const rest = new Mask(
      [...mask.entries()].map(([n, { shape, keep }]) => [n, { shape, keep: keep.map(k => 1 - k) }] as const),
    );
    expect(countOnes(rest.get('fc1.weight'))).toBe(mask.kept('fc1.weight'));
    const other = await criteriaOverlap(rest, at);
    expect(other.magnitude).toBe(0);
    for (const c of ['SNIP', 'GraSP', 'Taylor'] as const) expect(overlap[c] + other[c]).toBeCloseTo(1, 6);
  });
});

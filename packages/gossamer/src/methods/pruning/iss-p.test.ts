import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@gossamer/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { MLP } from '../../nn/container.ts';
import { Adam } from '../../optim/index.ts';
import type { Sparsifier, Training } from '../../sparsity/index.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { SoftShrinkage, type SoftShrinkageOptions } from './iss-p.ts';

const random = new Random(5);
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [64, 20], data: random.normal(1280) },
  labels: { dtype: 'int32', shape: [64], data: random.integers(64, 0, 4) },
});
const steps = 20;

async function train(sparsifiers: readonly Sparsifier[], extra: { out?: string; steps?: number } = {}) {
  const model = new MLP([20, 24, 4], { random: new Random(3) });
  await new Trainer({
    model,
    task: classification(),
    train: new DataLoader(data, { batchSize: 16, shuffle: true }),
    optimizer: new Adam(model.parameters(), { learningRate: 1e-2 }),
    steps,
    sparsifiers,
    ...extra,
  }).run();
  return new Map(
    await Promise.all([...model.stateDict()].map(async ([name, p]) => [name, (await p.data()).slice()] as const)),
  );
}

/** Values of the weights around each update. */
class Watched extends SoftShrinkage {
  readonly seen: { step: number; before: Map<string, Float32Array>; after: Map<string, Float32Array> }[] = [];
  override async update(training: Training): Promise<void> {
    const read = async () =>
      new Map(
        await Promise.all(
          [...training.layers.parameters].map(async ([n, p]) => [n, (await p.data()).slice()] as const),
        ),
      );
    const before = await read();
    await super.update(training);
    this.seen.push({ step: training.step, before, after: await read() });
  }
}

describe('soft shrinkage', () => {
  it('scales exactly ⌊p·n⌋ weights of smallest magnitude by α after each step, keeping signs', async () => {
    const pruner = new Watched({ sparsity: 0.77, alpha: 0.9, until: 0.5 });
    const final = await train([pruner]);
    for (const { step, before, after } of pruner.seen.filter(s => s.step > 0 && s.step < 10)) {
      for (const [name, w] of before) {
        const count = Math.floor(0.77 * w.length);
        const order = [...w.keys()].sort((a, b) => Math.abs(w[a]) - Math.abs(w[b]) || b - a);
        const gone = new Set(order.slice(0, count));
        after.get(name)!.forEach((v, i) => {
          expect(v, `step ${step}`).toBe(gone.has(i) ? Math.fround(0.9 * w[i]) : w[i]);
        });
      }
    }
    for (const name of pruner.mask!.names) {
      const w = final.get(name)!;
      expect(w.reduce((n, v) => n + Number(v !== 0), 0)).toBe(w.length - Math.floor(0.77 * w.length));
      const { kept, gone } = pruner.gap![name];
      expect(kept).toBeGreaterThanOrEqual(gone);
    }
  });

  it('α = 1 is dense training until the hard prune', async () => {
    const dense = await train([]);
    const same = await train([new SoftShrinkage({ sparsity: 0.9, alpha: 1, until: 1 })]);
    for (const [name, w] of same) {
      w.forEach((v, i) => {
        if (v !== 0) expect(v).toBe(dense.get(name)![i]);
      });
    }
  });

  it('α = 0 has the trajectory of iterative hard thresholding', async () => {
    /** After every step, the ⌊p·n⌋ weights of smallest magnitude are zero; the others and the moments stay. */
    const hard: Sparsifier = {
      name: 'hard',
      mask: undefined,
      prepare: async () => {},
      update: async ({ step, layers: { layers, parameters } }) => {
        if (step === 0) return;
        for (const { name } of layers) {
          const w = (await parameters.get(name)!.data()).slice();
          const order = [...w.keys()].sort((a, b) => Math.abs(w[a]) - Math.abs(w[b]) || b - a);
          for (const i of order.slice(0, Math.floor(0.8 * w.length))) w[i] = 0;
          parameters.get(name)!.set(w);
        }
      },
      state: () => ({ arrays: {}, json: null }),
      restore: () => {},
    };
    const plain = (values: ReadonlyMap<string, Float32Array>) => [...values].map(([n, w]) => [n, w.map(v => v + 0)]);
    const found = await train([new SoftShrinkage({ sparsity: 0.8, alpha: 0, until: 1 })]);
    expect(plain(found)).toEqual(plain(await train([hard])));
  });

  it('α = 0 is iterative hard thresholding: the unimportant are zero after every step', async () => {
    const pruner = new Watched({ sparsity: 0.8, alpha: 0 });
    await train([pruner]);
    for (const { after } of pruner.seen.filter(s => s.step > 0)) {
      for (const w of after.values()) {
        expect(w.reduce((n, v) => n + Number(v === 0), 0)).toBeGreaterThanOrEqual(Math.floor(0.8 * w.length));
      }
    }
  });

  it('raises penalty factors of what is unimportant, every five steps, up to the limit', async () => {
    const pruner = new SoftShrinkage({ sparsity: 0.5, form: 'regularize', increase: 0.2, limit: 0.5, until: 1 });
    const states: Float32Array[] = [];
    const update = pruner.update.bind(pruner);
    pruner.update = async training => {
      await update(training);
      states.push(pruner.state().arrays['penalty/layers.0.weight']?.data as Float32Array);
    };
    await train([pruner]);
    const at = (step: number) => new Set(states[step].map(v => +v.toFixed(2)));
    expect([...at(4)]).toEqual([0]);
    expect([...at(5)].sort()).toEqual([0, 0.2].map(v => Math.fround(v)));
    expect(states[5].filter(v => v > 0).length).toBe(240);
    expect(Math.max(...states[15])).toBeCloseTo(0.5, 6);
    // The mask stands; nothing is penalised any more.
    expect([...at(20)]).toEqual([0]);
  });

  it('with a fixed set, the set of the first time is what goes', async () => {
    const pruner = new SoftShrinkage({ sparsity: 0.5, form: 'fixed', increase: 1, until: 0.8, every: 1 });
    let first: Uint8Array | undefined;
    const update = pruner.update.bind(pruner);
    pruner.update = async training => {
      await update(training);
      if (training.step === 1) first = pruner.state().arrays['important/layers.0.weight'].data as Uint8Array;
    };
    await train([pruner]);
    expect(pruner.mask!.get('layers.0.weight')).toEqual(first);
  });

  it('keeps a weight for each output where p would leave fewer, and says where', async () => {
    const pruner = new SoftShrinkage({ sparsity: 0.99 });
    await train([pruner]);
    // 480 weights: 1 % are 5, for 24 outputs; 96 weights: one is left of them, for 4 outputs.
    expect(pruner.relaxed).toEqual(['layers.0.weight', 'layers.1.weight']);
    expect(pruner.mask!.names.map(n => pruner.mask!.kept(n))).toEqual([24, 4]);
  });

  it('with whole filters, a growing penalty silences them together (as ASSL does, by the filter)', async () => {
    const pruner = new SoftShrinkage({ sparsity: 0.5, granularity: 'filter', form: 'fixed', increase: 0.1, every: 1 });
    const w = (await train([pruner])).get('layers.0.weight')!;
    const alive = Array.from({ length: 24 }, (_, o) => w.subarray(20 * o, 20 * (o + 1)).some(v => v !== 0));
    expect(alive.filter(Boolean)).toHaveLength(12);
    const keep = pruner.mask!.get('layers.0.weight');
    keep.forEach((k, i) => {
      expect(k).toBe(Number(alive[Math.floor(i / 20)]));
    });
  });

  it('works with N:M and globally', async () => {
    const pattern = new SoftShrinkage({ granularity: '2:4' });
    await train([pattern]);
    const keep = pattern.mask!.get('layers.0.weight');
    for (let i = 0; i < keep.length; i += 4) expect(keep[i] + keep[i + 1] + keep[i + 2] + keep[i + 3]).toBe(2);
    const global = new SoftShrinkage({ sparsity: 0.9, allocation: 'global' });
    await train([global]);
    expect(global.mask!.size() - global.mask!.kept()).toBe(Math.floor(0.9 * 576));
  });

  it('looks at gradients and at how the set moves', async () => {
    const pruner = new SoftShrinkage({ sparsity: 0.8, diagnose: 5 });
    await train([pruner]);
    expect(pruner.log.map(l => l.step)).toEqual([5, 10, 15]);
    for (const { gradients, overlap } of pruner.log) {
      expect(overlap).toBeGreaterThan(0.5);
      for (const { mean, norm } of Object.values(gradients)) expect(norm).toBeGreaterThan(mean);
    }
  });

  it.each(['shrink', 'regularize', 'fixed'] as const)('%s: a killed run resumes to the same bits', async form => {
    const folder = mkdtempSync(join(tmpdir(), 'gossamer-iss-'));
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    const options: SoftShrinkageOptions = { sparsity: 0.8, form, until: 0.75, every: 2, increase: 0.05 };
    const whole = await train([new SoftShrinkage(options)]);
    class Killed extends SoftShrinkage {
      override async update(training: Training): Promise<void> {
        if (training.step === 13) throw new Error('killed');
        await super.update(training);
      }
    }
    await expect(train([new Killed(options)], { out: folder })).rejects.toThrow('killed');
    expect(await train([new SoftShrinkage(options)], { out: folder })).toEqual(whole);
  });

  it('refuses what no training could follow', () => {
    const make = (options: Partial<SoftShrinkageOptions>) => () => new SoftShrinkage({ sparsity: 0.9, ...options });
    expect(make({ sparsity: 1 })).toThrow('sparsity 1; expected 0 ≤ p < 1');
    expect(() => new SoftShrinkage({})).toThrow('sparsity undefined');
    expect(make({ alpha: 1.1 })).toThrow('alpha 1.1');
    expect(make({ until: 0 })).toThrow('until 0');
    expect(make({ every: 0 })).toThrow('every 0');
    expect(make({ increase: 0 })).toThrow('increase 0');
  });
});

import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { DataLoader } from '../../data/loader.ts';
import { tokenWindows } from '../../data/sequences.ts';
import { GPT } from '../../models/gpt.ts';
import { AdamW, type Optimizer } from '../../optim/index.ts';
import type { Sparsifier, Training } from '../../sparsity/sparsifier.ts';
import { languageModelling } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { tokenCurve } from './pretraining-schedule.ts';
import { runOf, runSize, trainingCompute } from './run-size.ts';
import { SparsePretraining } from './sparse-pretraining-scaling.ts';

const STEPS = 64;
const tokens = tokenWindows(new Random(1).integers(800, 0, 12), 8);
const blocks = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'].map(n => `transformer.h.0.${n}.weight`);
const prunable = 12 * 16 * 16;

/** Trains a small language model and keeps what each update left. */
async function pretrain(sparsifier?: SparsePretraining, look?: (training: Training) => Promise<void>) {
  const model = new GPT({ vocab: 12, context: 8, layers: 1, heads: 2, dim: 16, random: new Random(2) });
  const train = new DataLoader(tokens, { batchSize: 4, shuffle: true, dropLast: true });
  const optimizer: Optimizer = new AdamW(model.parameters(), { learningRate: 3e-3 });
  const watched: Sparsifier[] = [];
  if (sparsifier) {
    const update = sparsifier.update.bind(sparsifier);
    sparsifier.update = async training => {
      await update(training);
      await look?.(training);
    };
    watched.push(sparsifier);
  }
  await new Trainer({ model, task: languageModelling(), train, optimizer, steps: STEPS, sparsifiers: watched }).run();
  const weights = new Map<string, Float32Array>();
  for (const [name, p] of model.stateDict()) weights.set(name, await p.data());
  return weights;
}

describe('SparsePretraining', () => {
  it('is dense up to a, ends at S_f in every weight of the blocks, and never lets a weight return', async () => {
    const pretraining = new SparsePretraining({ sparsity: 0.75, interval: 4 });
    const { tokensAt } = tokenCurve({ sparsity: 0.75 }, { prunable });
    let before = pretraining.mask;
    const weights = await pretrain(pretraining, async ({ step, layers, optimizer }) => {
      const mask = pretraining.mask!;
      expect(mask.names).toEqual(blocks);
      if (step <= Math.round(STEPS * tokensAt(0.25))) expect(mask.sparsity()).toBe(0);
      if (step >= Math.round(STEPS * tokensAt(0.75))) expect(mask.sparsity()).toBe(0.75);
      expect(!before || mask.isWithin(before)).toBe(true);
      before = mask;
      if (step === 0 || step % 8 !== 0) return;
      for (const name of blocks) {
        const keep = mask.get(name);
        const gone = (values: Float32Array) => values.every((v, i) => keep[i] === 1 || v === 0);
        const p = layers.parameters.get(name)!;
        // An update masks weights whose value and moments become zero with the step that follows.
        if (pretraining.log.at(-1)!.step === step) continue;
        for (const values of [p, ...optimizer.stateOf(p)]) expect(gone(await values.data())).toBe(true);
      }
    });
    for (const name of blocks) {
      const w = weights.get(name)!;
      expect(w.filter(v => v !== 0)).toHaveLength(w.length / 4);
    }
    expect(weights.get('transformer.wte.weight')!.every(v => v !== 0)).toBe(true);
  });

  it('its log gives N̄ of the schedule within one interval, and C = 6·N̄·D exactly', async () => {
    for (const of of ['tokens', 'compute'] as const) {
      const pretraining = new SparsePretraining({ sparsity: 0.8, interval: 2, of });
      await pretrain(pretraining);
      const run = runOf(pretraining.log, { steps: STEPS, tokensPerStep: 32, loss: 1 });
      const { average } = tokenCurve({ sparsity: 0.8, of }, { prunable });
      // While an interval lasts, sparsity stays behind the curve: at most S_f for two of the steps.
      expect(runSize(run) / prunable - average).toBeGreaterThanOrEqual(-0.8 / STEPS);
      expect(runSize(run) / prunable - average).toBeLessThanOrEqual((2 * 0.8) / STEPS);
      const counts = Array.from({ length: STEPS }, (_, t) => pretraining.log.findLast(e => e.step <= t)!.active);
      const stepwise = counts.reduce((sum, n) => sum + 6 * n * 32, 0);
      expect(trainingCompute(run)).toBe(stepwise);
      expect(6 * runSize(run) * run.tokens).toBe(stepwise);
    }
  });

  it('with S_f = 0 it is the dense run, bit for bit', async () => {
    expect(await pretrain(new SparsePretraining({ sparsity: 0 }))).toEqual(await pretrain());
  });

  it('counts all parameters if asked to, and prunes at random as a control', async () => {
    const all = new SparsePretraining({ sparsity: 0.5, interval: 4, count: 'all', score: 'random' });
    const weights = await pretrain(all);
    const total = [...weights.values()].reduce((n, w) => n + w.length, 0);
    expect(all.log[0].active).toBe(total);
    expect(all.log.at(-1)).toMatchObject({ sparsity: 0.5, active: total - prunable / 2 });
    const smallest = (w: Float32Array) => Math.min(...w.filter(v => v !== 0).map(Math.abs));
    const magnitude = await pretrain(new SparsePretraining({ sparsity: 0.5, interval: 4 }));
    expect(smallest(weights.get(blocks[0])!)).toBeLessThan(smallest(magnitude.get(blocks[0])!));
  });

  it('leaves out what is excluded, and can keep an N:M pattern', async () => {
    const pretraining = new SparsePretraining({
      sparsity: 0.5,
      granularity: '2:4',
      exclude: ['*.attn.*'],
      interval: 8,
    });
    const weights = await pretrain(pretraining);
    expect(pretraining.mask!.names).toEqual(blocks.slice(2));
    const w = weights.get(blocks[2])!;
    for (let g = 0; g < w.length; g += 4) expect(w.subarray(g, g + 4).filter(v => v !== 0)).toHaveLength(2);
  });

  it('refuses windows, sparsities, intervals and scores that make no sense', () => {
    const refused = (options: ConstructorParameters<typeof SparsePretraining>[0], message: string) =>
      expect(() => new SparsePretraining(options)).toThrow(message);
    refused({ sparsity: 1 }, 'final sparsity 1');
    refused({ sparsity: 0.5, start: 0.5, end: 0.5 }, 'expected shares 0 ≤ start < end ≤ 1');
    refused({ sparsity: 0.5, interval: 0 }, 'interval 0');
    refused({ sparsity: 0.5, score: 'luck' as never }, "score 'luck'; there are magnitude");
  });
});

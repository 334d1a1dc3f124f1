import { Random, type Spec } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { DataLoader } from '../../data/loader.ts';
import { tokenWindows } from '../../data/sequences.ts';
import { GPT } from '../../models/gpt.ts';
import { Linear } from '../../nn/linear.ts';
import type { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import { layer } from '../../sparsity/layer.ts';
import { evaluate } from '../../train/evaluate.ts';
import { languageModelling } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { emergence, type WeightCheckpoint } from './emergence.ts';
import {
  type CurvePoint,
  essential,
  essentialConfidence,
  essentialCurve,
  essentialMask,
  type Metric,
  maskCosine,
  prunableWeights,
} from './essential-sparsity.ts';

const gpt = () => new GPT({ vocab: 13, context: 8, layers: 2, heads: 2, dim: 16, random: new Random(4) });
const inputs: Spec[] = [{ dtype: 'int32', shape: [1, 8] }];
const text = tokenWindows(new Random(1).integers(400, 0, 13), 8);
const task = languageModelling();
const loss: Metric = { name: 'loss', better: 'lower' };
const measured = async (model: Module) => ({ value: (await evaluate(model, task, new DataLoader(text))).loss });

describe('masks', () => {
  it('act on the linear weights of the blocks and on nothing else', async () => {
    const { layers } = await prunableWeights(gpt(), inputs);
    const own = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'];
    expect(layers.map(l => l.name)).toEqual([0, 1].flatMap(i => own.map(n => `transformer.h.${i}.${n}.weight`)));
    await expect(prunableWeights(new Linear(3, 3), [{ dtype: 'float32', shape: [1, 3] }])).rejects.toThrow(
      'no repeated blocks',
    );
  });

  it('keep exactly round((1 − s)·n), nested in s, at random as well', async () => {
    const { layers } = await prunableWeights(gpt(), inputs);
    const n = layers.reduce((sum, l) => sum + l.values.length, 0);
    for (const random of [undefined, new Random(3)]) {
      let before = essentialMask(layers, { sparsity: 0, random });
      for (const sparsity of [0.1, 0.33, 0.5, 0.777, 0.9]) {
        const mask = essentialMask(layers, { sparsity, random });
        expect(mask.kept()).toBe(Math.round((1 - sparsity) * n));
        expect(mask.isWithin(before)).toBe(true);
        before = mask;
      }
    }
  });

  it('have one threshold, or one share for each layer', async () => {
    const { layers } = await prunableWeights(gpt(), inputs);
    const mask = essentialMask(layers, { sparsity: 0.6 });
    const [kept, gone] = [1, 0].map(k =>
      layers.flatMap(l => [...l.values].filter((_, i) => mask.get(l.name)[i] === k).map(Math.abs)),
    );
    expect(Math.min(...kept)).toBeGreaterThanOrEqual(Math.max(...gone));
    const even = essentialMask(layers, { sparsity: 0.6, scope: 'layer' });
    for (const l of layers) expect(even.kept(l.name)).toBe(l.values.length - Math.round(0.6 * l.values.length));
  });

  it('keep the n largest of every m in a pattern', async () => {
    const { layers } = await prunableWeights(gpt(), inputs);
    for (const [pattern, n, m] of [
      ['1:2', 1, 2],
      ['2:4', 2, 4],
      ['4:8', 4, 8],
      ['3:8', 3, 8],
    ] as const) {
      const mask = essentialMask(layers, { pattern });
      for (const { name, shape } of layers) {
        for (let row = 0; row < shape[0]; row++) {
          const keep = mask.get(name).subarray(row * shape[1], (row + 1) * shape[1]);
          for (let i = 0; i < shape[1]; i += m) expect(keep.subarray(i, i + m).reduce((a, b) => a + b, 0)).toBe(n);
        }
      }
    }
  });

  it('are compared by their cosine', async () => {
    const { layers } = await prunableWeights(gpt(), inputs);
    const [a, b] = [0.5, 0.8].map(sparsity => essentialMask(layers, { sparsity }));
    expect(maskCosine(a, a)).toBeCloseTo(1, 12);
    expect(maskCosine(a, b)).toBeCloseTo(b.kept() / Math.sqrt(a.kept() * b.kept()), 12);
    const random = essentialMask(layers, { sparsity: 0.8, random: new Random(1) });
    expect(maskCosine(b, random)).toBeCloseTo(0.2, 1);
  });
});

describe('essentialCurve', () => {
  it('starts with the dense metric bit for bit, refines around the knee, and leaves the model alone', async () => {
    const model = gpt();
    const before = (await measured(model)).value;
    const curve = await essentialCurve({
      model,
      inputs,
      grid: [0.3, 0.6, 0.9],
      metric: loss,
      evaluate: measured,
      refine: 0.1,
    });
    expect(curve.points[0]).toEqual({ sparsity: 0, value: before });
    expect(curve.points.length).toBeGreaterThan(6);
    expect(curve.points.filter(p => !p.refined).map(p => p.sparsity.toFixed(1))).toEqual(['0.0', '0.3', '0.6', '0.9']);
    expect(curve).toMatchObject({ protocol: 'zero-shot', zeros: 0 });
    expect(curve.prunable).toHaveLength(8);
    expect((await measured(model)).value).toBe(before);
  });

  it('fine-tunes every point from the pretrained weights, the mask fixed', async () => {
    const model = gpt();
    const masks: (number | undefined)[] = [];
    const train = async (m: Module, sparsifiers: readonly object[]) => {
      await new Trainer({
        model: m,
        task,
        train: new DataLoader(text, { batchSize: 10 }),
        optimizer: new SGD(m.parameters(), { learningRate: 0.5 }),
        steps: 3,
        sparsifiers: sparsifiers as never,
      }).run();
      const { layers } = await prunableWeights(m, inputs);
      masks.push(layers.reduce((n, l) => n + l.values.filter(v => v === 0).length, 0));
    };
    const { points } = await essentialCurve({
      model,
      inputs,
      grid: [0, 0.5],
      metric: loss,
      evaluate: measured,
      protocol: { kind: 'fine-tune', train },
    });
    expect(masks).toEqual([0, 3072]);
    expect(points[0].value).toBeLessThan((await measured(model)).value);
  });

  it('refuses what has no answer', async () => {
    const base = { model: gpt(), inputs, metric: loss, evaluate: measured };
    await expect(essentialCurve({ ...base, grid: [] })).rejects.toThrow('the grid is empty');
    for (const grid of [[0.5, 0.3], [1], [-0.1, 0.5]]) {
      await expect(essentialCurve({ ...base, grid })).rejects.toThrow('expected ascending sparsities');
    }
    const vague = { name: 'score' } as Metric;
    await expect(essentialCurve({ ...base, metric: vague, grid: [0.5] })).rejects.toThrow('a higher or a lower score');
  });
});

describe('essential', () => {
  const curve = (values: number[]): CurvePoint[] => values.map((value, i) => ({ sparsity: i / 10, value }));
  const accuracy: Metric = { name: 'accuracy', better: 'higher' };

  it('is the last sparsity within the tolerance, without a gap, and the sharpest bend', () => {
    const found = essential(curve([0.9, 0.9, 0.899, 0.895, 0.88, 0.6, 0.3, 0.9]), accuracy);
    expect(found.sparsity).toBe(0.3);
    expect(found.knee).toBe(0.4);
    expect(essential(curve([0.9, 0.9, 0.9]), accuracy).sparsity).toBe(0.2);
    expect(essential(curve([0.9, 0.5, 0.1]), accuracy, 0.01).sparsity).toBe(0);
  });

  /** A curve of curvature `bends`, [from, to, −f″], read at `grid` and, marked, at `fine` sparsities. */
  const bent = (bends: readonly [number, number, number][], grid: number[], fine: number[] = []): CurvePoint[] =>
    [...grid.map(s => ({ s, refined: false })), ...fine.map(s => ({ s, refined: true }))]
      .sort((a, b) => a.s - b.s)
      .map(({ s, refined }) => {
        const drop = bends.reduce((sum, [from, to, bend]) => {
          const inside = Math.max(0, Math.min(s, to) - from);
          return sum + bend * (inside ** 2 / 2 + inside * Math.max(0, s - to));
        }, 0);
        return { sparsity: s, value: 1 - drop, ...(refined && { refined }) };
      });

  it('finds the bend on an uneven grid, where wide gaps have the larger changes of slope', () => {
    // Curvature 3 everywhere, and 25 more between 0.52 and 0.56.
    const bends: [number, number, number][] = [
      [0, 1, 3],
      [0.52, 0.56, 25],
    ];
    const points = bent(bends, [0, 0.4, 0.5, 0.52, 0.54, 0.56, 0.6, 0.8]);
    expect(essential(points, accuracy).knee).toBe(0.54);
  });

  it('refines the knee inside the gaps of the grid that it lies in, and is not drawn away by other points', () => {
    const bends: [number, number, number][] = [
      [0.44, 0.48, 50],
      [0.5, 1, 12],
    ];
    const grid = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
    const fine = [0.42, 0.44, 0.46, 0.48, 0.52, 0.54, 0.56, 0.58];
    expect(essential(bent(bends, grid), accuracy).knee).toBe(0.5);
    expect(essential(bent(bends, grid, fine), accuracy).knee).toBe(0.46);
    // Points behind s*, elsewhere and noisy: their second differences are divided by little.
    const noisy = [0.12, 0.14, 0.16, 0.18].map((sparsity, i) => ({
      sparsity,
      value: 1 + (i % 2 === 0 ? 0.02 : -0.02),
      refined: true as const,
    }));
    const points = [...bent(bends, grid, fine), ...noisy].sort((a, b) => a.sparsity - b.sparsity);
    expect(essential(points, accuracy).knee).toBe(0.46);
  });

  it('reads a perplexity by its logarithm, and less as better', () => {
    const perplexity: Metric = { name: 'perplexity', better: 'lower', log: true };
    // The loss bends once, at 0.3; the perplexity itself bends ever more.
    const points = curve([1, 1, 1, 1, 2, 3, 4].map(l => Math.exp(l)));
    const { sparsity, knee, slopes } = essential(points, perplexity, 0.05);
    expect([sparsity, knee]).toEqual([0.3, 0.3]);
    expect(slopes[0]).toBeCloseTo(0, 9);
    expect(slopes[1]).toBeCloseTo(-10, 9);
    expect(essential(points, { ...perplexity, log: false }, 0.05).knee).toBe(0.5);
  });

  it('is as sure as the evaluation samples make it', () => {
    const random = new Random(2);
    const noisy = (spread: number): CurvePoint[] =>
      [1, 1, 1.005, 1.009, 1.02, 1.5].map((mean, i) => {
        const samples = Float64Array.from(random.fork(`${spread}`).fork(i).normal(200, mean, spread));
        return { sparsity: i / 10, value: samples.reduce((a, b) => a + b) / 200, samples };
      });
    const width = ([low, high]: readonly [number, number]) => high - low;
    const [sure, unsure] = [1e-4, 0.05].map(s =>
      essentialConfidence(noisy(s), loss, { random: new Random(1), samples: 200 }),
    );
    expect(sure.sparsity).toEqual([0.3, 0.3]);
    expect(sure.knee).toEqual([0.4, 0.4]);
    expect(width(unsure.sparsity)).toBeGreaterThan(0.1);
    expect(() => essentialConfidence(curve([1, 2, 3]), loss, { random })).toThrow('the same evaluation samples');
  });

  it('needs a direction and a curve', () => {
    expect(() => essential(curve([1, 2, 3]), { name: 'x' } as Metric)).toThrow('a higher or a lower x');
    expect(() => essential(curve([1, 2]), loss)).toThrow('2 points have no knee');
  });
});

describe('emergence', () => {
  const random = new Random(8);
  const weights = random.normal(1000);
  const at = (step: number, change: (w: number, i: number) => number): WeightCheckpoint => ({
    step,
    layers: [layer('w', [10, 100], weights.map(change))],
  });

  it('finds an abrupt rise of near-zero weights', () => {
    const found = emergence([
      at(0, w => w),
      at(1, (w, i) => (i < 2 ? 0 : w)),
      at(2, (w, i) => (i < 4 ? 0 : w)),
      at(3, (w, i) => (i < 204 ? 0 : w)),
      at(4, (w, i) => (i < 206 ? 0 : w)),
    ]);
    expect(found.points[0].total).toBeCloseTo(0.009, 9);
    expect(found.jump.step).toBe(3);
    expect(found.jump.size).toBeGreaterThan(0.19);
    expect(found.jump.ratio).toBeGreaterThan(50);
    expect(found.points[3].layers.w).toBe(found.points[3].total);
  });

  it('does not take decay for sparsity in the normalised view', () => {
    const { points, normalizedThreshold } = emergence([0, 1, 2, 3].map(step => at(step, w => w * 0.5 ** step)));
    expect(points[3].total).toBeGreaterThan(3 * points[0].total);
    for (const p of points) expect(p.normalized).toBeCloseTo(points[0].normalized, 9);
    expect(normalizedThreshold).toBeGreaterThan(0);
  });

  it('refuses checkpoints of different models', () => {
    const other = { step: 9, layers: [layer('w', [100, 10], weights)] };
    expect(() => emergence([at(0, w => w), at(1, w => w), other])).toThrow(
      'step 9 has the weights w [100, 10], step 0 w [10, 100]',
    );
    expect(() => emergence([at(0, w => w)])).toThrow('1 checkpoints; expected 3 or more');
  });
});

import { type NDArray, Random } from '@gossamer/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { BatchNorm1d, Linear, ReLU, Sequential } from '../../nn/index.ts';
import { linearSchedule, SGD } from '../../optim/index.ts';
import { modelLayers, prune, randomScore } from '../../sparsity/index.ts';
import { evaluate } from '../../train/evaluate.ts';
import { restore, type Snapshot, snapshot } from '../../train/snapshot.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { interpolate } from './soup-diagnostics.ts';
import type { Retraining } from './soup-retraining.ts';
import {
  type Candidate,
  cook,
  recalibrate,
  type SoupOptions,
  type SoupPhase,
  soup,
  sparseModelSoups,
} from './sparse-model-soups.ts';

/** Four classes around four centres. */
function blobs(n: number, seed: number) {
  const random = new Random(seed);
  const labels = random.integers(n, 0, 4);
  const centres = new Random(1).normal(4 * 12);
  const noise = random.normal(n * 12, 0, 1.2);
  const inputs: NDArray = {
    dtype: 'float32',
    shape: [n, 12],
    data: noise.map((v, i) => v + centres[12 * labels[Math.floor(i / 12)] + (i % 12)]),
  };
  return new ArrayDataset({ inputs, labels: { dtype: 'int32', shape: [n], data: labels } });
}
const [data, held] = [blobs(400, 2), blobs(500, 3)];
const spec = { dtype: 'float32' as const, shape: [1, 12] };
const task = classification();
const network = () => {
  const random = new Random(4);
  return new Sequential(
    new Linear(12, 32, { random: random.fork('a') }),
    new BatchNorm1d(32),
    new ReLU(),
    new Linear(32, 4, { random: random.fork('b') }),
  );
};
const accuracy = async (model: Sequential) =>
  (await evaluate(model, task, new DataLoader(held, { batchSize: 500 }))).accuracy;

async function train(model: Sequential, r: Pick<Retraining, 'seed' | 'epochs'> & Partial<Retraining>) {
  const loader = new DataLoader(data, { batchSize: 40, shuffle: true, seed: r.seed });
  const steps = Math.max(1, Math.round(r.epochs * loader.length));
  const optimizer = new SGD(model.parameters(), {
    learningRate: r.learningRate ?? 0.1,
    momentum: 0.9,
    weightDecay: r.weightDecay ?? 1e-4,
  });
  const schedule = r.schedule?.(steps) ?? linearSchedule({ steps });
  await new Trainer({ model, task, train: loader, optimizer, steps, schedule, sparsifiers: r.sparsifiers ?? [] }).run();
}

let dense: Snapshot;
beforeAll(async () => {
  const model = network();
  await train(model, { seed: 0, epochs: 6 });
  dense = await snapshot(model);
});

interface Seen extends SoupPhase {
  /** Of the model when the phase was given. */
  readonly weights: Snapshot;
  readonly accuracy: number;
}

async function phases(options: Partial<SoupOptions> = {}): Promise<Seen[]> {
  const model = network();
  restore(model, dense);
  const seen: Seen[] = [];
  const all: SoupOptions = {
    model,
    inputs: [spec],
    sparsity: 0.9,
    epochs: 2,
    recalibration: { data },
    train: r => train(model, r),
    ...options,
  };
  for await (const phase of sparseModelSoups(all)) {
    seen.push({ ...phase, weights: await snapshot(model), accuracy: await accuracy(model) });
  }
  return seen;
}

const nonzeros = (weights: Snapshot, { mask }: Candidate): number =>
  mask.names.reduce((n, name) => n + weights.get(name)!.filter(w => w !== 0).length, 0);

describe('sparseModelSoups', () => {
  it('keeps exactly the mask in every candidate and soup, and nests the masks', async () => {
    const seen = await phases();
    expect(seen.map(s => +s.sparsity.toFixed(2))).toEqual([0.54, 0.79, 0.9]);
    const total = 12 * 32 + 32 * 4;
    for (const [i, { mask, candidates, soup: average, weights, chosen }] of seen.entries()) {
      expect(mask.kept()).toBe(total - Math.round((1 - 0.1 ** ((i + 1) / 3)) * total));
      expect(candidates).toHaveLength(3);
      expect(chosen).toEqual([0, 1, 2]);
      for (const { weights: w } of [...candidates, average]) {
        expect(nonzeros(w, average)).toBe(mask.kept());
        for (const name of mask.names) {
          const keep = mask.get(name);
          expect(w.get(name)!.every((v, k) => (v !== 0) === (keep[k] === 1))).toBe(true);
        }
      }
      expect(weights).toEqual(average.weights);
      if (i > 0) expect(mask.isWithin(seen[i - 1].mask)).toBe(true);
      expect(candidates[0].weights).not.toEqual(candidates[1].weights);
    }
    expect(seen.at(-1)!.accuracy).toBeGreaterThan(0.6);
  });

  it('stays in one basin: halfway between two copies loses less than a point', async () => {
    const [{ candidates }] = await phases({ phases: 1, sparsity: 0.5 });
    const model = network();
    const judge = async (weights: Snapshot) => {
      restore(model, weights);
      await recalibrate(model, { recalibration: { data, fraction: 1 } });
      return accuracy(model);
    };
    const [a, b] = candidates.map(c => c.weights);
    const ends = (await judge(a)) + (await judge(b));
    expect(await judge(interpolate(a, b))).toBeGreaterThan(ends / 2 - 0.01);
  });

  it('gives back identical copies as they are, up to their batch-norm statistics', async () => {
    const model = network();
    const [{ candidates, soup: average }] = await phases({
      model,
      phases: 1,
      train: r => train(model, { ...r, seed: 1 }),
      from: { round: 0, mask: undefined, weights: dense, rewind: undefined },
    });
    for (const [name, values] of average.weights) {
      if (!name.includes('running')) expect(values).toEqual(candidates[2].weights.get(name));
      else expect(values).not.toEqual(candidates[2].weights.get(name));
    }
  });

  it('goes on after a phase with the same result', async () => {
    const whole = await phases();
    const rest = await phases({ from: whole[0].state });
    expect(rest.map(r => r.phase)).toEqual([2, 3]);
    expect(rest.at(-1)!.weights).toEqual(whole.at(-1)!.weights);
  });

  it.each(['uniform', 'random', 'LAMP'] as const)('selects by %s, nested and exact', async selector => {
    const [first, second] = await phases({ selector, phases: 2, copies: 1, sparsity: 0.75 });
    expect(second.mask.isWithin(first.mask)).toBe(true);
    expect(second.sparsity).toBeCloseTo(0.75, 2);
    if (selector !== 'LAMP')
      for (const name of second.mask.names) expect(second.mask.sparsity(name)).toBeCloseTo(0.75, 2);
  });

  it('cooks greedily on validation data: the best copy first, no addition that loses', async () => {
    const scores: number[] = [];
    const plan = [0.5, 0.7, 0.6, 0.7, 0.69, 0.72];
    const [{ chosen, candidates, weights }] = await phases({
      phases: 1,
      soup: 'greedy',
      validate: async () => {
        scores.push(plan[scores.length]);
        return scores.at(-1)!;
      },
    });
    // Three copies are judged, copy 1 alone, then with 2 (loses), then with 0 (gains).
    expect(scores).toHaveLength(6);
    expect(chosen).toEqual([1, 0]);
    const expected = soup([candidates[0], candidates[1]]).weights;
    for (const [name, values] of weights) if (!name.includes('running')) expect(values).toEqual(expected.get(name));
  });

  it('branches from a sparse training with a mask of its own', async () => {
    const model = network();
    restore(model, dense);
    const found = await modelLayers(model, [spec]);
    const mask = prune(found.layers, l => randomScore(l.values.length, new Random(8)), { sparsity: 0.5 });
    const options = { epochs: 1, recalibration: { data }, train: (r: Retraining) => train(model, r), copies: 2 };
    const { candidates, soup: average } = await cook(model, found, mask, options);
    expect(candidates).toHaveLength(2);
    expect(nonzeros(average.weights, average)).toBe(mask.kept());
  });

  it('refuses options that make no sense', async () => {
    await expect(phases({ copies: 0 })).rejects.toThrow('0 copies');
    await expect(phases({ soup: 'greedy' })).rejects.toThrow('never on the test set');
    await expect(phases({ selector: 'snip' as 'global' })).rejects.toThrow("selector 'snip'");
    await expect(phases({ recalibration: { data, fraction: 0 } })).rejects.toThrow('fraction 0');
    await expect(phases({ sparsity: 1 })).rejects.toThrow('sparsity 1');
    const model = network();
    const unmasked = (r: Retraining) => train(model, { ...r, sparsifiers: [] });
    await expect(phases({ model, train: unmasked })).rejects.toThrow('give retraining.sparsifiers');
  });
});

describe('soup', () => {
  it('does not depend on the order of the candidates', async () => {
    const [{ candidates }] = await phases({ phases: 1 });
    const [a, b] = [soup(candidates), soup([candidates[2], candidates[0], candidates[1]])];
    for (const [name, values] of a.weights) {
      for (const [i, v] of values.entries()) expect(Math.abs(v - b.weights.get(name)![i])).toBeLessThanOrEqual(1e-6);
    }
    expect(soup(candidates, [0, 2, 0]).weights).toEqual(candidates[1].weights);
  });

  it('refuses candidates with different masks and names the first tensor', async () => {
    const [one, two] = await phases({ phases: 2 });
    expect(() => soup([one.candidates[0], two.candidates[0]])).toThrow(
      /candidate 1 has another mask than candidate 0 in '0.weight' \(\d+ positions\)/,
    );
    expect(() => soup([])).toThrow('no candidates');
    const torn = { weights: dense, mask: one.mask };
    expect(() => soup([torn])).toThrow('at the pruned position');
  });
});

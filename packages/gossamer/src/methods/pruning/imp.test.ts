import { type NDArray, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { MLP } from '../../nn/index.ts';
import { SGD } from '../../optim/index.ts';
import { magnitude, modelLayers, prune } from '../../sparsity/index.ts';
import { snapshot } from '../../train/snapshot.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { type ImpOptions, type ImpPhase, type ImpRound, imp, impLadder } from './imp.ts';

const random = new Random(7);
const inputs: NDArray = { dtype: 'float32', shape: [64, 12], data: random.normal(768) };
const data = new ArrayDataset({ inputs, labels: { dtype: 'int32', shape: [64], data: random.integers(64, 0, 4) } });
const spec = { dtype: 'float32' as const, shape: [1, 12] };
const network = () => new MLP([12, 16, 8, 4], { random: new Random(1) });

const trainer =
  (model: MLP, steps = 6) =>
  async ({ round, sparsifiers, start = 0 }: ImpPhase) => {
    const train = new DataLoader(data, { batchSize: 16, shuffle: true, seed: round });
    const optimizer = new SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9, weightDecay: 1e-3 });
    const options = { model, task: classification(), train, optimizer, steps: steps - start, sparsifiers };
    return (await new Trainer(options).run()).steps;
  };

type Seen = ImpRound<number> & { readonly weights: ReadonlyMap<string, Float32Array> };

async function rounds(options: Partial<ImpOptions<number>> = {}, model = network()): Promise<Seen[]> {
  const seen: Seen[] = [];
  const all = { model, inputs: [spec], train: trainer(model), ...options } as ImpOptions<number>;
  if (all.sparsity === undefined && all.rounds === undefined) Object.assign(all, { sparsity: 0.9, rounds: 3 });
  for await (const round of imp(all)) seen.push({ ...round, weights: await snapshot(model) });
  return seen;
}

describe('impLadder', () => {
  it('takes the same share of what remains in each round', () => {
    expect(impLadder({ sparsity: 0.98, rounds: 3 }).map(s => s.toFixed(3))).toEqual(['0.729', '0.926', '0.980']);
    expect(impLadder({ sparsity: 0.9, rounds: 3 }).map(s => s.toFixed(3))).toEqual(['0.536', '0.785', '0.900']);
    expect(impLadder({ rounds: 4 }).map(s => +s.toFixed(4))).toEqual([0.2, 0.36, 0.488, 0.5904]);
    expect(impLadder({ sparsity: 0.5, rate: 0.2 }).map(s => +s.toFixed(3))).toEqual([0.2, 0.36, 0.488, 0.5]);
    expect(impLadder({ sparsity: 1 - 0.8 ** 5 })).toHaveLength(5);
    expect(impLadder({ sparsity: 0.1 })).toEqual([0.1]);
  });

  it('refuses what leads nowhere', () => {
    expect(() => impLadder({})).toThrow('give a sparsity, a number of rounds');
    expect(() => impLadder({ sparsity: 1 })).toThrow('sparsity 1;');
    expect(() => impLadder({ rounds: 1.5 })).toThrow('1.5 rounds');
    expect(() => impLadder({ rounds: 2, rate: 1 })).toThrow('rate 1');
  });
});

describe('imp', () => {
  it('gives nested masks with exact counts, of the smallest trained weights of all layers together', async () => {
    const model = network();
    const { layers } = await modelLayers(model, [spec]);
    const total = layers.reduce((n, l) => n + l.values.length, 0);
    const seen = await rounds({}, model);
    expect(seen.map(s => s.round)).toEqual([0, 1, 2, 3]);
    expect(seen.map(s => s.start)).toEqual([0, 0, 0, 0]);
    const ladder = impLadder({ sparsity: 0.9, rounds: 3 });
    for (const [i, { mask, weights, sparsity }] of seen.slice(1).entries()) {
      expect(mask!.kept()).toBe(total - Math.round(ladder[i] * total));
      expect(sparsity).toBe(mask!.sparsity());
      const before = seen[i];
      if (before.mask) expect(mask!.isWithin(before.mask)).toBe(true);
      const trained = layers.map(l => ({ ...l, values: before.weights.get(l.name)! }));
      const sparse = { sparsity: ladder[i], allocation: 'global' as const };
      expect(mask!.equals(prune(trained, l => magnitude(l.values), sparse))).toBe(true);
      for (const l of layers) {
        const values = weights.get(l.name)!;
        expect(values.every((w, k) => (w !== 0) === (mask!.get(l.name)[k] === 1))).toBe(true);
      }
    }
  });

  it('rewinds survivors to the early weights, or keeps the trained ones', async () => {
    const early = network();
    await trainer(early, 2)({ round: 0, rounds: 1, sparsity: 0, mask: undefined, sparsifiers: [], start: 0 });
    const expected = { weights: await snapshot(early), 'learning-rate': undefined, none: undefined };
    for (const rewind of ['weights', 'learning-rate', 'none'] as const) {
      const model = network();
      const train = trainer(model);
      const starts: { phase: ImpPhase; weights: ReadonlyMap<string, Float32Array> }[] = [];
      const seen = await rounds(
        {
          rewind,
          rewindTo: 2,
          train: async phase => {
            starts.push({ phase, weights: await snapshot(model) });
            return train(phase);
          },
        },
        model,
      );
      for (const [i, { phase, weights }] of starts.slice(1).entries()) {
        const from = expected[rewind] ?? seen[i].weights;
        for (const [name, values] of weights) {
          const keep = phase.mask!.has(name) ? phase.mask!.get(name) : undefined;
          expect(values).toEqual(from.get(name)!.map((v, k) => (keep?.[k] === 0 ? 0 : v)));
        }
        expect(phase.start).toBe(rewind === 'none' ? undefined : 2);
        expect(seen[i + 1].result).toBe(rewind === 'none' ? 6 : 4);
      }
    }
  });

  it('goes on after any round with the same result, and shares a dense training', async () => {
    const whole = await rounds({ rewindTo: 1 });
    for (const { state } of whole.slice(0, -1)) {
      const rest = await rounds({ rewindTo: 1, from: state });
      expect(rest.map(r => r.round)).toEqual(whole.slice(state.round + 1).map(r => r.round));
      expect(rest.at(-1)!.weights).toEqual(whole.at(-1)!.weights);
    }
    const model = network();
    expect(await rounds({ rewindTo: 1, from: whole.at(-1)!.state }, model)).toEqual([]);
    expect(await snapshot(model)).toEqual(whole.at(-1)!.weights);
  });

  it('takes any score, allocation, pattern and selection of layers', async () => {
    const seen = await rounds({
      sparsity: 0.5,
      rounds: 2,
      granularity: '2:4',
      allocation: 'uniform',
      exclude: ['last'],
    });
    const { mask } = seen.at(-1)!;
    expect(mask!.names).toHaveLength(2);
    for (const name of mask!.names) {
      const keep = mask!.get(name);
      const width = name.startsWith('layers.0') ? 12 : 16;
      for (let row = 0; row < keep.length / width; row++) {
        for (let i = 0; i + 4 <= width; i += 4) {
          expect(keep.slice(row * width + i, row * width + i + 4).reduce((a, b) => a + b)).toBe(2);
        }
      }
    }
    const largest = await rounds({ rounds: 1, sparsity: 0.5, score: () => l => l.values.map(w => -Math.abs(w)) });
    const smallest = await rounds({ rounds: 1, sparsity: 0.5 });
    expect(largest[1].mask!.and(smallest[1].mask!).kept()).toBe(0);
  });

  it('refuses a training without the mask, one too short for its rewind point, and a state without one', async () => {
    const model = network();
    const train = trainer(model);
    await expect(
      rounds({ train: p => train({ ...p, sparsifiers: p.round === 0 ? p.sparsifiers : [] }) }, model),
    ).rejects.toThrow('at the pruned position');
    await expect(rounds({ rewindTo: 9 })).rejects.toThrow('never came to step 9');
    await expect(rounds({ rewindTo: -1 })).rejects.toThrow('rewindTo -1');
    const [{ state }] = await rounds({ rewind: 'none', rounds: 1 });
    await expect(rounds({ from: state })).rejects.toThrow('no weights to rewind to');
    await expect(rounds({ exclude: ['nothing'] })).rejects.toThrow("exclude 'nothing'");
  });
});

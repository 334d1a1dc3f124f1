import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { BatchNorm1d, Linear, Module, ReLU, Sequential } from '../nn/index.ts';
import { SGD } from '../optim/index.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import { ScalePenalty, type ScalePenaltyOptions } from './scale-penalty.ts';

const random = new Random(3);
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [48, 6], data: random.normal(288) },
  labels: { dtype: 'int32', shape: [48], data: random.integers(48, 0, 3) },
});

class Net extends Module {
  readonly body = new Sequential(
    new Linear(6, 8, { random: new Random(1) }),
    new BatchNorm1d(8),
    new ReLU(),
    new Linear(8, 5, { random: new Random(2) }),
    new BatchNorm1d(5),
    new ReLU(),
  );
  readonly head = new Linear(5, 3, { random: new Random(4) });
  override forward(x: Parameters<Linear['forward']>[0]) {
    return this.head.forward(this.body.forward(x));
  }
}

/** All values after training, by name. */
async function train(
  options: ScalePenaltyOptions | undefined,
  { steps = 12, momentum = 0.9, learningRate = 0.1 } = {},
) {
  const model = new Net();
  const penalty = options && new ScalePenalty(options);
  await new Trainer({
    model,
    task: classification(),
    train: new DataLoader(data, { batchSize: 16, shuffle: true }),
    optimizer: new SGD(model.parameters(), { learningRate, momentum, weightDecay: 1e-3, decayVectors: false }),
    steps,
    sparsifiers: penalty ? [penalty] : [],
  }).run();
  return new Map(
    await Promise.all([...model.stateDict()].map(async ([n, p]) => [n, (await p.data()).slice()] as const)),
  );
}

const scales = { 'body.1.weight': 8, 'body.4.weight': 5 };
const all = (value: number) => new Map(Object.entries(scales).map(([n, c]) => [n, new Uint8Array(c).fill(value)]));

describe('a penalty on scales', () => {
  it('is network slimming with all channels in the mask, and the plain training with none, bit for bit', async () => {
    expect(await train({ lambda: 0.01, only: all(1) })).toEqual(await train({ lambda: 0.01 }));
    expect(await train({ lambda: 0.01, only: all(0) })).toEqual(await train(undefined));
    expect(await train({ lambda: 0.01, only: all(1) })).not.toEqual(await train(undefined));
  });

  it('adds λ·R′(γ) to the gradient of the chosen scales and nothing to any other', async () => {
    const only = new Map([['body.1.weight', Uint8Array.of(1, 0, 0, 1, 0, 0, 0, 1)]]);
    const [plain, lambda, learningRate] = [await train(undefined, { steps: 1 }), 0.5, 0.1];
    // After one step from γ = 1; the quadratic part of smooth L1 is not reached.
    for (const kind of ['l1', 'l2', 'smooth-l1'] as const) {
      const found = await train({ lambda, kind, only }, { steps: 1 });
      for (const [name, values] of found) {
        values.forEach((v, i) => {
          const push = only.get(name)?.[i] === 1 ? learningRate * lambda : 0;
          if (push === 0) expect(v).toBe(plain.get(name)![i]);
          else expect(v).toBeCloseTo(plain.get(name)![i] - push, 6);
        });
      }
    }
  });

  it('brings masked scales to zero and keeps them there: within a step for L1, closer for the others', async () => {
    const only = new Map([['body.1.weight', Uint8Array.of(1, 1, 0, 0, 0, 0, 0, 0)]]);
    const options = { steps: 80, momentum: 0, learningRate: 0.05 };
    const largest = async (o: ScalePenaltyOptions) => {
      const gamma = (await train({ lambda: 2, only, ...o }, options)).get('body.1.weight')!;
      expect(Math.min(...gamma.subarray(2).map(Math.abs))).toBeGreaterThan(0.2);
      return Math.max(...gamma.subarray(0, 2).map(Math.abs));
    };
    expect(await largest({})).toBeLessThan(0.1);
    expect(await largest({ kind: 'smooth-l1' })).toBeLessThan(0.02);
    expect(await largest({ clamp: true })).toBeLessThan(0.1);
  });

  it('with clamp, sets a scale to exactly 0 at the step in which it would change its sign', async () => {
    const only = new Map([['body.1.weight', new Uint8Array(8).fill(1)]]);
    const one = { steps: 1, momentum: 0, learningRate: 0.1 };
    // A step of 2 from γ = 1 goes past 0.
    expect([...(await train({ lambda: 20, only, clamp: true }, one)).get('body.1.weight')!]).toEqual(
      new Array(8).fill(0),
    );
    expect(Math.max(...(await train({ lambda: 20, only }, one)).get('body.1.weight')!)).toBeLessThan(-0.5);
  });

  it('refuses λ ≤ 0, names that are not there, and masks of other sizes', async () => {
    expect(() => new ScalePenalty({ lambda: 0 })).toThrow('λ 0; expected a number above 0');
    expect(() => new ScalePenalty({ kind: 'l3' as 'l2' })).toThrow('kind l3; expected l1, l2 or smooth-l1');
    await expect(train({ only: new Map([['body.9.weight', new Uint8Array(8)]]) })).rejects.toThrow(
      'no parameter body.9.weight',
    );
    await expect(train({ only: new Map([['body.1.weight', new Uint8Array(5)]]) })).rejects.toThrow(
      'the mask of body.1.weight has 5 channels, the parameter has shape [8]',
    );
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { ConvNet, SmallLeNet } from '../../experiments/small-models.ts';
import { CifarResNet } from '../../models/resnet-cifar.ts';
import type { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import { deadChannels, partitionMask, partitionSets } from '../../sparsity/partition.ts';
import { envelope, GroupProximal } from '../../sparsity/proximal.ts';
import { shrink } from '../../sparsity/shrink.ts';
import { snapshot } from '../../train/snapshot.ts';
import { classification } from '../../train/task.ts';
import { Trainer, type TrainerOptions } from '../../train/trainer.ts';
import { WGSEF } from './wgsef.ts';

const random = new Random(8);
const inputs = [{ dtype: 'float32', shape: [1, 1, 8, 8] }] as const;
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [40, 1, 8, 8], data: random.normal(40 * 64) },
  labels: { dtype: 'int32', shape: [40], data: random.integers(40, 0, 10) },
});
const batch = tensor(random.normal(4 * 64), [4, 1, 8, 8]);
const lenet = () => new SmallLeNet(8, new Random(1), [4, 6, 10]);

const training = (model: Module, wgsef: WGSEF, more: Partial<TrainerOptions> = {}): TrainerOptions => ({
  model,
  task: classification(),
  train: new DataLoader(data, { batchSize: 10, shuffle: true }),
  optimizer: new SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9 }),
  steps: 40,
  sparsifiers: [wgsef],
  ...more,
});

async function train(model: Module, wgsef: WGSEF, more: Partial<TrainerOptions> = {}): Promise<WGSEF> {
  await new Trainer(training(model, wgsef, more)).run();
  return wgsef;
}

const output = async (model: Module) => (await (model.eval().forward(batch) as Tensor).data()).slice();

describe('WGSEF', () => {
  it('ends with exactly k live groups, at any strength, and says how', async () => {
    for (const lambda of [1e-3, 2]) {
      const wgsef = await train(lenet(), new WGSEF({ sparsity: 0.75, lambda }));
      expect(wgsef.outcome).toMatchObject({ groups: 20, k: 5 });
      const { live, projected } = wgsef.outcome!;
      expect(live - projected).toBe(5);
      expect(wgsef.live).toBe(5);
      // A weak regulariser leaves all to the projection, a strong one nothing.
      expect(projected).toBe(lambda < 1 ? 15 : 0);
    }
  });

  it('never has less than k live groups on the way', async () => {
    class Watched extends WGSEF {
      readonly seen: number[] = [];
      override async stepped(...args: Parameters<WGSEF['stepped']>): Promise<void> {
        await super.stepped(...args);
        this.seen.push(this.live);
      }
    }
    const wgsef = new Watched({ k: 6, lambda: 2 });
    await train(lenet(), wgsef);
    expect(wgsef.seen).toHaveLength(40);
    expect(Math.min(...wgsef.seen)).toBe(6);
    expect(wgsef.seen[0]).toBeGreaterThan(6);
  });

  for (const [name, make] of Object.entries({
    'a plain network': lenet,
    'one with batch normalisation': () => new ConvNet(1, [6, 8], new Random(1)),
    'one with residual streams': () => new CifarResNet({ depth: 8, width: 4, channels: 1, random: new Random(1) }),
  })) {
    it(`makes dead channels removable without any change of the outputs: ${name}`, async () => {
      const model = make();
      const wgsef = await train(model, new WGSEF({ sparsity: 0.5, lambda: 0.3, allocation: 'uniform' }));
      const { partition, alive } = wgsef;
      for (const { start, end } of partition.scopes) {
        const live = alive.subarray(start, end).reduce((a, b) => a + b, 0);
        expect(live).toBe(end - start - Math.round((end - start) / 2));
      }
      const { model: small, before, after } = await shrink(model, inputs, { remove: deadChannels(partition, alive) });
      expect(after.parameters).toBeLessThan(0.7 * before.parameters);
      const [a, b] = [await output(small), await output(model)];
      const size = Math.max(1, ...b.map(Math.abs));
      a.forEach((x, i) => {
        expect(Math.abs(x - b[i]) / size).toBeLessThan(1e-5);
      });
      expect(wgsef.mask!.equals(partitionMask(partition, alive))).toBe(true);
    });
  }

  it('takes any partition, weights by size or FLOPs, schedules, and both root finders', async () => {
    for (const granularity of ['element', 'channel', 'filter-shape', 'kernel', 'layer']) {
      const wgsef = await train(lenet(), new WGSEF({ sparsity: 0.5, granularity, lambda: 0.05 }), { steps: 6 });
      const { groups, k } = wgsef.outcome!;
      expect(k).toBe(groups - Math.round(0.5 * groups));
      expect(wgsef.live).toBe(k);
    }
    for (const options of [
      { weights: 'size' },
      { weights: 'flops' },
      { warmup: 0.3, continuation: 0.5 },
      { rootFinder: 'random' },
    ] as const) {
      const wgsef = await train(lenet(), new WGSEF({ k: 8, lambda: 0.3, ...options }), { steps: 10 });
      expect(wgsef.live).toBe(8);
    }
  });

  it('drives whole residual blocks to zero, with groups of one’s own', async () => {
    const model = new CifarResNet({ depth: 20, width: 2, channels: 1, random: new Random(1) });
    const blocks = Array.from({ length: 9 }, (_, b) => `layer${1 + Math.floor(b / 3)}.${b % 3}.`);
    const inBlock = (prefix: string) =>
      [...model.namedParameters()].flatMap(([name, parameter]) =>
        name.startsWith(prefix) && parameter.trainable ? [{ parameter, elements: Array(parameter.size).keys() }] : [],
      );
    const k = 4;
    const sparsifier = new GroupProximal({
      lambda: 1,
      groups: async () => partitionSets(blocks.map(inBlock)),
      operator: () => envelope({ k }),
      k,
    });
    await new Trainer({ ...training(model, new WGSEF({ k: 1 })), steps: 10, sparsifiers: [sparsifier] }).run();
    expect(sparsifier.outcome).toMatchObject({ groups: 9, k });
    expect(sparsifier.live).toBe(k);
    for (const [b, prefix] of blocks.entries()) {
      for (const { parameter } of inBlock(prefix)) {
        const isZero = (await parameter.data()).every(v => v === 0);
        if (sparsifier.alive[b] === 0) expect(isZero, parameter.name).toBe(true);
      }
    }
  });

  it('leaves alone what is excluded and what gives the outputs', async () => {
    const model = lenet();
    const wgsef = await train(model, new WGSEF({ sparsity: 0.5, lambda: 1, exclude: ['conv1.weight'] }));
    expect(wgsef.partition.scopes.map(s => s.name)).toEqual(['conv2.weight', 'fc1.weight']);
    expect(wgsef.selection!.excluded.map(l => l.name)).toEqual(['conv1.weight', 'fc2.weight']);
    expect((await model.conv1.weight.data()).every(v => v !== 0)).toBe(true);
  });

  it('goes on after a stop with the same bits', async () => {
    const options = { sparsity: 0.5, lambda: 0.5, until: 0.5 } as const;
    const whole = lenet();
    await train(whole, new WGSEF(options));
    const folder = await mkdtemp(join(tmpdir(), 'wgsef-'));
    class Stopped extends Error {}
    class Breaking extends WGSEF {
      override async update(...args: Parameters<WGSEF['update']>): Promise<void> {
        if (args[0].step === this.at) throw new Stopped();
        await super.update(...args);
      }
      at = 12;
    }
    try {
      const resumed = lenet();
      const more = { out: folder, checkpointEvery: 5 };
      for (const at of [12, 27]) {
        const breaking = new Breaking(options);
        breaking.at = at;
        await expect(train(lenet(), breaking, more)).rejects.toThrow(Stopped);
      }
      await train(resumed, new WGSEF(options), more);
      expect(await snapshot(resumed)).toEqual(await snapshot(whole));
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('refuses what no training could follow', async () => {
    expect(() => new WGSEF({})).toThrow('give one of them');
    expect(() => new WGSEF({ sparsity: 0.5, k: 3 })).toThrow('give one of them');
    expect(() => new WGSEF({ sparsity: 1 })).toThrow('expected 0 ≤ s < 1');
    expect(() => new WGSEF({ k: 3, allocation: 'uniform' })).toThrow('a k of its own');
    expect(() => new WGSEF({ k: 3, lambda: 0 })).toThrow('λ 0');
    expect(() => new WGSEF({ k: 3, warmup: 0.95 })).toThrow('warmup 0.95');
    expect(() => new WGSEF({ k: 3, allocation: 'erk' as 'global' })).toThrow('allocation erk');
    await expect(train(lenet(), new WGSEF({ k: 21 }))).rejects.toThrow('k = 21 of 20 groups');
    await expect(train(lenet(), new WGSEF({ sparsity: 0.5, granularity: '2:4' }))).rejects.toThrow('N:M');
  });
});

import { Random, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { ConvNet, NarrowMobileNet, SmallLeNet } from '../../experiments/small-models.ts';
import { CifarResNet } from '../../models/resnet-cifar.ts';
import type { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import { countVotes, energyThreshold } from '../../sparsity/channel-votes.ts';
import { shrink } from '../../sparsity/shrink.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { snapshot } from '../../train/snapshot.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import {
  channelsOfMask,
  chooseMask,
  MaskSparsity,
  type MaskSparsityStep,
  maskSparsity,
  penaltyMask,
  type Scene,
  sceneOf,
} from './masksparsity.ts';

const random = new Random(8);
const inputs = [{ dtype: 'float32', shape: [1, 1, 8, 8] }] as const;
const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [40, 1, 8, 8], data: random.normal(40 * 64) },
  labels: { dtype: 'int32', shape: [40], data: random.integers(40, 0, 10) },
});
const batch = tensor(random.normal(4 * 64), [4, 1, 8, 8]);
const widths = [6, 6, 10];
const plain = () => new ConvNet(1, widths, new Random(1));
const residual = () => new CifarResNet({ depth: 8, width: 4, channels: 1, random: new Random(1) });
const mobile = () => new NarrowMobileNet(8, [6, 10], 12, new Random(1));

async function train(model: Module, sparsifiers: readonly Sparsifier[] = [], steps = 8, seed = 0): Promise<void> {
  await new Trainer({
    model,
    task: classification(),
    train: new DataLoader(data, { batchSize: 10, shuffle: true, seed }),
    optimizer: new SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9, decayVectors: false }),
    steps,
    sparsifiers,
  }).run();
}

/** Gives scales, shifts and statistics values of their own. */
async function disturb(model: Module): Promise<void> {
  for (const [name, p] of model.stateDict()) {
    if (p.rank !== 1) continue;
    const r = random.fork(name);
    p.set(name.endsWith('running_var') ? r.uniform(p.size, 0.5, 2) : r.normal(p.size));
  }
}

const output = async (model: Module, x: Tensor = batch) => (await (model.eval().forward(x) as Tensor).data()).slice();

function expectClose(a: Float32Array, b: Float32Array): void {
  const size = Math.max(1, ...b.map(Math.abs));
  for (let i = 0; i < a.length; i++) expect(Math.abs(a[i] - b[i]) / size).toBeLessThan(1e-5);
}

describe('the pruned network', () => {
  for (const [name, make] of Object.entries({ plain, residual, mobile })) {
    it(`computes what the network with γ = β = 0 in the masked channels does: ${name}`, async () => {
      const model = make();
      await disturb(model);
      const scene = await sceneOf(model, inputs);
      const removed = await chooseMask(scene, 'global-l1', { flops: 0.6 });
      const { model: small, before, after } = await shrink(model, inputs, { remove: removed });
      expect(after.flops).toBeLessThanOrEqual(0.6 * before.flops);
      for (const [parameter, goes] of penaltyMask(scene, removed)) {
        const p = model.stateDict().get(parameter)!;
        p.set((await p.data()).map((v, i) => (goes[i] === 1 ? 0 : v)));
      }
      expectClose(await output(small), await output(model));
      for (const { group, voters } of scene.electorate.groups) {
        const left = group.channels.filter(id => !removed.includes(id));
        expect(left.length).toBeGreaterThan(0);
        // What adds into one stream has the same channels left, and no others.
        for (const { gamma, channels } of voters) {
          expect([...channels].filter(id => left.includes(id))).toEqual(left);
          const all = [...channels].filter(id => !removed.includes(id));
          expect(small.stateDict().get(gamma.name)!.size).toBe(all.length);
        }
      }
    });
  }

  it('is the target or just below it: one channel less pruned would leave more', async () => {
    const scene = await sceneOf(plain(), inputs);
    for (const target of [{ flops: 0.5 }, { parameters: 0.4 }, { channels: 0.5 }]) {
      for (const source of ['global-l1', 'uniform', 'l1-norm', 'fpgm'] as const) {
        await disturb(scene.model);
        const removed = await chooseMask(scene, source, target);
        const { found } = scene.electorate;
        const [what, share] = Object.entries(target)[0] as ['flops' | 'parameters' | 'channels', number];
        const left =
          what === 'channels' ? 1 - removed.length / found.count : found.cost(removed)[what] / found.cost()[what];
        expect(left).toBeLessThanOrEqual(share);
        expect(left).toBeGreaterThan(share - 0.25);
      }
    }
  });
});

describe('the vote', () => {
  const agree = async (scene: Scene, threshold: number) => {
    const removed = await chooseMask(scene, 'global-l1', { threshold });
    return { removed, scales: penaltyMask(scene, removed, false) };
  };

  it('prunes the same channels in all layers of a residual stream, as many as the layer that gives up fewest', async () => {
    const model = residual();
    await disturb(model);
    const scene = await sceneOf(model, inputs);
    const stream = scene.electorate.groups.find(g => g.voters.length > 1)!;
    const { removed } = await agree(scene, 0.6);
    const gone = new Set(removed);
    const votes = new Map(stream.group.channels.map(id => [id, 0]));
    const counts = await Promise.all(
      stream.voters.map(async ({ gamma, channels }) => {
        const values = await gamma.data();
        const low = [...channels].filter((id, i) => votes.has(id) && Math.abs(values[i]) < 0.6);
        for (const id of low) votes.set(id, votes.get(id)! + 1);
        return low.length;
      }),
    );
    const pruned = stream.group.channels.filter(id => gone.has(id));
    expect(pruned).toHaveLength(Math.min(...counts, stream.group.channels.length - 1));
    const fewest = Math.min(...pruned.map(id => votes.get(id)!));
    for (const id of stream.group.channels) if (!gone.has(id)) expect(votes.get(id)!).toBeLessThanOrEqual(fewest);
  });

  it('can leave streams alone, and layers by name; depthwise layers inherit', async () => {
    const inner = await sceneOf(residual(), inputs, { residual: 'inner' });
    expect(inner.electorate.groups.every(g => g.voters.length === 1)).toBe(true);
    expect(inner.electorate.skipped.find(s => s.name === 'conv1.weight')!.reason).toContain('residual stream');
    const kept = await sceneOf(residual(), inputs, { residual: 'inner', exclude: ['layer1.0.conv1.weight'] });
    expect(kept.electorate.skipped).toContainEqual({ name: 'layer1.0.conv1.weight', reason: 'excluded' });
    const { electorate } = await sceneOf(mobile(), inputs);
    const followed = electorate.groups.find(g => g.followers.length > 0)!;
    expect(followed.voters).toHaveLength(1);
    const { removed, scales } = await agree(await sceneOf(mobile(), inputs), 2);
    expect(removed.length).toBeGreaterThan(0);
    expect(scales.get(followed.followers[0].gamma.name)).toEqual(scales.get(followed.voters[0].gamma.name));
  });

  it('lists what has no batch normalisation, and refuses a network without any', async () => {
    const { electorate } = await sceneOf(mobile(), inputs);
    expect(electorate.skipped).toContainEqual({ name: 'fc1.weight', reason: 'no batch normalisation behind it' });
    await expect(sceneOf(new SmallLeNet(8, new Random(0), [2, 3, 4]), inputs)).rejects.toThrow(
      'no channel of this model can be pruned by scale factors (conv1.weight: no batch normalisation behind it',
    );
  });

  it('refuses ballots of other sizes', async () => {
    const { electorate } = await sceneOf(plain(), inputs);
    expect(() => countVotes(electorate, new Map())).toThrow('no ballot of body.0.0.weight');
    const short = new Map(electorate.groups.map(g => [g.voters[0].layer, { scores: [1], threshold: 2 }]));
    expect(() => countVotes(electorate, short)).toThrow('has 6 channels, its ballot 1');
  });
});

describe('thresholds', () => {
  it('by energy lie half-way between what goes and what stays', () => {
    // Σγ² = 1.000101: 1e-4 and 1e-6 go by 2e-4.
    expect(energyThreshold([1, -0.01, 0.001], 2e-4)).toBeCloseTo(0.505, 12);
    expect(energyThreshold([1, -0.01, 0.001], 1e-5)).toBeCloseTo(0.0055, 12);
    expect(energyThreshold([1, 1], 1e-4)).toBe(0);
    expect(energyThreshold([5e-4, -9e-4])).toBe(Infinity);
    expect(() => energyThreshold([1], 0)).toThrow('δ 0');
  });

  it('keep a channel where all are below', async () => {
    const scene = await sceneOf(plain(), inputs);
    const removed = await chooseMask(scene, 'uniform', { threshold: 100 });
    expect(removed).toHaveLength(widths.reduce((a, b) => a + b) - widths.length);
    expect((await chooseMask(scene, 'uniform', { energy: 1e-4 })).length).toBe(0);
    await expect(chooseMask(scene, 'fpgm', { threshold: 0.1 })).rejects.toThrow('give a target');
    await expect(chooseMask(scene, 'uniform', { flops: 0.001 })).rejects.toThrow('with one channel left in each group');
  });
});

describe('a mask of one’s own', () => {
  it('is taken as it is, and refused where it does not fit or empties a layer', async () => {
    const scene = await sceneOf(plain(), inputs);
    const mask = (name: string, values: number[]) => channelsOfMask(scene, new Map([[name, Uint8Array.from(values)]]));
    const ids = mask('body.0.1.weight', [0, 1, 0, 0, 1, 0]);
    expect(ids).toEqual([1, 4].map(i => scene.electorate.found.channelOf('body.0.1.weight', i)));
    expect(() => mask('body.0.1.weight', [0, 1])).toThrow('has 2 channels, the layer 6');
    expect(() => mask('body.0.1.weight', [1, 1, 1, 1, 1, 1])).toThrow('all 6 channels would go');
    expect(() => mask('head.weight', [0, 1])).toThrow('head.weight is no scale');
  });
});

describe('the procedure', () => {
  it('goes back to the trained weights, penalises only what goes, and fine-tunes a smaller network', async () => {
    const model = plain();
    await train(model);
    const baseline = await snapshot(model);
    const starts: Record<string, ReadonlyMap<string, Float32Array>> = {};
    const steps: MaskSparsityStep[] = [];
    const procedure = maskSparsity(model, inputs, {
      rule: { flops: 0.5 },
      lambda: 0.5,
      train: async (network, phase, sparsifiers) => {
        if (network === model) starts[phase] = await snapshot(model);
        await train(network, sparsifiers, 40);
      },
    });
    for await (const step of procedure) {
      if (step.stage === 'masked') {
        for (const [name, goes] of penaltyMask(step.scene, step.removed, false)) {
          const gamma = await model.stateDict().get(name)!.data();
          gamma.forEach((g, i) => {
            if (goes[i] === 1) expect(Math.abs(g)).toBeLessThan(0.2);
            else expect(Math.abs(g)).toBeGreaterThan(0.5);
          });
        }
      }
      steps.push(step);
    }
    expect(steps.map(s => s.stage)).toEqual(['slimmed', 'masked', 'pruned', 'fine-tuned']);
    expect(starts.masked).toEqual(baseline);
    const { before, after } = steps[2].shrunk!;
    expect(after.flops).toBeLessThanOrEqual(0.5 * before.flops);
    expect(steps[1].removed).toEqual(steps[0].removed);
  });

  it('refuses λ ≤ 0 before any training', async () => {
    const none = { rule: { flops: 0.5 }, lambda: 0, train: () => Promise.reject(new Error('trained')) } as const;
    await expect(maskSparsity(plain(), inputs, none).next()).rejects.toThrow('λ 0');
  });
});

describe('inside of one training', () => {
  it('ends with whole channels of exact zeros, ready to be removed', async () => {
    const model = plain();
    const sparsifier = new MaskSparsity({ sparsity: 0.5, lambda: 0.5 });
    await train(model, [sparsifier], 40);
    const scene = await sceneOf(model, inputs);
    const { found } = scene.electorate;
    expect(sparsifier.removed).toHaveLength(11);
    for (const id of sparsifier.removed!) {
      for (const { parameter, axis, positions } of found.placesOf(id)) {
        const p = model.stateDict().get(parameter)!;
        if (axis !== 0 || !p.trainable) continue;
        const values = await p.data();
        const inner = p.size / p.shape[0];
        for (const at of positions)
          expect(values.subarray(at * inner, (at + 1) * inner).every(v => v === 0)).toBe(true);
      }
    }
    const { model: small } = await shrink(model, inputs, sparsifier.mask!);
    expectClose(await output(small), await output(model));
    expect(small.stateDict().get('body.0.0.weight')!.shape[0]).toBe(3);
  });

  it('refuses shares and sources that it does not have', () => {
    expect(() => new MaskSparsity({ sparsity: 1 })).toThrow('expected 0 < s < 1');
    expect(() => new MaskSparsity({ sparsity: 0.5, start: 1 })).toThrow('start 1');
    expect(() => new MaskSparsity({ sparsity: 0.5, lambda: -1 })).toThrow('λ -1');
    expect(() => new MaskSparsity({ sparsity: 0.5, source: 'global-l1' as 'fpgm' })).toThrow('source global-l1');
    expect(() => new MaskSparsity({ sparsity: 0.5, penalty: 'huber' as 'l1' })).toThrow('kind huber');
  });

  it('refuses ways of treating residual streams that it does not have', async () => {
    await expect(sceneOf(residual(), inputs, { residual: 'outer' as 'inner' })).rejects.toThrow('residual outer');
  });
});

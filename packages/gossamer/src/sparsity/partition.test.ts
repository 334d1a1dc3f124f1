import { Parameter, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ConvNet, SmallLeNet } from '../experiments/small-models.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import type { Module } from '../nn/module.ts';
import { parseGranularity } from './granularity.ts';
import { channelGroups } from './groups.ts';
import { modelLayers } from './model.ts';
import {
  deadChannels,
  groupFlops,
  groupProducts,
  liveGroups,
  partitionChannels,
  partitionLayers,
  partitionMask,
  partitionSets,
} from './partition.ts';

const inputs = [{ dtype: 'float32', shape: [1, 1, 8, 8] }] as const;
const parameter = (name: string, shape: number[], data: number[]) =>
  new Parameter({ dtype: 'float32', shape, data: Float32Array.from(data) }, { name });

async function channelsOf(model: Module) {
  const layers = await modelLayers(model, inputs);
  const found = await channelGroups(model, inputs);
  return { layers, found, partition: partitionChannels(found, layers, model.stateDict()) };
}

describe('groups by granularity', () => {
  it('are disjoint, cover each weight, and number the layers one after another', async () => {
    const model = new SmallLeNet(8, new Random(0), [2, 3, 4]);
    const layers = await modelLayers(model, inputs);
    for (const [kind, count] of Object.entries({ filter: 2 + 3 + 4 + 10, channel: 1 + 2 + 12 + 4, layer: 4 })) {
      const p = partitionLayers(layers, parseGranularity(kind));
      expect(p.count).toBe(count);
      expect(p.scopes.map(s => s.name)).toEqual(layers.layers.map(l => l.name));
      expect(p.scopes.at(-1)!.end).toBe(count);
      const weights = layers.layers.reduce((n, l) => n + l.values.length, 0);
      expect(p.sizes.reduce((a, b) => a + b, 0)).toBe(weights);
      for (const { name, start, end } of p.scopes) {
        const groups = p.of.get(layers.parameters.get(name)!)!;
        expect(new Set(groups)).toEqual(new Set(Array.from({ length: end - start }, (_, i) => start + i)));
      }
    }
    expect(() => partitionLayers(layers, parseGranularity('2:4'))).toThrow('N:M is a constraint');
  });
});

describe('whole channels', () => {
  it('take the rows of a layer with its bias, scale and shift, and nothing of what reads them', async () => {
    const model = new ConvNet(1, [3, 4], new Random(0));
    const { partition } = await channelsOf(model);
    expect(partition.count).toBe(7);
    expect([...partition.sizes]).toEqual([...Array(3).fill(9 + 2), ...Array(4).fill(27 + 2)]);
    const names = [...partition.of.keys()].map(p => p.name);
    expect(names).not.toContain('head.weight');
    expect(names).not.toContain('body.0.1.running_mean');
    const lenet = await channelsOf(new SmallLeNet(8, new Random(0), [2, 3, 4]));
    expect([...lenet.partition.sizes]).toEqual([26, 26, 51, 51, 51, 13, 13, 13, 13]);
  });

  it('join the layers of a residual stream', async () => {
    const { partition } = await channelsOf(new CifarResNet({ depth: 8, width: 2, channels: 1, random: new Random(0) }));
    const stream = partition.scopes.find(s => s.name === 'conv1.weight')!;
    // conv1, layer1.0.conv2, layer2.0.conv2, layer3.0.conv2, each with scale and shift.
    expect(partition.sizes[stream.start]).toBe(9 + 9 * 2 + 9 * 4 + 9 * 8 + 4 * 2);
    expect(new Set(partition.channels).size).toBe(partition.count);
  });

  it('leave out layers that are not wanted', async () => {
    const model = new ConvNet(1, [3, 4], new Random(0));
    const layers = await modelLayers(model, inputs);
    const found = await channelGroups(model, inputs);
    const some = partitionChannels(found, layers, model.stateDict(), name => name !== 'body.0.0.weight');
    expect(some.scopes.map(s => s.name)).toEqual(['body.1.0.weight']);
    expect(() => partitionChannels(found, layers, model.stateDict(), () => false)).toThrow('no channel of this model');
  });

  it('that are dead can be removed, but for one where all are', async () => {
    const { partition } = await channelsOf(new ConvNet(1, [3, 4], new Random(0)));
    const ids = partition.channels!;
    expect(deadChannels(partition, Uint8Array.of(1, 0, 1, 0, 0, 1, 1))).toEqual([ids[1], ids[3], ids[4]]);
    expect(deadChannels(partition, Uint8Array.of(0, 0, 0, 1, 1, 1, 1))).toEqual([ids[1], ids[2]]);
    const { channels: _, ...other } = partition;
    expect(() => deadChannels(other, new Uint8Array(7))).toThrow('the groups are no channels');
  });
});

describe('groups of one’s own', () => {
  const a = parameter('a', [2, 2], [1, 2, 3, 4]);
  const b = parameter('b', [3], [5, 6, 7]);

  it('give sums over their elements, masks and live groups', () => {
    const p = partitionSets([
      [
        { parameter: a, elements: [0, 3] },
        { parameter: b, elements: [1] },
      ],
      [{ parameter: b, elements: [0] }],
    ]);
    const values = new Map([a, b].map(x => [x, x.node.data as Float32Array]));
    expect([...groupProducts(p, values)]).toEqual([1 + 16 + 36, 25]);
    expect([...groupProducts(p, values, new Map([...values].map(([x, v]) => [x, v.map(n => 2 * n)])))]).toEqual([
      106, 50,
    ]);
    const mask = partitionMask(p, Uint8Array.of(0, 1));
    expect([...mask.get('a')]).toEqual([0, 1, 1, 0]);
    expect([...mask.get('b')]).toEqual([1, 0, 1]);
    const zero = new Map(values).set(b, Float32Array.of(0, 0, 7));
    expect([...liveGroups(p, zero)]).toEqual([1, 0]);
  });

  it('are refused where they overlap, are empty or do not exist', () => {
    const set = (elements: number[]) => [{ parameter: a, elements }];
    expect(() => partitionSets([set([0, 1]), set([1])])).toThrow('groups 0 and 1 overlap in element 1');
    expect(() => partitionSets([set([0]), set([])])).toThrow('group 1 is empty');
    expect(() => partitionSets([set([4])])).toThrow('group 0 has element 4');
    expect(() => partitionSets([])).toThrow('no groups');
  });
});

describe('FLOPs of groups', () => {
  it('add up to those of the layers', async () => {
    const model = new SmallLeNet(8, new Random(0), [2, 3, 4]);
    const { layers, found, partition } = await channelsOf(model);
    const head = 2 * 4 * 10;
    expect(groupFlops(partition, layers).reduce((a, b) => a + b, 0)).toBe(found.cost().flops - head);
  });
});

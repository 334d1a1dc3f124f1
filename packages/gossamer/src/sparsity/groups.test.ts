import { Parameter, Random, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { CifarResNet } from '../models/resnet-cifar.ts';
import { ViT } from '../models/vit.ts';
import { channelGroups } from './groups.ts';
import { modelLayers } from './model.ts';
import { Branches, Grouped, groupsOf, image, SharedKeys } from './shrink-testing.ts';

const summary = async (...args: Parameters<typeof groupsOf>) =>
  (await groupsOf(...args)).groups.map(g => `${g.name} ${g.channels.length}×${g.width}`);

describe('channelGroups', () => {
  it('couples gates with what they gate, branches with their sum, and splits concatenations', async () => {
    expect(await summary(new Branches(), image(3, 8))).toEqual([
      'stem.weight 12×1',
      'squeeze.weight 5×1',
      'left.weight 8×1',
      'right.weight 10×1',
      'fc.weight 11×1',
    ]);
    const found = await groupsOf(new Branches(), image(3, 8));
    const places = found.placesOf(found.requireChannel('left.weight', 2));
    // Half an image of 8×8 is flattened behind the sum: 16 columns of the linear layer.
    expect(places).toContainEqual({
      parameter: 'fc.weight',
      axis: 1,
      positions: Array.from({ length: 16 }, (_, i) => 2 * 16 + i),
    });
    expect(places).toContainEqual({ parameter: 'norm.running_var', axis: 0, positions: [2] });
    expect(places).toContainEqual({ parameter: 'after.weight', axis: 1, positions: [2] });
    expect(places).toContainEqual({ parameter: 'after.weight', axis: 0, positions: [2] });
    expect(found.channelOf('excite.weight', 4)).toBe(found.channelOf('stem.weight', 4));
  });

  it('takes the same channels of every group of a convolution, and whole groups of a normalisation', async () => {
    const input = image(3, 6);
    expect(await summary(new Grouped(), input)).toEqual([
      'first.weight 4×3',
      // The shuffle deals the channels of one group out to the next convolution's groups, so these go together, too.
      'grouped.weight 2×9',
      'second.weight 2×3',
      'mix.weight 4×4',
    ]);
    const whole = await channelGroups(new Grouped(), [input], { groupedConvolutions: 'whole' });
    expect(whole.groupOf(whole.requireChannel('mix.weight', 0)).channels).toHaveLength(4);
  });

  it('has heads with their keys as units, and neurons of a gated MLP', async () => {
    const tokens = { dtype: 'float32', shape: [1, 5, 10] } as const;
    expect(await summary(new SharedKeys(), tokens)).toEqual(['query.weight 2×12', 'gate.weight 14×1']);
    const found = await groupsOf(new SharedKeys(), tokens);
    const places = found.placesOf(found.requireChannel('key.weight', 6));
    expect(places.find(p => p.parameter === 'out.weight')).toEqual({
      parameter: 'out.weight',
      axis: 1,
      positions: Array.from({ length: 12 }, (_, i) => 12 + i),
    });
  });

  it('says why channels stay', async () => {
    const { fixed } = await groupsOf(
      new ViT({ imageSize: 8, patchSize: 4, dim: 12, depth: 1, classes: 5 }),
      image(3, 8),
    );
    expect(fixed.find(f => f.name === 'blocks.0.mlp.fc2.weight')).toEqual({
      name: 'blocks.0.mlp.fc2.weight',
      count: 12,
      reason: 'normalised together (normalize of [1, 5, 12], [12], [12] after blocks.0.norm1.weight)',
    });
    expect(fixed.find(f => f.name === 'head.weight')?.reason).toBe('the network gives them out (output)');
  });

  it('keeps channels over which something other than a sum is taken', async () => {
    const weight = (name: string, ...shape: number[]) => {
      const size = shape.reduce((a, b) => a * b);
      return new Parameter({ dtype: 'float32', shape, data: new Random(size).normal(size) }, { name });
    };
    const [a, b] = [weight('a', 6, 4), weight('b', 6, 4)];
    const input = { dtype: 'float32', shape: [1, 4] } as const;
    const count = async (end: (h: Tensor) => Tensor) =>
      (await channelGroups(x => end(x.matmul(a.transpose())), [input])).count;
    expect(await count(h => h.sum([1]))).toBe(6);
    expect(await count(h => h.mul(h).matmul(b))).toBe(6);
    for (const end of [
      (h: Tensor) => h.mean([1]),
      (h: Tensor) => h.max([1]),
      (h: Tensor) => h.softmax(1).matmul(b),
      (h: Tensor) => h.cumsum(1).matmul(b),
    ])
      expect(await count(end)).toBe(0);
  });

  it('counts costs from the shapes that are left', async () => {
    const model = new CifarResNet({ depth: 8, width: 4 });
    const input = image(3, 8);
    const found = await groupsOf(model, input);
    const { layers } = await modelLayers(model, [input]);
    expect(found.cost()).toEqual({
      parameters: model.parameters().reduce((n, p) => n + p.size, 0),
      flops: layers.reduce((n, l) => n + 2 * l.values.length * l.positions, 0),
      bytes: 4 * [...model.stateDict().values()].reduce((n, p) => n + p.size, 0),
    });
    const inner = found.groupOf(found.requireChannel('layer1.0.conv1.weight', 0));
    // A filter of 4·9 weights, the 4·9 that read it, scale and shift; at 8×8 pixels.
    expect(inner.parameters).toBe(36 + 36 + 2);
    const less = found.cost([inner.channels[0]]);
    expect(found.cost().flops - less.flops).toBe(2 * 72 * 64);
    expect(() => found.cost([-1])).toThrow('-1 is no channel of this model');
  });
});

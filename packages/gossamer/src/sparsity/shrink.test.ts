import { Random, type Spec, type Tensor, traceGraph } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { Llama } from '../models/llama.ts';
import { MobileNetV2 } from '../models/mobilenet.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import { SqueezeNet } from '../models/squeezenet.ts';
import { VGG } from '../models/vgg.ts';
import { ViT } from '../models/vit.ts';
import { Sequential } from '../nn/container.ts';
import { Dropout } from '../nn/dropout.ts';
import {
  BatchNorm2d,
  Conv2d,
  exportModel,
  GRU,
  GraphModule,
  Linear,
  Module,
  MultiheadAttention,
  ReLU,
  Sigmoid,
} from '../nn/index.ts';
import { SGD } from '../optim/index.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import { channelGroups } from './groups.ts';
import { Mask } from './mask.ts';
import { modelLayers } from './model.ts';
import { prune } from './prune.ts';
import { magnitude } from './score.ts';
import { shrink } from './shrink.ts';
import {
  Branches,
  difference,
  everyNth,
  Grouped,
  groupsOf,
  image,
  outputOf,
  SharedKeys,
  sample,
  silence,
  worn,
} from './shrink-testing.ts';

const random = (name: string) => new Random(9).fork(name);
const tokens: Spec = { dtype: 'float32', shape: [1, 5, 10] };

const networks: [string, () => Module, Spec][] = [
  ['gates, slopes, branches, flattening', () => new Branches(), image(3, 8)],
  ['groups, shuffled channels, group normalisation', () => new Grouped(), image(3, 6)],
  ['shared keys and a gated MLP', () => new SharedKeys(), tokens],
  ['residual with padded shortcuts', () => new CifarResNet({ depth: 8, width: 6 }), image(3, 8)],
  ['inverted residuals', () => new MobileNetV2({ width: 0.25, classes: 7, stride: 1 }), image(3, 8)],
  ['fire modules', () => new SqueezeNet({ classes: 6 }), image(3, 40)],
  ['VGG', () => new VGG({ depth: 11, width: 4 }), image(3, 32)],
  ['ViT', () => new ViT({ imageSize: 8, patchSize: 4, dim: 12, heads: 3, depth: 2, classes: 5 }), image(3, 8)],
];

describe('shrink', () => {
  it.each(networks)('gives a smaller network that computes the same: %s', async (_, make, input) => {
    const model = worn(make());
    const found = await groupsOf(model, input);
    const remove = everyNth(found, 3);
    expect(remove.length).toBeGreaterThan(0);
    const { model: small, before, after, kept } = await shrink(model, [input], { remove });
    const x = sample(input);
    const shrunk = await outputOf(small, x);
    await silence(model, found, remove);
    expect(difference(await outputOf(model, x), shrunk)).toBeLessThan(1e-5);
    expect(after).toEqual(found.cost(remove));
    expect(after.parameters).toBeLessThan(before.parameters);
    // Counted once more, from the tensors themselves.
    expect(small.parameters().reduce((n, p) => n + p.size, 0)).toBe(after.parameters);
    const { layers } = await modelLayers(small, [input]);
    expect(layers.reduce((n, l) => n + 2 * l.values.length * l.positions, 0)).toBe(after.flops);
    expect([...small.stateDict().keys()]).toEqual([...model.stateDict().keys()]);
    for (const [name, p] of small.stateDict()) expect(p.shape).toEqual(p.shape.map((_, i) => kept(name, i).length));
  });

  it.each(networks)('works on imported ONNX files as on modules: %s', async (_, make, input) => {
    const model = new GraphModule(await exportModel(worn(make()), { x: input }));
    const found = await groupsOf(model, input);
    const remove = everyNth(found, 3);
    expect(remove.length).toBeGreaterThan(0);
    const small = await shrink(model, [input], { remove });
    const x = sample(input);
    const shrunk = await outputOf(small.model, x);
    // And out again: the small module is an ONNX file, too.
    const again = new GraphModule(await exportModel(small.model, { x: input }));
    expect(difference(await outputOf(again, x), shrunk)).toBeLessThan(1e-5);
    await silence(model, found, remove);
    expect(difference(await outputOf(model, x), shrunk)).toBeLessThan(1e-5);
  });

  it('shrinks a language model by heads with their keys, and by neurons', async () => {
    const model = worn(new Llama({ vocab: 20, dim: 16, hidden: 12, layers: 1, heads: 4, kvHeads: 2 }));
    const ids: Spec = { dtype: 'int32', shape: [1, 6] };
    const found = await groupsOf(model, ids);
    expect(found.groups.map(g => [g.channels.length, g.width])).toEqual(
      expect.arrayContaining([
        [2, 8],
        [12, 1],
      ]),
    );
    const { model: small } = await shrink(model, [ids], { remove: everyNth(found, 2) });
    expect(small.stateDict().get('model.layers.0.self_attn.q_proj.weight')?.shape).toEqual([8, 16]);
    expect(small.stateDict().get('model.layers.0.self_attn.k_proj.weight')?.shape).toEqual([4, 16]);
    expect(small.stateDict().get('model.layers.0.mlp.down_proj.weight')?.shape).toEqual([16, 6]);
  });

  it('removes what a mask leaves without effect: all filters of a channel', async () => {
    const model = worn(new CifarResNet({ depth: 8, width: 6 }));
    const input = image(3, 8);
    const { layers } = await modelLayers(model, [input]);
    const inner = layers.filter(l => l.name.endsWith('.conv1.weight') || l.name === 'conv1.weight');
    const mask = prune(inner, l => magnitude(l.values), { sparsity: 0.5, granularity: 'filter' });
    // The stem's channels are the stream's, which other convolutions write to: they stay, as zeros.
    const { model: small, kept } = await shrink(model, [input], mask);
    expect(kept('conv1.weight')).toHaveLength(6);
    expect(kept('layer1.0.conv1.weight')).toHaveLength(3);
    expect(small.stateDict().get('layer1.0.conv2.weight')?.shape).toEqual([6, 3, 3, 3]);
    for (const name of mask.names) {
      const p = model.stateDict().get(name)!;
      const values = (await p.data()).slice();
      mask.apply(name, values);
      p.set(values);
      // A dead filter's normalisation gives a constant, which goes.
      const gone = new Set(kept(name));
      for (const what of ['weight', 'bias']) {
        const vector = model.stateDict().get(name.replace('conv1.weight', `bn1.${what}`))!;
        if (name !== 'conv1.weight') vector.set((await vector.data()).map((v, i) => (gone.has(i) ? v : 0)));
      }
    }
    const x = sample(input);
    expect(difference(await outputOf(small, x), await outputOf(model, x))).toBeLessThan(1e-5);
  });

  it('removes a stream’s channels when the scales of all its members are dead', async () => {
    const model = worn(new CifarResNet({ depth: 8, width: 6 }));
    const input = image(3, 8);
    const dead = (name: string, channel: number) => {
      const { shape } = model.stateDict().get(name)!;
      const keep = new Uint8Array(shape[0]).fill(1);
      keep[channel] = 0;
      return [name, { shape, keep }] as const;
    };
    // Shortcuts put 3 zero channels in front of the second stage's, and 6 in front of the third's.
    const members = Object.entries({ bn1: 2, 'layer1.0.bn2': 2, 'layer2.0.bn2': 5, 'layer3.0.bn2': 11 });
    const one = await shrink(model, [input], new Mask([dead('bn1.weight', 2)]));
    expect(one.kept('conv1.weight')).toHaveLength(6);
    const both = await shrink(
      model,
      [input],
      new Mask(members.flatMap(([m, channel]) => [dead(`${m}.weight`, channel), dead(`${m}.bias`, channel)])),
    );
    expect([...both.kept('layer2.0.conv1.weight', 1)]).toEqual([0, 1, 3, 4, 5]);
    expect(both.kept('linear.weight', 1)).toHaveLength(23);
    for (const [m, channel] of members) {
      for (const what of ['weight', 'bias']) {
        const p = model.stateDict().get(`${m}.${what}`)!;
        p.set((await p.data()).map((v, i) => (i === channel ? 0 : v)));
      }
    }
    const x = sample(input);
    expect(difference(await outputOf(both.model, x), await outputOf(model, x))).toBeLessThan(1e-5);
    // The zeros that are now in the parameters say the same as the mask did.
    const zeros = await shrink(model, [input], 'zeros');
    expect(zeros.after).toEqual(both.after);
  });

  it('folds the constant that a dead channel still gives, where no padding is in the way', async () => {
    const build = (padding: number) =>
      worn(
        new Sequential(
          new Conv2d(3, 6, 3, { padding: 1, random: random('a') }),
          new BatchNorm2d(6),
          new Sigmoid(),
          new Conv2d(6, 5, 3, { padding, bias: false, random: random('b') }),
          new ReLU(),
          new Conv2d(5, 4, 1, { random: random('c') }),
        ),
      );
    const input = image(3, 6);
    const x = sample(input);
    for (const padding of [0, 1]) {
      const model = build(padding);
      const p = model.stateDict().get('1.weight')!;
      p.set((await p.data()).map((v, i) => (i === 1 || i === 4 ? 0 : v)));
      const expected = await outputOf(model, x);
      const folded = await shrink(model, [input], 'zeros', { constant: 'fold' });
      const dropped = await shrink(model, [input], 'zeros');
      expect([...folded.kept('0.weight')]).toEqual([0, 2, 3, 5]);
      expect(difference(await outputOf(dropped.model, x), expected)).toBeGreaterThan(1e-3);
      if (padding === 0) {
        expect(folded.dropped).toEqual([]);
        expect(folded.model.stateDict().get('3.bias')?.shape).toEqual([5]);
        expect(difference(await outputOf(folded.model, x), expected)).toBeLessThan(1e-5);
      } else expect(folded.dropped).toEqual(['3.weight']);
    }
  });

  it('trains on: batch statistics, dropout and gradients are those of the masked network', async () => {
    const build = () =>
      new Sequential(
        new Conv2d(1, 6, 3, { padding: 1, random: random('a') }),
        new BatchNorm2d(6),
        new ReLU(),
        new Dropout(0.25, { random: random('dropout') }),
        new Conv2d(6, 5, 3, { bias: false, random: random('b') }),
        new BatchNorm2d(5),
        new Mean(),
        new Linear(5, 3, { random: random('c') }),
      );
    const input = image(1, 5);
    const data = new DataLoader(
      new ArrayDataset({
        inputs: { dtype: 'float32', shape: [8, 1, 5, 5], data: random('x').normal(200) },
        labels: { dtype: 'int32', shape: [8], data: Int32Array.of(0, 1, 2, 0, 1, 2, 0, 1) },
      }),
      { batchSize: 8 },
    );
    const train = (model: Module) =>
      new Trainer({
        model: model.train(),
        task: classification(),
        train: data,
        optimizer: new SGD(model.parameters(), { learningRate: 0.1 }),
        steps: 2,
        seed: 3,
      }).run();
    const [whole, original] = [build(), build()];
    const found = await groupsOf(whole, input);
    const remove = [found.requireChannel('0.weight', 1), found.requireChannel('4.weight', 3)];
    const { model: small, kept } = await shrink(original, [input], { remove });
    await silence(whole, found, remove);
    await train(small);
    await train(whole);
    for (const [name, p] of small.stateDict()) {
      const large = whole.stateDict().get(name)!;
      const positions = large.shape.map((_, axis) => kept(name, axis));
      const values = await large.data();
      let offsets = [0];
      positions.forEach((own, axis) => {
        const stride = large.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
        offsets = offsets.flatMap(base => Array.from(own, i => base + i * stride));
      });
      expect(
        difference(
          await p.data(),
          Float32Array.from(offsets, o => values[o]),
        ),
        name,
      ).toBeLessThan(1e-5);
    }
    // The network it was made from has not moved.
    expect([...(await original.stateDict().get('0.weight')!.data())]).toEqual([
      ...(await build().stateDict().get('0.weight')!.data()),
    ]);
  });

  it('trains attention with dropout, and leaves recurrent layers as they are', async () => {
    class Mixed extends Module {
      readonly attention = new MultiheadAttention(8, 4, { dropout: 0.2, random: random('attention') });
      readonly fc = new Linear(8, 6, { random: random('fc') });
      readonly gru = new GRU(6, 5, { random: random('gru') });
      readonly head = new Linear(5, 3, { random: random('head') });
      override forward(x: Tensor): Tensor {
        const h = this.fc.forward(this.attention.forward(x)).relu();
        const [, last] = this.gru.forward(h.transpose([1, 0, 2]));
        return this.head.forward(last.squeeze(0));
      }
    }
    const model = worn(new Mixed());
    const input: Spec = { dtype: 'float32', shape: [1, 4, 8] };
    const found = await groupsOf(model, input);
    expect(found.groups.map(g => [g.name, g.channels.length, g.width])).toEqual([
      ['attention.in_proj_weight', 4, 6],
      ['attention.out_proj.weight', 8, 1],
    ]);
    expect(found.fixed.find(f => f.name === 'fc.weight')?.reason).toContain('cannot be followed through this operator');
    const remove = everyNth(found, 3);
    const { model: small } = await shrink(model, [input], { remove });
    expect(small.stateDict().get('attention.in_proj_weight')?.shape).toEqual([18, 8]);
    const x = sample(input);
    const shrunk = await outputOf(small, x);
    const trained = await outputOf(small.train(), x);
    expect(difference(trained, shrunk)).toBeGreaterThan(0);
    await silence(model, found, remove);
    expect(difference(await outputOf(model.eval(), x), shrunk)).toBeLessThan(1e-5);
  });

  it('can be shrunk again', async () => {
    const model = worn(new Branches());
    const input = image(3, 8);
    const first = await shrink(model, [input], { remove: everyNth(await groupsOf(model, input), 3) });
    const found = await groupsOf(first.model, input);
    const second = await shrink(first.model, [input], { remove: everyNth(found, 3) });
    const x = sample(input);
    await silence(first.model, found, everyNth(found, 3));
    expect(difference(await outputOf(second.model, x), await outputOf(first.model, x))).toBeLessThan(1e-5);
  });

  it('removes whole groups of a convolution where that is asked for', async () => {
    const model = worn(
      new Sequential(
        new Conv2d(3, 12, 3, { padding: 1, random: random('a') }),
        new Conv2d(12, 18, 3, { padding: 1, groups: 3, random: random('b') }),
        new Conv2d(18, 4, 1, { random: random('c') }),
      ),
    );
    const input = image(3, 5);
    const options = { groupedConvolutions: 'whole' } as const;
    const found = await channelGroups(model, [input], options);
    const remove = [found.requireChannel('0.weight', 5)];
    const { model: small } = await shrink(model, [input], { remove }, options);
    expect(small.stateDict().get('1.weight')?.shape).toEqual([12, 4, 3, 3]);
    expect(small.stateDict().get('2.weight')?.shape).toEqual([4, 12, 1, 1]);
    const x = sample(input);
    await silence(model, found, remove);
    expect(difference(await outputOf(small, x), await outputOf(model, x))).toBeLessThan(1e-5);
  });

  it('keeps the groups of a convolution equal', async () => {
    const model = worn(new Grouped());
    const input = image(3, 6);
    const mask = new Mask([
      ['first.weight', { shape: [12, 3, 3, 3], keep: new Uint8Array(12 * 27).map((_, e) => (e < 27 ? 0 : 1)) }],
    ]);
    await expect(shrink(model, [input], mask)).rejects.toThrow(
      'shrink: the groups of grouped.weight would keep 3→6, 4→6, 4→6 channels; remove whole groups, or equally many of each',
    );
  });

  it('refuses to empty a layer, unknown channels, masks of another model, and what it cannot follow', async () => {
    const model = worn(new Branches());
    const input = image(3, 8);
    const found = await groupsOf(model, input);
    const stem = found.groupOf(found.requireChannel('stem.weight', 0)).channels;
    await expect(shrink(model, [input], { remove: stem })).rejects.toThrow(
      'shrink: nothing of stem.weight (axis 0) would be left; keep at least one channel of each layer',
    );
    await expect(shrink(model, [input], { remove: [10_000] })).rejects.toThrow('10000 is no channel of this model');
    const other = new Mask([['other.weight', { shape: [1], keep: Uint8Array.of(1) }]]);
    await expect(shrink(model, [input], other)).rejects.toThrow('the mask has other.weight, which the model has not');
    expect(() => found.requireChannel('head.weight', 1)).toThrow(
      'shrink: channel 1 of head.weight (axis 0) cannot be removed: the network gives them out (output)',
    );
    expect(() => found.requireChannel('stem.weight', 12)).toThrow('stem.weight [12, 3, 3, 3] has no position 12');
  });

  it('leaves the graph of the model alone', async () => {
    const model = worn(new Branches());
    const input = image(3, 8);
    const before = traceGraph(x => model.forward(x), [input]).nodes.length;
    const { model: small } = await shrink(model, [input], { remove: [0] });
    await outputOf(small.train(), sample(input));
    expect(traceGraph(x => model.forward(x), [input]).nodes).toHaveLength(before);
    expect(model.training).toBe(false);
  });
});

class Mean extends Module {
  override forward(x: Tensor): Tensor {
    return x.mean([2, 3]);
  }
}

import {
  concat,
  convTranspose,
  maxPool,
  Parameter,
  Random,
  type Spec,
  type Tensor,
  tensor,
  unfold,
} from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MobileNetV1, MobileNetV2 } from '../models/mobilenet.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import { ViT } from '../models/vit.ts';
import { Conv2d } from '../nn/conv.ts';
import { exportModel } from '../nn/export.ts';
import { GraphModule } from '../nn/graph-module.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { GroupNorm } from '../nn/norm.ts';
import type { KernelGroupOptions } from './kernel-groups.ts';
import type { Layer } from './layer.ts';
import { modelLayers } from './model.ts';
import { rearrange, rearrangeRows } from './rearrange.ts';

const random = (name: string) => new Random(5).fork(name);
const prunable = (layers: readonly Layer[]) => layers.filter(l => l.kind === 'conv' || l.kind === 'linear').slice(1);
const image = (channels: number, size: number): Spec => ({ dtype: 'float32', shape: [1, channels, size, size] });

/** A network whose vectors (biases, normalisations, slopes) differ from channel to channel, in eval mode. */
function worn<M extends Module>(model: M): M {
  for (const [name, p] of model.namedParameters()) {
    if (p.rank === 1 || name.includes('slope'))
      p.set(
        random(name)
          .uniform(p.size)
          .map(u => u + 0.5),
      );
  }
  return model.eval();
}

/** Squeeze-and-excite gates, PReLU slopes, concatenated branches, and flattening into a linear layer. */
class Branches extends Module {
  readonly stem = new Conv2d(3, 12, 3, { padding: 1, random: random('stem') });
  readonly slope = new Parameter({ dtype: 'float32', shape: [12, 1, 1], data: new Float32Array(12).fill(0.3) });
  readonly squeeze = new Linear(12, 5, { random: random('squeeze') });
  readonly excite = new Linear(5, 12, { random: random('excite') });
  readonly left = new Conv2d(12, 8, 1, { random: random('left') });
  readonly right = new Conv2d(12, 10, 3, { padding: 1, random: random('right') });
  readonly after = new Conv2d(18, 8, 3, { padding: 1, random: random('after') });
  readonly fc = new Linear(8 * 16, 11, { random: random('fc') });
  readonly head = new Linear(11, 4, { random: random('head') });

  override forward(x: Tensor): Tensor {
    const h = this.stem.forward(x);
    const y = h.ge(0).where(h, h.mul(this.slope));
    const gate = this.excite.forward(this.squeeze.forward(y.mean([2, 3])).relu()).sigmoid();
    const gated = y.mul(gate.reshape([x.shape[0], 12, 1, 1]));
    const both = concat([this.left.forward(gated), this.right.forward(gated)], 1).relu();
    // The right branch's neighbour joins a residual sum.
    const sum = this.after.forward(both).add(this.left.forward(gated));
    return this.head.forward(this.fc.forward(maxPool(sum, 2).flatten()).relu());
  }
}

/** Group convolutions, a normalisation over groups of channels, and a transposed convolution. */
class Groups extends Module {
  readonly first = new Conv2d(3, 12, 3, { padding: 1, random: random('first') });
  readonly grouped = new Conv2d(12, 18, 3, { padding: 1, groups: 3, random: random('grouped') });
  readonly mix = new Conv2d(18, 16, 1, { random: random('mix') });
  readonly norm = new GroupNorm(4, 16);
  readonly up = new Parameter({ dtype: 'float32', shape: [16, 7, 2, 2], data: random('up').normal(16 * 28) });
  readonly last = new Conv2d(7, 4, 1, { random: random('last') });

  override forward(x: Tensor): Tensor {
    const h = this.mix.forward(this.grouped.forward(this.first.forward(x).relu()).relu());
    return this.last.forward(convTranspose(this.norm.forward(h), this.up, { stride: 2 }).relu());
  }
}

/** Channels of two groups change places, as in ShuffleNet. */
class Shuffle extends Module {
  readonly a = new Conv2d(3, 12, 1, { random: random('a') });
  readonly b = new Conv2d(12, 8, 1, { random: random('b') });
  readonly c = new Conv2d(8, 4, 1, { random: random('c') });

  override forward(x: Tensor): Tensor {
    const [n, , height, width] = x.shape;
    const h = this.a.forward(x).relu().reshape([n, 2, 6, height, width]).transpose([0, 2, 1, 3, 4]);
    return this.c.forward(this.b.forward(h.reshape([n, 12, height, width])).relu());
  }
}

interface Network {
  readonly make: () => Module;
  readonly input: Spec;
  /** Axes that a random order moves, at least. */
  readonly moves: number;
  /** Too many channels to look for the best order in a test. */
  readonly isLarge?: true;
}

const networks: Record<string, Network> = {
  'depthwise separable': {
    make: () => new MobileNetV1({ width: 0.0625, classes: 10, stride: 1 }),
    input: image(3, 32),
    moves: 80,
  },
  'inverted residual': {
    make: () => new MobileNetV2({ width: 0.25, classes: 10, stride: 1 }),
    input: image(3, 32),
    moves: 150,
    isLarge: true,
  },
  'residual with padded shortcuts': { make: () => new CifarResNet({ depth: 14 }), input: image(3, 16), moves: 60 },
  'concatenation, gates, slopes, flattening': { make: () => new Branches(), input: image(3, 8), moves: 12 },
  'groups of channels': { make: () => new Groups(), input: image(3, 6), moves: 5 },
  'shuffled channels': { make: () => new Shuffle(), input: image(3, 4), moves: 2 },
  attention: {
    make: () => new ViT({ imageSize: 16, patchSize: 8, dim: 24, heads: 3, depth: 2, classes: 5 }),
    input: image(3, 16),
    moves: 6,
  },
};

async function values(model: Module): Promise<Map<string, Float32Array>> {
  const entries = [...model.stateDict()].map(
    async ([name, p]) => [name, (await p.data()).slice() as Float32Array] as const,
  );
  return new Map(await Promise.all(entries));
}

async function outputs(model: Module, { shape }: Spec): Promise<Float32Array> {
  const size = shape.reduce((a, b) => a * b);
  return (await (model.forward(tensor(new Random(1).normal(size), shape)) as Tensor).data()) as Float32Array;
}

function expectClose(a: Float32Array, b: Float32Array): void {
  const scale = b.reduce((m, v) => Math.max(m, Math.abs(v)), 1);
  a.forEach((v, i) => {
    if (!(Math.abs(v - b[i]) <= 1e-5 * scale)) expect.fail(`output ${i} is ${v}, was ${b[i]}`);
  });
}

const at = (sparsity: number, options: KernelGroupOptions = {}) => ({ sparsity, select: prunable, ...options });

describe('rearrange', () => {
  for (const [name, { make, input, moves, isLarge }] of Object.entries(networks)) {
    it(`changes no output: ${name}`, async () => {
      const model = worn(make());
      const before = await outputs(model, input);
      const weights = await values(model);
      for (const drawn of [...(isLarge ? [] : [undefined]), new Random(2)]) {
        const places = await rearrange(model, [input], { ...at(0.5), ...(drawn && { random: drawn }) });
        for (const { from } of places.moves) {
          expect(Array.from(from).sort((a, b) => a - b)).toEqual(Array.from(from, (_, i) => i));
        }
        if (drawn) expect(places.moves.length).toBeGreaterThanOrEqual(moves);
        await places.apply();
        expectClose(await outputs(model, input), before);
        await places.undo();
        expect(await values(model)).toEqual(weights);
      }
    });
  }

  it('works on imported ONNX files as on modules', async () => {
    for (const { make, input } of [networks['depthwise separable'], networks['residual with padded shortcuts']]) {
      const model = worn(make());
      const imported = new GraphModule(await exportModel(model, { image: input }));
      const before = await outputs(model, input);
      const [own, theirs] = [await rearrange(model, [input], at(0.5)), await rearrange(imported, [input], at(0.5))];
      expect(theirs.gains.map(g => g.after)).toEqual(own.gains.map(g => g.after));
      await theirs.apply();
      expectClose(await outputs(imported, input), before);
      expect(await values(imported)).not.toEqual(await values(model));
    }
  });

  it('keeps at least the score of the given order in every layer, with every score', async () => {
    for (const name of ['depthwise separable', 'residual with padded shortcuts', 'groups of channels']) {
      const { make, input } = networks[name];
      const model = worn(make());
      for (const options of [{}, { norm: 'l2' }, { balanced: true }, { group: 3 }, { group: 2, norm: 'l2' }] as const) {
        const { gains } = await rearrange(model, [input], at(0.6, options));
        for (const { name, before, after } of gains) expect(after, name).toBeGreaterThanOrEqual(before);
        const mean = gains.reduce((n, g) => n + g.after - g.before, 0) / gains.length;
        expect(mean).toBeGreaterThan(0.001);
        // What it says is what the moved network has.
        const places = await rearrange(model, [input], at(0.6, options));
        await places.apply();
        const moved = await rearrange(model, [input], at(0.6, options));
        moved.gains.forEach((g, i) => {
          expect(g.before).toBeCloseTo(places.gains[i].after, 5);
        });
        await places.undo();
      }
    }
  });

  it('does not move channels of inputs and outputs', async () => {
    const { make, input } = networks['depthwise separable'];
    const { moves } = await rearrange(worn(make()), [input], { ...at(0.5), random: new Random(1) });
    const axes = (name: string) => moves.filter(m => m.parameter.name === name).map(m => m.axis);
    expect(axes('model.0.0.weight')).toEqual([]);
    expect(axes('fc.weight')).toEqual([1]);
    expect(axes('fc.bias')).toEqual([]);
    // Depthwise filters, scale, shift and statistics move with their channel.
    for (const name of ['model.2.0.weight', 'model.2.1.weight', 'model.2.1.bias', 'model.2.1.running_var']) {
      expect(axes(name), name).toEqual([0]);
    }
    expect(axes('model.2.3.weight')).toEqual([0, 1]);
  });

  it('moves all branches of a residual sum alike', async () => {
    const { make, input } = networks['residual with padded shortcuts'];
    const { moves } = await rearrange(worn(make()), [input], { ...at(0.5), random: new Random(1) });
    const from = (name: string, axis: number) => {
      const found = moves.find(m => m.parameter.name === name && m.axis === axis);
      return Array.from(found!.from);
    };
    expect(from('layer1.0.conv2.weight', 0)).toEqual(from('conv1.weight', 0));
    expect(from('layer1.1.conv2.weight', 0)).toEqual(from('conv1.weight', 0));
    expect(from('layer1.1.conv1.weight', 1)).toEqual(from('conv1.weight', 0));
    // The shortcut into the second stage puts the first stage's 16 channels in the middle of 32.
    const second = from('layer2.1.conv2.weight', 0);
    expect(second).toEqual(from('layer2.0.conv2.weight', 0));
    expect(second.slice(8, 24)).toEqual(from('conv1.weight', 0).map(c => c + 8));
  });

  it('refuses operators that it cannot follow, by name and place', async () => {
    class Odd extends Module {
      readonly conv = new Conv2d(3, 8, 1, { random: random('odd') });
      readonly head = new Conv2d(8, 4, 1, { random: random('head') });
      override forward(x: Tensor): Tensor {
        const columns = unfold(this.conv.forward(x), [2, 2], { stride: 2 });
        return this.head.forward(columns.mean(2));
      }
    }
    await expect(rearrange(new Odd().eval(), [image(3, 4)], at(0.5))).rejects.toThrow(
      /^channels: unfold of \[1, 8, 4, 4\] after conv\.weight: its channels cannot be followed/,
    );
  });
});

describe('rearrangeRows', () => {
  it('orders every layer alone, inside the groups of a convolution', async () => {
    const { make, input } = networks['groups of channels'];
    const layers = prunable((await modelLayers(worn(make()), [input])).layers);
    const { orders, gains } = rearrangeRows(layers, { sparsity: 0.5, group: 4 });
    for (const g of gains) expect(g.after, g.name).toBeGreaterThanOrEqual(g.before);
    for (const l of layers) {
      const order = Array.from(orders.get(l.name)!);
      const size = l.shape[l.outAxis] / l.groups;
      order.forEach((row, position) => {
        expect(Math.floor(row / size)).toBe(Math.floor(position / size));
      });
      expect(new Set(order).size).toBe(l.shape[l.outAxis]);
    }
  });
});

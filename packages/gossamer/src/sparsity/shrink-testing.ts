import {
  concat,
  maxPool,
  Parameter,
  Random,
  type Spec,
  scaledDotProductAttention,
  sizeOf,
  type Tensor,
  tensor,
} from '@gossamer/tensor';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import { Conv2d } from '../nn/conv.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { GroupNorm } from '../nn/norm.ts';
import { type ChannelGroups, channelGroups } from './groups.ts';

// Networks and comparisons for the tests of structured pruning.

const random = (name: string): Random => new Random(5).fork(name);

export const image = (channels: number, size: number): Spec => ({ dtype: 'float32', shape: [1, channels, size, size] });

/** A network whose vectors (biases, normalisations, slopes) differ from channel to channel, in eval mode. */
export function worn<M extends Module>(model: M): M {
  for (const [name, p] of model.namedParameters()) {
    if (p.rank !== 1 && !name.includes('slope')) continue;
    const signed = random(name).normal(p.size, 0.2, 0.5);
    p.set(name.includes('running_var') ? signed.map(v => 0.5 + v * v) : signed);
  }
  return model.eval();
}

/** Squeeze-and-excite gates, PReLU slopes, concatenated branches in a residual sum, and flattening into a linear layer. */
export class Branches extends Module {
  readonly stem = new Conv2d(3, 12, 3, { padding: 1, random: random('stem') });
  readonly slope = new Parameter({ dtype: 'float32', shape: [12, 1, 1], data: new Float32Array(12).fill(0.3) });
  readonly squeeze = new Linear(12, 5, { random: random('squeeze') });
  readonly excite = new Linear(5, 12, { random: random('excite') });
  readonly left = new Conv2d(12, 8, 1, { random: random('left') });
  readonly right = new Conv2d(12, 10, 3, { padding: 1, random: random('right') });
  readonly after = new Conv2d(18, 8, 3, { padding: 1, random: random('after') });
  readonly norm = new BatchNorm2d(8);
  readonly fc = new Linear(8 * 16, 11, { random: random('fc') });
  readonly head = new Linear(11, 4, { random: random('head') });

  override forward(x: Tensor): Tensor {
    const h = this.stem.forward(x);
    const y = h.ge(0).where(h, h.mul(this.slope));
    const gate = this.excite.forward(this.squeeze.forward(y.mean([2, 3])).relu()).sigmoid();
    const gated = y.mul(gate.reshape([x.shape[0], 12, 1, 1]));
    const both = concat([this.left.forward(gated), this.right.forward(gated)], 1).relu();
    const sum = this.norm.forward(this.after.forward(both)).add(this.left.forward(gated));
    return this.head.forward(this.fc.forward(maxPool(sum, 2).flatten()).relu());
  }
}

/** Group convolutions, channels shuffled between groups, and a normalisation over groups of channels. */
export class Grouped extends Module {
  readonly first = new Conv2d(3, 12, 3, { padding: 1, random: random('first') });
  readonly grouped = new Conv2d(12, 18, 3, { padding: 1, groups: 3, random: random('grouped') });
  readonly norm1 = new BatchNorm2d(18);
  readonly second = new Conv2d(18, 6, 1, { groups: 3, bias: false, random: random('second') });
  readonly mix = new Conv2d(6, 16, 1, { random: random('mix') });
  readonly norm = new GroupNorm(4, 16);
  readonly last = new Conv2d(16, 4, 1, { random: random('last') });

  override forward(x: Tensor): Tensor {
    const h = this.norm1.forward(this.grouped.forward(this.first.forward(x).relu())).relu();
    const [n, c, height, width] = h.shape;
    const shuffled = h
      .reshape([n, 3, c / 3, height, width])
      .transpose([0, 2, 1, 3, 4])
      .reshape(h.shape);
    return this.last.forward(this.norm.forward(this.mix.forward(this.second.forward(shuffled))).relu());
  }
}

/** Attention whose queries share keys, and a gated MLP, on tokens of the network's input. */
export class SharedKeys extends Module {
  readonly query = new Linear(10, 4 * 6, { random: random('query') });
  readonly key = new Linear(10, 2 * 6, { random: random('key') });
  readonly value = new Linear(10, 2 * 6, { random: random('value') });
  readonly out = new Linear(24, 10, { random: random('out') });
  readonly gate = new Linear(10, 14, { bias: false, random: random('gate') });
  readonly up = new Linear(10, 14, { bias: false, random: random('up') });
  readonly down = new Linear(14, 10, { bias: false, random: random('down') });

  override forward(x: Tensor): Tensor {
    const [batch, tokens] = x.shape;
    const heads = (t: Tensor) => t.reshape([batch, tokens, t.shape[2] / 6, 6]).transpose([0, 2, 1, 3]);
    const [q, k, v] = [this.query, this.key, this.value].map(layer => heads(layer.forward(x)));
    const attended = scaledDotProductAttention(q, k, v, { causal: true }).transpose([0, 2, 1, 3]);
    const h = x.add(this.out.forward(attended.reshape([batch, tokens, 24])));
    const g = this.gate.forward(h);
    return h.add(this.down.forward(g.mul(g.sigmoid()).mul(this.up.forward(h))));
  }
}

export const outputOf = async (model: Module, x: Tensor): Promise<Float32Array> =>
  (await (model.forward(x) as Tensor).data()).slice();

export const sample = ({ shape }: Spec, batch = 2): Tensor => {
  const full = [batch, ...shape.slice(1)];
  return tensor(random('sample').normal(sizeOf(full)), full);
};

/** Every n-th channel of each group, from its second on. */
export const everyNth = ({ groups }: ChannelGroups, n: number): number[] =>
  groups.flatMap(g => g.channels.filter((_, i) => i % n === 1));

/** Sets channels to zero wherever they lie: the masked model. */
export async function silence(model: Module, found: ChannelGroups, channels: readonly number[]): Promise<void> {
  const all = channels.flatMap(id => [...found.placesOf(id)]);
  for (const [name, p] of model.stateDict()) {
    const values = (await p.data()).slice();
    p.shape.forEach((length, axis) => {
      const own = all.filter(place => place.parameter === name && place.axis === axis);
      const gone = new Set(own.flatMap(place => place.positions));
      const inner = sizeOf(p.shape.slice(axis + 1));
      if (gone.size === 0) return;
      for (let e = 0; e < values.length; e++) if (gone.has(Math.floor(e / inner) % length)) values[e] = 0;
    });
    p.set(values);
  }
}

export const groupsOf = (model: Module, input: Spec): Promise<ChannelGroups> => channelGroups(model, [input]);

export const difference = (a: Float32Array, b: Float32Array): number =>
  a.length === b.length ? a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0) : Number.POSITIVE_INFINITY;

import { check, GossamerError, type Node, type Parameter, type Spec } from '@gossamer/tensor';
import type { GroupRemoval } from './channel-rules.ts';
import { type Model, traceModel, type WeightUse, weightUses } from './model.ts';
import { followRemoval, type RemovalAnalysis } from './removal.ts';

/** Where a channel lies along one axis of a parameter. */
export interface GroupPlace {
  readonly parameter: string;
  readonly axis: number;
  readonly positions: readonly number[];
}

/**
 * Channels that play the same part: each of them lies in the same axes of the same parameters, as often. The filters of
 * a convolution that one other reads, all channels of a residual stream, the heads of an attention are such groups.
 */
export interface ChannelGroup {
  /** The first weight that makes these channels, e.g. `conv1.weight`. */
  readonly name: string;
  /** Ids, in the order of their positions in that weight. */
  readonly channels: readonly number[];
  /** Rows that each has in that weight: 1 for filters and neurons, the head's width for heads. */
  readonly width: number;
  /** Elements of trainable parameters that go with the first channel to be removed, the other channels being there. */
  readonly parameters: number;
}

/** An axis of a parameter whose positions are channels. */
export interface ChannelSource {
  readonly parameter: string;
  readonly axis: number;
}

/** Channels of a weight that cannot be removed. */
export interface FixedChannels {
  readonly name: string;
  readonly count: number;
  /** What keeps them, and the operator (of an imported model: the node's name) where it does. */
  readonly reason: string;
}

/** What a model costs. */
export interface ModelCost {
  /** Elements of trainable parameters. */
  readonly parameters: number;
  /** Floating-point operations of all weights for one sample, 2 a multiply-add. */
  readonly flops: number;
  /** Of all parameters and running statistics, in the element types they have. */
  readonly bytes: number;
}

export interface ChannelGroupsOptions {
  /**
   * How channels leave a convolution with groups: the same positions of every group at once (`offset`, the default), or
   * with a whole group (`whole`). Depthwise filters always go with their channel.
   */
  readonly groupedConvolutions?: 'offset' | 'whole';
  /** What nodes of the graph are called in errors and reasons. */
  readonly nameOf?: (node: Node) => string | undefined;
  /** Bytes of an element of a parameter; default 4. */
  readonly elementBytes?: (name: string) => number;
}

/**
 * Finds the dependency graph of a model: which channels have to be removed together, and which cannot be removed at all.
 * It follows channels through the traced graph of a module, a function or an imported ONNX file (see
 * {@link coupledChannels}).
 *
 * What sits between a network's inputs and outputs can go: filters, neurons, attention heads (with grouped queries: the
 * queries of a key's group), blocks of a group normalisation. Channels stay that are inputs or outputs, over which
 * something is normalised or averaged, and whose operators are not known.
 *
 * ```ts
 * const found = await channelGroups(model, [{ shape: [1, 3, 32, 32], dtype: 'float32' }]);
 * const small = await shrink(model, inputs, { remove: [found.channelOf('conv1.weight', 3)!] });
 * ```
 *
 * @param inputs shape and dtype of each input, for one sample
 */
export async function channelGroups(
  model: Model,
  inputs: readonly Spec[],
  { groupedConvolutions = 'offset', nameOf, elementBytes }: ChannelGroupsOptions = {},
): Promise<ChannelGroups> {
  const groupRemoval: GroupRemoval = groupedConvolutions;
  const analysis = followRemoval(await traceModel(model, inputs, 'channelGroups'), { groupRemoval, nameOf });
  return new ChannelGroups(analysis, inputs[0].shape[0], elementBytes);
}

/** The channels along one axis of a parameter, by id; −1 where one is fixed. */
type Ids = Int32Array;

interface Weight {
  readonly parameter: Parameter;
  readonly use: WeightUse;
  readonly positions: number;
}

/** The dependency graph of a model; made by {@link channelGroups}. Ids are the same whenever the model is. */
export class ChannelGroups {
  readonly groups: readonly ChannelGroup[];
  readonly fixed: readonly FixedChannels[];
  /** The axes along which weights make channels. */
  readonly producers: readonly ChannelSource[];
  /** The scales of batch normalisations. */
  readonly scales: readonly ChannelSource[];
  /** Ids along the axes of each parameter. */
  readonly #axes = new Map<string, Map<number, Ids>>();
  readonly #places: GroupPlace[][] = [];
  readonly #groupOf = new Map<number, ChannelGroup>();
  readonly #parameters: readonly Parameter[];
  readonly #weights: readonly Weight[];
  readonly #elementBytes: (name: string) => number;
  readonly #reason: (parameter: string, position: number, axis: number) => string | undefined;

  constructor(analysis: RemovalAnalysis, batch: number, elementBytes: (name: string) => number = () => 4) {
    const { traced, followed, places } = analysis;
    const { labels } = followed;
    this.#elementBytes = elementBytes;
    this.#reason = (name, position, axis) => {
      const place = places.find(p => p.parameter.name === name && p.axis === axis && !p.rows);
      return place && labels.whyFixed(place.channels.channel[position]);
    };
    this.#parameters = [...new Set(traced.parameters.values())];
    this.#weights = [...weightUses(traced.nodes, traced.parameters, batch)].map(([parameter, uses]) => ({
      parameter,
      use: uses[0],
      positions: uses.reduce((n, u) => n + (u.kind === 'embedding' ? 0 : u.positions), 0),
    }));
    const ids = new Map<number, number>();
    const signatures: Map<number, number>[] = [];
    places.forEach(({ parameter, axis, rows, channels }, place) => {
      if (rows) return;
      const own = Int32Array.from(channels.channel, c => {
        if (labels.isFixed(c)) return -1;
        if (!ids.has(c)) {
          ids.set(c, ids.size);
          this.#places.push([]);
          signatures.push(new Map());
        }
        return ids.get(c)!;
      });
      const axes = this.#axes.get(parameter.name) ?? new Map<number, Ids>();
      this.#axes.set(parameter.name, axes.set(axis, own));
      for (const [id, positions] of positionsById(own)) {
        this.#places[id].push({ parameter: parameter.name, axis, positions });
        signatures[id].set(place, positions.length);
      }
    });
    this.producers = this.#weights.map(w => ({ parameter: w.parameter.name, axis: w.use.outAxis }));
    this.scales = traced.nodes.flatMap(({ op, inputs }) => {
      const scale = op.name === 'batchNormInference' ? traced.parameters.get(inputs[1]) : undefined;
      return scale ? [{ parameter: scale.name, axis: 0 }] : [];
    });
    this.groups = this.#group(signatures);
    for (const group of this.groups) for (const id of group.channels) this.#groupOf.set(id, group);
    this.fixed = this.#fixedChannels(analysis);
  }

  /** Every channel that can be removed. */
  get count(): number {
    return this.#places.length;
  }

  /** The channel at a position along an axis (default 0) of a parameter; undefined if it cannot be removed. */
  channelOf(parameter: string, position: number, axis = 0): number | undefined {
    const shape = this.#parameter(parameter).shape;
    check(
      axis in shape && position >= 0 && position < shape[axis],
      () => `channelOf: ${parameter} [${shape.join(', ')}] has no position ${position} along axis ${axis}`,
    );
    const id = this.channelsAlong(parameter, axis)[position];
    return id < 0 ? undefined : id;
  }

  /** The channel at a position along an axis (default 0) of a parameter, or an error that says why it has to stay. */
  requireChannel(parameter: string, position: number, axis = 0): number {
    const id = this.channelOf(parameter, position, axis);
    if (id !== undefined) return id;
    const reason = this.#reason(parameter, position, axis) ?? 'this axis has no channels';
    throw new GossamerError(`shrink: channel ${position} of ${parameter} (axis ${axis}) cannot be removed: ${reason}`);
  }

  /** The ids along an axis of a parameter, −1 where a channel is fixed. */
  channelsAlong(parameter: string, axis: number): Int32Array {
    const { shape } = this.#parameter(parameter);
    return this.#axes.get(parameter)?.get(axis) ?? new Int32Array(shape[axis]).fill(-1);
  }

  /** Everywhere that a channel lies: filters, biases, scales, shifts, statistics, the weights that read it. */
  placesOf(channel: number): readonly GroupPlace[] {
    return this.#places[this.#known(channel)];
  }

  groupOf(channel: number): ChannelGroup {
    return this.#groupOf.get(this.#known(channel))!;
  }

  /** What the model costs without some channels, from the shapes that are left. */
  cost(removed: Iterable<number> = []): ModelCost {
    const gone = new Uint8Array(this.count);
    for (const id of removed) gone[this.#known(id)] = 1;
    const sizes = new Map(this.#parameters.map(p => [p.name, this.#size(p, gone)]));
    let [parameters, bytes, flops] = [0, 0, 0];
    for (const p of this.#parameters) {
      const size = sizes.get(p.name)!;
      if (p.trainable) parameters += size;
      bytes += size * this.#elementBytes(p.name);
    }
    for (const { parameter, positions } of this.#weights) flops += 2 * sizes.get(parameter.name)! * positions;
    return { parameters, flops, bytes };
  }

  /** Elements of a parameter without the channels that are gone. */
  #size({ name, shape }: Parameter, gone: Uint8Array): number {
    return shape.reduce((size, length, axis) => {
      const ids = this.#axes.get(name)?.get(axis);
      return size * (ids ? ids.reduce((n, id) => n + (id >= 0 && gone[id] ? 0 : 1), 0) : length);
    }, 1);
  }

  #group(signatures: readonly ReadonlyMap<number, number>[]): ChannelGroup[] {
    const members = new Map<string, number[]>();
    signatures.forEach((signature, id) => {
      const key = [...signature].map(([place, count]) => `${place}:${count}`).join();
      const list = members.get(key);
      if (list) list.push(id);
      else members.set(key, [id]);
    });
    const total = this.cost().parameters;
    return [...members.values()].map(channels => {
      const made = this.#places[channels[0]].find(p => this.#makes(p)) ?? this.#places[channels[0]][0];
      return {
        name: made.parameter,
        channels,
        width: made.positions.length,
        parameters: total - this.cost([channels[0]]).parameters,
      };
    });
  }

  /** Whether channels along this axis are the outputs of a weight. */
  #makes({ parameter, axis }: GroupPlace): boolean {
    return this.producers.some(p => p.parameter === parameter && p.axis === axis);
  }

  #fixedChannels({ places, followed: { labels } }: RemovalAnalysis): FixedChannels[] {
    return this.#weights.flatMap(({ parameter, use }) => {
      const place = places.find(p => p.parameter === parameter && p.axis === use.outAxis && !p.rows);
      const reasons = new Map<string, number>();
      for (const c of place?.channels.channel ?? []) {
        const reason = labels.whyFixed(c);
        if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      }
      return [...reasons].map(([reason, count]) => ({ name: parameter.name, count, reason }));
    });
  }

  #parameter(name: string): Parameter {
    const found = this.#parameters.find(p => p.name === name);
    check(found, () => `channelGroups: the model has no parameter ${name} in use`);
    return found;
  }

  #known(channel: number): number {
    if (channel in this.#places) return channel;
    throw new GossamerError(`channelGroups: ${channel} is no channel of this model; it has 0 to ${this.count - 1}`);
  }
}

function positionsById(ids: Ids): Map<number, number[]> {
  const found = new Map<number, number[]>();
  ids.forEach((id, position) => {
    if (id < 0) return;
    const list = found.get(id);
    if (list) list.push(position);
    else found.set(id, [position]);
  });
  return found;
}

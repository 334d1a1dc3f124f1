import { check, type Parameter, type Random, type Spec, sizeOf } from '@gossamer/tensor';
import { type ChannelCoupling, type ChannelPlace, coupledChannels } from './channels.ts';
import { groupedRows, type KernelGroupOptions } from './kernel-groups.ts';
import type { Layer } from './layer.ts';
import { type Model, type ModelLayers, modelLayers, traceModel } from './model.ts';
import {
  type GroupedRows,
  type Interchange,
  identityOrder,
  normSum,
  retained,
  solveOrders,
} from './rearrange-solver.ts';

export interface RearrangeOptions extends KernelGroupOptions {
  /** Sparsity at which the kept score is to be high, 0 ≤ s < 1; one for all layers, or by name. */
  readonly sparsity: number | ((layer: string) => number);
  /** The layers that will be pruned, from those that there are. */
  readonly select: (layers: readonly Layer[]) => readonly Layer[];
  /** Draws the orders at random: the control that shows what choosing them is worth. */
  readonly random?: Random;
}

/** What an order is worth to a layer: the score of the units that would stay, as a share of the norms of all kernels. */
export interface OrderGain {
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

/** New places for the channels of a network, which computes the same with them. Nothing has moved yet. */
export interface Rearrangement {
  readonly gains: readonly OrderGain[];
  /** For each rearranged axis of a parameter: the position that comes to each position. */
  readonly moves: readonly ChannelMove[];
  /** Moves the channels, in every parameter that has them. Biases, statistics and weights of consumers included. */
  apply(): Promise<void>;
  /** Moves them back; the weights of before return bit for bit. */
  undo(): Promise<void>;
}

export interface ChannelMove extends Pick<ChannelPlace, 'parameter' | 'axis' | 'rows'> {
  readonly from: Int32Array;
}

/**
 * Finds an order of the network's channels that puts output channels which read the same inputs next to each other, so
 * that pruning groups of `g` consecutive ones by their kernels loses least (Xu et al. 2023, SparseByteNN).
 *
 * A channel moves everywhere at once: in the weight and bias that make it, in the normalisation, activation and depthwise
 * weights that handle it, and in the weights of all that read it. Channels that a residual sum, a concatenation or a
 * convolution's groups tie together move together; channels of inputs and outputs do not move. So the network with new
 * places computes what it did before, up to the rounding of sums in another order.
 *
 * @param inputs shape and dtype of each input
 * @throws a GossamerError that names the operator, where channels cannot be followed
 */
export async function rearrange(
  model: Model,
  inputs: readonly Spec[],
  options: RearrangeOptions,
): Promise<Rearrangement> {
  const found = await modelLayers(model, inputs);
  const coupling = coupledChannels(await traceModel(model, inputs, 'rearrange'));
  const layers = options.select(found.layers);
  const { sparsity } = options;
  const weights = layers.map(l => groupedRows(l, typeof sparsity === 'number' ? sparsity : sparsity(l.name), options));
  const sets = exchangesOf(layers, found, coupling);
  const orders = options.random
    ? randomOrders(weights, sets, options.random)
    : solveOrders(
        weights,
        sets.map(s => s.exchange),
      );
  const sources = sourcesOf(sets, orders);
  const moves = coupling.places.flatMap(place => {
    const from = moved(place, sources);
    return from.some((p, i) => p !== i)
      ? [{ parameter: place.parameter, axis: place.axis, rows: place.rows, from }]
      : [];
  });
  return {
    gains: layers.map((l, i) => gainOf(l.name, weights[i], orders[i])),
    moves,
    apply: () => move(moves),
    undo: () => move(moves.map(m => ({ ...m, from: inverse(m.from) }))),
  };
}

/**
 * For each layer alone, the order of its rows that keeps most: what an engine could use that gathers its outputs into the
 * network's order at run time. The network stays as it is. Rows stay inside a convolution's groups.
 */
export function rearrangeRows(
  layers: readonly Layer[],
  { sparsity, ...options }: Omit<RearrangeOptions, 'select' | 'random'>,
): { readonly orders: ReadonlyMap<string, Int32Array>; readonly gains: readonly OrderGain[] } {
  const weights = layers.map(l => groupedRows(l, typeof sparsity === 'number' ? sparsity : sparsity(l.name), options));
  const sets = layers.flatMap((l, weight) => {
    const members = weights[weight].rows / l.groups;
    return Array.from({ length: l.groups }, (_, g): Interchange => {
      return { members, in: [{ weight, positions: identityOrder(members).map(i => g * members + i) }] };
    });
  });
  const orders = solveOrders(weights, sets);
  return {
    orders: new Map(layers.map((l, i) => [l.name, orders[i]])),
    gains: layers.map((l, i) => gainOf(l.name, weights[i], orders[i])),
  };
}

function gainOf(name: string, rows: GroupedRows, order: Int32Array): OrderGain {
  const all = normSum(rows) || 1;
  return { name, before: retained(rows, identityOrder(rows.rows)) / all, after: retained(rows, order) / all };
}

/** Interchangeable channels that are rows of weights. */
interface RowSet {
  readonly channels: Int32Array;
  readonly exchange: Interchange;
}

/**
 * The rows that each set of interchangeable channels has in the weights to be pruned. Sets whose channels are blocks of
 * rows (attention heads, a map that is reshaped into channels) keep their order: a group of rows lies within a block.
 */
function exchangesOf(layers: readonly Layer[], { parameters }: ModelLayers, coupling: ChannelCoupling): RowSet[] {
  const rowsOf = layers.map(l => {
    const place = coupling.places.find(p => p.parameter === parameters.get(l.name) && p.axis === l.outAxis && !p.rows);
    const rows = new Map<number, number[]>();
    place?.channels.channel.forEach((c, position) => {
      const list = rows.get(c);
      if (list) list.push(position);
      else rows.set(c, [position]);
    });
    return rows;
  });
  return coupling.interchangeable.flatMap(channels => {
    const found = rowsOf.flatMap((rows, weight) => (rows.has(channels[0]) ? [{ rows, weight }] : []));
    if (found.length === 0 || found.some(({ rows }) => rows.get(channels[0])!.length > 1)) return [];
    // In the order of the first weight, where neighbours are those that stand side by side.
    const ordered = channels.slice().sort((a, b) => found[0].rows.get(a)![0] - found[0].rows.get(b)![0]);
    const places = found.map(({ rows, weight }) => ({ weight, positions: ordered.map(c => rows.get(c)![0]) }));
    return [{ channels: ordered, exchange: { members: ordered.length, in: places } }];
  });
}

function randomOrders(weights: readonly GroupedRows[], sets: readonly RowSet[], random: Random): Int32Array[] {
  const orders = weights.map(w => identityOrder(w.rows));
  sets.forEach(({ exchange }, i) => {
    const drawn = random.fork(`set ${i}`).permutation(exchange.members);
    for (const { weight, positions } of exchange.in) {
      positions.forEach((p, slot) => {
        orders[weight][p] = positions[drawn[slot]];
      });
    }
  });
  return orders;
}

/** The channel that comes to each channel's place. */
function sourcesOf(sets: readonly RowSet[], orders: readonly Int32Array[]): Map<number, number> {
  const sources = new Map<number, number>();
  for (const { channels, exchange } of sets) {
    const [{ weight, positions }] = exchange.in;
    const at = new Map(Array.from(positions, (p, slot) => [p, channels[slot]] as const));
    positions.forEach((p, slot) => {
      sources.set(channels[slot], at.get(orders[weight][p])!);
    });
  }
  return sources;
}

/** The position that comes to each position of an axis: that of the same part of the channel that comes. */
function moved({ channels: { channel, part } }: ChannelPlace, sources: ReadonlyMap<number, number>): Int32Array {
  const at = new Map(Array.from(channel, (c, i) => [`${c} ${part[i]}`, i] as const));
  return channel.map((c, i) => at.get(`${sources.get(c) ?? c} ${part[i]}`)!);
}

async function move(moves: readonly ChannelMove[]): Promise<void> {
  const byParameter = new Map<Parameter, ChannelMove[]>();
  for (const m of moves) byParameter.set(m.parameter, [...(byParameter.get(m.parameter) ?? []), m]);
  // All are read before the first is written, so that an error leaves the network as it was.
  const after = await Promise.all(
    [...byParameter].map(async ([p, own]) => {
      const data = await p.data();
      check(data instanceof Float32Array, () => `rearrange: ${p} is no float32 tensor`);
      return [p, own.reduce((values, m) => permuted(values, p.shape, m), data)] as const;
    }),
  );
  for (const [p, data] of after) p.set(data);
}

/** The array with the positions of one axis in another order; with `rows`, in those rows of axis 0 only. */
function permuted(data: Float32Array, shape: readonly number[], { axis, rows, from }: ChannelMove): Float32Array {
  const outer = sizeOf(shape.slice(0, axis));
  const inner = sizeOf(shape.slice(axis + 1));
  const length = shape[axis];
  const perRow = outer / shape[0];
  const [first, last] = rows ? [rows.start * perRow, rows.end * perRow] : [0, outer];
  const out = data.slice();
  for (let o = first; o < last; o++) {
    for (let i = 0; i < length; i++) {
      const source = (o * length + from[i]) * inner;
      out.set(data.subarray(source, source + inner), (o * length + i) * inner);
    }
  }
  return out;
}

function inverse(from: Int32Array): Int32Array {
  const to = new Int32Array(from.length);
  from.forEach((p, i) => {
    to[p] = i;
  });
  return to;
}

import type { Node, Parameter, Traced } from '@gossamer/tensor';
import { type Axes, type ChannelAxis, ChannelLabels, type ChannelUse } from './channel-labels.ts';
import { followChannels, type GroupedInputs, type Ledger } from './channel-rules.ts';

export type { ChannelAxis } from './channel-labels.ts';

/** Channels along one axis of a parameter. */
export interface ChannelPlace {
  readonly parameter: Parameter;
  readonly axis: number;
  /** In the weight of a grouped convolution: the rows (of axis 0) that read these channels. Default all. */
  readonly rows?: { readonly start: number; readonly end: number };
  readonly channels: ChannelAxis;
}

/** Which channels of a network are one and the same, wherever they appear. */
export interface ChannelCoupling {
  /** Every axis of every parameter that counts channels. A channel goes by one number in all of them. */
  readonly places: readonly ChannelPlace[];
  /**
   * Channels that can be exchanged without changing what the network computes: none of them is fixed, and they appear in
   * the same axes with the same parts. Sets of two and more.
   */
  readonly interchangeable: readonly Int32Array[];
  /** Whether a channel's position has a meaning outside: an input's, an output's, a pixel's. */
  isFixed(channel: number): boolean;
}

/**
 * Follows channels through a graph. Convolutions and products make them; normalisation, activations, pooling and depthwise
 * convolutions hand them on; a residual sum makes those of both branches one; concatenation puts them side by side;
 * flattening spreads each over several positions; groups and attention heads keep them together. Channels of inputs and
 * outputs, and of axes whose positions have a meaning, are fixed.
 *
 * The graph may come from a module, a function or an ONNX file.
 *
 * @throws a GossamerError that names the operator, its shapes and the parameter before it, where channels cannot be followed
 */
export function coupledChannels(traced: Traced): ChannelCoupling {
  const { labels, axes: outputs, grouped, together } = follow(traced);
  const { parameters } = traced;
  const all = new Set([...[...outputs.values()].flat(2), ...together]);
  const axes = [...all].filter(a => a !== undefined).map(a => labels.resolve(a));
  fixRepeated(axes, labels);
  return {
    places: placesOf(parameters, outputs, grouped, labels),
    interchangeable: interchangeable(axes).flatMap(channels => {
      const free = channels.filter(c => !labels.isFixed(c));
      return free.length > 1 ? [Int32Array.from(free)] : [];
    }),
    isFixed: channel => labels.isFixed(channel),
  };
}

/** What following a graph's channels found. */
export interface Followed {
  readonly labels: ChannelLabels;
  /** Of each output of every node; names are not resolved. */
  readonly axes: ReadonlyMap<Node, readonly Axes[]>;
  readonly grouped: readonly GroupedInputs[];
  readonly together: readonly ChannelAxis[];
}

export interface FollowOptions extends Pick<Ledger, 'groupRemoval' | 'chooseAxis' | 'nameOf'> {
  /** Default: channels are to be exchanged. */
  readonly use?: ChannelUse;
  /** Told each leaf that has channels, before anything reads it. */
  readonly leaf?: (node: Node, axes: Axes, labels: ChannelLabels) => void;
}

/** Walks the graph from its leaves to its outputs and names the channels along every axis of every node. */
export function follow(traced: Traced, { use, leaf, ...options }: FollowOptions = {}): Followed {
  const labels = new ChannelLabels(use);
  const { parameters } = traced;
  const inputs = new Set(traced.inputs);
  const ledger: Ledger = { labels, parameters, grouped: [], together: [], ...options };
  // Positions of a constant cannot be exchanged, but what belongs to a removed channel goes from a constant, too.
  const carries = (node: Node) =>
    parameters.has(node) || (use === 'removal' && node.isLeaf && !inputs.has(node) && node.dtype !== 'int32');
  const axes = new Map<Node, readonly Axes[]>();
  for (const node of traced.nodes) {
    const { inputs: sources, op, attributes } = node;
    if (sources.length === 0) {
      const own = leafAxes(node, carries(node), labels);
      leaf?.(node, own, labels);
      axes.set(node, [own]);
    } else if (op.name === 'part') axes.set(node, [axes.get(sources[0])![(attributes as { index: number }).index]]);
    else {
      const given = sources.map(i => axes.get(i)![0]);
      axes.set(node, followChannels(node, given, ledger));
    }
    if (use === 'removal') for (const a of axes.get(node)!.flat()) fixSingle(a, labels);
  }
  for (const { name, node } of traced.outputs) {
    labels.where = () => name;
    for (const a of axes.get(node)![0]) labels.fix(a, 'the network gives them out');
  }
  return { labels, axes, grouped: ledger.grouped, together: ledger.together };
}

/** A parameter's axes are channels until an operator says otherwise; those of inputs and constants are not. */
const leafAxes = (node: Node, isParameter: boolean, labels: ChannelLabels): Axes =>
  node.shape.map(length => (isParameter && length > 1 ? labels.fresh(length) : undefined));

/** A channel that lies in one axis twice (as when a tensor is concatenated with itself) stays where it is. */
function fixRepeated(axes: readonly ChannelAxis[], labels: ChannelLabels): void {
  for (const { channel, part } of axes) {
    const parts = new Map<number, Set<number>>();
    channel.forEach((c, i) => {
      const seen = parts.get(c);
      if (!seen) parts.set(c, new Set([part[i]]));
      else if (seen.has(part[i])) labels.fix({ channel: Int32Array.of(c), part: Int32Array.of(0) });
      else seen.add(part[i]);
    });
  }
}

/** A channel that is a tensor of its own cannot go: nothing would be left of that. */
function fixSingle(axis: ChannelAxis | undefined, labels: ChannelLabels): void {
  if (axis?.channel.length === 1) labels.fix(axis, 'it is a tensor of its own');
}

/** Every axis of every parameter that has channels, by the names that stand for all others. */
export function placesOf(
  parameters: ReadonlyMap<Node, Parameter>,
  outputs: ReadonlyMap<Node, readonly Axes[]>,
  grouped: readonly GroupedInputs[],
  labels: ChannelLabels,
): ChannelPlace[] {
  const places: ChannelPlace[] = [];
  for (const [node, parameter] of parameters) {
    outputs.get(node)?.[0].forEach((a, axis) => {
      if (a) places.push({ parameter, axis, channels: labels.resolve(a) });
    });
  }
  for (const { weight, groups } of grouped) {
    const size = weight.shape[0] / groups.length;
    groups.forEach((run, g) => {
      const rows = { start: g * size, end: (g + 1) * size };
      places.push({ parameter: parameters.get(weight)!, axis: 1, rows, channels: labels.resolve(run) });
    });
  }
  return places;
}

/** Starts with all channels as one set and divides it by every axis: by what parts of them lie in it. */
function interchangeable(axes: readonly ChannelAxis[]): number[][] {
  const setOf = new Map<number, number>();
  let count = 1;
  for (const { channel, part } of axes) {
    const parts = new Map<number, number[]>();
    channel.forEach((c, i) => {
      const list = parts.get(c);
      if (list) list.push(part[i]);
      else parts.set(c, [part[i]]);
    });
    const divided = new Map<string, number>();
    for (const [c, list] of parts) {
      const key = `${setOf.get(c) ?? 0}:${list.sort((a, b) => a - b).join()}`;
      if (!divided.has(key)) divided.set(key, count++);
      setOf.set(c, divided.get(key)!);
    }
  }
  const members = new Map<number, number[]>();
  for (const [c, set] of setOf) {
    const list = members.get(set);
    if (list) list.push(c);
    else members.set(set, [c]);
  }
  return [...members.values()];
}

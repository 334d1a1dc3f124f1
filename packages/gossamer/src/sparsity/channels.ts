import type { Node, Parameter, Traced } from '@gossamer/tensor';
import { type Axes, type ChannelAxis, ChannelLabels } from './channel-labels.ts';
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
  const labels = new ChannelLabels();
  const { parameters } = traced;
  const ledger: Ledger = { labels, parameters, grouped: [], together: [] };
  const outputs = new Map<Node, readonly Axes[]>();
  for (const node of traced.nodes) {
    const { inputs, op, attributes } = node;
    if (inputs.length === 0) outputs.set(node, [leafAxes(node, parameters.has(node), labels)]);
    else if (op.name === 'part') {
      outputs.set(node, [outputs.get(inputs[0])![(attributes as { index: number }).index]]);
    } else {
      const axes = inputs.map(i => outputs.get(i)![0]);
      outputs.set(node, followChannels(node, axes, ledger));
    }
  }
  for (const { node } of traced.outputs) for (const a of outputs.get(node)![0]) labels.fix(a);
  const all = new Set([...[...outputs.values()].flat(2), ...ledger.together]);
  const axes = [...all].filter(a => a !== undefined).map(a => labels.resolve(a));
  fixRepeated(axes, labels);
  return {
    places: placesOf(parameters, outputs, ledger.grouped, labels),
    interchangeable: interchangeable(axes).flatMap(channels => {
      const free = channels.filter(c => !labels.isFixed(c));
      return free.length > 1 ? [Int32Array.from(free)] : [];
    }),
    isFixed: channel => labels.isFixed(channel),
  };
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

function placesOf(
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

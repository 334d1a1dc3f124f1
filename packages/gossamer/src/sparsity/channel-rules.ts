import { check, formatShape, type Node, type Parameter, sizeOf } from '@gossamer/tensor';
import type { Axes, ChannelAxis, ChannelLabels } from './channel-labels.ts';

/** Input channels of a grouped convolution's weight: each run of its rows (axis 0) reads channels of its own (axis 1). */
export interface GroupedInputs {
  readonly weight: Node;
  readonly groups: readonly ChannelAxis[];
}

/** What the rules know and write down. */
export interface Ledger {
  readonly labels: ChannelLabels;
  readonly parameters: ReadonlyMap<Node, Parameter>;
  readonly grouped: GroupedInputs[];
  /** Channels that may be exchanged only among themselves, beyond what the axes of tensors say. */
  readonly together: ChannelAxis[];
}

/** The axes of a node's output, given those of its inputs. */
type Rule = (node: Node, inputs: readonly Axes[], ledger: Ledger) => Axes;
/** The same for an operator with several outputs. */
type MultiRule = (node: Node, inputs: readonly Axes[], ledger: Ledger) => Axes[];

const names = (text: string): ReadonlySet<string> => new Set(text.split(' '));

const elementwise = names(
  'neg abs sign floor ceil round exp log sqrt reciprocal sin cos tan asin acos atan tanh sigmoid erf softplus relu ' +
    'gelu geluTanh log1p expm1 leakyRelu elu clamp straightThrough stopGradient cast where ' +
    'add sub mul div pow minimum maximum mod eq lt le gt ge and or xor not',
);
const reductions = names('sum mean max min logsumexp prod');

/** The axes of each output of a node. An operator without a rule is refused if channels that could move reach it. */
export function followChannels(node: Node, inputs: readonly Axes[], ledger: Ledger): readonly Axes[] {
  const { name } = node.op;
  const multi = multiRules[name];
  if (multi) return multi(node, inputs, ledger);
  const rule = elementwise.has(name) ? broadcast : reductions.has(name) ? reduced : rules[name];
  if (rule) return [rule(node, inputs, ledger)];
  const carries = inputs.some(axes => axes.some(a => a?.channel.some(c => !ledger.labels.isFixed(c))));
  check(!carries, () => `channels: ${describe(node, ledger)}: its channels cannot be followed through this operator`);
  return (node.parts ?? [node]).map(({ shape }) => shape.map(() => undefined));
}

/** Operator, shapes and the nearest parameter: nodes have no names of their own. */
function describe(node: Node, { parameters }: Ledger): string {
  const seen = new Set([node]);
  let near = '';
  for (const n of seen) {
    const parameter = parameters.get(n);
    if (parameter) {
      near = ` after ${parameter.name}`;
      break;
    }
    for (const input of n.inputs) seen.add(input);
  }
  return `${node.op.name} of ${node.inputs.map(i => formatShape(i.shape)).join(', ')}${near}`;
}

const shapesOf = (nodes: readonly Node[]) => nodes.map(n => n.shape);

/** Axes aligned from the right, as in numpy; axes of length 1 do not count. */
function aligned(
  shape: readonly number[],
  shapes: (readonly number[])[],
  inputs: readonly Axes[],
  labels: ChannelLabels,
) {
  return shape.map((length, axis) => {
    const found = inputs.flatMap((axes, i) => {
      const own = axes.length - (shape.length - axis);
      return length > 1 && own >= 0 && shapes[i][own] === length ? [axes[own]] : [];
    });
    return found.length > 0 ? found.reduce((a, b) => labels.unite(a, b)) : undefined;
  });
}

const broadcast: Rule = (node, inputs, { labels }) => aligned(node.shape, shapesOf(node.inputs), inputs, labels);

const reduced: Rule = ({ attributes }, [x]) => {
  const { axes } = attributes as { axes: readonly number[] };
  return x.map((a, i) => (axes.includes(i) ? undefined : a));
};

/** Vectors over axis 1. */
const perChannel: Rule = (_, [x, ...vectors], { labels }) => {
  for (const [v] of vectors) labels.unite(x[1], v);
  return x;
};

/** Pooling and resizing work on space. */
const spatial: Rule = (_, [x], { labels }) => x.map((a, i) => (i < 2 ? a : labels.fix(a)));

/** Positions along one axis have an order. */
const ordered: Rule = ({ attributes }, [x], { labels }) => {
  const { axis } = attributes as { axis: number };
  return x.map((a, i) => (i === axis ? labels.fix(a) : a));
};

const pass: Rule = (_, [x]) => x;

const rules: Readonly<Record<string, Rule>> = {
  batchNormInference: perChannel,
  channelAffine: perChannel,
  maxPool: spatial,
  averagePool: spatial,
  resize: spatial,
  cumsum: ordered,
  argmax: ordered,
  argmin: ordered,
  softmax: pass,
  logSoftmax: pass,

  rotary: (_, [x, ...tables], { labels }) => {
    for (const a of tables.flat()) labels.fix(a);
    return x.map((a, i) => (i === x.length - 1 ? labels.fix(a) : a));
  },

  linear: (_, [x, w, bias], { labels }) => {
    labels.unite(w[1], x.at(-1));
    return [...x.slice(0, -1), bias ? labels.unite(w[0], bias[0]) : w[0]];
  },

  matmul: (node, [a, b], { labels }) => {
    const swapped = node.attributes as { a: boolean; b: boolean };
    const [m, k] = swapped.a ? [a.at(-1), a.at(-2)] : [a.at(-2), a.at(-1)];
    const [k2, n] = swapped.b ? [b.at(-1), b.at(-2)] : [b.at(-2), b.at(-1)];
    labels.unite(k, k2);
    const [shape, ...shapes] = [node, ...node.inputs].map(x => x.shape.slice(0, -2));
    return [...aligned(shape, shapes, [a.slice(0, -2), b.slice(0, -2)], labels), m, n];
  },

  conv: (node, [x, w, bias], ledger) => {
    const { labels } = ledger;
    const groups = groupsOf(node);
    const [, { shape }] = node.inputs;
    if (groups === 1) labels.unite(w[1], x[1]);
    else if (shape[1] === 1 && shape[0] === groups) labels.unite(w[0], x[1]);
    else groupedConv(node, x[1], w, ledger);
    for (const a of w.slice(2)) labels.fix(a);
    return [x[0], bias ? labels.unite(w[0], bias[0]) : w[0], ...x.slice(2).map(a => labels.fix(a))];
  },

  convTranspose: (node, [x, w, bias], ledger) => {
    const { labels } = ledger;
    check(groupsOf(node) === 1, () => `channels: ${describe(node, ledger)}: groups cannot be followed here`);
    labels.unite(w[0], x[1]);
    for (const a of w.slice(2)) labels.fix(a);
    return [x[0], bias ? labels.unite(w[1], bias[0]) : w[1], ...x.slice(2).map(a => labels.fix(a))];
  },

  transpose: ({ attributes }, [x]) => (attributes as { perm: readonly number[] }).perm.map(a => x[a]),
  reshape: (node, [x], { labels }) => reshaped(node.inputs[0].shape, x, node.shape, labels),

  expand: ({ shape, inputs: [input] }, [x], { labels }) =>
    shape.map((length, axis) => {
      const own = axis - (shape.length - x.length);
      if (own >= 0 && input.shape[own] === length) return x[own];
      // Every position of a new axis holds the same, so they may be exchanged as whatever meets them wants.
      return length > 1 ? labels.fresh(length) : undefined;
    }),

  slice: ({ shape, attributes }, [x]) => {
    const { ranges } = attributes as { ranges: readonly { axis: number; start: number; step: number }[] };
    return x.map((a, axis) => {
      const range = ranges.find(r => r.axis === axis);
      return a && range ? pick(a, shape[axis], i => range.start + i * range.step) : a;
    });
  },

  pad: ({ attributes }, [x], { labels }) => {
    const { pads, mode } = attributes as { pads: readonly (readonly [number, number, number])[]; mode: string };
    return x.map((a, axis) => {
      const [, before, after] = pads.find(p => p[0] === axis) ?? [axis, 0, 0];
      if (!a || (before === 0 && after === 0)) return a;
      return mode === 'constant' ? join([labels.fresh(before), a, labels.fresh(after)]) : labels.fix(a);
    });
  },

  concat: ({ shape, attributes, inputs: nodes }, inputs, { labels }) => {
    const { axis } = attributes as { axis: number };
    return shape.map((_, i) => {
      const found = inputs.map(axes => axes[i]);
      if (i !== axis) return found.reduce((a, b) => labels.unite(a, b));
      if (found.every(a => a === undefined)) return undefined;
      return join(found.map((a, j) => a ?? standing(labels, nodes[j].shape[i])));
    });
  },

  gather: ({ attributes, inputs: [, index] }, [x, indices], { labels }) => {
    const { axis } = attributes as { axis: number };
    for (const a of indices) labels.fix(a);
    const along = x[axis];
    const known = along && index.data && index.shape.length === 1;
    const n = along?.channel.length ?? 0;
    const picked = known ? pick(along, index.size, i => (Number(index.data![i]) + n) % n) : labels.fix(along);
    return [...x.slice(0, axis), ...index.shape.map(() => picked), ...x.slice(axis + 1)];
  },
};

const multiRules: Readonly<Record<string, MultiRule>> = {
  /** y, and one statistic for each row. */
  normalize: (node, inputs, { labels }) => {
    const y = aligned(node.inputs[0].shape, shapesOf(node.inputs), inputs, labels);
    return node.parts!.map(({ shape }) => y.map((a, i) => (a?.channel.length === shape[i] ? a : undefined)));
  },
  topk: (node, inputs, ledger) => {
    const values = ordered(node, inputs, ledger);
    return [values, values];
  },
  split: ({ attributes }, [x]) => {
    const { axis, lengths } = attributes as { axis: number; lengths: readonly number[] };
    let next = 0;
    return lengths.map(length => {
      const start = next;
      next += length;
      return x.map((a, i) => (a && i === axis ? pick(a, length, p => start + p) : a));
    });
  },
};

const groupsOf = (node: Node): number => Number((node.attributes as { groups: number }).groups);

/** A group reads a run of the input channels and writes a run of the outputs; neither may leave it. */
function groupedConv(node: Node, x: ChannelAxis | undefined, w: Axes, ledger: Ledger): void {
  const { labels, parameters, grouped, together } = ledger;
  const [input, weight] = node.inputs;
  check(
    parameters.has(weight),
    () => `channels: ${describe(node, ledger)}: groups with a computed weight cannot be followed`,
  );
  const groups = groupsOf(node);
  const runs = (axis: ChannelAxis): ChannelAxis[] => {
    const length = axis.channel.length / groups;
    return Array.from({ length: groups }, (_, g) => pick(axis, length, i => g * length + i));
  };
  // The weight counts the channels of one group, which are others for each.
  labels.fix(w[1]);
  const inputs = runs(x ?? standing(labels, input.shape[1]));
  grouped.push({ weight, groups: inputs });
  together.push(...inputs, ...(w[0] ? runs(w[0]) : []));
}

const pick = ({ channel, part }: ChannelAxis, length: number, at: (i: number) => number): ChannelAxis => ({
  channel: Int32Array.from({ length }, (_, i) => channel[at(i)]),
  part: Int32Array.from({ length }, (_, i) => part[at(i)]),
});

const join = (axes: readonly ChannelAxis[]): ChannelAxis => ({
  channel: Int32Array.from(axes.flatMap(a => [...a.channel])),
  part: Int32Array.from(axes.flatMap(a => [...a.part])),
});

/** An axis of channels that stay where they are. */
function standing(labels: ChannelLabels, length: number): ChannelAxis {
  const axis = labels.fresh(length);
  labels.fix(axis);
  return axis;
}

/** Runs of old axes and runs of new ones that hold the same number of elements belong together. */
function reshaped(from: readonly number[], x: Axes, to: readonly number[], labels: ChannelLabels): Axes {
  const out: (ChannelAxis | undefined)[] = to.map(() => undefined);
  let [i, j] = [0, 0];
  while (i < from.length && j < to.length) {
    const [firstOld, firstNew] = [i, j];
    let [a, b] = [from[i++], to[j++]];
    while (a !== b) {
      if (a < b) a *= from[i++];
      else b *= to[j++];
    }
    const long = (shape: readonly number[], start: number, end: number) =>
      shape.flatMap((d, k) => (k >= start && k < end && d !== 1 ? [k] : []));
    const olds = long(from, firstOld, i);
    const news = long(to, firstNew, j);
    if (olds.length === 0) continue;
    const flat = flattened(
      olds.map(k => from[k]),
      olds.map(k => x[k]),
      labels,
    );
    out[news[0]] = flat && news.length > 1 ? blocks(flat, to[news[0]], labels) : flat;
  }
  return out;
}

/** Several axes as one. If one of them has channels, each becomes a block, with a part for each place in the others. */
function flattened(shape: readonly number[], axes: Axes, labels: ChannelLabels): ChannelAxis | undefined {
  if (axes.length === 1) return axes[0];
  const carrying = axes.flatMap((a, i) => (a ? [i] : []));
  if (carrying.length !== 1) {
    for (const a of axes) labels.fix(a);
    return undefined;
  }
  const [at] = carrying;
  const { channel, part } = axes[at]!;
  const inner = sizeOf(shape.slice(at + 1));
  const size = sizeOf(shape);
  const flat = { channel: new Int32Array(size), part: new Int32Array(size) };
  for (let i = 0; i < size; i++) {
    const row = Math.floor(i / inner);
    const c = row % shape[at];
    flat.channel[i] = channel[c];
    flat.part[i] = part[c] + Math.floor(row / shape[at]) * inner + (i % inner);
  }
  return flat;
}

/** The first of the axes that a flat one is divided into: everything under one of its positions moves together. */
function blocks(flat: ChannelAxis, count: number, labels: ChannelLabels): ChannelAxis {
  const first = labels.fresh(count);
  const inner = flat.channel.length / count;
  labels.unite(flat, {
    channel: flat.channel.map((_, i) => first.channel[Math.floor(i / inner)]),
    part: flat.part.map((_, i) => i % inner),
  });
  return first;
}

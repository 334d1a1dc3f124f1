import { formatShape, GossamerError, type Node, type Parameter } from '@gossamer/tensor';
import type { Axes, ChannelAxis, ChannelLabels } from './channel-labels.ts';
import { type Division, join, pick, reshaped, standing } from './channel-shapes.ts';

/** Input channels of a grouped convolution's weight: each run of its rows (axis 0) reads channels of its own (axis 1). */
export interface GroupedInputs {
  readonly weight: Node;
  readonly groups: readonly ChannelAxis[];
}

/**
 * How channels can leave a convolution with groups: from each group on their own (`free`; equally many in the end), the
 * same positions of every group together (`offset`), or with a whole group (`whole`).
 */
export type GroupRemoval = 'free' | 'offset' | 'whole';

/** What the rules know and write down. */
export interface Ledger {
  readonly labels: ChannelLabels;
  readonly parameters: ReadonlyMap<Node, Parameter>;
  readonly grouped: GroupedInputs[];
  /** Channels that may be exchanged only among themselves, beyond what the axes of tensors say. */
  readonly together: ChannelAxis[];
  /** Default `free`. */
  readonly groupRemoval?: GroupRemoval;
  /** Which of the axes that a reshape divides a run into has the channels; default the first. */
  readonly chooseAxis?: (node: Node, division: Division) => number;
  /** What a node is called outside of the graph, e.g. in the ONNX file that it comes from. */
  readonly nameOf?: (node: Node) => string | undefined;
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

/**
 * The axes of each output of a node. Where channels cannot be followed, they are fixed if it is about removing some, and
 * refused if it is about exchanging them.
 */
export function followChannels(node: Node, inputs: readonly Axes[], ledger: Ledger): readonly Axes[] {
  const { name } = node.op;
  const { labels } = ledger;
  labels.where = () => describe(node, ledger);
  const multi = multiRules[name];
  if (multi) return multi(node, inputs, ledger);
  const rule = elementwise.has(name) ? broadcast : reductions.has(name) ? reduced : rules[name];
  if (rule) return [rule(node, inputs, ledger)];
  const carries = inputs.some(axes => axes.some(a => a?.channel.some(c => !labels.isFixed(c))));
  if (carries) refuse(node, inputs, ledger, 'its channels cannot be followed through this operator');
  return (node.parts ?? [node]).map(({ shape }) => shape.map(() => undefined));
}

function refuse(node: Node, inputs: readonly Axes[], ledger: Ledger, reason: string): void {
  const { labels } = ledger;
  if (labels.use === 'exchange') throw new GossamerError(`channels: ${describe(node, ledger)}: ${reason}`);
  for (const a of inputs.flat()) labels.fix(a, reason);
}

/** Name outside of the graph, operator, shapes and the nearest parameter: nodes have no names of their own. */
function describe(node: Node, { parameters, nameOf }: Ledger): string {
  const own = nameOf?.(node);
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
  const shapes = node.inputs.map(i => formatShape(i.shape)).join(', ');
  return `${own === undefined ? '' : `node '${own}': `}${node.op.name} of ${shapes}${near}`;
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

const reduced: Rule = ({ attributes, op }, [x], { labels }) => {
  const { axes } = attributes as { axes: readonly number[] };
  // A channel less changes no sum, but every other statistic over channels.
  if (labels.use === 'removal' && op.name !== 'sum') for (const i of axes) labels.fix(x[i], `${op.name} over them`);
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

/** Positions along one axis share a sum: they may be exchanged, but none can go. */
const normalized: Rule = ({ attributes, op }, [x], { labels }) => {
  const { axis } = attributes as { axis: number };
  if (labels.use === 'exchange') return x;
  return x.map((a, i) => (i === axis ? labels.fix(a, `${op.name} over them`) : a));
};

const rules: Readonly<Record<string, Rule>> = {
  batchNormInference: perChannel,
  /** x, scale, shift, centred x and 1/σ. */
  batchNorm: (node, [x, gamma, beta, centred, rstd], ledger) => {
    ledger.labels.unite(x[1], centred[1]);
    return perChannel(node, [x, gamma, beta, rstd], ledger);
  },
  channelAffine: perChannel,
  maxPool: spatial,
  averagePool: spatial,
  resize: spatial,
  cumsum: ordered,
  argmax: ordered,
  argmin: ordered,
  softmax: normalized,
  logSoftmax: normalized,

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
    if (groupsOf(node) !== 1) {
      refuse(node, [x, w, bias ?? []], ledger, 'groups cannot be followed here');
      return node.shape.map(() => undefined);
    }
    labels.unite(w[0], x[1]);
    for (const a of w.slice(2)) labels.fix(a);
    return [x[0], bias ? labels.unite(w[1], bias[0]) : w[1], ...x.slice(2).map(a => labels.fix(a))];
  },

  transpose: ({ attributes }, [x]) => (attributes as { perm: readonly number[] }).perm.map(a => x[a]),
  reshape: (node, [x], { labels, chooseAxis }) =>
    reshaped(node.inputs[0].shape, x, node.shape, labels, division => chooseAxis?.(node, division) ?? 0),

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
    if (labels.use === 'removal') {
      const { axis } = node.attributes as { axis: number };
      for (const a of inputs[0].slice(axis)) labels.fix(a, 'normalised together');
    }
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
  const { labels, parameters, grouped, together, groupRemoval = 'free' } = ledger;
  const [input, weight] = node.inputs;
  if (!parameters.has(weight)) {
    refuse(node, [[x], w], ledger, 'groups with a computed weight cannot be followed');
    return;
  }
  const groups = groupsOf(node);
  const runs = (axis: ChannelAxis): ChannelAxis[] => {
    const length = axis.channel.length / groups;
    return Array.from({ length: groups }, (_, g) => pick(axis, length, i => g * length + i));
  };
  const inputs = runs(x ?? standing(labels, input.shape[1]));
  const outputs = w[0] ? runs(w[0]) : [];
  if (groupRemoval === 'offset' && w[1]) {
    for (const run of inputs) labels.unite(w[1], run);
    for (const run of outputs) labels.unite(outputs[0], run);
    return;
  }
  // The weight counts the channels of one group, which are others for each.
  labels.fix(w[1], 'a group has other channels than the next');
  if (groupRemoval === 'free') grouped.push({ weight, groups: inputs });
  else for (const [g, run] of inputs.entries()) uniteAll([run, outputs[g]], labels);
  together.push(...inputs, ...outputs);
}

/** All channels of some axes become one. */
function uniteAll(axes: readonly (ChannelAxis | undefined)[], labels: ChannelLabels): void {
  const all = join(axes.filter(a => a !== undefined));
  labels.unite(
    all,
    pick(all, all.channel.length, () => 0),
  );
}

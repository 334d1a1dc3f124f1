import { type Node, type Parameter, realize, type Tensor, tensor, zeros } from '@gossamer/tensor';
import type { ChannelAxis } from './channel-labels.ts';
import { type Constancy, Known } from './constancy.ts';
import { sliceGraph } from './graph-slices.ts';
import type { RemovalAnalysis } from './removal.ts';

/** One use of a weight that reads channels. */
export interface Reader {
  readonly node: Node;
  readonly weight: Node;
  /** The axes of the node's first input and of the weight along which they are read. */
  readonly inputAxis: number;
  /** Undefined where it counts others than the input's: in convolutions with groups. */
  readonly weightAxis: number | undefined;
  readonly channels: ChannelAxis;
}

/** Every operator that sums products over channels, depthwise convolutions apart; the weight may be any tensor. */
export function readers({ traced, followed }: RemovalAnalysis): Reader[] {
  return traced.nodes.flatMap((node): Reader[] => {
    const { op, inputs } = node;
    const [x, w] = inputs;
    if (!['conv', 'convTranspose', 'linear', 'matmul'].includes(op.name)) return [];
    const { groups = 1 } = node.attributes as { groups?: number };
    if (groups > 1 && w.shape[0] === groups && w.shape[1] === 1) return [];
    const swapped = node.attributes as { a: boolean; b: boolean };
    const matmul = op.name === 'matmul';
    const inputAxis = matmul ? x.shape.length - (swapped.a ? 2 : 1) : op.name === 'linear' ? x.shape.length - 1 : 1;
    const ungrouped = matmul ? w.shape.length - (swapped.b ? 1 : 2) : op.name === 'convTranspose' ? 0 : 1;
    const channels = followed.axes.get(x)![0][inputAxis];
    const weightAxis = groups > 1 ? undefined : ungrouped;
    return channels ? [{ node, weight: w, inputAxis, weightAxis, channels }] : [];
  });
}

/** What is added to the outputs of a layer, which its weight counts along `outAxis`. */
export interface Shift {
  readonly shift: Float32Array;
  readonly outAxis: number;
}

export interface Folded {
  /** By the layers' weights. */
  readonly shifts: ReadonlyMap<Parameter, Shift>;
  /** Weights whose removed channels carried constants that no bias can stand for. */
  readonly dropped: readonly string[];
}

/**
 * What removed channels still give to the weights that read them, where it is the same at every position: the constant
 * times the weight, which a bias can take over. Behind padding it is not the same at the border.
 *
 * @param known see {@link constancy}
 * @param values of all parameters
 */
export async function foldConstants(
  analysis: RemovalAnalysis,
  known: ReadonlyMap<Node, readonly Constancy[]>,
  values: ReadonlyMap<Parameter, Float32Array>,
): Promise<Folded> {
  const { traced, followed } = analysis;
  const constants = readers(analysis).flatMap(reader => {
    const states = known.get(reader.node.inputs[0])![0][reader.inputAxis];
    const positions = [...states.keys()].filter(
      p => states[p] === Known.constant && followed.labels.isRemoved(reader.channels.channel[p]),
    );
    return positions.length > 0 ? [{ ...reader, positions }] : [];
  });
  const shifts = new Map<Parameter, Shift>();
  const dropped = new Set<string>();
  const inputs = constants.map(c => c.node.inputs[0]);
  // The whole graph, with nothing removed yet.
  const slices = sliceGraph(
    traced,
    { ...followed, axes: new Map() },
    {
      leaf: node => {
        const parameter = traced.parameters.get(node);
        if (parameter) return tensor(values.get(parameter)!, parameter.shape);
        return traced.inputs.includes(node) ? zeros(node.shape, node.dtype) : undefined;
      },
    },
  );
  const tensors = inputs.map(node => slices.tensor(node));
  await realize(...tensors);
  const uses = new Map<Node, number>();
  for (const { inputs: read } of traced.nodes) for (const n of new Set(read)) uses.set(n, (uses.get(n) ?? 0) + 1);
  for (const [i, { node, weight, positions, inputAxis, weightAxis }] of constants.entries()) {
    const parameter = traced.parameters.get(weight);
    const name = parameter?.name ?? node.op.name;
    if (!parameter || weightAxis === undefined || uses.get(weight) !== 1 || !takesBias(node)) {
      dropped.add(name);
      continue;
    }
    const read = await constantsAlong(tensors[i], inputAxis, positions);
    shifts.set(parameter, shiftOf(parameter, values.get(parameter)!, weightAxis, positions, read));
  }
  return { shifts, dropped: [...dropped] };
}

/** Whether a constant input channel is the same as a bias. */
function takesBias({ op, attributes, inputs }: Node): boolean {
  if (op.name === 'linear') return true;
  if (op.name === 'matmul') {
    const { a } = attributes as { a: boolean };
    return !a && inputs[1].shape.length === 2;
  }
  const { begin, end } = attributes as { begin: number[]; end: number[] };
  return op.name === 'conv' && [...begin, ...end].every(p => p === 0);
}

/** The value of each channel, read off its first element. */
async function constantsAlong(x: Tensor, axis: number, positions: readonly number[]): Promise<number[]> {
  const data = await x.data();
  const stride = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  return positions.map(p => data[p * stride]);
}

/** Σ over channels and window of weight · constant, for each output. */
function shiftOf(
  { shape }: Parameter,
  weights: Float32Array,
  axis: number,
  positions: readonly number[],
  constants: readonly number[],
): Shift {
  const outAxis = axis === 0 ? 1 : 0;
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const window = shape.slice(2).reduce((a, b) => a * b, 1);
  const shift = Float32Array.from({ length: shape[outAxis] }, (_, o) => {
    let sum = 0;
    positions.forEach((p, i) => {
      const base = o * strides[outAxis] + p * strides[axis];
      for (let k = 0; k < window; k++) sum += weights[base + k] * constants[i];
    });
    return sum;
  });
  return { shift, outAxis };
}

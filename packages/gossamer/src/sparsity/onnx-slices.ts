import { GossamerError, type Node } from '@gossamer/tensor';
import { int, ints, type OnnxNode, type OnnxTensor } from '@gossamer/tensor/onnx';

/** A file's values without the channels that are removed. */
export interface ValueSlices {
  /** The graph's node behind a value of the file; undefined for numbers and shapes. */
  node(value: string): Node | undefined;
  /** Positions left along an axis of a value; undefined: all. */
  kept(value: string, axis: number): Int32Array | undefined;
  /** The integers of a constant, before anything was removed; undefined if the value is computed. */
  integers(value: string): number[] | undefined;
  /** A constant of any type that is no parameter. */
  constant(value: string): OnnxTensor | undefined;
  /** The shape that a weight has in the end. */
  weightShape(value: string): readonly number[] | undefined;
  /** Writes integers down as a new constant of the file and returns its name. */
  write(values: readonly number[], like: string): string;
  /** Writes the slice of a constant down under a new name. */
  slice(value: string, positions: readonly (Int32Array | undefined)[]): string;
  readonly opset: number;
}

type Rule = (node: OnnxNode, slices: ValueSlices) => Partial<OnnxNode> | undefined;

/**
 * A node as it has to be when channels are removed: sizes, ranges, indices and groups that the file holds as constants are
 * adjusted. What follows from the shapes of tensors needs nothing.
 *
 * @param explicit the target shape of a Reshape or Expand is written down, since computing it goes wrong
 */
export function sliceNode(node: OnnxNode, slices: ValueSlices, explicit: boolean): OnnxNode {
  if (node.domain !== '' || ![...node.inputs, ...node.outputs].some(v => isSliced(v, slices))) return node;
  if (explicit) return { ...node, inputs: withInput(node, 1, slices.write(targetShape(node, slices), node.inputs[1])) };
  const rule = elementwise.has(node.opType) ? constantOperands : rules[node.opType];
  return { ...node, ...rule?.(node, slices) };
}

const isSliced = (value: string, slices: ValueSlices): boolean =>
  slices.node(value)?.shape.some((_, axis) => slices.kept(value, axis)) ?? false;

/** The shape of a value without the channels. */
export const slicedShape = (value: string, slices: ValueSlices): number[] =>
  slices.node(value)!.shape.map((d, axis) => slices.kept(value, axis)?.length ?? d);

const withInput = ({ inputs }: OnnxNode, i: number, name: string): string[] => {
  const changed = [...inputs];
  while (changed.length <= i) changed.push('');
  changed[i] = name;
  return changed;
};

const attribute = (node: OnnxNode, name: string, fallback: number): number => {
  const found = node.attributes[name];
  return found?.type === 'int' ? found.value : fallback;
};

/** What a node is called: by its first output, if it has no name. */
export const nodeName = (node: OnnxNode): string => node.name || node.outputs[0];

const fail = (node: OnnxNode, message: string): never => {
  throw new GossamerError(`shrink: node '${nodeName(node)}' (${node.opType}): ${message}`);
};

const elementwise = new Set(
  (
    'Add Sub Mul Div Pow PRelu Min Max Sum Mean Where Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Mod ' +
    'BitwiseAnd BitwiseOr BitwiseXor'
  ).split(' '),
);

/** Constants that are no parameters lose what belongs to removed channels of the output. */
const constantOperands: Rule = (node, slices) => {
  const [output] = node.outputs;
  const full = slices.node(output)?.shape;
  if (!full) return undefined;
  const inputs = node.inputs.map(name => {
    const constant = slices.constant(name);
    if (!constant) return name;
    const { shape } = constant;
    const positions = shape.map((d, i) => {
      const axis = i + full.length - shape.length;
      return d === full[axis] ? slices.kept(output, axis) : undefined;
    });
    return positions.some(p => p) ? slices.slice(name, positions) : name;
  });
  return { inputs };
};

/**
 * The target of a Reshape or Expand whose computation is given up: sizes of the input are copied where they stand in the
 * same place, one other size is left open where it is not that of channels.
 */
function targetShape(node: OnnxNode, slices: ValueSlices): number[] {
  const [input] = node.inputs;
  const [output] = node.outputs;
  const small = slicedShape(output, slices);
  if (node.opType === 'Expand')
    return small.map((d, i) => (slices.kept(output, i) ? d : slices.node(output)!.shape[i]));
  const given = slicedShape(input, slices);
  let open = false;
  return small.map((d, i) => {
    if (given[i] === d && given.slice(0, i).every((size, j) => size === small[j])) return 0;
    if (open || slices.kept(output, i)) return d;
    open = true;
    return -1;
  });
}

/** Sizes that a constant target names. */
const target: Rule = (node, slices) => {
  const given = slices.integers(node.inputs[1]);
  const [output] = node.outputs;
  const rank = slices.node(output)?.shape.length;
  if (!given || given.length !== rank) return undefined;
  // 0 and −1 (1, for Expand) follow from the input.
  const sizes = given.map((d, i) => (d > 1 ? (slices.kept(output, i)?.length ?? d) : d));
  return sizes.every((d, i) => d === given[i])
    ? undefined
    : { inputs: withInput(node, 1, slices.write(sizes, node.inputs[1])) };
};

const rules: Readonly<Record<string, Rule>> = {
  Reshape: target,
  Expand: target,

  Conv: (node, slices) => {
    const groups = attribute(node, 'group', 1);
    const weight = slices.weightShape(node.inputs[1]);
    if (groups === 1 || !weight) return undefined;
    const [, channels] = slicedShape(node.inputs[0], slices);
    return { attributes: { ...node.attributes, group: int(channels / weight[1]) } };
  },

  GroupNormalization: (node, slices) => {
    const groups = attribute(node, 'num_groups', 1);
    const [, full] = slices.node(node.inputs[0])!.shape;
    const [, left] = slicedShape(node.inputs[0], slices);
    return { attributes: { ...node.attributes, num_groups: int((left * groups) / full) } };
  },

  Split: (node, slices) => {
    const [input] = node.inputs;
    const { shape } = slices.node(input)!;
    const axis = (attribute(node, 'axis', 0) + shape.length) % shape.length;
    const kept = slices.kept(input, axis);
    if (!kept) return undefined;
    let start = 0;
    const lengths = splitLengths(node, shape[axis], slices).map(length => {
      const own = kept.filter(p => p >= start && p < start + length).length;
      start += length;
      return own;
    });
    const { num_outputs: _, ...attributes } = node.attributes;
    if (slices.opset < 13) return { attributes: { ...attributes, split: ints(lengths) } };
    return { attributes, inputs: withInput(node, 1, slices.write(lengths, node.inputs[1] ?? node.outputs[0])) };
  },

  Slice: (node, slices) => {
    const ranges = sliceRanges(node, slices);
    if (ranges.every(r => !slices.kept(node.inputs[0], r.axis))) return undefined;
    const moved = ranges.map(r => movedRange(node, r, slices));
    const columns = (['start', 'end', 'axis', 'step'] as const).map(key => moved.map(r => r[key]));
    if (slices.opset < 10) {
      const [starts, ends, axes] = columns.map(ints);
      return { attributes: { starts, ends, axes } };
    }
    const names = columns.map((values, i) => slices.write(values, node.inputs[i + 1] ?? node.outputs[0]));
    return { inputs: [node.inputs[0], ...names] };
  },

  Gather: (node, slices) => {
    const [input, index] = node.inputs;
    const { shape } = slices.node(input)!;
    const axis = (attribute(node, 'axis', 0) + shape.length) % shape.length;
    const kept = slices.kept(input, axis);
    if (!kept) return undefined;
    const given =
      slices.integers(index) ?? fail(node, 'its indices are computed, and channels of its input are removed');
    const places = new Map(Array.from(kept, (p, i) => [p, i]));
    const moved = given.map(i => places.get((i + shape[axis]) % shape[axis])).filter(p => p !== undefined);
    if (moved.length === 0) fail(node, 'all that it takes is removed');
    if (slices.constant(index)?.shape.length !== 1) fail(node, 'it takes single channels of those that are removed');
    return { inputs: [input, slices.write(moved, index)] };
  },

  Pad: (node, slices) => {
    const [input] = node.inputs;
    const [output] = node.outputs;
    const { shape } = slices.node(input)!;
    const rank = shape.length;
    const fromAttribute = node.attributes.pads;
    const given = fromAttribute?.type === 'ints' ? [...fromAttribute.value] : slices.integers(node.inputs[1]);
    if (!given) return fail(node, 'its pads are computed, and channels are removed');
    const axes = (node.inputs[3] ? slices.integers(node.inputs[3]) : undefined) ?? shape.map((_, i) => i);
    const pads = [...given];
    axes.forEach((raw, i) => {
      const axis = (raw + rank) % rank;
      const kept = slices.kept(output, axis);
      if (!kept || (given[i] === 0 && given[i + axes.length] === 0)) return;
      pads[i] = kept.filter(p => p < given[i]).length;
      pads[i + axes.length] = kept.filter(p => p >= given[i] + shape[axis]).length;
    });
    return fromAttribute
      ? { attributes: { ...node.attributes, pads: ints(pads) } }
      : { inputs: withInput(node, 1, slices.write(pads, node.inputs[1])) };
  },

  Resize: (node, slices) => {
    const sizes = node.inputs[3] ? slices.integers(node.inputs[3]) : undefined;
    if (!sizes || node.attributes.axes) return undefined;
    const [output] = node.outputs;
    const moved = sizes.map((d, axis) => slices.kept(output, axis)?.length ?? d);
    return { inputs: withInput(node, 3, slices.write(moved, node.inputs[3])) };
  },
};

/** Lengths from an attribute (before operator set 13), an input, or the number of outputs. */
function splitLengths(node: OnnxNode, size: number, slices: ValueSlices): readonly number[] {
  const { split } = node.attributes;
  if (split?.type === 'ints') return split.value;
  if (node.inputs[1]) return slices.integers(node.inputs[1]) ?? fail(node, 'its lengths are computed');
  const length = Math.ceil(size / node.outputs.length);
  return node.outputs.map((_, i) => Math.min(length, size - i * length));
}

interface Range {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/** A Slice's ranges with positions counted from the front. */
function sliceRanges(node: OnnxNode, slices: ValueSlices): Range[] {
  const { shape } = slices.node(node.inputs[0])!;
  const list = (i: number, name: string): readonly number[] | undefined => {
    const found = node.attributes[name];
    if (found?.type === 'ints') return found.value;
    return node.inputs[i] ? (slices.integers(node.inputs[i]) ?? fail(node, `its ${name} are computed`)) : undefined;
  };
  const starts = list(1, 'starts')!;
  const ends = list(2, 'ends')!;
  const axes = list(3, 'axes') ?? starts.map((_, i) => i);
  const steps = list(4, 'steps') ?? starts.map(() => 1);
  return starts.map((start, i) => {
    const axis = (axes[i] + shape.length) % shape.length;
    const n = shape[axis];
    const step = steps[i];
    const clip = (p: number, low: number, high: number) => Math.min(high, Math.max(low, p < 0 ? p + n : p));
    return step > 0
      ? { axis, start: clip(start, 0, n), end: clip(ends[i], 0, n), step }
      : { axis, start: clip(start, 0, n - 1), end: clip(ends[i], -1, n - 1), step };
  });
}

/** The range that takes what is left of what a range took. */
function movedRange(node: OnnxNode, range: Range, slices: ValueSlices): Range {
  const { axis, start, end, step } = range;
  // Before the first element, ONNX counts from the back again.
  const before = -(2 ** 31);
  const kept = slices.kept(node.inputs[0], axis);
  if (!kept) return { ...range, end: end < 0 ? before : end };
  const places = new Map(Array.from(kept, (p, i) => [p, i]));
  const taken: number[] = [];
  for (let p = start; step > 0 ? p < end : p > end; p += step) {
    const place = places.get(p);
    if (place !== undefined) taken.push(place);
  }
  const [first = 0] = taken;
  const by = taken.length > 1 ? taken[1] - first : 1;
  if (!taken.every((p, i) => p === first + i * by)) fail(node, 'what is left of its range has gaps');
  const stop = first + taken.length * by;
  return { axis, start: first, end: stop < 0 ? before : stop, step: by };
}

import {
  check,
  concat,
  drawn,
  formatShape,
  GossamerError,
  gather,
  multiOperator,
  type Node,
  operator,
  sizeOf,
  Tensor,
  type Traced,
  type TypedArray,
  tensor,
} from '@gossamer/tensor';
import type { Followed } from './channels.ts';
import { keptPositions } from './removal.ts';

/** What takes the place of parts of a graph when it is rebuilt. */
export interface Substitutes {
  /** For the graph's inputs and parameters. */
  readonly leaf: (node: Node) => Tensor | undefined;
  /** A bias for the layer whose weight this leaf is, where it had none. */
  readonly bias?: (weight: Node) => Tensor | undefined;
}

/** The slices of a graph's tensors that are left when channels are removed. */
export interface GraphSlices {
  /** Positions left along an axis of a node's output; undefined: all. */
  kept(node: Node, axis: number, part?: number): Int32Array | undefined;
  /** The slice of a node's value. */
  tensor(node: Node): Tensor;
}

/**
 * Builds the graph again without its removed channels: the same operators on the slices of the leaves, with sizes,
 * ranges and groups adjusted.
 *
 * @param followed the graph's channels, removed ones marked
 */
export function sliceGraph(traced: Traced, followed: Followed, { leaf, bias }: Substitutes): GraphSlices {
  const kept = keptAxes(followed);
  const values = new Map<Node, readonly Tensor[]>();
  const tensorOf = (node: Node): Tensor => values.get(node)![0];
  const shapeOf = (node: Node, part = 0): number[] =>
    (node.parts?.[part] ?? node).shape.map((d, i) => kept(node, i, part)?.length ?? d);
  for (const node of traced.nodes) {
    if (node.inputs.length === 0) {
      values.set(node, [leaf(node) ?? sliceLeaf(node, axis => kept(node, axis), traced.drawn.get(node))]);
    } else if (node.op.name === 'part') {
      values.set(node, [values.get(node.inputs[0])![(node.attributes as { index: number }).index]]);
    } else {
      const extra = bias?.(node.inputs[1]);
      const rebuilt = rebuild(node, node.inputs.map(tensorOf), { kept, shapeOf, extra });
      checkShapes(node, rebuilt, part => shapeOf(node, part));
      values.set(node, rebuilt);
    }
  }
  return { kept, tensor: tensorOf };
}

type Kept = GraphSlices['kept'];

/** Positions left along the axes of every node. */
function keptAxes({ axes, labels }: Followed): Kept {
  const known = new Map<object, Int32Array | undefined>();
  return (node, axis, part = 0) => {
    const found = axes.get(node)?.[part]?.[axis];
    if (!found) return undefined;
    if (!known.has(found)) known.set(found, keptPositions(found, labels));
    return known.get(found);
  };
}

function checkShapes(node: Node, values: readonly Tensor[], expected: (part: number) => number[]): void {
  values.forEach((value, part) => {
    const shape = expected(part);
    check(
      formatShape(value.shape) === formatShape(shape),
      () => `shrink: ${node.op.name} gives ${formatShape(value.shape)} without the channels, not ${formatShape(shape)}`,
    );
    if (sizeOf(shape) === 0) throw new GossamerError(`shrink: nothing is left for ${node.op.name}`);
  });
}

/** The slice of a constant or of random numbers. */
function sliceLeaf(
  node: Node,
  kept: (axis: number) => Int32Array | undefined,
  fill: (() => Float32Array) | undefined,
): Tensor {
  const axes = node.shape.map((_, i) => kept(i));
  const shape = node.shape.map((d, i) => axes[i]?.length ?? d);
  if (fill) return drawn(shape, () => slicePositions(fill(), node.shape, axes));
  if (axes.every(a => a === undefined)) return new Tensor(node);
  return tensor({ dtype: node.dtype, shape, data: slicePositions(node.data!, node.shape, axes) });
}

/** Elements of a row-major array at the given positions of each axis (undefined: all). */
export function slicePositions<T extends TypedArray>(
  data: T,
  shape: readonly number[],
  positions: readonly (Int32Array | undefined)[],
): T {
  let offsets = Int32Array.of(0);
  shape.forEach((length, axis) => {
    const stride = sizeOf(shape.slice(axis + 1));
    const own = positions[axis] ?? Int32Array.from({ length }, (_, i) => i);
    const next = new Int32Array(offsets.length * own.length);
    offsets.forEach((base, i) => {
      for (let j = 0; j < own.length; j++) next[i * own.length + j] = base + own[j] * stride;
    });
    offsets = next;
  });
  const out = new (data.constructor as new (length: number) => T)(offsets.length);
  for (let i = 0; i < offsets.length; i++) out[i] = data[offsets[i]];
  return out;
}

interface Around {
  readonly kept: Kept;
  readonly shapeOf: (node: Node, part?: number) => number[];
  readonly extra: Tensor | undefined;
}

/** One node again, on slices of its inputs. */
function rebuild(node: Node, inputs: readonly Tensor[], { kept, shapeOf, extra }: Around): readonly Tensor[] {
  const { op, attributes } = node;
  const again = (xs: readonly Tensor[], changes: object = {}) => operator(op)(xs, { ...attributes, ...changes });
  switch (op.name) {
    case 'reshape':
    case 'expand':
      return [again(inputs, { shape: shapeOf(node) })];
    case 'conv':
    case 'convTranspose': {
      const [x, w] = inputs;
      const groups = op.name === 'conv' ? x.shape[1] / w.shape[1] : (attributes as { groups: number }).groups;
      return [again(extra ? [...inputs, extra] : inputs, { groups })];
    }
    case 'linear':
      return [again(extra ? [...inputs, extra] : inputs)];
    case 'matmul':
      return [extra ? again(inputs).add(extra) : again(inputs)];
    case 'slice':
      return [sliceRanges(node, inputs[0], axis => kept(node.inputs[0], axis))];
    case 'pad': {
      const { pads } = attributes as { pads: readonly (readonly [number, number, number])[] };
      const left = pads.map(([axis, before, after]) => {
        const own = kept(node, axis);
        if (!own) return [axis, before, after];
        const end = before + node.inputs[0].shape[axis];
        return [axis, own.filter(p => p < before).length, own.filter(p => p >= end).length];
      });
      return [again(inputs, { pads: left })];
    }
    case 'split': {
      const { axis } = attributes as { axis: number };
      const lengths = node.parts!.map((_, part) => shapeOf(node, part)[axis]);
      return multiOperator(op)(inputs, { axis, lengths });
    }
    case 'concat':
      return [concat(inputs, (attributes as { axis: number }).axis)];
    case 'gather': {
      const { axis } = attributes as { axis: number };
      const left = kept(node.inputs[0], axis);
      return [left ? gatherKept(node, inputs[0], left, kept(node, axis)) : again(inputs)];
    }
    default:
      return node.parts ? multiOperator(op)(inputs, attributes) : [again(inputs)];
  }
}

/** Where each kept position has moved to. */
const placeOf = (kept: Int32Array): Map<number, number> => new Map(Array.from(kept, (p, i) => [p, i]));

interface Range {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/** The positions that a slice takes and that are left; where they are no regular range any more, they are gathered. */
function sliceRanges(node: Node, x: Tensor, kept: (axis: number) => Int32Array | undefined): Tensor {
  const { ranges } = node.attributes as { ranges: readonly Range[] };
  const regular: Range[] = [];
  const picked: { axis: number; positions: number[] }[] = [];
  for (const range of ranges) {
    const { axis, start, step } = range;
    const left = kept(axis);
    if (!left) {
      regular.push(range);
      continue;
    }
    const moved = placeOf(left);
    const positions = Array.from({ length: node.shape[axis] }, (_, i) => moved.get(start + i * step)).filter(
      p => p !== undefined,
    );
    const [first] = positions;
    const by = positions.length > 1 ? positions[1] - first : 1;
    if (positions.every((p, i) => p === first + i * by)) {
      regular.push({ axis, start: first, end: first + positions.length * by, step: by });
    } else picked.push({ axis, positions });
  }
  const sliced = regular.length > 0 ? operator(node.op)([x], { ranges: regular }) : x;
  return picked.reduce((t, { axis, positions }) => gather(t, indices(positions), axis), sliced);
}

/** A gather along channels: the indices of those that are left. */
function gatherKept(node: Node, x: Tensor, left: Int32Array, taken: Int32Array | undefined): Tensor {
  const { axis } = node.attributes as { axis: number };
  const [source, index] = node.inputs;
  const n = source.shape[axis];
  const all = Array.from(index.data as Int32Array, i => (i + n) % n);
  const moved = placeOf(left);
  const wanted = taken ? Array.from(taken, i => all[i]) : all;
  return gather(x, indices(wanted.map(p => moved.get(p)!)), axis);
}

const indices = (positions: readonly number[]): Tensor =>
  tensor({ dtype: 'int32', shape: [positions.length], data: Int32Array.from(positions) });

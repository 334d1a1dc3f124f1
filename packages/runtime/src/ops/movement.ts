/** Operators that move elements without computing: reshaping, slicing, joining, padding. */

import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value, zeros } from '../values.ts';
import { axesOf, contents } from './access.ts';
import { broadcastShapes, copyStrided, expandedStrides } from './broadcast.ts';
import { axisOf, need, stridesOf } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operator, type Operators } from './operator.ts';
import { pad } from './pad.ts';

type Dims = readonly number[];
type ShapeRule = (node: Node, inputs: Inputs<Info>) => Dims;

/** A new shape for the same elements. */
function reshaping(dimsOf: ShapeRule, attributes: readonly string[] = [], shapeInputs?: readonly number[]): Operator {
  const infer = (node: Node, inputs: Inputs<Info>): Info[] => {
    const { type, dims } = need(node, inputs, 0);
    const to = dimsOf(node, inputs);
    if (sizeOf(to) !== sizeOf(dims)) fail(node, `cannot shape [${dims}] as [${to}]: the sizes differ`);
    return [{ type, dims: to }];
  };
  return {
    attributes,
    shapeInputs,
    infer,
    run: (node, inputs) => [{ ...need(node, inputs, 0), dims: infer(node, inputs)[0].dims }],
  };
}

/** Where the elements of an output lie in input 0: a strided view of it. */
interface View {
  readonly dims: Dims;
  readonly strides: Dims;
  readonly start?: number;
  /** The output's shape where it merges axes of the view. */
  readonly out?: Dims;
}

/** Output 0 is a strided view of input 0, made contiguous. */
export function viewing(
  view: (node: Node, inputs: Inputs<Info>) => View,
  attributes: readonly string[] = [],
  shapeInputs?: readonly number[],
): Operator {
  return {
    attributes,
    shapeInputs,
    infer(node, inputs) {
      const { dims, out = dims } = view(node, inputs);
      return [{ type: need(node, inputs, 0).type, dims: out }];
    },
    run(node, inputs) {
      const { type, data: source } = need(node, inputs, 0);
      const { dims, strides, start, out = dims } = view(node, inputs);
      const data = zeros(type, sizeOf(dims));
      copyStrided(type, dims, { data: source, strides, start }, { data, strides: stridesOf(dims) });
      return [{ type, dims: out, data }];
    },
  };
}

/** The axes of `dims` in another order. */
export const permuted = (dims: Dims, order: Dims): View => {
  const strides = stridesOf(dims);
  return { dims: order.map(axis => dims[axis]), strides: order.map(axis => strides[axis]) };
};

// ---- shapes ----

const reshape = reshaping(
  (node, inputs) => {
    const { dims } = need(node, inputs, 0);
    const shape = contents(node, inputs, 1) ?? fail(node, 'input 1 (shape) is missing');
    const copies = number(node, 'allowzero', 0) === 0;
    const to = shape.map((dim, i) =>
      dim === 0 && copies ? (dims[i] ?? fail(node, `shape [${shape}] copies dimension ${i} of [${dims}]`)) : dim,
    );
    const free = to.indexOf(-1);
    if (free >= 0) {
      const rest = to.reduce((size, dim, i) => (i === free ? size : size * dim), 1);
      to[free] = rest === 0 ? 0 : sizeOf(dims) / rest;
    }
    if (to.some(dim => dim < 0 || !Number.isInteger(dim))) fail(node, `cannot shape [${dims}] as [${shape}]`);
    return to;
  },
  ['allowzero'],
  [1],
);

const flatten = reshaping(
  (node, inputs) => {
    const { dims } = need(node, inputs, 0);
    const axis = number(node, 'axis', 1);
    if (Math.abs(axis) > dims.length) fail(node, `axis ${axis} is outside the input's ${dims.length} dimensions`);
    return [sizeOf(dims.slice(0, axis)), sizeOf(dims.slice(axis))];
  },
  ['axis'],
);

const squeeze = reshaping(
  (node, inputs) => {
    const { dims } = need(node, inputs, 0);
    const axes = axesOf(node, inputs, 1, 13)?.map(axis => axisOf(node, axis, dims.length));
    for (const axis of axes ?? []) if (dims[axis] !== 1) fail(node, `axis ${axis} of [${dims}] is not 1`);
    return dims.filter((dim, i) => (axes ? !axes.includes(i) : dim !== 1));
  },
  ['axes'],
  [1],
);

const unsqueeze = reshaping(
  (node, inputs) => {
    const { dims } = need(node, inputs, 0);
    const given = axesOf(node, inputs, 1, 13) ?? fail(node, 'axes are missing');
    const rank = dims.length + given.length;
    const axes = given.map(axis => axisOf(node, axis, rank));
    if (new Set(axes).size < axes.length) fail(node, `axes [${given}] repeat`);
    let next = 0;
    return Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : dims[next++]));
  },
  ['axes'],
  [1],
);

const identity: Operator = {
  attributes: [],
  infer: (node, inputs) => [need(node, inputs, 0)],
  run: (node, inputs) => [need(node, inputs, 0)],
};

const int64 = (dims: Dims, items: readonly number[]): Value => ({
  type: 'int64',
  dims,
  data: BigInt64Array.from(items, BigInt),
});

/** Shape and Size: constants as soon as the input's shape is known. */
function measuring(measure: (node: Node, dims: Dims) => Value, attributes: readonly string[] = []): Operator {
  const run = (node: Node, inputs: Inputs<Info>) => measure(node, need(node, inputs, 0).dims);
  return {
    attributes,
    infer(node, inputs) {
      const value = run(node, inputs);
      return [{ type: value.type, dims: value.dims, value }];
    },
    run: (node, inputs) => [run(node, inputs)],
  };
}

const shape = measuring(
  (node, dims) => {
    const part = dims.slice(number(node, 'start', 0), number(node, 'end', dims.length));
    return int64([part.length], part);
  },
  ['start', 'end'],
);

// ---- views ----

const transpose = viewing(
  (node, inputs) => {
    const { dims } = need(node, inputs, 0);
    const order = numbers(node, 'perm') ?? dims.map((_, i) => dims.length - 1 - i);
    if (order.length !== dims.length || dims.some((_, i) => !order.includes(i))) {
      fail(node, `perm [${order}] does not order the ${dims.length} axes of [${dims}]`);
    }
    return permuted(dims, order);
  },
  ['perm'],
);

const expand = viewing(
  (node, inputs) => {
    const { dims: from } = need(node, inputs, 0);
    const dims = broadcastShapes(node, [from, contents(node, inputs, 1) ?? fail(node, 'input 1 (shape) is missing')]);
    return { dims, strides: expandedStrides(from, dims) };
  },
  [],
  [1],
);

const tile = viewing(
  (node, inputs) => {
    const { dims } = need(node, inputs, 0);
    const repeats = contents(node, inputs, 1) ?? [];
    if (repeats.length !== dims.length || repeats.some(count => count < 0))
      fail(node, `repeats [${repeats}] do not fit an input of shape [${dims}]`);
    const strides = stridesOf(dims);
    return {
      dims: dims.flatMap((dim, i) => [repeats[i], dim]),
      strides: strides.flatMap(stride => [0, stride]),
      out: dims.map((dim, i) => dim * repeats[i]),
    };
  },
  [],
  [1],
);

const slice = viewing(
  (node, inputs) => {
    const { dims } = need(node, inputs, 0);
    const list = (name: string, i: number) => (node.version < 10 ? numbers(node, name) : contents(node, inputs, i));
    const starts = list('starts', 1) ?? fail(node, 'starts are missing');
    const ends = list('ends', 2) ?? fail(node, 'ends are missing');
    const axes = (list('axes', 3) ?? starts.map((_, i) => i)).map(axis => axisOf(node, axis, dims.length));
    const steps = (node.version < 10 ? undefined : contents(node, inputs, 4)) ?? starts.map(() => 1);
    if ([ends, axes, steps].some(other => other.length !== starts.length)) {
      fail(node, `starts [${starts}], ends [${ends}], axes [${axes}] and steps [${steps}] differ in length`);
    }
    const strides = stridesOf(dims);
    const view = { dims: dims.slice(), strides: strides.slice(), start: 0 };
    axes.forEach((axis, k) => {
      const [dim, step] = [dims[axis], steps[k]];
      if (step === 0) fail(node, `the step along axis ${axis} is 0`);
      // Backwards, a start before the first element is the first element, as the specification says and NumPy does not.
      const last = step < 0 ? dim - 1 : dim;
      const clamp = (x: number, first: number) => Math.min(last, Math.max(first, x < 0 ? x + dim : x));
      const start = clamp(starts[k], 0);
      const end = clamp(ends[k], step < 0 ? -1 : 0);
      view.dims[axis] = Math.max(0, Math.ceil((end - start) / step));
      view.strides[axis] = strides[axis] * step;
      view.start += start * strides[axis];
    });
    return view;
  },
  ['starts', 'ends', 'axes'],
  [1, 2, 3, 4],
);

// ---- joining and splitting ----

const concat: Operator = {
  attributes: ['axis'],
  infer(node, inputs) {
    const all = inputs.map((_, i) => need(node, inputs, i));
    const first = need(node, inputs, 0);
    const axis = axisOf(node, number(node, 'axis', 1), first.dims.length);
    for (const { type, dims } of all) {
      if (type !== first.type) fail(node, `inputs have types ${first.type} and ${type}, expected one type`);
      if (dims.length !== first.dims.length || dims.some((dim, i) => i !== axis && dim !== first.dims[i])) {
        fail(node, `shapes [${first.dims}] and [${dims}] differ outside axis ${axis}`);
      }
    }
    const length = all.reduce((sum, { dims }) => sum + dims[axis], 0);
    return [{ type: first.type, dims: first.dims.map((dim, i) => (i === axis ? length : dim)) }];
  },
  run(node, inputs) {
    const [{ type, dims }] = concat.infer!(node, inputs);
    const axis = axisOf(node, number(node, 'axis', 1), dims.length);
    const [data, strides] = [zeros(type, sizeOf(dims)), stridesOf(dims)];
    let start = 0;
    for (const value of inputs as Value[]) {
      copyStrided(type, value.dims, { data: value.data, strides: stridesOf(value.dims) }, { data, strides, start });
      start += value.dims[axis] * strides[axis];
    }
    return [{ type, dims, data }];
  },
};

const splitting: Operator = {
  attributes: ['axis', 'split', 'num_outputs'],
  shapeInputs: [1],
  infer(node, inputs) {
    const { type, dims } = need(node, inputs, 0);
    const axis = axisOf(node, number(node, 'axis', 0), dims.length);
    const count = number(node, 'num_outputs', node.outputs.length);
    // Equal parts; when they do not come out even the last one is shorter.
    const part = Math.ceil(dims[axis] / count);
    const lengths =
      (node.version < 13 ? numbers(node, 'split') : contents(node, inputs, 1)) ??
      Array.from({ length: count }, (_, i) => Math.max(0, Math.min(part, dims[axis] - i * part)));
    if (lengths.some(length => length < 0) || lengths.reduce((sum, length) => sum + length, 0) !== dims[axis]) {
      fail(node, `parts of [${lengths}] do not add up to the ${dims[axis]} elements of axis ${axis}`);
    }
    return lengths.map(length => ({ type, dims: dims.map((dim, i) => (i === axis ? length : dim)) }));
  },
  run(node, inputs) {
    const { type, dims, data: source } = need(node, inputs, 0);
    const axis = axisOf(node, number(node, 'axis', 0), dims.length);
    const strides = stridesOf(dims);
    let start = 0;
    return splitting.infer!(node, inputs).map(({ dims }) => {
      const data = zeros(type, sizeOf(dims));
      copyStrided(type, dims, { data: source, strides, start }, { data, strides: stridesOf(dims) });
      start += dims[axis] * strides[axis];
      return { type, dims, data };
    });
  },
};

export const movementOperators: Operators = {
  Reshape: reshape,
  Flatten: flatten,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Identity: identity,
  Shape: shape,
  Size: measuring((_, dims) => int64([], [sizeOf(dims)])),
  Transpose: transpose,
  Expand: expand,
  Tile: tile,
  Slice: slice,
  Concat: concat,
  Split: splitting,
  Pad: pad,
};

/** Elements and slices written by index, and read the same way. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type DataType, sizeOf, type Value, zeros } from '../values.ts';
import { contents, isBig } from './access.ts';
import { offsetsOf, take, wordsOf } from './broadcast.ts';
import { axisAttribute, flat, indicesOf } from './gather.ts';
import { narrow, widen } from './half.ts';
import { likeFirst, need, split, stridesOf } from './numeric.ts';
import { fail, number, type Operator, type Operators, text } from './operator.ts';
import { pick } from './scalar.ts';

/** Offsets into `data` of the elements that GatherElements reads and ScatterElements writes. */
function elementOffsets(node: Node, data: Value, indices: Value): Int32Array {
  const rank = data.dims.length;
  const axis = axisAttribute(node, rank);
  if (indices.dims.length !== rank || indices.dims.some((dim, i) => i !== axis && dim > data.dims[i])) {
    fail(node, `indices of shape [${indices.dims}] do not fit data of shape [${data.dims}] along axis ${axis}`);
  }
  const strides = stridesOf(data.dims);
  const offsets = offsetsOf(
    indices.dims,
    strides.map((stride, i) => (i === axis ? 0 : stride)),
  );
  const index = indicesOf(node, indices, data.dims[axis]);
  for (let i = 0; i < offsets.length; i++) offsets[i] += index[i] * strides[axis];
  return offsets;
}

/** Offsets of the slices that index tuples [..., q] name, after `batch` shared axes; and the slices' size. */
function sliceOffsets(node: Node, data: Value, indices: Value, batch: number): [offsets: Int32Array, size: number] {
  const q = indices.dims.at(-1) ?? fail(node, 'indices are a scalar, expected index tuples');
  if (batch + q > data.dims.length) {
    fail(node, `tuples of ${q} indices after ${batch} batch axes do not fit data of shape [${data.dims}]`);
  }
  const strides = stridesOf(data.dims);
  const count = q === 0 ? sizeOf(indices.dims.slice(0, -1)) : indices.data.length / q;
  const perBatch = count / sizeOf(data.dims.slice(0, batch));
  const batchStride = batch ? strides[batch - 1] : 0;
  const offsets = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    let at = batch ? Math.floor(i / perBatch) * batchStride : 0;
    for (let j = 0; j < q; j++) {
      const dim = data.dims[batch + j];
      const index = Number(indices.data[i * q + j]);
      if (index < -dim || index >= dim) fail(node, `index ${index} is outside an axis of ${dim} elements`);
      at += (index < 0 ? index + dim : index) * strides[batch + j];
    }
    offsets[i] = at;
  }
  return [offsets, sizeOf(data.dims.slice(batch + q))];
}

const gatherElements: Operator = {
  attributes: ['axis'],
  infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: need(node, inputs, 1).dims }],
  run(node, inputs) {
    const [value, indices] = [need(node, inputs, 0), need(node, inputs, 1)];
    const out = take(flat(value), 0, elementOffsets(node, value, indices));
    return [{ ...out, dims: indices.dims }];
  },
};

const gatherND: Operator = {
  attributes: ['batch_dims'],
  infer(node, inputs) {
    const [{ type, dims }, indices] = [need(node, inputs, 0), need(node, inputs, 1)];
    const start = number(node, 'batch_dims', 0) + (indices.dims.at(-1) ?? 0);
    return [{ type, dims: [...indices.dims.slice(0, -1), ...dims.slice(start)] }];
  },
  run(node, inputs) {
    const [value, indices] = [need(node, inputs, 0), need(node, inputs, 1)];
    const [{ type, dims }] = gatherND.infer!(node, inputs);
    const [offsets, size] = sliceOffsets(node, value, indices, number(node, 'batch_dims', 0));
    if (sizeOf(dims) === 0) return [{ type, dims, data: zeros(type, 0) }];
    // Slices are rows of the data seen as [rows, size].
    const rows = { ...value, dims: [value.data.length / size, size] };
    return [
      {
        ...take(
          rows,
          0,
          offsets.map(offset => offset / size),
        ),
        dims,
      },
    ];
  },
};

type Combine = (a: number, b: number) => number;

/** What `reduction` does with an old and a new element; undefined replaces. */
function combination(node: Node, type: DataType): Combine | undefined {
  const name = text(node, 'reduction', 'none');
  const combine: Record<string, Combine> = {
    add: (a, b) => a + b,
    mul: type.endsWith('int32') ? Math.imul : (a, b) => a * b,
    max: isBig(type) ? pick((a, b) => a > b) : Math.max,
    min: isBig(type) ? pick((a, b) => a < b) : Math.min,
  };
  if (name === 'none') return undefined;
  if (type === 'string') fail(node, `reduction ${name} does not take strings`);
  return combine[name] ?? fail(node, `unknown reduction ${name}`);
}

/** Writes slices of `size` elements of `updates` at offsets of a copy of `data`. */
function scatter(node: Node, data: Value, updates: Value, offsets: Int32Array, size: number): Value {
  const { type, dims } = data;
  if (updates.data.length !== offsets.length * size) {
    fail(
      node,
      `updates of shape [${updates.dims}] do not fit indices of shape for ${offsets.length} slices of ${size}`,
    );
  }
  if (updates.type !== type) fail(node, `data are ${type} and updates ${updates.type}, expected one type`);
  const combine = combination(node, type);
  if (!combine) {
    const out = data.data.slice() as Value['data'];
    const [{ words: to, unit }, { words: from }] = [wordsOf(type, out), wordsOf(type, updates.data)];
    const run = size * unit;
    for (let i = 0, at = 0; i < offsets.length; i++) {
      for (let j = 0, base = offsets[i] * unit; j < run; j++) to[base + j] = from[at++];
    }
    return { type, dims, data: out };
  }
  const [out, from] = [widen(data).slice() as Float64Array, widen(updates) as Float64Array];
  for (let i = 0, at = 0; i < offsets.length; i++) {
    for (let j = 0; j < size; j++, at++) out[offsets[i] + j] = combine(out[offsets[i] + j], from[at]);
  }
  return narrow(type, dims, out);
}

const scatterElements: Operator = {
  attributes: ['axis', 'reduction'],
  infer: likeFirst,
  run(node, inputs) {
    const [data, indices, updates] = [0, 1, 2].map(i => need(node, inputs, i));
    return [scatter(node, data, updates, elementOffsets(node, data, indices), 1)];
  },
};

const scatterND: Operator = {
  attributes: ['reduction'],
  infer: likeFirst,
  run(node, inputs) {
    const [data, indices, updates] = [0, 1, 2].map(i => need(node, inputs, i));
    return [scatter(node, data, updates, ...sliceOffsets(node, data, indices, 0))];
  },
};

/** Writes rows of a key or value cache at each sample's write index. */
const tensorScatter: Operator = {
  attributes: ['axis', 'mode'],
  infer: likeFirst,
  run(node, inputs) {
    const [past, update] = [need(node, inputs, 0), need(node, inputs, 1)];
    const axis = axisAttribute(node, past.dims.length, -2);
    const [outer, length, inner] = split(past.dims, axis);
    const rows = update.dims[axis];
    const starts = contents(node, inputs, 2);
    const circular = text(node, 'mode', 'linear') === 'circular';
    const perSample = outer / past.dims[0];
    const offsets = new Int32Array(outer * rows);
    for (let o = 0, i = 0; o < outer; o++) {
      for (let r = 0; r < rows; r++) {
        const row = (starts?.[Math.floor(o / perSample)] ?? 0) + r;
        if (row < 0 || (row >= length && !circular)) fail(node, `write index ${row} is outside a cache of ${length}`);
        offsets[i++] = (o * length + (row % length)) * inner;
      }
    }
    return [scatter(node, past, update, offsets, inner)];
  },
};

export const operators: Operators = {
  GatherElements: gatherElements,
  GatherND: gatherND,
  Scatter: scatterElements,
  ScatterElements: scatterElements,
  ScatterND: scatterND,
  TensorScatter: tensorScatter,
};

/** Operators that read or write elements by index: gathers, scatters, one-hot, selections. */
import type { Node } from '../load/graph.ts';
import { type DataType, type Info, sizeOf, type Value, zeros } from '../values.ts';
import { contents, isBig } from './access.ts';
import { offsetsOf, take, wordsOf } from './broadcast.ts';
import { narrow, widen } from './half.ts';
import { axisOf, need, split, stridesOf } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators, text } from './operator.ts';
import { pick } from './scalar.ts';

/** The indices in a value; negative ones count from `limit`. */
function indicesOf(node: Node, value: Value, limit: number): Int32Array {
  const out = new Int32Array(value.data.length);
  for (let i = 0; i < out.length; i++) {
    const index = Number(value.data[i]);
    if (!(index >= -limit && index < limit)) fail(node, `index ${index} is outside an axis of ${limit} elements`);
    out[i] = index < 0 ? index + limit : index;
  }
  return out;
}

const axisAttribute = (node: Node, rank: number, fallback = 0): number =>
  axisOf(node, number(node, 'axis', fallback), rank);

const likeFirst = (node: Node, inputs: Inputs<Info>): Info[] => [
  { type: need(node, inputs, 0).type, dims: need(node, inputs, 0).dims },
];

const gather: Operator = {
  attributes: ['axis'],
  infer(node, inputs) {
    const [{ type, dims }, indices] = [need(node, inputs, 0), need(node, inputs, 1)];
    const axis = axisAttribute(node, dims.length);
    return [{ type, dims: [...dims.slice(0, axis), ...indices.dims, ...dims.slice(axis + 1)] }];
  },
  run(node, inputs) {
    const [value, indices] = [need(node, inputs, 0), need(node, inputs, 1)];
    const [{ dims }] = gather.infer!(node, inputs);
    const axis = axisAttribute(node, value.dims.length);
    return [{ ...take(value, axis, indicesOf(node, indices, value.dims[axis])), dims }];
  },
};

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

const flat = (value: Value): Value => ({ ...value, dims: [value.data.length] });

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

const oneHot: Operator = {
  attributes: ['axis'],
  shapeInputs: [1],
  infer(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const [depth] = contents(node, inputs, 1) ?? fail(node, 'input 1 (depth) is missing');
    const axis = axisAttribute(node, dims.length + 1, -1);
    return [
      { type: need(node, inputs, 2).type, dims: [...dims.slice(0, axis), Math.trunc(depth), ...dims.slice(axis)] },
    ];
  },
  run(node, inputs) {
    const [{ type, dims }] = oneHot.infer!(node, inputs);
    const [indices, values] = [need(node, inputs, 0), need(node, inputs, 2)];
    const [, depth, inner] = split(dims, axisAttribute(node, dims.length, -1));
    const [off, on] = values.data as unknown[];
    const data = zeros(type, sizeOf(dims));
    const out = data as unknown[];
    if (off) out.fill(off);
    const at = widen(indices);
    for (let i = 0; i < at.length; i++) {
      const index = Math.trunc(Number(at[i]));
      if (index < -depth || index >= depth) continue;
      out[(Math.floor(i / inner) * depth + (index < 0 ? index + depth : index)) * inner + (i % inner)] = on;
    }
    return [{ type, dims, data }];
  },
};

const nonZero: Operator = {
  attributes: [],
  dynamic: true,
  run(node, inputs) {
    const value = need(node, inputs, 0);
    const x = widen(value) as ArrayLike<unknown>;
    // biome-ignore lint/suspicious/noDoubleEquals: zero of a number or of a BigInt
    const found = Array.from({ length: x.length }, (_, i) => i).filter(i => x[i] != 0 && x[i] !== '');
    const dims = value.dims.length ? value.dims : [1];
    const strides = stridesOf(dims);
    const data = new BigInt64Array(dims.length * found.length);
    let at = 0;
    dims.forEach((dim, axis) => {
      for (const i of found) data[at++] = BigInt(Math.floor(i / strides[axis]) % dim);
    });
    return [{ type: 'int64', dims: [dims.length, found.length], data }];
  },
};

const compress: Operator = {
  attributes: ['axis'],
  dynamic: true,
  run(node, inputs) {
    const [value, condition] = [need(node, inputs, 0), need(node, inputs, 1)];
    const whole = number(node, 'axis') === undefined;
    const source = whole ? flat(value) : value;
    const axis = whole ? 0 : axisAttribute(node, value.dims.length);
    const chosen = (condition.data as Uint8Array).subarray(0, source.dims[axis]);
    return [
      take(
        source,
        axis,
        [...chosen.keys()].filter(i => chosen[i]),
      ),
    ];
  },
};

/** Order of two elements; NaN comes last and equals itself. */
const order = (a: unknown, b: unknown): number =>
  (a as number) < (b as number)
    ? -1
    : (a as number) > (b as number)
      ? 1
      : a === b
        ? 0
        : Number(Number.isNaN(a)) - Number(Number.isNaN(b));

const unique: Operator = {
  attributes: ['axis', 'sorted'],
  dynamic: true,
  run(node, inputs) {
    const value = need(node, inputs, 0);
    const whole = number(node, 'axis') === undefined;
    const source = whole ? flat(value) : value;
    const axis = whole ? 0 : axisAttribute(node, value.dims.length);
    const [outer, length, inner] = split(source.dims, axis);
    const keys = widen(source) as ArrayLike<unknown>;
    const compare = (i: number, j: number) => {
      for (let o = 0; o < outer; o++) {
        const [a, b] = [(o * length + i) * inner, (o * length + j) * inner];
        for (let r = 0; r < inner; r++) {
          const sign = order(keys[a + r], keys[b + r]);
          if (sign) return sign;
        }
      }
      return 0;
    };
    // A stable sort, so that each run of equal entries starts with the one that occurs first.
    const sorted = Array.from({ length }, (_, i) => i).sort(compare);
    const groups: number[][] = [];
    for (const i of sorted) {
      if (groups.length && compare(groups.at(-1)![0], i) === 0) groups.at(-1)!.push(i);
      else groups.push([i]);
    }
    if (!number(node, 'sorted', 1)) groups.sort((a, b) => a[0] - b[0]);
    const inverse = new Array<number>(length);
    groups.forEach((group, g) => {
      for (const i of group) inverse[i] = g;
    });
    const firsts = groups.map(group => group[0]);
    const int64 = (items: number[]): Value => ({
      type: 'int64',
      dims: [items.length],
      data: BigInt64Array.from(items, BigInt),
    });
    return [take(source, axis, firsts), int64(firsts), int64(inverse), int64(groups.map(group => group.length))];
  },
};

export const gatherOperators: Operators = {
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherND,
  Scatter: scatterElements,
  ScatterElements: scatterElements,
  ScatterND: scatterND,
  TensorScatter: tensorScatter,
  OneHot: oneHot,
  NonZero: nonZero,
  Compress: compress,
  Unique: unique,
};

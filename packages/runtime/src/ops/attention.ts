/** Scaled dot-product attention and rotary position embeddings; shared by the operators of both domains. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { expandedStrides } from './broadcast.ts';
import { dot, type Floats, floats, need, pack, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operators } from './operator.ts';
import { softmaxRow } from './softmax.ts';

/** What is added to scores: a value that broadcasts to [batch, heads, queries, keys]; a bool forbids where false. */
export interface Bias {
  readonly value: Value;
  /** What a false element adds; −∞ unless given. */
  readonly forbidden?: number;
}

export interface Attention {
  readonly batch: number;
  readonly heads: number;
  /** Heads of keys and values; each serves `heads / keyHeads` heads of queries in a row. */
  readonly keyHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly size: number;
  readonly valueSize: number;
  readonly scale: number;
  readonly softcap?: number;
  readonly biases?: readonly Bias[];
  /** Keys that query `i` of batch `n` may see: [from, to). */
  readonly range?: (n: number, i: number) => readonly [number, number];
  /** Called with each row of scores (at `at`) at one of four stages: product, softcap, bias, softmax. */
  readonly observe?: (stage: number, scores: Floats, n: number, head: number, i: number) => void;
}

/** q [batch, heads, queries, size], k [batch, keyHeads, keys, size], v [… , keys, valueSize] → [batch, heads, queries, valueSize]. */
export function attend(q: Floats, k: Floats, v: Floats, options: Attention): Floats {
  const {
    batch,
    heads,
    keyHeads,
    queries,
    keys,
    size,
    valueSize,
    scale,
    softcap = 0,
    biases = [],
    range,
    observe,
  } = options;
  const y =
    q instanceof Float32Array
      ? new Float32Array(batch * heads * queries * valueSize)
      : new Float64Array(batch * heads * queries * valueSize);
  const scores = new Float64Array(keys);
  const terms = biases.map(({ value, forbidden = -Infinity }) => {
    const data = floats(value);
    const width = value.dims[value.dims.length - 1] ?? 1;
    return {
      data: value.type === 'bool' ? data.map(allowed => (allowed ? 0 : forbidden)) : data,
      // A mask may be shorter than the keys: what it does not reach is forbidden.
      width: width === 1 ? keys : width,
      strides: expandedStrides(value.dims, [batch, heads, queries, width === 1 ? keys : width]),
    };
  });
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const block = n * keyHeads + Math.floor((h * keyHeads) / heads);
      for (let i = 0; i < queries; i++) {
        const row = (n * heads + h) * queries + i;
        const [from, to] = range ? range(n, i) : [0, keys];
        for (let j = 0; j < keys; j++) scores[j] = scale * dot(size, q, row * size, k, (block * keys + j) * size);
        observe?.(0, scores, n, h, i);
        if (softcap) for (let j = 0; j < keys; j++) scores[j] = softcap * Math.tanh(scores[j] / softcap);
        observe?.(1, scores, n, h, i);
        let open = false;
        for (let j = 0; j < keys; j++) {
          let bias = j >= from && j < to ? 0 : -Infinity;
          for (const { data, width, strides } of terms)
            bias += j < width ? data[n * strides[0] + h * strides[1] + i * strides[2] + j * strides[3]] : -Infinity;
          scores[j] += bias;
          open ||= bias > -Infinity;
        }
        observe?.(2, scores, n, h, i);
        // A query that may see nothing has no weights, and its output is zero.
        if (open) softmaxRow(scores, scores, 0, 1, keys);
        else scores.fill(0);
        observe?.(3, scores, n, h, i);
        for (let j = 0; j < keys; j++) {
          const weight = scores[j];
          const at = (block * keys + j) * valueSize;
          if (weight !== 0) for (let e = 0, to = row * valueSize; e < valueSize; e++) y[to + e] += weight * v[at + e];
        }
      }
    }
  }
  return y;
}

/** [batch, a, b, size] → [batch, b, a, size]: between rows of tokens and rows of heads. */
export function swapMiddle(x: Floats, batch: number, a: number, b: number, size: number): Floats {
  const y = x instanceof Float32Array ? new Float32Array(x.length) : new Float64Array(x.length);
  for (let n = 0; n < batch; n++)
    for (let i = 0; i < a; i++)
      for (let j = 0; j < b; j++) {
        const from = ((n * a + i) * b + j) * size;
        y.set(x.subarray(from, from + size), ((n * b + j) * a + i) * size);
      }
  return y;
}

/** Rows of a cache [blocks, past, size] followed by new rows [blocks, count, size]. */
export function appendRows(past: Floats | undefined, rows: Floats, blocks: number, size: number): Floats {
  if (!past || past.length === 0) return rows;
  const [before, after] = [past.length / blocks, rows.length / blocks];
  const y =
    rows instanceof Float32Array
      ? new Float32Array(past.length + rows.length)
      : new Float64Array(past.length + rows.length);
  for (let b = 0; b < blocks; b++) {
    y.set(past.subarray(b * before, (b + 1) * before), b * (before + after));
    y.set(rows.subarray(b * after, (b + 1) * after), b * (before + after) + before);
  }
  return size === 0 ? rows : y;
}

/** Sizes of Attention's operands, which are 4-d with heads apart or 3-d with heads side by side. */
function geometry(node: Node, inputs: Inputs<Info>) {
  const [q, k, v] = [0, 1, 2].map(i => need(node, inputs, i).dims);
  const flat = q.length === 3;
  const heads = flat ? number(node, 'q_num_heads', 0) : q[1];
  const keyHeads = flat ? number(node, 'kv_num_heads', 0) : k[1];
  if (!(heads > 0 && keyHeads > 0) || heads % keyHeads !== 0)
    fail(
      node,
      `query [${q}] has ${heads} heads and key [${k}] ${keyHeads}: set q_num_heads and kv_num_heads, the first a multiple of the second`,
    );
  const [queries, count] = flat ? [q[1], k[1]] : [q[2], k[2]];
  const [size, valueSize] = flat ? [q[2] / heads, v[2] / keyHeads] : [q[3], v[3]];
  const past = inputs[4]?.dims[2] ?? 0;
  const keys = past + count;
  const batch = q[0];
  return {
    flat,
    batch,
    heads,
    keyHeads,
    queries,
    count,
    size,
    valueSize,
    past,
    keys,
    dims: [
      flat ? [batch, queries, heads * valueSize] : [batch, heads, queries, valueSize],
      [batch, keyHeads, keys, size],
      [batch, keyHeads, keys, valueSize],
      [batch, heads, queries, keys],
    ],
  };
}

/** Rotates pairs of the first `rotary` elements of each vector by its position's angle; the rest is copied. */
export function rotate(
  x: Floats,
  vectors: number,
  size: number,
  rotary: number,
  interleaved: boolean,
  cos: Floats,
  sin: Floats,
  cacheRow: (vector: number) => number,
): Floats {
  const y = x.slice();
  const half = rotary / 2;
  for (let r = 0; r < vectors; r++) {
    const row = cacheRow(r) * half;
    for (let i = 0; i < half; i++) {
      const a = r * size + (interleaved ? 2 * i : i);
      const b = interleaved ? a + 1 : a + half;
      const [c, s] = [cos[row + i], sin[row + i]];
      y[a] = c * x[a] - s * x[b];
      y[b] = s * x[a] + c * x[b];
    }
  }
  return y;
}

/** Sizes of an input of rotary embedding: [batch, heads, sequence, size], or [batch, sequence, heads · size]. */
export function rotaryLayout(node: Node, dims: readonly number[], headsOf: (hidden: number) => number) {
  if (dims.length !== 3 && dims.length !== 4) fail(node, `input [${dims}]: expected 3 or 4 dimensions`);
  const flat = dims.length === 3;
  const heads = flat ? headsOf(dims[2]) : dims[1];
  const sequence = flat ? dims[1] : dims[2];
  const size = flat ? dims[2] / heads : dims[3];
  if (!Number.isInteger(size)) fail(node, `input [${dims}] does not divide into ${heads} heads; set num_heads`);
  /** Batch and position of a vector of `size` elements in storage order. */
  const place = (vector: number): [batch: number, position: number] => [
    Math.floor(vector / (heads * sequence)),
    flat ? Math.floor(vector / heads) % sequence : vector % sequence,
  ];
  return { heads, sequence, size, vectors: sizeOf(dims) / size, place };
}

export const operators: Operators = {
  Attention: {
    attributes: [
      'is_causal',
      'kv_num_heads',
      'q_num_heads',
      'qk_matmul_output_mode',
      'scale',
      'softcap',
      'softmax_precision',
      'left_window_size',
      'right_window_size',
    ],
    infer(node, inputs) {
      const { dims } = geometry(node, inputs);
      const types = [0, 1, 2, 0].map(i => need(node, inputs, i).type);
      return dims.map((each, i) => ({ type: types[i], dims: each })).slice(0, node.outputs.length);
    },
    run(node, inputs) {
      const g = geometry(node, inputs);
      const [q, k, v] = [0, 1, 2].map(i => need(node, inputs, i));
      const separate = (value: Value, rows: number, heads: number, size: number) =>
        g.flat ? swapMiddle(floats(value), g.batch, rows, heads, size) : floats(value);
      const blocks = g.batch * g.keyHeads;
      const keys = appendRows(inputs[4] && floats(inputs[4]), separate(k, g.count, g.keyHeads, g.size), blocks, g.size);
      const values = appendRows(
        inputs[5] && floats(inputs[5]),
        separate(v, g.count, g.keyHeads, g.valueSize),
        blocks,
        g.valueSize,
      );
      const causal = number(node, 'is_causal', 0) !== 0;
      // With an external cache (version 24) the number of keys in use is an input.
      const used = inputs[6] && floats(inputs[6]);
      // Since version 25: how far a query sees to either side.
      const [left, right] = [number(node, 'left_window_size', -1), number(node, 'right_window_size', -1)];
      const mode = number(node, 'qk_matmul_output_mode', 0);
      const seen = node.outputs[3] ? workspace(q.type, sizeOf(g.dims[3])) : undefined;
      const y = attend(separate(q, g.queries, g.heads, g.size), keys, values, {
        ...g,
        scale: number(node, 'scale') ?? 1 / Math.sqrt(g.size),
        softcap: number(node, 'softcap', 0),
        biases: inputs[3] ? [{ value: inputs[3] }] : [],
        range: (n, i) => {
          const end = used ? used[n] : g.keys;
          const self = i + (used ? end - g.queries : g.past);
          const ahead = causal ? 0 : right < 0 ? Infinity : right;
          return [left < 0 ? 0 : self - left, Math.min(end, self + 1 + ahead)];
        },
        observe:
          seen &&
          ((stage, scores, n, h, i) => {
            if (stage === mode) seen.set(scores, ((n * g.heads + h) * g.queries + i) * g.keys);
          }),
      });
      const outputs = [
        pack(q.type, g.dims[0], g.flat ? swapMiddle(y, g.batch, g.heads, g.queries, g.valueSize) : y),
        pack(k.type, g.dims[1], keys),
        pack(v.type, g.dims[2], values),
      ];
      if (seen) outputs.push(pack(q.type, g.dims[3], seen));
      return outputs.slice(0, node.outputs.length);
    },
  },
  RotaryEmbedding: {
    attributes: ['interleaved', 'num_heads', 'rotary_embedding_dim'],
    infer(node, inputs) {
      const { type, dims } = need(node, inputs, 0);
      return [{ type, dims }];
    },
    run(node, inputs) {
      const x = need(node, inputs, 0);
      const { sequence, size, vectors, place } = rotaryLayout(node, x.dims, () => number(node, 'num_heads', 0));
      const rotary = number(node, 'rotary_embedding_dim', 0) || size;
      const cos = need(node, inputs, 1);
      if (cos.dims[cos.dims.length - 1] !== rotary / 2)
        fail(node, `cos_cache [${cos.dims}] for ${rotary} rotated elements`);
      const positions = inputs[3] && floats(inputs[3]);
      const y = rotate(
        floats(x),
        vectors,
        size,
        rotary,
        number(node, 'interleaved', 0) !== 0,
        floats(cos),
        floats(need(node, inputs, 2)),
        vector => {
          const [n, s] = place(vector);
          return positions ? positions[n * sequence + s] : n * sequence + s;
        },
      );
      return [pack(x.type, x.dims, y)];
    },
  },
};

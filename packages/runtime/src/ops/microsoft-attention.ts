/** Attention of the domain com.microsoft: packed, masked and cached as ONNX Runtime's fusions and exporters write it. */
import type { Node } from '../load/graph.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { contents } from './access.ts';
import { appendRows, attend, type Bias, rotaryLayout, rotate, swapMiddle } from './attention.ts';
import { type Floats, floats, likeFirst, need, pack, product, scalar, workspace } from './numeric.ts';
import { fail, type Inputs, number, numbers, type Operator, type Operators } from './operator.ts';

/** Fails for inputs that change the result and are not implemented. */
function refuse(node: Node, inputs: Inputs<Info>, names: Record<number, string>): void {
  for (const [index, name] of Object.entries(names))
    if (inputs[Number(index)]) fail(node, `input ${name} is not supported`);
}

/** A key mask as a bias: lengths of each batch, or 0/1 for [batch, keys] or [batch, queries, keys]. */
function maskBias(node: Node, mask: Value, batch: number, keys: number): Bias {
  const forbidden = number(node, 'mask_filter_value', -10000);
  const { dims } = mask;
  const data = floats(mask);
  const make = (shape: number[], allowed: ArrayLike<number>): Bias => ({
    value: { type: 'bool', dims: shape, data: Uint8Array.from(allowed, value => (value ? 1 : 0)) },
    forbidden,
  });
  if (dims.length === 1) {
    if (dims[0] !== batch && dims[0] !== 2 * batch)
      fail(node, `mask [${dims}] for a batch of ${batch} is not supported`);
    const start = (n: number) => (dims[0] === batch ? 0 : data[batch + n]);
    const allowed = Array.from({ length: batch * keys }, (_, i) => {
      const [n, j] = [Math.floor(i / keys), i % keys];
      return j >= start(n) && j < data[n] ? 1 : 0;
    });
    return make([batch, 1, 1, keys], allowed);
  }
  if (dims.length > 3) fail(node, `mask [${dims}] is not supported; expected at most 3 dimensions`);
  return make(dims.length === 2 ? [dims[0], 1, 1, dims[1]] : [dims[0], 1, dims[1], dims[2]], data);
}

/** x [rows, width] plus a part of a bias, as float numbers. */
function shift(x: Floats, bias: Floats | undefined, at: number, width: number): Floats {
  if (!bias) return x;
  const y = x.slice();
  for (let i = 0; i < y.length; i++) y[i] += bias[at + (i % width)];
  return y;
}

/** Every `part`-th of `parts` pieces of `size` elements: how packed operands interleave query, key and value. */
function piece(x: Floats, parts: number, part: number, size: number): Floats {
  const y = x.slice(0, x.length / parts);
  for (let i = 0, from = part * size; i < y.length; i += size, from += parts * size)
    y.set(x.subarray(from, from + size), i);
  return y;
}

/** Sizes of MultiHeadAttention. */
function multiHead(node: Node, inputs: Inputs<Info>) {
  const heads = number(node, 'num_heads', 0);
  const q = need(node, inputs, 0);
  const [k, v] = [inputs[1], inputs[2]];
  const [batch, queries] = q.dims;
  const packed = q.dims.length === 5;
  const size = packed ? q.dims[4] : q.dims[2] / heads;
  if (!k && !packed) fail(node, `query [${q.dims}] without key: expected [batch, sequence, heads, 3, size]`);
  const ready = k?.dims.length === 4;
  const count = !k ? queries : ready ? k.dims[2] : k.dims[1];
  const valueSize = v ? (ready ? v.dims[3] : v.dims[2] / heads) : size;
  const keys = count + (inputs[6]?.dims[2] ?? 0);
  const dims = [
    [batch, queries, heads * valueSize],
    [batch, heads, keys, size],
    [batch, heads, keys, valueSize],
    [batch, heads, queries, keys],
  ];
  return { heads, batch, queries, count, size, valueSize, keys, packed, ready, dims };
}

const multiHeadAttention: Operator = {
  attributes: ['num_heads', 'mask_filter_value', 'scale', 'unidirectional'],
  infer(node, inputs) {
    const { type } = need(node, inputs, 0);
    return multiHead(node, inputs)
      .dims.map(dims => ({ type, dims }))
      .slice(0, node.outputs.length);
  },
  run(node, inputs) {
    refuse(node, inputs, { 8: 'past_sequence_length', 9: 'cache_indirection' });
    const g = multiHead(node, inputs);
    const { heads, batch, queries, count, size, valueSize, keys } = g;
    const query = need(node, inputs, 0);
    const [k, v] = [inputs[1], inputs[2]];
    const bias = inputs[3] && floats(inputs[3]);
    const hidden = heads * size;
    const whole = floats(query);
    const parts = g.packed
      ? [0, 1, 2].map(part => piece(whole, 3, part, size))
      : k!.dims.length === 5
        ? [whole, piece(floats(k!), 2, 0, size), piece(floats(k!), 2, 1, size)]
        : [whole, floats(k!), floats(v ?? fail(node, 'input 2 (value) is missing'))];
    const qs = swapMiddle(shift(parts[0], bias, 0, hidden), batch, queries, heads, size);
    const separate = (x: Floats, at: number, width: number) =>
      g.ready ? x : swapMiddle(shift(x, bias, at, heads * width), batch, count, heads, width);
    const past = [6, 7].map(i => inputs[i] && floats(inputs[i]));
    const ks = appendRows(past[0], separate(parts[1], hidden, size), batch * heads, size);
    const vs = appendRows(past[1], separate(parts[2], 2 * hidden, valueSize), batch * heads, valueSize);
    const causal = number(node, 'unidirectional', 0) !== 0;
    const biases: Bias[] = inputs[4] ? [maskBias(node, inputs[4], batch, keys)] : [];
    if (inputs[5]) biases.push({ value: inputs[5] });
    const seen = node.outputs[3] ? workspace(query.type, sizeOf(g.dims[3])) : undefined;
    const y = attend(qs, ks, vs, {
      batch,
      heads,
      keyHeads: heads,
      queries,
      keys,
      size,
      valueSize,
      biases,
      scale: number(node, 'scale', 0) || 1 / Math.sqrt(size),
      range: causal ? (_, i) => [0, keys - queries + i + 1] : undefined,
      observe:
        seen &&
        ((stage, scores, n, h, i) => {
          if (stage === 0) seen.set(scores, ((n * heads + h) * queries + i) * keys);
        }),
    });
    const outputs = [swapMiddle(y, batch, heads, queries, valueSize), ks, vs, ...(seen ? [seen] : [])];
    return outputs.map((data, i) => pack(query.type, g.dims[i], data)).slice(0, node.outputs.length);
  },
};

/** Sizes of Attention, whose one weight projects to query, key and value. */
function projected(node: Node, inputs: Inputs<Info>) {
  const [batch, queries, features] = need(node, inputs, 0).dims;
  const width = need(node, inputs, 1).dims[1];
  const heads = number(node, 'num_heads', 0);
  const widths = numbers(node, 'qkv_hidden_sizes') ?? [width / 3, width / 3, width / 3];
  if (widths[0] !== widths[1] || widths[0] + widths[1] + widths[2] !== width)
    fail(node, `qkv_hidden_sizes [${widths}] for a weight of ${width} columns`);
  const past = inputs[4]?.dims[3] ?? 0;
  const keys = past + queries;
  const [size, valueSize] = [widths[0] / heads, widths[2] / heads];
  const dims = [
    [batch, queries, widths[2]],
    [2, batch, heads, keys, size],
  ];
  return { batch, queries, features, width, heads, widths, keys, size, valueSize, dims };
}

const attention: Operator = {
  attributes: [
    'num_heads',
    'unidirectional',
    'qkv_hidden_sizes',
    'mask_filter_value',
    'scale',
    'past_present_share_buffer',
    'do_rotary',
  ],
  infer(node, inputs) {
    const { type } = need(node, inputs, 0);
    return projected(node, inputs)
      .dims.map(dims => ({ type, dims }))
      .slice(0, node.outputs.length);
  },
  run(node, inputs) {
    refuse(node, inputs, { 6: 'past_sequence_length' });
    if (number(node, 'do_rotary', 0)) fail(node, 'do_rotary is not supported; use GroupQueryAttention');
    const g = projected(node, inputs);
    const { batch, queries, features, width, heads, widths, keys, size, valueSize } = g;
    const x = need(node, inputs, 0);
    const all = workspace(x.type, batch * queries * width);
    const bias = inputs[2] && floats(inputs[2]);
    if (bias) for (let i = 0; i < batch * queries; i++) all.set(bias, i * width);
    product(batch * queries, width, features, floats(x), 0, floats(need(node, inputs, 1)), 0, all, 0);
    const columns = (at: number, count: number): Floats => {
      const y = workspace(x.type, batch * queries * count);
      for (let i = 0; i < batch * queries; i++) y.set(all.subarray(i * width + at, i * width + at + count), i * count);
      return swapMiddle(y, batch, queries, heads, count / heads);
    };
    const past = inputs[4] && floats(inputs[4]);
    const half = past ? past.length / 2 : 0;
    const blocks = batch * heads;
    const ks = appendRows(past?.subarray(0, half), columns(widths[0], widths[1]), blocks, size);
    const vs = appendRows(past?.subarray(half), columns(2 * widths[0], widths[2]), blocks, valueSize);
    const biases: Bias[] = inputs[3] && inputs[3].dims.length > 0 ? [maskBias(node, inputs[3], batch, keys)] : [];
    if (inputs[5]) biases.push({ value: inputs[5] });
    const y = attend(columns(0, widths[0]), ks, vs, {
      batch,
      heads,
      keyHeads: heads,
      queries,
      keys,
      size,
      valueSize,
      biases,
      scale: number(node, 'scale', 0) || 1 / Math.sqrt(size),
      range: number(node, 'unidirectional', 0) ? (_, i) => [0, keys - queries + i + 1] : undefined,
    });
    const outputs = [pack(x.type, g.dims[0], swapMiddle(y, batch, heads, queries, valueSize))];
    if (node.outputs[1]) {
      const present = workspace(x.type, ks.length + vs.length);
      present.set(ks);
      present.set(vs, ks.length);
      outputs.push(pack(x.type, g.dims[1], present));
    }
    return outputs;
  },
};

/** Sizes of GroupQueryAttention; the cache grows to the longest total sequence. */
function grouped(node: Node, inputs: Inputs<Info>) {
  const q = need(node, inputs, 0);
  const [batch, queries, width] = q.dims;
  const [heads, keyHeads] = [number(node, 'num_heads', 0), number(node, 'kv_num_heads', 0)];
  const packed = !inputs[1];
  const size = packed ? width / (heads + 2 * keyHeads) : width / heads;
  const total = contents(node, inputs, 6)?.[0] ?? fail(node, 'input 6 (total_sequence_length) is missing');
  const keys = Math.max(inputs[3]?.dims[2] ?? 0, total);
  const cache = [batch, keyHeads, keys, size];
  return {
    batch,
    queries,
    heads,
    keyHeads,
    packed,
    size,
    total,
    keys,
    dims: [[batch, queries, heads * size], cache, cache],
  };
}

const groupQueryAttention: Operator = {
  attributes: [
    'num_heads',
    'kv_num_heads',
    'scale',
    'softcap',
    'do_rotary',
    'rotary_interleaved',
    'local_window_size',
    'smooth_softmax',
    'qk_output',
  ],
  shapeInputs: [6],
  infer(node, inputs) {
    const { type } = need(node, inputs, 0);
    return grouped(node, inputs)
      .dims.map(dims => ({ type, dims }))
      .slice(0, node.outputs.length);
  },
  run(node, inputs) {
    refuse(node, inputs, { 11: 'head_sink', 12: 'k_scale', 13: 'v_scale' });
    if (number(node, 'smooth_softmax', 0) > 0 || number(node, 'qk_output', 0) > 0)
      fail(node, 'smooth_softmax and qk_output are not supported');
    const { batch, queries, heads, keyHeads, packed, size, total, keys, dims } = grouped(node, inputs);
    const query = need(node, inputs, 0);
    const lengths = floats(need(node, inputs, 5));
    // A prompt starts at 0 even when it is padded; later tokens follow what their batch holds already.
    const before = (n: number) => (queries === total ? 0 : lengths[n] + 1 - queries);
    const whole = floats(query);
    const width = (heads + 2 * keyHeads) * size;
    const columns = (at: number, count: number): Floats => {
      const y = workspace(query.type, batch * queries * count);
      for (let i = 0; i < batch * queries; i++)
        y.set(whole.subarray(i * width + at, i * width + at + count), i * count);
      return y;
    };
    const wide = keyHeads * size;
    let [q, k, v] = packed
      ? [columns(0, heads * size), columns(heads * size, wide), columns(heads * size + wide, wide)]
      : [whole, floats(need(node, inputs, 1)), floats(need(node, inputs, 2))];
    if (number(node, 'do_rotary', 0)) {
      const cos = need(node, inputs, 7);
      const [c, s] = [floats(cos), floats(need(node, inputs, 8))];
      const positions = inputs[9] && floats(inputs[9]);
      const turn = (x: Floats, count: number) =>
        rotate(
          x,
          batch * queries * count,
          size,
          2 * cos.dims[1],
          number(node, 'rotary_interleaved', 0) !== 0,
          c,
          s,
          vector => {
            const token = Math.floor(vector / count);
            return positions ? positions[token] : before(Math.floor(token / queries)) + (token % queries);
          },
        );
      [q, k] = [turn(q, heads), turn(k, keyHeads)];
    }
    const cached = (past: Value | undefined, rows: Floats): Floats => {
      const y = workspace(query.type, batch * keyHeads * keys * size);
      const old = past && floats(past);
      const had = past?.dims[2] ?? 0;
      for (let n = 0; n < batch; n++) {
        const start = before(n);
        if (start + queries > keys || start < 0)
          fail(node, `seqlens_k ${lengths[n]} for ${queries} new tokens and a total of ${total}`);
        for (let h = 0; h < keyHeads; h++) {
          const at = (n * keyHeads + h) * keys * size;
          const from = (n * keyHeads + h) * had * size;
          if (old) y.set(old.subarray(from, from + Math.min(start, had) * size), at);
          for (let s = 0; s < queries; s++) {
            const row = ((n * queries + s) * keyHeads + h) * size;
            y.set(rows.subarray(row, row + size), at + (start + s) * size);
          }
        }
      }
      return y;
    };
    const [ks, vs] = [cached(inputs[3], k), cached(inputs[4], v)];
    const window = number(node, 'local_window_size', -1);
    const y = attend(swapMiddle(q, batch, queries, heads, size), ks, vs, {
      batch,
      heads,
      keyHeads,
      queries,
      keys,
      size,
      valueSize: size,
      scale: number(node, 'scale', 0) || 1 / Math.sqrt(size),
      softcap: number(node, 'softcap', 0),
      biases: inputs[10] ? [{ value: inputs[10] }] : [],
      range: (n, i) => {
        const at = before(n) + i;
        return [window > 0 ? Math.max(0, at + 1 - window) : 0, at + 1];
      },
    });
    const outputs = [swapMiddle(y, batch, heads, queries, size), ks, vs];
    return outputs.map((data, i) => pack(query.type, dims[i], data)).slice(0, node.outputs.length);
  },
};

/** Rotary embedding with positions as an input: one offset for all, or a position for each token. */
const rotaryEmbedding: Operator = {
  attributes: ['interleaved', 'num_heads', 'rotary_embedding_dim', 'scale', 'is_packed_batching'],
  infer: likeFirst,
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const [cos, sin] = [need(node, inputs, 2), need(node, inputs, 3)];
    if (number(node, 'is_packed_batching', 0)) fail(node, 'is_packed_batching is not supported');
    const rotary = number(node, 'rotary_embedding_dim', 0) || 2 * cos.dims[1];
    const { sequence, size, vectors, place } = rotaryLayout(
      node,
      x.dims,
      hidden => number(node, 'num_heads', 0) || hidden / rotary,
    );
    const positions = need(node, inputs, 1);
    const start = scalar(positions);
    const each = positions.data.length > 1 ? floats(positions) : undefined;
    const y = rotate(
      floats(x),
      vectors,
      size,
      rotary,
      number(node, 'interleaved', 0) !== 0,
      floats(cos),
      floats(sin),
      vector => {
        const [n, s] = place(vector);
        return each ? each[n * sequence + s] : start + s;
      },
    );
    return [pack(x.type, x.dims, y)];
  },
};

export const fusedAttention: Operators = {
  Attention: attention,
  MultiHeadAttention: multiHeadAttention,
  GroupQueryAttention: groupQueryAttention,
  RotaryEmbedding: rotaryEmbedding,
};

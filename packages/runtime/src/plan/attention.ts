/** Attention and rotary embeddings on kernels that read and write heads by strides. */
import { attention, type Heads, headsFirst, rotary, rowsFirst } from '../kernels/attention.ts';
import { binary } from '../kernels/elementwise.ts';
import { copy } from '../kernels/movement.ts';
import type { Node } from '../load/graph.ts';
import { number, numbers, type Operators } from '../ops/operator.ts';
import { sizeOf, type Value } from '../values.ts';
import { type Address, shift } from './emitter.ts';
import type { Extension } from './extensions.ts';
import { attentionRule, rotaryRule } from './fuse-attention.ts';
import type { Lower, Lowering, Lowerings } from './lowering.ts';
import { STRIDED } from './resolve-attention.ts';

type Strides = Heads['strides'];

/** A mask with constant contents that says the same as `causal`, found once. */
const CAUSAL = new WeakMap<object, boolean>();

function isCausal({ data }: Value, queries: number, keys: number): boolean {
  if (data.length !== queries * keys || keys < queries) return false;
  let found = CAUSAL.get(data);
  if (found === undefined) {
    found = true;
    for (let i = 0, at = 0; found && i < queries; i++) {
      const seen = i + keys - queries;
      for (let j = 0; j < keys; j++, at++) found &&= j <= seen ? data[at] === 0 : (data[at] as number) <= -1e9;
    }
    CAUSAL.set(data, found);
  }
  return found;
}

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly depth: number;
  readonly valueDepth: number;
}

function sizesOf(node: Node): Sizes {
  const [batch, heads, kvHeads, queries, keys, depth, valueDepth] = numbers(node, 'sizes')!;
  return { batch, heads, kvHeads, queries, keys, depth, valueDepth };
}

/** Offset and strides of an operand: its attribute. */
function place(node: Node, name: string): { offset: number; strides: Strides } {
  const [offset, item, head, row] = numbers(node, name)!;
  return { offset, strides: [item, head, row] };
}

/** Emits the step and reports it. The mask of input `i` is not read when it is causal. */
function attend(
  l: Lowering,
  sizes: Sizes,
  operands: { q: Heads; k: Heads; v: Heads; y: Heads },
  { mask, causal, scale }: { mask?: { input: number; strides: Strides }; causal?: boolean; scale?: number },
): void {
  const value = mask && l.inputs[mask.input]!.value;
  const constant = value && isCausal(value, sizes.queries, sizes.keys);
  attention(l.emitter, {
    ...sizes,
    ...operands,
    scale,
    causal: causal || constant,
    mask: mask && !constant ? { at: l.x(mask.input), strides: mask.strides } : undefined,
  });
  const { batch, heads, queries, keys, depth, valueDepth } = sizes;
  Object.assign(l.report, { kernel: 'attention', flops: 2 * batch * heads * queries * keys * (depth + valueDepth) });
}

const strided: Lower = l => {
  const operand = (name: string, at: Address): Heads => {
    const { offset, strides } = place(l.node, name);
    return { at: shift(at, 4 * offset), strides };
  };
  const operands = {
    q: operand('q', l.x(0)),
    k: operand('k', l.x(1)),
    v: operand('v', l.x(2)),
    y: operand('y', l.y()),
  };
  const mask = l.inputs[3] && { input: 3, strides: place(l.node, 'mask').strides };
  attend(l, sizesOf(l.node), operands, { mask, scale: number(l.node, 'scale') });
  return true;
};

/** Rotates x; the tables' row r belongs to row r. */
const stridedRotary: Lower = l => {
  const [batch, heads, rows, depth] = numbers(l.node, 'sizes')!;
  const x = l.x(0);
  const strides = rowsFirst(heads, rows, depth);
  rotary(l.emitter, { x, y: l.reuse(0), strides, batch, heads, rows, depth, cosines: l.x(1), sines: l.x(2) });
  return true;
};

const floats = (l: Lowering, ...inputs: number[]): boolean =>
  inputs.every(i => !l.inputs[i] || l.inputs[i].type === 'float32');

/** New rows behind those of a cache, as [batch, heads, keys, depth] at `to`. */
function append(
  l: Lowering,
  to: Address,
  past: number | undefined,
  rows: Heads,
  { batch, heads, keys, depth }: { batch: number; heads: number; keys: number; depth: number },
): Heads {
  const strides = headsFirst(heads, keys, depth);
  const before = past === undefined ? 0 : l.inputs[past]!.dims[2];
  const move = (from: Heads, y: Address, count: number) =>
    copy(l.emitter, {
      x: from.at,
      y,
      dims: [batch, heads, count, depth],
      xStrides: [...from.strides, 1],
      yStrides: [...strides, 1],
    });
  if (past !== undefined) move({ at: l.x(past), strides: headsFirst(heads, before, depth) }, to, before);
  move(rows, shift(to, 4 * before * depth), keys - before);
  return { at: to, strides };
}

/** Keys and values for attention: as given, or, with a cache or when they are outputs, behind its rows. */
function cached(l: Lowering, s: Sizes, k: Heads, v: Heads, pasts: readonly [number, number]): { k: Heads; v: Heads } {
  const [kv, vv] = [k, v].map((rows, i): Heads => {
    const depth = i ? s.valueDepth : s.depth;
    const past = l.inputs[pasts[i]] ? pasts[i] : undefined;
    if (past === undefined && !l.node.outputs[i + 1]) return rows;
    const size = { batch: s.batch, heads: s.kvHeads, keys: s.keys, depth };
    const to = l.node.outputs[i + 1] ? l.y(i + 1) : l.emitter.scratch(4 * s.batch * s.kvHeads * s.keys * depth);
    return append(l, to, past, rows, size);
  });
  return { k: kv, v: vv };
}

/** Strides of a float mask that broadcasts to the scores, whose last axis has all keys. */
function maskOf(l: Lowering, input: number, { batch, heads, queries, keys }: Sizes) {
  const info = l.inputs[input];
  if (!info) return { fits: true };
  const dims = [1, 1, 1, ...info.dims].slice(-4);
  const wanted = [batch, heads, queries];
  const fits =
    info.type === 'float32' &&
    info.dims.length >= 1 &&
    info.dims.length <= 4 &&
    dims[3] === keys &&
    wanted.every((d, i) => dims[i] === 1 || dims[i] === d);
  const strides = headsFirst(dims[1], dims[2], keys).map((stride, i) => (dims[i] === 1 ? 0 : stride));
  return { fits, mask: { input, strides: strides as unknown as Strides } };
}

/** Attention of version 23: float32 in its usual form, with a float mask, causal, with a cache. */
const standard: Lower = l => {
  const [q, k, v, , past, , used] = l.inputs;
  const { node } = l;
  const none = ['softcap', 'qk_matmul_output_mode'].every(name => !number(node, name, 0));
  const wide = ['left_window_size', 'right_window_size'].every(name => number(node, name, -1) === -1);
  if (!none || !wide || used || node.outputs[3] || !floats(l, 0, 1, 2, 4, 5) || !past !== !l.inputs[5]) return false;
  const flat = q!.dims.length === 3;
  const heads = flat ? number(node, 'q_num_heads', 0) : q!.dims[1];
  const kvHeads = flat ? number(node, 'kv_num_heads', 0) : k!.dims[1];
  const [queries, count] = [q, k].map(info => info!.dims.at(-2)!);
  const [depth, valueDepth] = flat ? [q!.dims[2] / heads, v!.dims[2] / kvHeads] : [q!.dims[3], v!.dims[3]];
  const keys = count + (past?.dims[2] ?? 0);
  const sizes = { batch: q!.dims[0], heads, kvHeads, queries, keys, depth, valueDepth };
  const causal = number(node, 'is_causal', 0) !== 0;
  const { fits, mask } = maskOf(l, 3, sizes);
  if (!fits || (causal && count !== queries)) return false;
  const order = flat ? rowsFirst : headsFirst;
  const heads4 = (at: Address, n: number, rows: number, size: number): Heads => ({ at, strides: order(n, rows, size) });
  const kRows = heads4(l.x(1), kvHeads, count, depth);
  const rows = cached(l, sizes, kRows, heads4(l.x(2), kvHeads, count, valueDepth), [4, 5]);
  const operands = { q: heads4(l.x(0), heads, queries, depth), ...rows, y: heads4(l.y(), heads, queries, valueDepth) };
  attend(l, sizes, operands, { mask, causal, scale: number(node, 'scale') });
  return true;
};

/** Key, value and query apart; no key mask, which is of integers. */
const multiHead: Lower = l => {
  const [q, k, v, bias, keyMask, , past, , length, indirection] = l.inputs;
  const { node } = l;
  if (!k || !v || keyMask || length || indirection || node.outputs[3]) return false;
  if (!floats(l, 0, 1, 2, 3, 6, 7) || q!.dims.length !== 3 || !past !== !l.inputs[7]) return false;
  const flat = k.dims.length === 3;
  if (!flat && (k.dims.length !== 4 || bias)) return false;
  const heads = number(node, 'num_heads', 0);
  const [batch, queries, hidden] = q!.dims;
  const count = k.dims.at(-2)!;
  const depth = hidden / heads;
  const valueDepth = flat ? v.dims[2] / heads : v.dims[3];
  const keys = count + (past?.dims[2] ?? 0);
  const sizes = { batch, heads, kvHeads: heads, queries, keys, depth, valueDepth };
  const causal = number(node, 'unidirectional', 0) !== 0;
  const { fits, mask } = maskOf(l, 5, sizes);
  if (!fits || (causal && keys < queries)) return false;
  const biased = (i: number): Address => {
    if (!bias) return l.x(i);
    const { dims } = l.inputs[i]!;
    const y = l.emitter.scratch(4 * sizeOf(dims));
    const b = shift(l.x(3), 4 * i * hidden);
    binary(l.emitter, 'add', { a: l.x(i), b, y, aDims: dims, bDims: dims.slice(-1), yDims: dims });
    return y;
  };
  const order = flat ? rowsFirst : headsFirst;
  const kRows = { at: biased(1), strides: order(heads, count, depth) };
  const rows = cached(l, sizes, kRows, { at: biased(2), strides: order(heads, count, valueDepth) }, [6, 7]);
  const operands = {
    q: { at: biased(0), strides: rowsFirst(heads, queries, depth) },
    ...rows,
    y: { at: l.y(), strides: rowsFirst(heads, queries, valueDepth) },
  };
  attend(l, sizes, operands, { mask, causal, scale: number(node, 'scale', 0) || undefined });
  return true;
};

/** Packed or apart, rotated or not; of several items only prompts, whose tokens all begin at 0. */
const grouped: Lower = l => {
  const [q, k, v, past, pastV, , total] = l.inputs;
  const { node } = l;
  const options = ['softcap', 'smooth_softmax', 'qk_output'];
  if (options.some(name => number(node, name, 0) > 0) || number(node, 'local_window_size', -1) > 0) return false;
  // Positions, biases and what follows them.
  if (!floats(l, 0, 1, 2, 3, 4, 7, 8) || l.inputs.slice(9).some(Boolean) || !k !== !v || !past !== !pastV) return false;
  const [heads, kvHeads] = [number(node, 'num_heads', 0), number(node, 'kv_num_heads', 0)];
  const [batch, queries, width] = q!.dims;
  const keys = Number(total!.value?.data[0]);
  const before = past?.dims[2] ?? 0;
  if (keys !== before + queries || (batch > 1 && before > 0)) return false;
  const depth = width / (k ? heads : heads + 2 * kvHeads);
  const sizes = { batch, heads, kvHeads, queries, keys, depth, valueDepth: depth };
  const turned = number(node, 'do_rotary', 0) !== 0;
  const tables = [7, 8].map(i => l.inputs[i]);
  if (turned && tables.some(info => !info || info.dims[0] < keys || info.dims[1] !== tables[0]!.dims[1])) return false;
  const packed: Strides = [queries * width, depth, width];
  const operand = (i: number, n: number, first: number): Heads => {
    const from: Heads = k
      ? { at: l.x(i), strides: rowsFirst(n, queries, depth) }
      : { at: shift(l.x(0), 4 * first * depth), strides: packed };
    if (!turned || i === 2) return from;
    const strides = rowsFirst(n, queries, depth);
    const y = l.emitter.scratch(4 * batch * queries * n * depth);
    const dims = [batch, n, queries, depth];
    if (!k) copy(l.emitter, { x: from.at, y, dims, xStrides: [...packed, 1], yStrides: [...strides, 1] });
    rotary(l.emitter, {
      ...{ x: k ? from.at : y, y, strides, batch, heads: n, rows: queries, depth },
      ...{ cosines: l.x(7), sines: l.x(8), rotated: 2 * tables[0]!.dims[1], offset: before },
      interleaved: number(node, 'rotary_interleaved', 0) !== 0,
    });
    return { at: y, strides };
  };
  const rows = cached(l, sizes, operand(1, kvHeads, heads), operand(2, kvHeads, heads + kvHeads), [3, 4]);
  const operands = { q: operand(0, heads, 0), ...rows, y: { at: l.y(), strides: rowsFirst(heads, queries, depth) } };
  attend(l, sizes, operands, { causal: true, scale: number(node, 'scale', 0) || undefined });
  return true;
};

/** RotaryEmbedding of both domains, whose positions are 0, 1, 2, … or constant. `at`: indices of positions and tables. */
const rotaryEmbedding =
  (at: { positions: number; cosines: number; sines: number }): Lower =>
  l => {
    const [x, positions, cos, sin] = [0, at.positions, at.cosines, at.sines].map(i => l.inputs[i]);
    const { node } = l;
    if (!floats(l, 0, at.cosines, at.sines) || number(node, 'is_packed_batching', 0)) return false;
    if (positions && (!positions.value || positions.type !== 'int64')) return false;
    const { dims } = x!;
    const flat = dims.length === 3;
    const half = cos!.dims.at(-1)!;
    const rotated = number(node, 'rotary_embedding_dim', 0) || (node.domain ? 2 * half : 0);
    const heads = flat ? number(node, 'num_heads', 0) || (node.domain ? dims[2] / rotated : 0) : dims[1];
    const [batch, rows] = [dims[0], dims.at(-2)!];
    const depth = flat ? dims[2] / heads : dims[3];
    const turned = rotated || depth;
    if (!Number.isInteger(depth) || turned !== 2 * half || sizeOf(sin!.dims) !== sizeOf(cos!.dims)) return false;
    const places = sizeOf(cos!.dims) / half;
    const given = positions && Array.from(positions.value!.data, Number);
    const start = given?.length === 1 ? given[0] : 0;
    const each = given && given.length > 1;
    // Without positions the tables have a row for each token.
    if (!given && places !== batch * rows && batch > 1) return false;
    const last = each ? Math.max(...given) : start + rows - 1;
    if (last >= places || start < 0 || (each && (given.length !== batch * rows || Math.min(...given) < 0)))
      return false;
    const strides = flat ? rowsFirst(heads, rows, depth) : headsFirst(heads, rows, depth);
    const from = l.x(0);
    const to = l.reuse(0);
    const common = { strides, heads, rows, depth, rotated: turned, interleaved: number(node, 'interleaved', 0) !== 0 };
    const one = (item: number, count: number, more: object) =>
      rotary(l.emitter, {
        ...common,
        x: shift(from, 4 * item * strides[0]),
        y: shift(to, 4 * item * strides[0]),
        batch: count,
        cosines: l.x(at.cosines),
        sines: l.x(at.sines),
        ...more,
      });
    if (each) one(0, batch, { positions: l.x(at.positions) });
    else if (given) one(0, batch, { offset: start });
    else for (let item = 0; item < batch; item++) one(item, 1, { offset: item * rows });
    return true;
  };

const lowerings: Lowerings = {
  [`${STRIDED}:Attention`]: strided,
  [`${STRIDED}:Rotary`]: stridedRotary,
  Attention: standard,
  RotaryEmbedding: rotaryEmbedding({ cosines: 1, sines: 2, positions: 3 }),
  'com.microsoft:MultiHeadAttention': multiHead,
  'com.microsoft:GroupQueryAttention': grouped,
  'com.microsoft:RotaryEmbedding': rotaryEmbedding({ positions: 1, cosines: 2, sines: 3 }),
};

/** The operators that `resolve` makes, on plain arrays. */
const operators: Operators = {
  [`${STRIDED}:Attention`]: {
    attributes: [],
    infer: node => [{ type: 'float32', dims: numbers(node, 'dims')! }],
    run(node, inputs) {
      const { batch, heads, kvHeads, queries, keys, depth, valueDepth } = sizesOf(node);
      const dims = numbers(node, 'dims')!;
      const data = new Float32Array(sizeOf(dims));
      const scores = new Float64Array(keys);
      const [q, k, v, y, m] = ['q', 'k', 'v', 'y', 'mask'].map(name => node.attributes[name] && place(node, name));
      const [qs, ks, vs, ms] = inputs.map(input => input?.data as Float32Array);
      const at = (of: typeof q, n: number, h: number, row: number) => {
        const { offset, strides } = of as ReturnType<typeof place>;
        return offset + n * strides[0] + h * strides[1] + row * strides[2];
      };
      for (let n = 0; n < batch; n++)
        for (let h = 0; h < heads; h++)
          for (let i = 0; i < queries; i++) {
            const shared = Math.floor((h * kvHeads) / heads);
            const from = at(q, n, h, i);
            for (let j = 0; j < keys; j++) {
              const key = at(k, n, shared, j);
              let sum = 0;
              for (let d = 0; d < depth; d++) sum += qs[from + d] * ks[key + d];
              scores[j] = sum * number(node, 'scale', 1) + (m ? ms[at(m, n, h, i) + j] : 0);
            }
            const top = scores.reduce((a, b) => Math.max(a, b));
            let total = 0;
            for (let j = 0; j < keys; j++) total += scores[j] = Math.exp(scores[j] - top);
            const to = at(y, n, h, i);
            for (let j = 0; j < keys; j++)
              for (let d = 0; d < valueDepth; d++) data[to + d] += (scores[j] / total) * vs[at(v, n, shared, j) + d];
          }
      return [{ type: 'float32', dims, data }];
    },
  },
  [`${STRIDED}:Rotary`]: {
    attributes: [],
    infer: (_node, [x]) => [{ type: x!.type, dims: x!.dims }],
    run(node, [x, c, s]) {
      const [, heads, rows, depth] = numbers(node, 'sizes')!;
      const [from, cos, sin] = [x, c, s].map(value => value!.data as Float32Array);
      const data = from.slice();
      const half = depth / 2;
      for (let at = 0, vector = 0; at < data.length; at += depth, vector++) {
        const row = (Math.floor(vector / heads) % rows) * half;
        for (let i = 0; i < half; i++) {
          const [a, b] = [from[at + i], from[at + half + i]];
          data[at + i] = a * cos[row + i] - b * sin[row + i];
          data[at + half + i] = b * cos[row + i] + a * sin[row + i];
        }
      }
      return [{ ...x!, data }];
    },
  },
};

export const extension: Extension = { rules: [rotaryRule, attentionRule], operators, lowerings: () => lowerings };

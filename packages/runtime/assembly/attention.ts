// Attention: softmax(scale · Q·Kᵀ + mask)·V for each head, one tile of queries at a time, and rotary embeddings.
import { madd, share } from './common';
import { splat, sumLanes } from './dense-math';
import { interleave } from './dense-pack';
import { setLast, setLimits, tile6x1, tile6x4, tile6x8 } from './dense-tile';
import { softmaxRow } from './reduce';

/** Queries of a tile: its scores stay in cache. */
const TILE = 24;

/** Scores of one query against n keys, `kRow` bytes apart. */
function scores(q: usize, k: usize, kRow: usize, n: i32, depth: i32, scale: f32, mask: usize, to: usize): void {
  const whole = depth & -4;
  for (let i = 0; i < n; i += 2) {
    const k0 = k + i * kRow, k1 = i + 1 < n ? k0 + kRow : k0;
    let a0 = splat(0), a1 = a0, b0 = a0, b1 = a0;
    let d = 0;
    for (; d + 8 <= depth; d += 8) {
      const at = d << 2;
      const x = v128.load(q + at), z = v128.load(q + at, 16);
      a0 = madd(x, v128.load(k0 + at), a0);
      a1 = madd(x, v128.load(k1 + at), a1);
      b0 = madd(z, v128.load(k0 + at, 16), b0);
      b1 = madd(z, v128.load(k1 + at, 16), b1);
    }
    if (d < whole) {
      const x = v128.load(q + d * 4);
      a0 = madd(x, v128.load(k0 + d * 4), a0);
      a1 = madd(x, v128.load(k1 + d * 4), a1);
    }
    let s0 = sumLanes(f32x4.add(a0, b0)), s1 = sumLanes(f32x4.add(a1, b1));
    for (let r = whole; r < depth; r++) {
      const x = load<f32>(q + r * 4);
      s0 += x * load<f32>(k0 + r * 4);
      s1 += x * load<f32>(k1 + r * 4);
    }
    s0 *= scale;
    s1 *= scale;
    if (mask) {
      s0 += load<f32>(mask + i * 4);
      if (i + 1 < n) s1 += load<f32>(mask + i * 4, 4);
    }
    store<f32>(to + i * 4, s0);
    if (i + 1 < n) store<f32>(to + i * 4, s1, 4);
  }
}

/** y[depth] = Σ p[i] · v[i][depth], rows of v `vRow` bytes apart. */
function blend(p: usize, v: usize, vRow: usize, n: i32, depth: i32, y: usize): void {
  const end = p + n * 4;
  let d = 0;
  for (; d + 16 <= depth; d += 16, v += 64, y += 64) {
    let a = splat(0), b = a, c = a, e = a;
    for (let from = p, row = v; from < end; from += 4, row += vRow) {
      const w = v128.load32_splat(from);
      a = madd(w, v128.load(row), a);
      b = madd(w, v128.load(row, 16), b);
      c = madd(w, v128.load(row, 32), c);
      e = madd(w, v128.load(row, 48), e);
    }
    v128.store(y, a);
    v128.store(y, b, 16);
    v128.store(y, c, 32);
    v128.store(y, e, 48);
  }
  for (; d < depth; d++, v += 4, y += 4) {
    let sum: f32 = 0;
    for (let from = p, row = v; from < end; from += 4, row += vRow) sum += load<f32>(from) * load<f32>(row);
    store<f32>(y, sum);
  }
}

/**
 * For each item of the batch and each head: y[t][dv] = softmax(scale · q[t][d]·k[l][d] + mask[t][l]) · v[l][dv].
 * - Strides (elements) of each array: item, head, row. Heads of k and v are shared by heads / kvHeads heads of q.
 * - `causal` 1: query t sees keys up to t + past. `mask` may be null; its rows are `l` floats, its strides may be 0.
 * - Threads share items × heads × `parts` ranges of queries.
 * - `scratch`: per thread `scratchBytes` ≥ floats: l8·d (keys) + 24·d + 24·l8 (scores) + 6·l8, l8 = l rounded up to 8.
 */
export function attention(
  q: usize, qItem: i32, qHead: i32, qRow: i32, k: usize, kItem: i32, kHead: i32, kRow: i32,
  v: usize, vItem: i32, vHead: i32, vRow: i32, y: usize, yItem: i32, yHead: i32, yRow: i32,
  mask: usize, mItem: i32, mHead: i32, mRow: i32,
  batch: i32, heads: i32, kvHeads: i32, t: i32, l: i32, d: i32, dv: i32, scale: f32, causal: i32, past: i32,
  parts: i32, scratch: usize, scratchBytes: i32, thread: i32, threads: i32,
): void {
  setLimits(-Infinity, Infinity);
  setLast(true);
  scratch += thread * scratchBytes;
  const l8 = (l + 7) & -8;
  const queries = scratch + l8 * d * 4, table = queries + TILE * d * 4, panel = table + TILE * l8 * 4;
  const units = batch * heads * parts;
  const end = share(units, 1, thread + 1, threads);
  for (let unit = share(units, 1, thread, threads); unit < end; unit++) {
    const pair = unit / parts, part = unit % parts;
    const item = pair / heads, head = pair % heads, kv = head / (heads / kvHeads);
    const qs = q + (item * qItem + head * qHead) * 4, ks = k + (item * kItem + kv * kHead) * 4;
    const vs = v + (item * vItem + kv * vHead) * 4, ys = y + (item * yItem + head * yHead) * 4;
    const ms = mask ? mask + (item * mItem + head * mHead) * 4 : 0;
    const first = share(t, 6, part, parts), stop = share(t, 6, part + 1, parts);
    if (t < 4) {
      for (let i = first; i < stop; i++) {
        const n = causal ? min(l, i + past + 1) : l;
        scores(qs + i * qRow * 4, ks, kRow * 4, n, d, scale, ms ? ms + i * mRow * 4 : 0, table);
        softmaxRow(table, table, n, 0);
        blend(table, vs, vRow * 4, n, dv, ys + i * yRow * 4);
      }
      continue;
    }
    const seen = causal ? min(l, stop + past) : l;
    for (let j = 0; j < seen; j += 8) interleave(ks + j * kRow * 4, kRow * 4, min(8, seen - j), d, scratch + j * d * 4, 8, 1);
    for (let i0 = first; i0 < stop; i0 += TILE) {
      const rows = min(TILE, stop - i0), n = causal ? min(l, i0 + rows + past) : l;
      for (let i = 0; i < rows; i += 6) {
        interleave(qs + (i0 + i) * qRow * 4, qRow * 4, min(6, rows - i), d, queries + i * d * 4, 6, scale);
      }
      for (let j = 0; j < n; j += 8) {
        for (let i = 0; i < rows; i += 6) {
          tile6x8(
            d, queries + i * d * 4, scratch + j * d * 4, 32, min(6, rows - i), table + (i * l8 + j) * 4, l8 * 4,
            ms ? ms + ((i0 + i) * mRow + j) * 4 : 0, mRow * 4, 0, 0,
          );
        }
      }
      for (let i = 0; i < rows; i++) {
        const row = table + i * l8 * 4, own = causal ? min(l, i0 + i + past + 1) : l;
        softmaxRow(row, row, own, 0);
        for (let j = own; j < n; j++) store<f32>(row + j * 4, 0);
      }
      for (let i = 0; i < rows; i += 6) {
        const count = min(6, rows - i), to = ys + (i0 + i) * yRow * 4;
        interleave(table + i * l8 * 4, l8 * 4, count, n, panel, 6, 1);
        let j = 0;
        for (; j + 8 <= dv; j += 8) tile6x8(n, panel, vs + j * 4, vRow * 4, count, to + j * 4, yRow * 4, 0, 0, 0, 0);
        for (; j + 4 <= dv; j += 4) tile6x4(n, panel, 24, vs + j * 4, vRow * 4, count, to + j * 4, yRow * 4, 0, 0, 0, 0);
        for (; j < dv; j++) tile6x1(n, panel, 24, vs + j * 4, vRow * 4, count, to + j * 4, yRow * 4, 0, 0, 0, 0);
      }
    }
  }
}

/**
 * Rotates pairs of the first `rotated` of d floats by an angle of their row's position: pairs (i, i + rotated / 2), or
 * neighbours with `interleaved` 1; the rest is copied. Rows [batch][heads][t] have strides in elements; `cosines` and
 * `sines` are [position][rotated / 2]. The position is t + `offset`, or positions[batch · perItem + t] (int64) + offset.
 */
export function rotary(
  x: usize, y: usize, batch: i32, heads: i32, t: i32, d: i32, item: i32, head: i32, row: i32, cosines: usize, sines: usize,
  rotated: i32, interleaved: i32, positions: usize, perItem: i32, offset: i32, thread: i32, threads: i32,
): void {
  const half = rotated >> 1;
  const end = share(batch * heads * t, 1, thread + 1, threads);
  for (let unit = share(batch * heads * t, 1, thread, threads); unit < end; unit++) {
    const i = unit % t, pair = unit / t, b = pair / heads;
    const at = (b * item + (pair - b * heads) * head + i * row) * 4;
    const position = offset + (positions ? <i32>load<i64>(positions + (b * perItem + i) * 8) : i);
    const cos = cosines + position * half * 4, sin = sines + position * half * 4;
    const from = x + at, to = y + at;
    if (interleaved) {
      for (let j = 0; j < half; j++) {
        const u = load<f32>(from + j * 8), v = load<f32>(from + j * 8, 4);
        const c = load<f32>(cos + j * 4), s = load<f32>(sin + j * 4);
        store<f32>(to + j * 8, u * c - v * s);
        store<f32>(to + j * 8, v * c + u * s, 4);
      }
    } else {
      let j = 0;
      const other = half * 4;
      for (; j + 4 <= half; j += 4) {
        const p = j << 2;
        const u = v128.load(from + p), v = v128.load(from + p + other), c = v128.load(cos + p), s = v128.load(sin + p);
        v128.store(to + p, f32x4.sub(f32x4.mul(u, c), f32x4.mul(v, s)));
        v128.store(to + p + other, f32x4.add(f32x4.mul(v, c), f32x4.mul(u, s)));
      }
      for (; j < half; j++) {
        const p = j << 2;
        const u = load<f32>(from + p), v = load<f32>(from + p + other), c = load<f32>(cos + p), s = load<f32>(sin + p);
        store<f32>(to + p, u * c - v * s);
        store<f32>(to + p + other, v * c + u * s);
      }
    }
    if (x != y) for (let j = rotated; j < d; j++) store<f32>(to + j * 4, load<f32>(from + j * 4));
  }
}

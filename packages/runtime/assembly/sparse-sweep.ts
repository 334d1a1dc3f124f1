// Sparse weights × dense activations, pixels contiguous: Y(rows × pixels) = W(rows × cols) · X(cols × pixels).
//
// Weights come in blocks of rows that share one list of columns (unstructured weights: blocks of one row), and in chunks
// of columns, so that a tile's activations stay in the first-level cache: a chunk's sums are added to those before it.
//   pack:   u32 offsets of the chunks
//   chunk:  u32 starts[blocks + 1]                      byte offsets of the blocks' records, and of the end, in the chunk
//   record: i32 nonzeros, rows; f32 bias[rows] (zeros after the first chunk); (int8 weights: f32 scale[rows])
//           i32 delta[nonzeros + 1]                     bytes to move the input pointer; the last returns it
//           values: f32 pairs[rows / 2][nonzeros][2], then f32 single[nonzeros] of an odd last row; or i8[nonzeros]
// All accumulators of a tile stay in registers: 1 row × up to 8 vectors of 4 pixels, or 2 rows × up to 6.
import { madd } from './common';

/** Kinds of packs: blocks of one row, blocks of any number of rows, blocks of one row with int8 values. */
export const ROWS = 0;
export const BLOCKS = 1;
export const QUANTISED = 2;

/** A chunk of columns of a pack. */
// @ts-ignore: decorator
@inline
export function chunkOf(pack: usize, index: i32): usize {
  return pack + load<u32>(pack + (<usize>index << 2));
}

/** First block of a thread's share, so that all threads have about the same bytes of weights in a chunk. */
export function sparseShare(chunk: usize, blocks: i32, thread: i32, threads: i32): i32 {
  const first = load<u32>(chunk);
  const bytes = load<u32>(chunk + (<usize>blocks << 2)) - first;
  const target = first + <u32>((<u64>bytes * <u64>thread) / <u64>threads);
  let low = 0;
  let high = blocks;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(chunk + (<usize>middle << 2)) < target) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many full wide tiles (48 pixels) begin the pixels. */
// @ts-ignore: decorator
@inline
export function fullTiles(kind: i32, wide: i32, pixels: i32): i32 {
  return wide && kind === BLOCKS ? pixels / 48 : 0;
}

/** Tiles of some pixels: `full` wide ones, then as few as the registers allow, of about equal size. */
export function tileCount(kind: i32, full: i32, pixels: i32): i32 {
  const most = kind === BLOCKS ? 6 : 8;
  return full + (((pixels + 3) >> 2) - full * 12 + most - 1) / most;
}

/** First vector of a tile (of four pixels); a tile ends where the next begins. */
export function tileStart(kind: i32, full: i32, tiles: i32, pixels: i32, tile: i32): i32 {
  if (tile <= full) return tile * 12;
  const rest = ((pixels + 3) >> 2) - full * 12;
  return full * 12 + (rest * (tile - full)) / (tiles - full);
}

/** Stores the first `lanes` (1 to 4) of a vector. */
// @ts-ignore: decorator
@inline
export function storeLanes(to: usize, value: v128, lanes: i32): void {
  if (lanes === 4) v128.store(to, value);
  else if (lanes === 1) v128.store32_lane(to, value, 0);
  else {
    v128.store64_lane(to, value, 0);
    if (lanes === 3) v128.store32_lane(to, value, 2, 8);
  }
}

/** min(max(value, low), high), where NaN stays. */
// @ts-ignore: decorator
@inline
export function clamp(value: v128, low: v128, high: v128): v128 {
  return f32x4.pmin(f32x4.pmax(value, low), high);
}

/** Finishes and stores one row of V vectors (V a constant); `lanes` (1 to 4) of the last one are stored. */
// @ts-ignore: decorator
@inline
function finish(
  V: i32,
  y: usize,
  residual: usize,
  low: v128,
  high: v128,
  lanes: i32,
  a0: v128,
  a1: v128,
  a2: v128,
  a3: v128,
  a4: v128,
  a5: v128,
  a6: v128,
  a7: v128,
  a8: v128,
  a9: v128,
  a10: v128,
  a11: v128,
): void {
  if (residual) {
    a0 = f32x4.add(a0, v128.load(residual, 0));
    if (V > 1) a1 = f32x4.add(a1, v128.load(residual, 16));
    if (V > 2) a2 = f32x4.add(a2, v128.load(residual, 32));
    if (V > 3) a3 = f32x4.add(a3, v128.load(residual, 48));
    if (V > 4) a4 = f32x4.add(a4, v128.load(residual, 64));
    if (V > 5) a5 = f32x4.add(a5, v128.load(residual, 80));
    if (V > 6) a6 = f32x4.add(a6, v128.load(residual, 96));
    if (V > 7) a7 = f32x4.add(a7, v128.load(residual, 112));
    if (V > 8) a8 = f32x4.add(a8, v128.load(residual, 128));
    if (V > 9) a9 = f32x4.add(a9, v128.load(residual, 144));
    if (V > 10) a10 = f32x4.add(a10, v128.load(residual, 160));
    if (V > 11) a11 = f32x4.add(a11, v128.load(residual, 176));
  }
  a0 = clamp(a0, low, high);
  if (V > 1) a1 = clamp(a1, low, high);
  if (V > 2) a2 = clamp(a2, low, high);
  if (V > 3) a3 = clamp(a3, low, high);
  if (V > 4) a4 = clamp(a4, low, high);
  if (V > 5) a5 = clamp(a5, low, high);
  if (V > 6) a6 = clamp(a6, low, high);
  if (V > 7) a7 = clamp(a7, low, high);
  if (V > 8) a8 = clamp(a8, low, high);
  if (V > 9) a9 = clamp(a9, low, high);
  if (V > 10) a10 = clamp(a10, low, high);
  if (V > 11) a11 = clamp(a11, low, high);
  if (V > 1) v128.store(y, a0, 0);
  if (V > 2) v128.store(y, a1, 16);
  if (V > 3) v128.store(y, a2, 32);
  if (V > 4) v128.store(y, a3, 48);
  if (V > 5) v128.store(y, a4, 64);
  if (V > 6) v128.store(y, a5, 80);
  if (V > 7) v128.store(y, a6, 96);
  if (V > 8) v128.store(y, a7, 112);
  if (V > 9) v128.store(y, a8, 128);
  if (V > 10) v128.store(y, a9, 144);
  if (V > 11) v128.store(y, a10, 160);
  if (V === 1) storeLanes(y + 0, a0, lanes);
  else if (V === 2) storeLanes(y + 16, a1, lanes);
  else if (V === 3) storeLanes(y + 32, a2, lanes);
  else if (V === 4) storeLanes(y + 48, a3, lanes);
  else if (V === 5) storeLanes(y + 64, a4, lanes);
  else if (V === 6) storeLanes(y + 80, a5, lanes);
  else if (V === 7) storeLanes(y + 96, a6, lanes);
  else if (V === 8) storeLanes(y + 112, a7, lanes);
  else if (V === 9) storeLanes(y + 128, a8, lanes);
  else if (V === 10) storeLanes(y + 144, a9, lanes);
  else if (V === 11) storeLanes(y + 160, a10, lanes);
  else v128.store(y, a11, 176);
}

/** One row × V vectors. `quantised`: int8 values; their sum is scaled, then the bias added. Both and V are constants. */
// @ts-ignore: decorator
@inline
function single(
  V: i32,
  quantised: bool,
  delta: usize,
  value: usize,
  count: i32,
  bias: v128,
  scale: v128,
  x: usize,
  y: usize,
  residual: usize,
  low: v128,
  high: v128,
  lanes: i32,
): void {
  const start = quantised ? f32x4.splat(0) : bias;
  let a0 = start;
  let a1 = start;
  let a2 = start;
  let a3 = start;
  let a4 = start;
  let a5 = start;
  let a6 = start;
  let a7 = start;
  let a8 = start;
  let a9 = start;
  let a10 = start;
  let a11 = start;
  for (; count > 0; --count) {
    x += load<u32>(delta);
    const w = quantised ? f32x4.splat(<f32>load<i8>(value)) : v128.load32_splat(value);
    a0 = madd(w, v128.load(x, 0), a0);
    if (V > 1) a1 = madd(w, v128.load(x, 16), a1);
    if (V > 2) a2 = madd(w, v128.load(x, 32), a2);
    if (V > 3) a3 = madd(w, v128.load(x, 48), a3);
    if (V > 4) a4 = madd(w, v128.load(x, 64), a4);
    if (V > 5) a5 = madd(w, v128.load(x, 80), a5);
    if (V > 6) a6 = madd(w, v128.load(x, 96), a6);
    if (V > 7) a7 = madd(w, v128.load(x, 112), a7);
    if (V > 8) a8 = madd(w, v128.load(x, 128), a8);
    if (V > 9) a9 = madd(w, v128.load(x, 144), a9);
    if (V > 10) a10 = madd(w, v128.load(x, 160), a10);
    if (V > 11) a11 = madd(w, v128.load(x, 176), a11);
    delta += 4;
    value += quantised ? 1 : 4;
  }
  if (quantised) {
    a0 = madd(a0, scale, bias);
    if (V > 1) a1 = madd(a1, scale, bias);
    if (V > 2) a2 = madd(a2, scale, bias);
    if (V > 3) a3 = madd(a3, scale, bias);
    if (V > 4) a4 = madd(a4, scale, bias);
    if (V > 5) a5 = madd(a5, scale, bias);
    if (V > 6) a6 = madd(a6, scale, bias);
    if (V > 7) a7 = madd(a7, scale, bias);
  }
  finish(V, y, residual, low, high, lanes, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11);
}

/** Two rows × V vectors (V a constant). */
// @ts-ignore: decorator
@inline
function pair(
  V: i32,
  delta: usize,
  value: usize,
  count: i32,
  biasA: v128,
  biasB: v128,
  x: usize,
  y: usize,
  pitch: usize,
  residual: usize,
  low: v128,
  high: v128,
  lanes: i32,
): void {
  let a0 = biasA;
  let a1 = biasA;
  let a2 = biasA;
  let a3 = biasA;
  let a4 = biasA;
  let a5 = biasA;
  let a6 = biasA;
  let a7 = biasA;
  let a8 = biasA;
  let a9 = biasA;
  let a10 = biasA;
  let a11 = biasA;
  let b0 = biasB;
  let b1 = biasB;
  let b2 = biasB;
  let b3 = biasB;
  let b4 = biasB;
  let b5 = biasB;
  let b6 = biasB;
  let b7 = biasB;
  let b8 = biasB;
  let b9 = biasB;
  let b10 = biasB;
  let b11 = biasB;
  for (; count > 0; --count) {
    x += load<u32>(delta);
    const wa = v128.load32_splat(value);
    const wb = v128.load32_splat(value, 4);
    let p = v128.load(x);
    a0 = madd(wa, p, a0);
    b0 = madd(wb, p, b0);
    if (V > 1) {
      p = v128.load(x, 16);
      a1 = madd(wa, p, a1);
      b1 = madd(wb, p, b1);
    }
    if (V > 2) {
      p = v128.load(x, 32);
      a2 = madd(wa, p, a2);
      b2 = madd(wb, p, b2);
    }
    if (V > 3) {
      p = v128.load(x, 48);
      a3 = madd(wa, p, a3);
      b3 = madd(wb, p, b3);
    }
    if (V > 4) {
      p = v128.load(x, 64);
      a4 = madd(wa, p, a4);
      b4 = madd(wb, p, b4);
    }
    if (V > 5) {
      p = v128.load(x, 80);
      a5 = madd(wa, p, a5);
      b5 = madd(wb, p, b5);
    }
    if (V > 6) {
      p = v128.load(x, 96);
      a6 = madd(wa, p, a6);
      b6 = madd(wb, p, b6);
    }
    if (V > 7) {
      p = v128.load(x, 112);
      a7 = madd(wa, p, a7);
      b7 = madd(wb, p, b7);
    }
    if (V > 8) {
      p = v128.load(x, 128);
      a8 = madd(wa, p, a8);
      b8 = madd(wb, p, b8);
    }
    if (V > 9) {
      p = v128.load(x, 144);
      a9 = madd(wa, p, a9);
      b9 = madd(wb, p, b9);
    }
    if (V > 10) {
      p = v128.load(x, 160);
      a10 = madd(wa, p, a10);
      b10 = madd(wb, p, b10);
    }
    if (V > 11) {
      p = v128.load(x, 176);
      a11 = madd(wa, p, a11);
      b11 = madd(wb, p, b11);
    }
    delta += 4;
    value += 8;
  }
  finish(V, y, residual, low, high, lanes, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11);
  y += pitch;
  residual += residual ? pitch : 0;
  finish(V, y, residual, low, high, lanes, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11);
}

/**
 * All rows of blocks [first, end) of a chunk on one tile of V vectors. `y` and `residual` (0: none) are those of the
 * first block's first row; rows are `pitch` bytes apart.
 */
// @ts-ignore: decorator
@inline
export function sweep(
  V: i32, kind: i32, chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32,
  lo: f32, hi: f32,
): void {
  const low = f32x4.splat(lo);
  const high = f32x4.splat(hi);
  const add: usize = residual ? pitch : 0;
  for (let block = first; block < end; ++block) {
    const record = chunk + load<u32>(chunk + (<usize>block << 2));
    const count = load<i32>(record);
    let bias = record + 8;
    if (kind !== BLOCKS) {
      const scale = kind === QUANTISED ? v128.load32_splat(bias, 4) : f32x4.splat(1);
      const delta = record + (kind === QUANTISED ? 16 : 12);
      const value = delta + (<usize>count << 2) + 4;
      const splat = v128.load32_splat(bias);
      single(V, kind === QUANTISED, delta, value, count, splat, scale, x, y, residual, low, high, lanes);
      y += pitch;
      residual += add;
    } else {
      let rows = load<i32>(record, 4);
      const delta = bias + (<usize>rows << 2);
      let value = delta + (<usize>count << 2) + 4;
      for (; rows > 1; rows -= 2) {
        const biasA = v128.load32_splat(bias);
        const biasB = v128.load32_splat(bias, 4);
        pair(V, delta, value, count, biasA, biasB, x, y, pitch, residual, low, high, lanes);
        y += pitch << 1;
        residual += add << 1;
        bias += 8;
        value += <usize>count << 3;
      }
      if (rows) {
        const splat = v128.load32_splat(bias);
        single(V, false, delta, value, count, splat, splat, x, y, residual, low, high, lanes);
        y += pitch;
        residual += add;
      }
    }
  }
}

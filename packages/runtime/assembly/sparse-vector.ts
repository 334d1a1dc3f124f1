// Sparse matrix × vectors: every weight is read once, so fewer bytes and a cheap gather of the input decide.
//
// Rows come in blocks that share one list of columns (unstructured weights: blocks of one row). The pack is
//   u32 starts[blocks + 1], then records: i32 nonzeros, rows, first row; f32 bias[rows]; (int8 weights: f32 scale)
//   u16 columns[nonzeros rounded up to 4]
//   values: rows in passes of 4, 2 and 1, each [nonzeros / 4 rounded up][pass][4], f32 or int8
// N:M packs, for rows with at most 4 nonzeros in every 8 columns from a multiple of 8, are
//   f32 bias[rows], (f32 scale[rows]), u8 masks[rows][windows] padded to 4 bytes, values[rows][windows][4], f32 or int8
import { madd, share } from './common';
import { sparseShare } from './sparse-sweep';

/** The floats of x at four columns. */
// @ts-ignore: decorator
@inline
function gather(x: usize, columns: usize): v128 {
  let v = v128.load32_zero(x + (<usize>load<u16>(columns) << 2));
  v = v128.load32_lane(x + (<usize>load<u16>(columns, 2) << 2), v, 1);
  v = v128.load32_lane(x + (<usize>load<u16>(columns, 4) << 2), v, 2);
  return v128.load32_lane(x + (<usize>load<u16>(columns, 6) << 2), v, 3);
}

/** Four weights. */
// @ts-ignore: decorator
@inline
function weights(quantised: bool, at: usize): v128 {
  if (!quantised) return v128.load(at);
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(at))));
}

// @ts-ignore: decorator
@inline
function sum(v: v128): f32 {
  v = f32x4.add(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1);
}

// @ts-ignore: decorator
@inline
function put(y: usize, residual: usize, value: f32, lo: f32, hi: f32): void {
  if (residual) value += load<f32>(residual);
  if (value < lo) value = lo;
  if (value > hi) value = hi;
  store<f32>(y, value);
}

/** R (1, 2 or 4, a constant) rows of a block. */
// @ts-ignore: decorator
@inline
function rows(
  R: i32, quantised: bool, count: i32, index: usize, value: usize, bias: usize, scale: f32, x: usize, y: usize,
  residual: usize, lo: f32, hi: f32,
): void {
  const zero = f32x4.splat(0);
  const width: usize = quantised ? 4 : 16;
  let a = zero, b = zero, c = zero, d = zero;
  if (R === 1) {
    for (; count >= 8; count -= 8) {
      a = madd(gather(x, index), weights(quantised, value), a);
      b = madd(gather(x, index + 8), weights(quantised, value + width), b);
      index += 16;
      value += width << 1;
    }
    a = f32x4.add(a, b);
  }
  for (; count > 0; count -= 4) {
    let v = gather(x, index);
    // What pads the last step must not let an infinity through.
    if (count < 4) v = v128.and(v, i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(count)));
    a = madd(v, weights(quantised, value), a);
    if (R > 1) b = madd(v, weights(quantised, value + width), b);
    if (R > 2) c = madd(v, weights(quantised, value + 2 * width), c);
    if (R > 3) d = madd(v, weights(quantised, value + 3 * width), d);
    index += 8;
    value += R * width;
  }
  put(y, residual, sum(a) * scale + load<f32>(bias), lo, hi);
  if (R > 1) put(y + 4, residual ? residual + 4 : 0, sum(b) + load<f32>(bias, 4), lo, hi);
  if (R > 2) put(y + 8, residual ? residual + 8 : 0, sum(c) + load<f32>(bias, 8), lo, hi);
  if (R > 3) put(y + 12, residual ? residual + 12 : 0, sum(d) + load<f32>(bias, 12), lo, hi);
}

// @ts-ignore: decorator
@inline
function vectors(
  quantised: bool, pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, batch: i32,
  xBatch: usize, yBatch: usize, lo: f32, hi: f32,
): void {
  for (let block = first; block < end; ++block) {
    const record = pack + load<u32>(pack + (<usize>block << 2));
    const count = load<i32>(record);
    const quads = <usize>((count + 3) >> 2);
    const all = load<i32>(record, 4);
    const index = record + 12 + (<usize>all << (quantised ? 3 : 2));
    const scale: f32 = quantised ? load<f32>(record, 16) : 1;
    let row = <usize>load<i32>(record, 8) << 2;
    let bias = record + 12;
    let value = index + (quads << 3);
    let left = all;
    while (left > 0) {
      const pass = quantised || left === 1 ? 1 : left < 4 ? 2 : 4;
      for (let i = 0; i < batch; ++i) {
        const from = x + <usize>i * xBatch;
        const to = y + <usize>i * yBatch + row;
        const add = residual ? residual + <usize>i * yBatch + row : 0;
        if (pass === 1) rows(1, quantised, count, index, value, bias, scale, from, to, add, lo, hi);
        else if (pass === 2) rows(2, false, count, index, value, bias, 1, from, to, add, lo, hi);
        else rows(4, false, count, index, value, bias, 1, from, to, add, lo, hi);
      }
      value += quads * <usize>pass << (quantised ? 2 : 4);
      bias += <usize>pass << 2;
      row += <usize>pass << 2;
      left -= pass;
    }
  }
}

// One function for each format, so that the engine gives each its registers.
function floats(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, batch: i32, xBatch: usize, yBatch: usize,
  lo: f32, hi: f32,
): void {
  vectors(false, pack, first, end, x, y, residual, batch, xBatch, yBatch, lo, hi);
}

function bytes(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, batch: i32, xBatch: usize, yBatch: usize,
  lo: f32, hi: f32,
): void {
  vectors(true, pack, first, end, x, y, residual, batch, xBatch, yBatch, lo, hi);
}

/**
 * y = clamp(W · x + bias + residual) for `batch` vectors x [cols], y and residual (0: none) [rows], xBatch and yBatch
 * bytes apart; cols ≤ 65536. Threads share blocks by bytes of weights.
 */
export function sparseVector(
  quantised: i32, pack: usize, blocks: i32, x: usize, y: usize, residual: usize, batch: i32, xBatch: usize, yBatch: usize,
  lo: f32, hi: f32, thread: i32, threads: i32,
): void {
  const first = sparseShare(pack, blocks, thread, threads);
  const end = sparseShare(pack, blocks, thread + 1, threads);
  if (quantised) bytes(pack, first, end, x, y, residual, batch, xBatch, yBatch, lo, hi);
  else floats(pack, first, end, x, y, residual, batch, xBatch, yBatch, lo, hi);
}

// @ts-ignore: decorator
@inline
function pick(from: v128, lanes: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(from, lanes) : i8x16.swizzle(from, lanes);
}

/** The floats of x that a mask names, packed to the front: `table` holds two shuffles for each mask. */
// @ts-ignore: decorator
@inline
function compress(x: usize, entry: usize): v128 {
  return v128.or(pick(v128.load(x), v128.load(entry)), pick(v128.load(x, 16), v128.load(entry, 16)));
}

// @ts-ignore: decorator
@inline
function grouped(
  quantised: bool, pack: usize, table: usize, rows: i32, windows: i32, first: i32, end: i32, x: usize, y: usize,
  residual: usize, batch: i32, xBatch: usize, yBatch: usize, lo: f32, hi: f32,
): void {
  const width: usize = quantised ? 4 : 16;
  const scales = pack + (<usize>rows << 2);
  const masks = quantised ? scales + (<usize>rows << 2) : scales;
  const values = masks + <usize>((rows * windows + 3) & -4);
  for (let row = first; row < end; ++row) {
    const at = <usize>row << 2;
    for (let i = 0; i < batch; ++i) {
      let mask = masks + <usize>(row * windows);
      let value = values + <usize>(row * windows) * width;
      let from = x + <usize>i * xBatch;
      let a = f32x4.splat(0), b = a;
      let n = windows;
      for (; n > 1; n -= 2) {
        a = madd(compress(from, table + (<usize>load<u8>(mask) << 5)), weights(quantised, value), a);
        b = madd(compress(from + 32, table + (<usize>load<u8>(mask, 1) << 5)), weights(quantised, value + width), b);
        from += 64;
        mask += 2;
        value += width << 1;
      }
      if (n) a = madd(compress(from, table + (<usize>load<u8>(mask) << 5)), weights(quantised, value), a);
      const scale: f32 = quantised ? load<f32>(scales + at) : 1;
      const to = <usize>i * yBatch + at;
      put(y + to, residual ? residual + to : 0, sum(f32x4.add(a, b)) * scale + load<f32>(pack + at), lo, hi);
    }
  }
}

/** `sparseVector` for N:M packs. `windows`: ⌈cols / 8⌉; `table`: for each mask the byte shuffles of two vectors. */
export function sparseVectorGrouped(
  quantised: i32, pack: usize, table: usize, rows: i32, windows: i32, x: usize, y: usize, residual: usize, batch: i32,
  xBatch: usize, yBatch: usize, lo: f32, hi: f32, thread: i32, threads: i32,
): void {
  const first = share(rows, 1, thread, threads);
  const end = share(rows, 1, thread + 1, threads);
  if (quantised) grouped(true, pack, table, rows, windows, first, end, x, y, residual, batch, xBatch, yBatch, lo, hi);
  else grouped(false, pack, table, rows, windows, first, end, x, y, residual, batch, xBatch, yBatch, lo, hi);
}

// Moving elements: strided copies, transposes, padding, gathering of rows, resizing.
import { share } from './common';
import { store4x4 } from './dense-pack';
import { storeSome } from './dense-vector';

function copyBytes(to: usize, from: usize, bytes: i32): void {
  if (bytes > 512) {
    memory.copy(to, from, bytes);
    return;
  }
  let i = 0;
  for (; i + 16 <= bytes; i += 16) v128.store(to + i, v128.load(from + i));
  if (bytes & 8) {
    store<i64>(to + i, load<i64>(from + i));
    i += 8;
  }
  if (bytes & 4) {
    store<i32>(to + i, load<i32>(from + i));
    i += 4;
  }
  for (; i < bytes; i++) store<u8>(to + i, load<u8>(from + i));
}

/** Offsets in bytes of row `row` in x and y; the table: rank, then for each outer dimension, innermost first, size and strides. */
let xOffset: i32 = 0;
let yOffset: i32 = 0;

function locate(row: i32, table: usize): void {
  const rank = load<i32>(table);
  let x = 0, y = 0;
  table += 4;
  for (let d = 0; d < rank; d++, table += 12) {
    const size = load<i32>(table), next = row / size, index = row - next * size;
    row = next;
    x += index * load<i32>(table, 4);
    y += index * load<i32>(table, 8);
  }
  xOffset = x;
  yOffset = y;
}

// @ts-ignore: decorator
@inline
function spread<T>(x: usize, xStep: i32, y: usize, yStep: i32, count: i32): void {
  for (let i = 0; i < count; i++, x += xStep, y += yStep) store<T>(y, load<T>(x));
}

/** Copies `inner` elements of `size` bytes (1, 2, 4 or 8) for each outer index; all strides in bytes, of x they may be 0 or negative. */
export function strided(
  x: usize, y: usize, outer: i32, inner: i32, xStep: i32, yStep: i32, size: i32, table: usize, thread: i32, threads: i32,
): void {
  const byRows = outer >= 2 * threads;
  const first = byRows ? share(outer, 1, thread, threads) : 0, end = byRows ? share(outer, 1, thread + 1, threads) : outer;
  const start = byRows ? 0 : share(inner, 64, thread, threads);
  const count = (byRows ? inner : share(inner, 64, thread + 1, threads)) - start;
  if (count <= 0) return;
  for (let row = first; row < end; row++) {
    locate(row, table);
    const from = x + xOffset + start * xStep, to = y + yOffset + start * yStep;
    if (xStep == size && yStep == size) copyBytes(to, from, count * size);
    else if (size == 4) spread<i32>(from, xStep, to, yStep, count);
    else if (size == 8) spread<i64>(from, xStep, to, yStep, count);
    else if (size == 2) spread<i16>(from, xStep, to, yStep, count);
    else spread<i8>(from, xStep, to, yStep, count);
  }
}

/** For each outer index, y[c][r] = x[r][c] of 4-byte elements: rows ldx and ldy bytes apart. */
export function transpose4(
  x: usize, y: usize, outer: i32, rows: i32, columns: i32, ldx: i32, ldy: i32, table: usize, thread: i32, threads: i32,
): void {
  const blocks = (columns + 15) >> 4;
  const end = share(outer * blocks, 1, thread + 1, threads);
  for (let item = share(outer * blocks, 1, thread, threads); item < end; item++) {
    const row = item / blocks, first = (item - row * blocks) * 16, last = min(columns, first + 16);
    locate(row, table);
    const from = x + xOffset, to = y + yOffset;
    let r = 0;
    for (; r + 4 <= rows; r += 4) {
      const p = from + r * ldx, q = to + r * 4;
      let c = first;
      for (; c + 4 <= last; c += 4) {
        const s = p + c * 4;
        store4x4(q + c * ldy, ldy, v128.load(s), v128.load(s + ldx), v128.load(s + 2 * ldx), v128.load(s + 3 * ldx));
      }
      for (; c < last; c++) spread<i32>(p + c * 4, ldx, q + c * ldy, 4, 4);
    }
    for (; r < rows; r++) spread<i32>(from + r * ldx + first * 4, 4, to + r * 4 + first * ldy, ldy, last - first);
  }
}

/** Where a padded position lies in [0, size): −1 outside (mode 0), the edge (1), reflected (2), wrapped (3). */
function source(at: i32, size: i32, mode: i32): i32 {
  if (at >= 0 && at < size) return at;
  if (mode == 0) return -1;
  if (mode == 1) return at < 0 ? 0 : size - 1;
  if (mode == 3) return (at % size + size) % size;
  if (size == 1) return 0;
  const period = 2 * size - 2, folded = (at % period + period) % period;
  return folded < size ? folded : period - folded;
}

function fill(to: usize, count: i32, value: f32): void {
  const v = f32x4.splat(value);
  for (let i = 0; i < count; i += 4) storeSome(to + i * 4, v, count - i);
}

/**
 * Pads planes: [planes][h][w] to [planes][rows][columns], with `top` rows and `left` columns before; what does not fit is
 * left out. Modes as in `source`; `value` fills in mode 0.
 */
export function padPlanes(
  x: usize, y: usize, planes: i32, h: i32, w: i32, top: i32, left: i32, rows: i32, columns: i32, mode: i32, value: f32,
  thread: i32, threads: i32,
): void {
  const middle = max(0, min(w, columns - left));
  const end = share(planes * rows, 1, thread + 1, threads);
  for (let row = share(planes * rows, 1, thread, threads); row < end; row++) {
    const plane = row / rows, to = y + row * columns * 4;
    const line = source(row - plane * rows - top, h, mode);
    if (line < 0) {
      fill(to, columns, value);
      continue;
    }
    const from = x + (plane * h + line) * w * 4;
    copyBytes(to + left * 4, from, middle * 4);
    if (mode == 0) {
      fill(to, min(left, columns), value);
      fill(to + (left + w) * 4, columns - left - w, value);
      continue;
    }
    for (let c = 0; c < left; c++) store<f32>(to + c * 4, load<f32>(from + source(c - left, w, mode) * 4));
    for (let c = left + w; c < columns; c++) store<f32>(to + c * 4, load<f32>(from + source(c - left, w, mode) * 4));
  }
}

/**
 * y[outer][count] = x[outer][index] of `bytes` each, x having `size` of them. Indices are int32 or (wide) int64; negative
 * ones count from the end; those out of range are clamped.
 */
export function gather(
  x: usize, indices: usize, wide: i32, y: usize, outer: i32, size: i32, count: i32, bytes: i32, thread: i32, threads: i32,
): void {
  const end = share(outer * count, 1, thread + 1, threads);
  for (let item = share(outer * count, 1, thread, threads); item < end; item++) {
    const row = item / count, i = item - row * count;
    const given = wide ? load<i64>(indices + i * 8) : <i64>load<i32>(indices + i * 4);
    const index = <i32>max<i64>(0, min<i64>(size - 1, given < 0 ? given + size : given));
    copyBytes(y + item * bytes, x + (row * size + index) * bytes, bytes);
  }
}

/** Nearest neighbours: `table` holds the source row of each output row, then the source column of each output column. */
export function resizeNearest(
  x: usize, y: usize, planes: i32, h: i32, w: i32, oh: i32, ow: i32, table: usize, thread: i32, threads: i32,
): void {
  const columns = table + oh * 4;
  const end = share(planes * oh, 1, thread + 1, threads);
  let before = -1;
  for (let row = share(planes * oh, 1, thread, threads); row < end; row++) {
    const plane = row / oh, line = plane * h + load<i32>(table + (row - plane * oh) * 4);
    const to = y + row * ow * 4, from = x + line * w * 4;
    if (line == before) copyBytes(to, to - ow * 4, ow * 4);
    else for (let c = 0; c < ow; c++) store<f32>(to + c * 4, load<f32>(from + load<i32>(columns + c * 4) * 4));
    before = line;
  }
}

/**
 * Bilinear: for each output row, then for each output column, `table` holds two source indices and the weight of the
 * second. `scratch`: per thread `scratchBytes` ≥ w floats.
 */
export function resizeLinear(
  x: usize, y: usize, planes: i32, h: i32, w: i32, oh: i32, ow: i32, table: usize, scratch: usize, scratchBytes: i32,
  thread: i32, threads: i32,
): void {
  scratch += thread * scratchBytes;
  const end = share(planes * oh, 1, thread + 1, threads);
  for (let row = share(planes * oh, 1, thread, threads); row < end; row++) {
    const plane = row / oh, entry = table + (row - plane * oh) * 12;
    const a = x + (plane * h + load<i32>(entry)) * w * 4, b = x + (plane * h + load<i32>(entry, 4)) * w * 4;
    const weight = v128.load32_splat(entry, 8);
    for (let c = 0; c < w; c += 4) {
      const u = v128.load(a + c * 4);
      v128.store(scratch + c * 4, f32x4.add(u, f32x4.mul(weight, f32x4.sub(v128.load(b + c * 4), u))));
    }
    let to = y + row * ow * 4;
    let column = table + oh * 12;
    for (let c = 0; c < ow; c++, column += 12, to += 4) {
      const u = load<f32>(scratch + load<i32>(column) * 4), v = load<f32>(scratch + load<i32>(column, 4) * 4);
      store<f32>(to, u + load<f32>(column, 8) * (v - u));
    }
  }
}

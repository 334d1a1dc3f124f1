// Rows of a feature map, padded, in scratch memory. With a horizontal stride s their columns are dealt to s phases, so that
// neighbouring outputs read neighbouring floats: padded column c lies in phase c % s at c / s; a row is [phase][pitch], and
// the last three floats of a phase are slack.
import { keepLanes } from './dense-math';

/** Writes `count` floats, and up to three more. */
// @ts-ignore: decorator
@inline
function fill(to: usize, count: i32, value: v128): void {
  for (let i = 0; i < count; i += 4) v128.store(to + i * 4, value);
}

/** Pads that `padBand` will not write again. `size` floats, rounded up to 4. */
export function clearBand(to: usize, size: i32, padding: v128): void {
  fill(to, size, padding);
}

/** Copies rows `first` … `first + rows` (those outside the plane [h][w] become padding) between pads that are already there. */
export function padBand(
  x: usize, h: i32, w: i32, to: usize, first: i32, rows: i32, left: i32, pitch: i32, stride: i32, padding: v128,
): void {
  const step = pitch * stride * 4;
  let y = first;
  for (const stop = min(0, first + rows); y < stop; y++, to += step) fill(to, pitch * stride, padding);
  const end = first + rows;
  const inside = min(h, end);
  const from = x + y * w * 4;
  if (y < inside) {
    if (stride == 1) copyRows(from, w, to, inside - y, left, pitch, padding);
    else if (stride == 2) dealRows(from, w, to, inside - y, left, pitch, padding);
    else scatterRows(from, w, to, inside - y, left, pitch, stride);
    to += (inside - y) * step;
    y = inside;
  }
  for (; y < end; y++, to += step) fill(to, pitch * stride, padding);
}

function copyRows(from: usize, w: i32, to: usize, rows: i32, left: i32, pitch: i32, padding: v128): void {
  const count = max(0, min(w, pitch - 3 - left));
  const whole = (count & -4) << 2, rest = count & 3;
  const mask = keepLanes(i32x4.splat(-1), rest, i32x4.splat(0));
  to += left * 4;
  for (; rows > 0; rows--, from += w * 4, to += pitch * 4) {
    let i = 0;
    for (; i < whole; i += 16) v128.store(to + i, v128.load(from + i));
    if (rest) v128.store(to + i, v128.bitselect(v128.load(from + i), padding, mask));
  }
}

function dealRows(from: usize, w: i32, to: usize, rows: i32, left: i32, pitch: i32, padding: v128): void {
  // Even columns of the plane, then odd ones: which phase they are in depends on the left pad.
  const swap = left & 1, half = left >> 1, room = pitch - 3 - half;
  const odds = ((1 - 2 * swap) * pitch + swap) * 4;
  const n = max(0, min((w + 1) >> 1, room)), m = max(0, min(w >> 1, room - swap)), whole = m >> 2;
  const evenMask = keepLanes(i32x4.splat(-1), n - whole * 4, i32x4.splat(0));
  const oddMask = keepLanes(i32x4.splat(-1), m - whole * 4, i32x4.splat(0));
  to += (swap * pitch + half) * 4;
  for (; rows > 0; rows--, from += w * 4, to += pitch * 8) {
    let p = from, q = to;
    for (const stop = to + whole * 16; q < stop; p += 32, q += 16) {
      const a = v128.load(p), b = v128.load(p, 16);
      v128.store(q, v128.shuffle<f32>(a, b, 0, 2, 4, 6));
      v128.store(q + odds, v128.shuffle<f32>(a, b, 1, 3, 5, 7));
    }
    if (n > whole * 4) {
      const a = v128.load(p), b = v128.load(p, 16);
      v128.store(q, v128.bitselect(v128.shuffle<f32>(a, b, 0, 2, 4, 6), padding, evenMask));
      if (m > whole * 4) v128.store(q + odds, v128.bitselect(v128.shuffle<f32>(a, b, 1, 3, 5, 7), padding, oddMask));
    }
  }
}

function scatterRows(from: usize, w: i32, to: usize, rows: i32, left: i32, pitch: i32, stride: i32): void {
  for (; rows > 0; rows--, from += w * 4, to += pitch * stride * 4) {
    for (let i = 0; i < w; i++) {
      const column = i + left, at = column / stride;
      if (at < pitch - 3) store<f32>(to + ((column - at * stride) * pitch + at) * 4, load<f32>(from + i * 4));
    }
  }
}

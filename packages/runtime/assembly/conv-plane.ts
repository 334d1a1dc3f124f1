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
  const room = pitch - 3;
  const end = first + rows;
  for (let y = first; y < end; y++, to += pitch * stride * 4) {
    if (y < 0 || y >= h) {
      fill(to, pitch * stride, padding);
      continue;
    }
    let from = x + y * w * 4;
    if (stride == 1) {
      const count = min(w, room - left);
      let out = to + left * 4;
      for (const stop = out + (count & -4) * 4; out < stop; out += 16, from += 16) v128.store(out, v128.load(from));
      if (count & 3) v128.store(out, keepLanes(v128.load(from), count & 3, padding));
    } else if (stride == 2) {
      // Even columns of the plane, then odd ones: which phase they are in depends on the left pad.
      const swap = left & 1, half = left >> 1;
      const evens = to + (swap * pitch + half) * 4, odds = to + ((1 - swap) * pitch + half + swap) * 4;
      const n = min((w + 1) >> 1, room - half), m = min(w >> 1, room - half - swap);
      for (let i = 0; i < n; i += 4, from += 32) {
        const a = v128.load(from), b = v128.load(from, 16);
        const even = v128.shuffle<f32>(a, b, 0, 2, 4, 6), odd = v128.shuffle<f32>(a, b, 1, 3, 5, 7);
        v128.store(evens + i * 4, i + 4 <= n ? even : keepLanes(even, n - i, padding));
        if (i + 4 <= m) v128.store(odds + i * 4, odd);
        else if (i < m) v128.store(odds + i * 4, keepLanes(odd, m - i, padding));
      }
    } else {
      for (let i = 0; i < w; i++) {
        const column = i + left, at = column / stride;
        if (at < room) store<f32>(to + ((column - at * stride) * pitch + at) * 4, load<f32>(from + i * 4));
      }
    }
  }
}

/** Pads planes of an image: [planes][h][w] to [planes][rows][columns]. */
export function padPlanes(
  x: usize, y: usize, planes: i32, h: i32, w: i32, top: i32, left: i32, rows: i32, columns: i32, value: f32,
  thread: i32, threads: i32,
): void {
  const step = rows * columns;
  const first = <i32>((<i64>planes * <i64>thread) / <i64>threads);
  const end = <i32>((<i64>planes * <i64>(thread + 1)) / <i64>threads);
  const padding = f32x4.splat(value);
  for (let p = first; p < end; p++) {
    let to = y + p * step * 4;
    const from = x + p * h * w * 4;
    for (let r = 0; r < rows; r++, to += columns * 4) {
      const line = r - top;
      if (line < 0 || line >= h) {
        fillExact(to, columns, padding);
        continue;
      }
      fillExact(to, left, padding);
      memory.copy(to + left * 4, from + line * w * 4, max(0, min(w, columns - left)) * 4);
      fillExact(to + (left + w) * 4, columns - left - w, padding);
    }
  }
}

function fillExact(to: usize, count: i32, value: v128): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) v128.store(to + i * 4, value);
  for (; i < count; i++) v128.store32_lane(to + i * 4, value, 0);
}

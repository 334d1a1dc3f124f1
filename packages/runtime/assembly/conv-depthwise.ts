// Depthwise convolution: every output plane from one input plane. The plane is padded into scratch (L1 or L2), then tiles
// of 7 or 4 rows × 4 columns are kept in registers while the taps pass by.
import { madd, share } from './common';
import { padPlane } from './conv-plane';
import { clamp, setLimits } from './dense-tile';
import { storeSome } from './dense-vector';

// @ts-ignore: decorator
@inline
function put(y: usize, v: v128, count: i32): void {
  v = clamp(v);
  if (count >= 4) v128.store(y, v);
  else storeSome(y, v, count);
}

function tile7(x: usize, step: usize, table: usize, taps: i32, weights: usize, bias: v128, y: usize, ldy: usize, count: i32): void {
  let a = bias, b = bias, c = bias, d = bias, e = bias, f = bias, g = bias;
  for (const end = table + taps * 4; table < end; table += 4, weights += 4) {
    const w = v128.load32_splat(weights);
    let p = x + load<i32>(table);
    a = madd(w, v128.load(p), a);
    p += step;
    b = madd(w, v128.load(p), b);
    p += step;
    c = madd(w, v128.load(p), c);
    p += step;
    d = madd(w, v128.load(p), d);
    p += step;
    e = madd(w, v128.load(p), e);
    p += step;
    f = madd(w, v128.load(p), f);
    g = madd(w, v128.load(p + step), g);
  }
  put(y, a, count);
  put(y + ldy, b, count);
  put(y + 2 * ldy, c, count);
  put(y + 3 * ldy, d, count);
  put(y + 4 * ldy, e, count);
  put(y + 5 * ldy, f, count);
  put(y + 6 * ldy, g, count);
}

function tile4(x: usize, step: usize, table: usize, taps: i32, weights: usize, bias: v128, y: usize, ldy: usize, count: i32): void {
  let a = bias, b = bias, c = bias, d = bias;
  for (const end = table + taps * 4; table < end; table += 4, weights += 4) {
    const w = v128.load32_splat(weights);
    const p = x + load<i32>(table), q = p + 2 * step;
    a = madd(w, v128.load(p), a);
    b = madd(w, v128.load(p + step), b);
    c = madd(w, v128.load(q), c);
    d = madd(w, v128.load(q + step), d);
  }
  put(y, a, count);
  put(y + ldy, b, count);
  put(y + 2 * ldy, c, count);
  put(y + 3 * ldy, d, count);
}

function tile1(x: usize, table: usize, taps: i32, weights: usize, bias: v128, y: usize, count: i32): void {
  let a = bias;
  for (const end = table + taps * 4; table < end; table += 4, weights += 4) {
    a = madd(v128.load32_splat(weights), v128.load(x + load<i32>(table)), a);
  }
  put(y, a, count);
}

/**
 * `planes` output planes [oh][ow]; plane p reads input plane p / multiplier and weights [p % channels][taps].
 * - `rows`, `pitch`, `sx`: the padded copy (see padPlane); `sy`: its rows from one output row to the next.
 * - `table`: byte offset of each tap in the copy. `bias`: one float for each channel, or null.
 * - `scratch`: per thread `scratchBytes` ≥ rows · sx · pitch floats + 64 bytes.
 */
export function depthwise(
  x: usize, y: usize, weights: usize, bias: usize, planes: i32, channels: i32, multiplier: i32, h: i32, w: i32,
  oh: i32, ow: i32, top: i32, left: i32, rows: i32, pitch: i32, sx: i32, sy: i32, table: usize, taps: i32,
  lo: f32, hi: f32, scratch: usize, scratchBytes: i32, thread: i32, threads: i32,
): void {
  setLimits(lo, hi);
  scratch += thread * scratchBytes;
  const step = sy * pitch * sx * 4;
  const ldy = ow * 4;
  const height = (oh + 6) / 7 * 7 <= (oh + 3) / 4 * 4 ? 7 : 4;
  const end = share(planes, multiplier, thread + 1, threads);
  for (let p = share(planes, multiplier, thread, threads); p < end; p++) {
    if (p % multiplier == 0) padPlane(x + (p / multiplier) * h * w * 4, h, w, scratch, top, left, rows, pitch, sx, 0);
    const channel = p % channels;
    const filter = weights + channel * taps * 4;
    const start = bias ? v128.load32_splat(bias + channel * 4) : f32x4.splat(0);
    const out = y + p * oh * ow * 4;
    for (let r = 0; r < oh; ) {
      // The last tile overlaps the one before it.
      let tall = height;
      if (r + tall > oh) {
        if (oh >= tall) r = oh - tall;
        else tall = 1;
      }
      const from = scratch + r * step, to = out + r * ldy;
      for (let j = 0; j < ow; j += 4) {
        const column = j + 4 <= ow || ow < 4 ? j : ow - 4, count = ow - column;
        const source = from + column * 4, target = to + column * 4;
        if (tall == 7) tile7(source, step, table, taps, filter, start, target, ldy, count);
        else if (tall == 4) tile4(source, step, table, taps, filter, start, target, ldy, count);
        else tile1(source, table, taps, filter, start, target, count);
      }
      r += tall;
    }
  }
}

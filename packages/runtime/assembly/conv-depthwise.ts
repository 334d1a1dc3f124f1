// Depthwise convolution: every output plane from one input plane. Bands of it are padded into scratch (L1), then tiles of 7
// or 4 rows × 4 columns are kept in registers while the taps pass by.
import { madd, share } from './common';
import { clearBand, padBand } from './conv-plane';
import { clamp, highLimit, limit, lowLimit, setLimits } from './dense-tile';
import { storeSome } from './dense-vector';

/** Seven rows. `run` taps at a time are neighbours in memory, where it is 3; else any. */
function tile7(
  x: usize, step: usize, table: usize, taps: i32, run: i32, weights: usize, bias: v128, y: usize, ldy: usize,
): void {
  let a = bias, b = bias, c = bias, d = bias, e = bias, f = bias, g = bias;
  const end = table + taps * 4;
  if (run == 3) {
    for (; table < end; table += 12, weights += 12) {
      const u = v128.load32_splat(weights), v = v128.load32_splat(weights, 4), w = v128.load32_splat(weights, 8);
      let p = x + load<i32>(table);
      a = madd(w, v128.load(p, 8), madd(v, v128.load(p, 4), madd(u, v128.load(p), a)));
      p += step;
      b = madd(w, v128.load(p, 8), madd(v, v128.load(p, 4), madd(u, v128.load(p), b)));
      p += step;
      c = madd(w, v128.load(p, 8), madd(v, v128.load(p, 4), madd(u, v128.load(p), c)));
      p += step;
      d = madd(w, v128.load(p, 8), madd(v, v128.load(p, 4), madd(u, v128.load(p), d)));
      p += step;
      e = madd(w, v128.load(p, 8), madd(v, v128.load(p, 4), madd(u, v128.load(p), e)));
      p += step;
      f = madd(w, v128.load(p, 8), madd(v, v128.load(p, 4), madd(u, v128.load(p), f)));
      p += step;
      g = madd(w, v128.load(p, 8), madd(v, v128.load(p, 4), madd(u, v128.load(p), g)));
    }
  }
  for (; table < end; table += 4, weights += 4) {
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
  const low = lowLimit(), high = highLimit();
  v128.store(y, limit(a, low, high));
  v128.store(y + ldy, limit(b, low, high));
  v128.store(y + 2 * ldy, limit(c, low, high));
  v128.store(y + 3 * ldy, limit(d, low, high));
  v128.store(y + 4 * ldy, limit(e, low, high));
  v128.store(y + 5 * ldy, limit(f, low, high));
  v128.store(y + 6 * ldy, limit(g, low, high));
}

function tile4(x: usize, step: usize, table: usize, taps: i32, weights: usize, bias: v128, y: usize, ldy: usize): void {
  let a = bias, b = bias, c = bias, d = bias;
  for (const end = table + taps * 4; table < end; table += 4, weights += 4) {
    const w = v128.load32_splat(weights);
    const p = x + load<i32>(table), q = p + 2 * step;
    a = madd(w, v128.load(p), a);
    b = madd(w, v128.load(p + step), b);
    c = madd(w, v128.load(q), c);
    d = madd(w, v128.load(q + step), d);
  }
  const low = lowLimit(), high = highLimit();
  v128.store(y, limit(a, low, high));
  v128.store(y + ldy, limit(b, low, high));
  v128.store(y + 2 * ldy, limit(c, low, high));
  v128.store(y + 3 * ldy, limit(d, low, high));
}

function tile1(x: usize, table: usize, taps: i32, weights: usize, bias: v128, y: usize, count: i32): void {
  let a = bias;
  for (const end = table + taps * 4; table < end; table += 4, weights += 4) {
    a = madd(v128.load32_splat(weights), v128.load(x + load<i32>(table)), a);
  }
  storeSome(y, clamp(a), count);
}

/**
 * `planes` output planes [oh][ow]; plane p reads input plane p / multiplier and weights [p % channels][taps].
 * - Bands of `band` output rows are padded into scratch as rows of sx · pitch floats (see conv-plane); `sy`: rows from one
 *   output row to the next, `reach`: rows under one output row.
 * - `table`: byte offset of each tap in the band; `run` 3 says that taps come in threes of neighbours.
 * - `bias`: one float for each channel, or null.
 * - `scratch`: per thread `scratchBytes`, two bands of 16 bytes more than their rows, and 64 bytes.
 */
export function depthwise(
  x: usize, y: usize, weights: usize, bias: usize, planes: i32, channels: i32, multiplier: i32, h: i32, w: i32,
  oh: i32, ow: i32, top: i32, left: i32, band: i32, reach: i32, pitch: i32, sx: i32, sy: i32, table: usize, taps: i32,
  run: i32, lo: f32, hi: f32, scratch: usize, scratchBytes: i32, thread: i32, threads: i32,
): void {
  setLimits(lo, hi);
  const step = sy * pitch * sx * 4, ldy = ow * 4;
  const rows = (band - 1) * sy + reach;
  // Padding of a band may run over its end, and must not into the other band.
  const bandBytes = rows * pitch * sx * 4 + 16;
  const zero = f32x4.splat(0);
  scratch += thread * scratchBytes;
  clearBand(scratch, (bandBytes >> 2) * 2, zero);
  const bands = (oh + band - 1) / band;
  // Items are bands of input planes. Each is padded while the one before it is computed: reading what was just stored,
  // at other alignments, would stall.
  const inputs = planes / multiplier;
  const first = share(inputs, 1, thread, threads) * bands, end = share(inputs, 1, thread + 1, threads) * bands;
  for (let item = first; item <= end; item++) {
    if (item < end) {
      const plane = item / bands, r = (item - plane * bands) * band;
      padBand(
        x + plane * h * w * 4, h, w, scratch + (item & 1) * bandBytes,
        r * sy - top, (min(band, oh - r) - 1) * sy + reach, left, pitch, sx, zero,
      );
    }
    if (item == first) continue;
    const plane = (item - 1) / bands, r0 = (item - 1 - plane * bands) * band;
    const tall = min(band, oh - r0);
    const image = scratch + ((item - 1) & 1) * bandBytes;
    const height = (tall + 6) / 7 * 7 <= (tall + 3) / 4 * 4 ? 7 : 4;
    for (let p = plane * multiplier; p < (plane + 1) * multiplier; p++) {
      const channel = p % channels;
      const filter = weights + channel * taps * 4;
      const start = bias ? v128.load32_splat(bias + channel * 4) : zero;
      const out = y + (p * oh + r0) * ldy;
      for (let r = 0; r < tall; ) {
        // The last tile overlaps the one before it.
        const tile = tall >= height && ow >= 4 ? height : 1;
        r = min(r, tall - tile);
        const from = image + r * step, to = out + r * ldy;
        for (let j = 0; j < ow; j += 4) {
          const column = j + 4 <= ow || ow < 4 ? j : ow - 4, count = ow - column;
          const source = from + column * 4, target = to + column * 4;
          if (tile == 7) tile7(source, step, table, taps, run, filter, start, target, ldy);
          else if (tile == 4) tile4(source, step, table, taps, filter, start, target, ldy);
          else tile1(source, table, taps, filter, start, target, count);
        }
        r += tile;
      }
    }
  }
}

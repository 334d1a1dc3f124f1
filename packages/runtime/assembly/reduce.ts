// Reductions, softmax and normalisations.
import { madd, share } from './common';
import { exp4, keepLanes, log4, maxLanes, splat, sumLanes } from './dense-math';
import { storeSome } from './dense-vector';

// Codes as in REDUCE of src/kernels/reduce.ts: sum, mean, sum of squares, L2, L1, max, min, product.
const MEAN = 1, L2 = 3;

// @ts-ignore: decorator
@inline
function initial(op: i32): v128 {
  return splat(op < 5 ? 0 : op == 5 ? -Infinity : op == 6 ? Infinity : 1);
}

// @ts-ignore: decorator
@inline
function fold(op: i32, total: v128, x: v128): v128 {
  if (op < 2) return f32x4.add(total, x);
  if (op < 4) return madd(x, x, total);
  if (op == 4) return f32x4.add(total, f32x4.abs(x));
  if (op == 5) return f32x4.max(total, x);
  if (op == 6) return f32x4.min(total, x);
  return f32x4.mul(total, x);
}

/** Joins two partial results. */
// @ts-ignore: decorator
@inline
function join(op: i32, a: v128, b: v128): v128 {
  if (op < 5) return f32x4.add(a, b);
  if (op == 5) return f32x4.max(a, b);
  if (op == 6) return f32x4.min(a, b);
  return f32x4.mul(a, b);
}

// @ts-ignore: decorator
@inline
function finish(op: i32, total: v128, n: i32): v128 {
  if (op == MEAN) return f32x4.div(total, splat(<f32>n));
  return op == L2 ? f32x4.sqrt(total) : total;
}

/** y[outer][inner] = the reduction of x[outer][n][inner] over n. */
export function reduce(op: i32, x: usize, y: usize, outer: i32, n: i32, inner: i32, thread: i32, threads: i32): void {
  if (inner == 1) {
    const end = share(outer, 4, thread + 1, threads);
    for (let row = share(outer, 4, thread, threads); row < end; row++) {
      let p = x + row * n * 4;
      let a = initial(op), b = a, c = a, d = a;
      let i = 0;
      for (; i + 16 <= n; i += 16, p += 64) {
        a = fold(op, a, v128.load(p));
        b = fold(op, b, v128.load(p, 16));
        c = fold(op, c, v128.load(p, 32));
        d = fold(op, d, v128.load(p, 48));
      }
      a = join(op, join(op, a, b), join(op, c, d));
      for (; i + 4 <= n; i += 4, p += 16) a = fold(op, a, v128.load(p));
      // The remaining floats, then the four lanes.
      if (i < n) a = keepLanes(fold(op, a, v128.load(p)), n - i, a);
      a = join(op, a, v128.shuffle<f32>(a, a, 2, 3, 0, 1));
      a = join(op, a, v128.shuffle<f32>(a, a, 1, 0, 3, 2));
      storeSome(y + row * 4, finish(op, a, n), 1);
    }
    return;
  }
  // Runs of columns: whole rows when there are enough of them.
  const groups = (inner + 15) >> 4;
  const end = share(outer * groups, 1, thread + 1, threads);
  for (let item = share(outer * groups, 1, thread, threads); item < end; item++) {
    const row = item / groups, column = (item - row * groups) * 16;
    let p = x + (row * n * inner + column) * 4;
    let a = initial(op), b = a, c = a, d = a;
    for (let i = 0; i < n; i++, p += inner * 4) {
      a = fold(op, a, v128.load(p));
      b = fold(op, b, v128.load(p, 16));
      c = fold(op, c, v128.load(p, 32));
      d = fold(op, d, v128.load(p, 48));
    }
    const to = y + (row * inner + column) * 4, count = inner - column;
    storeSome(to, finish(op, a, n), count);
    storeSome(to + 16, finish(op, b, n), count - 4);
    storeSome(to + 32, finish(op, c, n), count - 8);
    storeSome(to + 48, finish(op, d, n), count - 12);
  }
}

/** Softmax of n floats in place or not; `logarithm`: its logarithm. */
export function softmaxRow(x: usize, y: usize, n: i32, logarithm: i32): void {
  const none = splat(-Infinity), zero = splat(0);
  const whole = n & -4, rest = n - whole;
  let top = none;
  for (let i = 0; i < whole; i += 4) top = f32x4.pmax(top, v128.load(x + i * 4));
  if (rest) top = f32x4.pmax(top, keepLanes(v128.load(x + whole * 4), rest, none));
  const peak = splat(maxLanes(top));
  let total = zero;
  if (logarithm) {
    for (let i = 0; i < whole; i += 4) total = f32x4.add(total, exp4(f32x4.sub(v128.load(x + i * 4), peak)));
    if (rest) total = f32x4.add(total, keepLanes(exp4(f32x4.sub(v128.load(x + whole * 4), peak)), rest, zero));
    const shift = f32x4.add(peak, log4(splat(sumLanes(total))));
    for (let i = 0; i < n; i += 4) storeSome(y + i * 4, f32x4.sub(v128.load(x + i * 4), shift), n - i);
    return;
  }
  for (let i = 0; i < whole; i += 4) {
    const e = exp4(f32x4.sub(v128.load(x + i * 4), peak));
    total = f32x4.add(total, e);
    v128.store(y + i * 4, e);
  }
  if (rest) {
    const e = keepLanes(exp4(f32x4.sub(v128.load(x + whole * 4), peak)), rest, zero);
    total = f32x4.add(total, e);
    storeSome(y + whole * 4, e, rest);
  }
  const scale = splat(1 / sumLanes(total));
  for (let i = 0; i < whole; i += 4) v128.store(y + i * 4, f32x4.mul(v128.load(y + i * 4), scale));
  if (rest) storeSome(y + whole * 4, f32x4.mul(v128.load(y + whole * 4), scale), rest);
}

/** Softmax, or its logarithm, over n of x[outer][n][inner]. y may be x. */
export function softmax(
  x: usize, y: usize, outer: i32, n: i32, inner: i32, logarithm: i32, thread: i32, threads: i32,
): void {
  if (inner == 1) {
    const end = share(outer, 1, thread + 1, threads);
    for (let row = share(outer, 1, thread, threads); row < end; row++) {
      softmaxRow(x + row * n * 4, y + row * n * 4, n, logarithm);
    }
    return;
  }
  const groups = (inner + 3) >> 2;
  const step = <usize>inner * 4;
  const end = share(outer * groups, 1, thread + 1, threads);
  for (let item = share(outer * groups, 1, thread, threads); item < end; item++) {
    const row = item / groups, column = (item - row * groups) * 4, count = inner - column;
    const from = x + (row * n * inner + column) * 4;
    const to = y + (row * n * inner + column) * 4;
    let top = splat(-Infinity), total = splat(0);
    let p = from;
    for (let i = 0; i < n; i++, p += step) top = f32x4.pmax(top, v128.load(p));
    p = from;
    for (let i = 0; i < n; i++, p += step) total = f32x4.add(total, exp4(f32x4.sub(v128.load(p), top)));
    const shift = logarithm ? f32x4.add(top, log4(total)) : top;
    const scale = f32x4.div(splat(1), total);
    p = from;
    let q = to;
    for (let i = 0; i < n; i++, p += step, q += step) {
      const v = f32x4.sub(v128.load(p), shift);
      storeSome(q, logarithm ? v : f32x4.mul(exp4(v), scale), count);
    }
  }
}

/**
 * y[row][n] = (x − mean) / √(variance + epsilon) · scale + bias, for each row of x (+ residual).
 * - `rms` 1: without the mean. `scale` and `bias` (may be null) have one float for each of n positions, or, with
 *   `channels` > 0, one for each run of `n / perRow` positions: channel (row · perRow + run) % channels.
 * - `sums`: where x + residual is kept, or null; it may be the residual.
 */
export function normalize(
  x: usize, y: usize, rows: i32, n: i32, scale: usize, bias: usize, channels: i32, perRow: i32, epsilon: f32, rms: i32,
  residual: usize, sums: usize, thread: i32, threads: i32,
): void {
  const whole = n & -4, rest = n - whole;
  const zero = splat(0);
  const end = share(rows, 1, thread + 1, threads);
  for (let row = share(rows, 1, thread, threads); row < end; row++) {
    const offset = row * n * 4;
    let from = x + offset;
    const to = y + offset;
    if (residual) {
      const kept = sums ? sums + offset : to;
      for (let i = 0; i < n; i += 4) {
        storeSome(kept + i * 4, f32x4.add(v128.load(from + i * 4), v128.load(residual + offset + i * 4)), n - i);
      }
      from = kept;
    }
    let mean: f32 = 0;
    if (!rms) {
      let a = zero, b = zero;
      let i = 0;
      for (; i + 8 <= n; i += 8) {
        a = f32x4.add(a, v128.load(from + i * 4));
        b = f32x4.add(b, v128.load(from + i * 4, 16));
      }
      for (; i < whole; i += 4) a = f32x4.add(a, v128.load(from + i * 4));
      if (rest) b = f32x4.add(b, keepLanes(v128.load(from + i * 4), rest, zero));
      mean = sumLanes(f32x4.add(a, b)) / <f32>n;
    }
    const centre = splat(mean);
    let a = zero, b = zero;
    let i = 0;
    for (; i + 8 <= n; i += 8) {
      const v = f32x4.sub(v128.load(from + i * 4), centre), w = f32x4.sub(v128.load(from + i * 4, 16), centre);
      a = madd(v, v, a);
      b = madd(w, w, b);
    }
    for (; i < whole; i += 4) {
      const v = f32x4.sub(v128.load(from + i * 4), centre);
      a = madd(v, v, a);
    }
    if (rest) {
      const v = keepLanes(f32x4.sub(v128.load(from + i * 4), centre), rest, zero);
      b = madd(v, v, b);
    }
    const factor = splat(1 / Mathf.sqrt(sumLanes(f32x4.add(a, b)) / <f32>n + epsilon));
    if (channels == 0) {
      for (let i = 0; i < n; i += 4) {
        let v = f32x4.mul(f32x4.sub(v128.load(from + i * 4), centre), factor);
        if (scale) v = f32x4.mul(v, v128.load(scale + i * 4));
        if (bias) v = f32x4.add(v, v128.load(bias + i * 4));
        storeSome(to + i * 4, v, n - i);
      }
      continue;
    }
    const run = n / perRow;
    for (let c = 0; c < perRow; c++) {
      const channel = ((row * perRow + c) % channels) * 4;
      const s = scale ? f32x4.mul(factor, v128.load32_splat(scale + channel)) : factor;
      const t = bias ? v128.load32_splat(bias + channel) : zero;
      const p = from + c * run * 4, q = to + c * run * 4;
      for (let i = 0; i < run; i += 4) {
        storeSome(q + i * 4, madd(f32x4.sub(v128.load(p + i * 4), centre), s, t), run - i);
      }
    }
  }
}

/** y = x / (bias + alpha / size · Σ x²)^beta, the sum over `size` channels around each: [batch][channels][pixels]. */
export function localResponse(
  x: usize, y: usize, batch: i32, channels: i32, pixels: i32, size: i32, alpha: f32, beta: f32, bias: f32,
  thread: i32, threads: i32,
): void {
  const below = (size - 1) >> 1, above = size - 1 - below;
  const a = splat(alpha / <f32>size), b = splat(bias), power = splat(-beta);
  const step = <usize>pixels * 4;
  const end = share(batch * channels, 1, thread + 1, threads);
  for (let row = share(batch * channels, 1, thread, threads); row < end; row++) {
    const channel = row % channels;
    const first = max(0, channel - below), last = min(channels - 1, channel + above);
    for (let i = 0; i < pixels; i += 4) {
      const from = x + row * step + i * 4;
      let p = from - (channel - first) * step;
      let total = splat(0);
      for (let c = first; c <= last; c++, p += step) {
        const v = v128.load(p);
        total = madd(v, v, total);
      }
      const scale = exp4(f32x4.mul(power, log4(madd(a, total, b))));
      storeSome(y + row * step + i * 4, f32x4.mul(v128.load(from), scale), pixels - i);
    }
  }
}

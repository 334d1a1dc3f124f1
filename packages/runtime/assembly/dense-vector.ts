// Row vector × constant matrix in panels [n / 8][k][8]: every weight is read once, in order, so memory sets the speed.
import { madd, share } from './common';
import { clamp, setLimits } from './dense-tile';

/** Σ over k of x · panel, in two globals: a function returns one value. */
let sum0: v128 = i32x4.splat(0);
let sum1: v128 = i32x4.splat(0);

// @ts-ignore: decorator
@inline
function floats(x: usize, panel: usize, k: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
  for (const end = x + (k & -4) * 4; x < end; x += 16, panel += 128) {
    const v = v128.load(x);
    const v0 = v128.shuffle<f32>(v, v, 0, 0, 0, 0), v1 = v128.shuffle<f32>(v, v, 1, 1, 1, 1);
    a0 = madd(v0, v128.load(panel), a0);
    a1 = madd(v0, v128.load(panel, 16), a1);
    const v2 = v128.shuffle<f32>(v, v, 2, 2, 2, 2), v3 = v128.shuffle<f32>(v, v, 3, 3, 3, 3);
    b0 = madd(v1, v128.load(panel, 32), b0);
    b1 = madd(v1, v128.load(panel, 48), b1);
    c0 = madd(v2, v128.load(panel, 64), c0);
    c1 = madd(v2, v128.load(panel, 80), c1);
    d0 = madd(v3, v128.load(panel, 96), d0);
    d1 = madd(v3, v128.load(panel, 112), d1);
  }
  for (const end = x + (k & 3) * 4; x < end; x += 4, panel += 32) {
    const v = v128.load32_splat(x);
    a0 = madd(v, v128.load(panel), a0);
    a1 = madd(v, v128.load(panel, 16), a1);
  }
  sum0 = f32x4.add(f32x4.add(a0, b0), f32x4.add(c0, d0));
  sum1 = f32x4.add(f32x4.add(a1, b1), f32x4.add(c1, d1));
}

// @ts-ignore: decorator
@inline
function low(v: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v));
}
// @ts-ignore: decorator
@inline
function high(v: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v));
}

// @ts-ignore: decorator
@inline
function bytes(x: usize, panel: usize, k: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, b0 = a0, b1 = a0, c0 = a0, c1 = a0, d0 = a0, d1 = a0;
  for (const end = x + (k & -4) * 4; x < end; x += 16, panel += 32) {
    let w = v128.load8x8_s(panel), v = v128.load32_splat(x);
    a0 = madd(v, low(w), a0);
    a1 = madd(v, high(w), a1);
    w = v128.load8x8_s(panel, 8);
    v = v128.load32_splat(x, 4);
    b0 = madd(v, low(w), b0);
    b1 = madd(v, high(w), b1);
    w = v128.load8x8_s(panel, 16);
    v = v128.load32_splat(x, 8);
    c0 = madd(v, low(w), c0);
    c1 = madd(v, high(w), c1);
    w = v128.load8x8_s(panel, 24);
    v = v128.load32_splat(x, 12);
    d0 = madd(v, low(w), d0);
    d1 = madd(v, high(w), d1);
  }
  for (const end = x + (k & 3) * 4; x < end; x += 4, panel += 8) {
    const w = v128.load8x8_s(panel), v = v128.load32_splat(x);
    a0 = madd(v, low(w), a0);
    a1 = madd(v, high(w), a1);
  }
  sum0 = f32x4.add(f32x4.add(a0, b0), f32x4.add(c0, d0));
  sum1 = f32x4.add(f32x4.add(a1, b1), f32x4.add(c1, d1));
}

/**
 * y[n] = clamp(alpha · x[k] · W[k][n] + bias[n] + residual[n], lo, hi) for each item of the batch (steps in elements).
 * `int8` weights: `table` holds n (rounded up to 8) scales, then as many zero points.
 */
export function gemv(
  x: usize, xStep: i32, panels: usize, int8: i32, table: usize, y: usize, yStep: i32, n: i32, k: i32, batch: i32,
  alpha: f32, bias: usize, residual: usize, rStep: i32, lo: f32, hi: f32, thread: i32, threads: i32,
): void {
  setLimits(lo, hi);
  const end = share(n, 8, thread + 1, threads);
  const zeros = table + ((n + 7) & -8) * 4;
  for (let item = 0; item < batch; item++) {
    const from = x + item * xStep * 4, to = y + item * yStep * 4;
    let total: f32 = 0;
    if (int8) for (let i = 0; i < k; i++) total += load<f32>(from + i * 4);
    for (let j = share(n, 8, thread, threads); j < end; j += 8) {
      if (int8) {
        bytes(from, panels + j * k, k);
        const sum = f32x4.splat(total);
        sum0 = f32x4.mul(v128.load(table + j * 4), f32x4.sub(sum0, f32x4.mul(sum, v128.load(zeros + j * 4))));
        sum1 = f32x4.mul(v128.load(table + j * 4, 16), f32x4.sub(sum1, f32x4.mul(sum, v128.load(zeros + j * 4, 16))));
      } else {
        floats(from, panels + j * k * 4, k);
      }
      let v0 = f32x4.mul(f32x4.splat(alpha), sum0), v1 = f32x4.mul(f32x4.splat(alpha), sum1);
      if (bias) {
        v0 = f32x4.add(v0, v128.load(bias + j * 4));
        v1 = f32x4.add(v1, v128.load(bias + j * 4, 16));
      }
      if (residual) {
        const r = residual + (item * rStep + j) * 4;
        v0 = f32x4.add(v0, v128.load(r));
        v1 = f32x4.add(v1, v128.load(r, 16));
      }
      storeSome(to + j * 4, clamp(v0), min(4, n - j));
      storeSome(to + j * 4 + 16, clamp(v1), n - j - 4);
    }
  }
}

/** Stores the first lanes: all four if count ≥ 4, none if count ≤ 0. */
// @ts-ignore: decorator
@inline
export function storeSome(to: usize, v: v128, count: i32): void {
  if (count >= 4) v128.store(to, v);
  else storeLanes(to, v, count);
}

function storeLanes(to: usize, v: v128, count: i32): void {
  if (count > 0) v128.store32_lane(to, v, 0);
  if (count > 1) v128.store32_lane(to, v, 1, 4);
  if (count > 2) v128.store32_lane(to, v, 2, 8);
}

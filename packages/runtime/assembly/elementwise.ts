// Elementwise functions of one and two arrays. y may be an operand.
import { madd, share } from './common';
import { erf4, exp4, log4, sigmoid4, splat, tanh4 } from './dense-math';
import { clamp, setLimits } from './dense-tile';
import { storeSome } from './dense-vector';

// Codes as in UNARY of src/kernels/elementwise.ts.
// @ts-ignore: decorator
@inline
function apply(op: i32, x: v128, a: v128, b: v128): v128 {
  const zero = splat(0), one = splat(1);
  if (op == 0) return f32x4.pmax(x, zero);
  if (op == 1) return f32x4.pmin(f32x4.pmax(x, a), b);
  if (op == 2) return v128.bitselect(f32x4.mul(x, a), x, f32x4.lt(x, zero));
  if (op == 3) return sigmoid4(x);
  if (op == 4) return f32x4.pmin(f32x4.pmax(madd(a, x, b), zero), one);
  if (op == 5) return f32x4.mul(x, f32x4.pmin(f32x4.pmax(madd(x, splat(1 / 6.0), splat(0.5)), zero), one));
  if (op == 6) return f32x4.mul(x, sigmoid4(f32x4.mul(x, a)));
  if (op == 7) return tanh4(x);
  if (op == 8) return exp4(x);
  if (op == 9) return log4(x);
  if (op == 10) return f32x4.sqrt(x);
  if (op == 11) return f32x4.div(one, x);
  if (op == 12) return f32x4.neg(x);
  if (op == 13) return f32x4.abs(x);
  if (op == 14) return f32x4.floor(x);
  if (op == 15) return f32x4.ceil(x);
  if (op == 16) return f32x4.nearest(x);
  if (op == 17) return erf4(x);
  if (op == 18) {
    const half = f32x4.mul(x, splat(0.5));
    return madd(half, erf4(f32x4.mul(x, splat(0.70710678))), half);
  }
  if (op == 19) {
    // ½ (1 + tanh u) = sigmoid(2u), which keeps its digits where tanh is near −1.
    return f32x4.mul(x, sigmoid4(f32x4.mul(f32x4.mul(x, splat(1.59576912)), madd(f32x4.mul(x, x), splat(0.044715), one))));
  }
  if (op == 20) return f32x4.mul(b, v128.bitselect(f32x4.mul(a, f32x4.sub(exp4(x), one)), x, f32x4.lt(x, zero)));
  if (op == 21) return f32x4.add(f32x4.pmax(x, zero), log4(f32x4.add(one, exp4(f32x4.neg(f32x4.abs(x))))));
  if (op == 22) {
    const e = exp4(f32x4.pmin(x, splat(20))), n = madd(e, e, f32x4.add(e, e));
    return f32x4.div(f32x4.mul(x, n), f32x4.add(n, splat(2)));
  }
  if (op == 23) return f32x4.mul(x, x);
  if (op == 24) return madd(a, x, b);
  if (op == 25) return f32x4.div(x, f32x4.add(one, f32x4.abs(x)));
  if (op == 26) {
    return f32x4.add(f32x4.pmax(x, zero), f32x4.pmin(f32x4.mul(a, f32x4.sub(exp4(f32x4.div(x, a)), one)), zero));
  }
  if (op == 27) return v128.and(x, f32x4.gt(x, a));
  if (op == 28) return f32x4.mul(f32x4.mul(x, x), x);
  return f32x4.div(one, f32x4.sqrt(x));
}

// @ts-ignore: decorator
@inline
function each(op: i32, x: usize, y: usize, count: i32, a: v128, b: v128): void {
  let i = 0;
  for (const end = count - 3; i < end; i += 4, x += 16, y += 16) v128.store(y, apply(op, v128.load(x), a, b));
  if (i < count) storeSome(y, apply(op, v128.load(x), a, b), count - i);
}

export function unary(op: i32, x: usize, y: usize, size: i32, alpha: f32, beta: f32, thread: i32, threads: i32): void {
  const start = share(size, 16, thread, threads), count = share(size, 16, thread + 1, threads) - start;
  const a = splat(alpha), b = splat(beta);
  x += start * 4;
  y += start * 4;
  switch (op) {
    case 0: each(0, x, y, count, a, b); break;
    case 1: each(1, x, y, count, a, b); break;
    case 2: each(2, x, y, count, a, b); break;
    case 3: each(3, x, y, count, a, b); break;
    case 4: each(4, x, y, count, a, b); break;
    case 5: each(5, x, y, count, a, b); break;
    case 6: each(6, x, y, count, a, b); break;
    case 7: each(7, x, y, count, a, b); break;
    case 8: each(8, x, y, count, a, b); break;
    case 9: each(9, x, y, count, a, b); break;
    case 10: each(10, x, y, count, a, b); break;
    case 11: each(11, x, y, count, a, b); break;
    case 12: each(12, x, y, count, a, b); break;
    case 13: each(13, x, y, count, a, b); break;
    case 14: each(14, x, y, count, a, b); break;
    case 15: each(15, x, y, count, a, b); break;
    case 16: each(16, x, y, count, a, b); break;
    case 17: each(17, x, y, count, a, b); break;
    case 18: each(18, x, y, count, a, b); break;
    case 19: each(19, x, y, count, a, b); break;
    case 20: each(20, x, y, count, a, b); break;
    case 21: each(21, x, y, count, a, b); break;
    case 22: each(22, x, y, count, a, b); break;
    case 23: each(23, x, y, count, a, b); break;
    case 24: each(24, x, y, count, a, b); break;
    case 25: each(25, x, y, count, a, b); break;
    case 26: each(26, x, y, count, a, b); break;
    case 27: each(27, x, y, count, a, b); break;
    case 28: each(28, x, y, count, a, b); break;
    default: each(29, x, y, count, a, b);
  }
}

// Codes as in BINARY of src/kernels/elementwise.ts.
// @ts-ignore: decorator
@inline
function combine(op: i32, a: v128, b: v128): v128 {
  if (op == 0) return f32x4.add(a, b);
  if (op == 1) return f32x4.sub(a, b);
  if (op == 2) return f32x4.mul(a, b);
  if (op == 3) return f32x4.div(a, b);
  if (op == 4) return f32x4.min(a, b);
  if (op == 5) return f32x4.max(a, b);
  if (op == 6) return v128.bitselect(f32x4.mul(a, b), a, f32x4.lt(a, splat(0)));
  return f32x4.mul(f32x4.mul(a, sigmoid4(a)), b);
}

/** An operand that is not `wide` is one float for the whole run. */
// @ts-ignore: decorator
@inline
function pairs(op: i32, a: usize, aWide: i32, b: usize, bWide: i32, y: usize, count: i32): void {
  const sa = v128.load32_splat(a), sb = v128.load32_splat(b);
  let i = 0;
  for (const end = count - 3; i < end; i += 4) {
    const at = i << 2;
    v128.store(y + at, combine(op, aWide ? v128.load(a + at) : sa, bWide ? v128.load(b + at) : sb));
  }
  if (i < count) {
    const at = i << 2;
    storeSome(y + at, combine(op, aWide ? v128.load(a + at) : sa, bWide ? v128.load(b + at) : sb), count - i);
  }
}

function run(op: i32, a: usize, aWide: i32, b: usize, bWide: i32, y: usize, count: i32): void {
  switch (op) {
    case 0: pairs(0, a, aWide, b, bWide, y, count); break;
    case 1: pairs(1, a, aWide, b, bWide, y, count); break;
    case 2: pairs(2, a, aWide, b, bWide, y, count); break;
    case 3: pairs(3, a, aWide, b, bWide, y, count); break;
    case 4: pairs(4, a, aWide, b, bWide, y, count); break;
    case 5: pairs(5, a, aWide, b, bWide, y, count); break;
    case 6: pairs(6, a, aWide, b, bWide, y, count); break;
    default: pairs(7, a, aWide, b, bWide, y, count);
  }
}

/**
 * y[outer][inner] = op(a, b): `table` holds the rank of the outer dimensions, then for each (innermost first) its size and
 * the strides of a and b in elements. Along `inner` an operand is contiguous (wide 1) or one element (0).
 */
export function binary(
  op: i32, a: usize, aWide: i32, b: usize, bWide: i32, y: usize, outer: i32, inner: i32, table: usize,
  thread: i32, threads: i32,
): void {
  const byRows = outer >= 2 * threads;
  const first = byRows ? share(outer, 1, thread, threads) : 0;
  const end = byRows ? share(outer, 1, thread + 1, threads) : outer;
  const start = byRows ? 0 : share(inner, 16, thread, threads);
  const count = (byRows ? inner : share(inner, 16, thread + 1, threads)) - start;
  if (count <= 0) return;
  const rank = load<i32>(table);
  for (let row = first; row < end; row++) {
    let rest = row, pa = a + aWide * start * 4, pb = b + bWide * start * 4;
    for (let d = 0, t = table + 4; d < rank; d++, t += 12) {
      const size = load<i32>(t), index = rest % size;
      rest /= size;
      pa += index * load<i32>(t, 4) * 4;
      pb += index * load<i32>(t, 8) * 4;
    }
    run(op, pa, aWide, pb, bWide, y + (row * inner + start) * 4, count);
  }
}

/** y = clamp(x · scale[channel] + bias[channel], lo, hi) over [outer][channels][inner]; scale or bias may be null (1, 0). */
export function affine(
  x: usize, y: usize, outer: i32, channels: i32, inner: i32, scale: usize, bias: usize, lo: f32, hi: f32,
  thread: i32, threads: i32,
): void {
  setLimits(lo, hi);
  const end = share(outer * channels, 1, thread + 1, threads);
  for (let row = share(outer * channels, 1, thread, threads); row < end; row++) {
    const channel = (row % channels) * 4;
    const s = scale ? v128.load32_splat(scale + channel) : splat(1);
    const t = bias ? v128.load32_splat(bias + channel) : splat(0);
    const from = x + row * inner * 4, to = y + row * inner * 4;
    for (let i = 0; i < inner; i += 4) storeSome(to + i * 4, clamp(madd(v128.load(from + i * 4), s, t)), inner - i);
  }
}

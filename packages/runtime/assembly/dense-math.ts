// Elementary functions of four floats. Errors: a few units in the last place, checked in elementwise.test.ts.
import { madd } from './common';

// @ts-ignore: decorator
@inline
export function splat(value: f32): v128 {
  return f32x4.splat(value);
}

// Coefficients lie in memory: the engine builds a vector constant anew, at three times the cost of a load, wherever it is used.
// @ts-ignore: decorator
@inline
function at(table: usize, index: i32): v128 {
  return v128.load32_splat(table + index * 4);
}

const EXP = memory.data<f32>([
  -105, 89, 1.44269504, 12582912, 2.12194440e-4, -0.693359375, 1.9875691e-4, 1.3981999507e-3, 8.3334519073e-3,
  4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1,
]);

/** exp(x) = 2ⁿ·exp(r), |r| ≤ ln 2 / 2; 2ⁿ in two factors, so that overflow and subnormals come out right. */
export function exp4(x: v128): v128 {
  x = f32x4.pmin(f32x4.pmax(x, at(EXP, 0)), at(EXP, 1));
  // Adding 1.5 · 2²³ rounds to the nearest integer, which then lies in the low bits.
  const rounded = madd(x, at(EXP, 2), at(EXP, 3));
  const n = f32x4.sub(rounded, at(EXP, 3));
  const r = madd(n, at(EXP, 4), madd(n, at(EXP, 5), x));
  let p = madd(at(EXP, 6), r, at(EXP, 7));
  p = madd(p, r, at(EXP, 8));
  p = madd(p, r, at(EXP, 9));
  p = madd(p, r, at(EXP, 10));
  p = madd(p, r, at(EXP, 11));
  p = f32x4.add(madd(f32x4.mul(r, r), p, r), at(EXP, 12));
  const whole = i32x4.sub(rounded, at(EXP, 3));
  const half = i32x4.shr_s(whole, 1);
  // The bits of 1, with n added to the exponent.
  p = f32x4.mul(p, i32x4.add(at(EXP, 12), i32x4.shl(half, 23)));
  return f32x4.mul(p, i32x4.add(at(EXP, 12), i32x4.shl(i32x4.sub(whole, half), 23)));
}

const LOG = memory.data<f32>([
  1.17549435e-38, 8388608, 23, 1, 7.0376836292e-2, -1.151461031e-1, 1.1676998740e-1, -1.2420140846e-1,
  1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1, -2.12194440e-4, -0.5,
  0.693359375, 0,
]);

/** Natural logarithm; −∞ at 0, NaN below. */
export function log4(x: v128): v128 {
  const subnormal = f32x4.lt(x, at(LOG, 0));
  const scaled = v128.bitselect(f32x4.mul(x, at(LOG, 1)), x, subnormal);
  // m in [√½, √2).
  const bits = i32x4.sub(scaled, i32x4.splat(0x3f3504f3));
  const e = f32x4.sub(f32x4.convert_i32x4_s(i32x4.shr_s(bits, 23)), v128.and(subnormal, at(LOG, 2)));
  const m = i32x4.add(v128.and(bits, i32x4.splat(0x007fffff)), i32x4.splat(0x3f3504f3));
  const f = f32x4.sub(m, at(LOG, 3));
  let p = madd(at(LOG, 4), f, at(LOG, 5));
  p = madd(p, f, at(LOG, 6));
  p = madd(p, f, at(LOG, 7));
  p = madd(p, f, at(LOG, 8));
  p = madd(p, f, at(LOG, 9));
  p = madd(p, f, at(LOG, 10));
  p = madd(p, f, at(LOG, 11));
  p = madd(p, f, at(LOG, 12));
  const z = f32x4.mul(f, f);
  p = f32x4.mul(f32x4.mul(p, f), z);
  p = madd(e, at(LOG, 13), p);
  p = madd(z, at(LOG, 14), p);
  let y = madd(e, at(LOG, 15), f32x4.add(f, p));
  y = v128.bitselect(splat(-Infinity), y, f32x4.eq(x, at(LOG, 16)));
  y = v128.bitselect(splat(NaN), y, f32x4.lt(x, at(LOG, 16)));
  // Infinity and NaN are their own logarithms.
  return v128.bitselect(y, x, f32x4.lt(x, splat(Infinity)));
}

const TANH = memory.data<f32>([
  -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-8, 1.48572235717979e-5,
  6.37261928875436e-4, 4.89352455891786e-3, 1.19825839466702e-6, 1.18534705686654e-4, 2.26843463243900e-3,
  4.89352518554385e-3, 1, 62.49,
]);

/** Odd rational approximation up to where tanh rounds to ±1. */
export function tanh4(x: v128): v128 {
  const s = f32x4.mul(x, x);
  let p = madd(at(TANH, 0), s, at(TANH, 1));
  p = madd(p, s, at(TANH, 2));
  p = madd(p, s, at(TANH, 3));
  p = madd(p, s, at(TANH, 4));
  p = madd(p, s, at(TANH, 5));
  p = madd(p, s, at(TANH, 6));
  let q = madd(at(TANH, 7), s, at(TANH, 8));
  q = madd(q, s, at(TANH, 9));
  q = madd(q, s, at(TANH, 10));
  const one = v128.bitselect(at(TANH, 11), x, i32x4.splat(0x7fffffff));
  return v128.bitselect(one, f32x4.div(f32x4.mul(x, p), q), f32x4.gt(s, at(TANH, 12)));
}

export function sigmoid4(x: v128): v128 {
  return f32x4.div(at(EXP, 12), f32x4.add(at(EXP, 12), exp4(f32x4.neg(x))));
}

const ERF = memory.data<f32>([
  -1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1, -105,
  4, 1, -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1, 0.921875,
]);

/** An odd polynomial near 0, 1 − exp(polynomial) beyond. */
export function erf4(x: v128): v128 {
  const t = f32x4.abs(x), s = f32x4.mul(x, x);
  let far = madd(at(ERF, 0), t, at(ERF, 1));
  far = madd(far, s, madd(at(ERF, 2), t, at(ERF, 3)));
  far = madd(far, t, at(ERF, 4));
  far = madd(far, t, at(ERF, 5));
  far = madd(far, t, at(ERF, 6));
  far = f32x4.sub(f32x4.mul(far, t), t);
  // Beyond 4 the result is 1 and the polynomial no longer falls.
  far = v128.bitselect(at(ERF, 7), far, f32x4.gt(t, at(ERF, 8)));
  far = f32x4.sub(at(ERF, 9), exp4(far));
  far = v128.bitselect(far, x, i32x4.splat(0x7fffffff));
  let near = madd(at(ERF, 10), s, at(ERF, 11));
  near = madd(near, s, at(ERF, 12));
  near = madd(near, s, at(ERF, 13));
  near = madd(near, s, at(ERF, 14));
  near = madd(near, s, at(ERF, 15));
  near = madd(near, x, x);
  return v128.bitselect(far, near, f32x4.gt(t, at(ERF, 16)));
}

/** Sum of the four lanes. */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return (f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1)) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

/** Largest of the four lanes. */
// @ts-ignore: decorator
@inline
export function maxLanes(v: v128): f32 {
  return max(
    max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/** `v` with the lanes from `count` (1 … 4) on replaced by `other`. */
// @ts-ignore: decorator
@inline
export function keepLanes(v: v128, count: i32, other: v128): v128 {
  return v128.bitselect(v, other, i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(count)));
}

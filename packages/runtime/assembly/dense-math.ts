// Elementary functions of four floats. Errors: a few units in the last place, checked in elementwise.test.ts.
import { madd } from './common';

// @ts-ignore: decorator
@inline
export function splat(value: f32): v128 {
  return f32x4.splat(value);
}

/** exp(x) = 2ⁿ·exp(r), |r| ≤ ln 2 / 2; 2ⁿ in two factors, so that overflow and subnormals come out right. */
export function exp4(x: v128): v128 {
  x = f32x4.pmin(f32x4.pmax(x, splat(-105)), splat(89));
  const n = f32x4.nearest(f32x4.mul(x, splat(1.44269504)));
  const r = madd(n, splat(2.12194440e-4), madd(n, splat(-0.693359375), x));
  let p = madd(splat(1.9875691e-4), r, splat(1.3981999507e-3));
  p = madd(p, r, splat(8.3334519073e-3));
  p = madd(p, r, splat(4.1665795894e-2));
  p = madd(p, r, splat(1.6666665459e-1));
  p = madd(p, r, splat(5.0000001201e-1));
  p = f32x4.add(madd(f32x4.mul(r, r), p, r), splat(1));
  const whole = i32x4.trunc_sat_f32x4_s(n);
  const half = i32x4.shr_s(whole, 1);
  const bias = i32x4.splat(127);
  p = f32x4.mul(p, i32x4.shl(i32x4.add(half, bias), 23));
  return f32x4.mul(p, i32x4.shl(i32x4.add(i32x4.sub(whole, half), bias), 23));
}

/** Natural logarithm; −∞ at 0, NaN below. */
export function log4(x: v128): v128 {
  const subnormal = f32x4.lt(x, splat(1.17549435e-38));
  const scaled = v128.bitselect(f32x4.mul(x, splat(8388608)), x, subnormal);
  // m in [√½, √2).
  const bits = i32x4.sub(scaled, i32x4.splat(0x3f3504f3));
  const e = f32x4.sub(f32x4.convert_i32x4_s(i32x4.shr_s(bits, 23)), v128.and(subnormal, splat(23)));
  const m = i32x4.add(v128.and(bits, i32x4.splat(0x007fffff)), i32x4.splat(0x3f3504f3));
  const f = f32x4.sub(m, splat(1));
  let p = madd(splat(7.0376836292e-2), f, splat(-1.151461031e-1));
  p = madd(p, f, splat(1.1676998740e-1));
  p = madd(p, f, splat(-1.2420140846e-1));
  p = madd(p, f, splat(1.4249322787e-1));
  p = madd(p, f, splat(-1.6668057665e-1));
  p = madd(p, f, splat(2.0000714765e-1));
  p = madd(p, f, splat(-2.4999993993e-1));
  p = madd(p, f, splat(3.3333331174e-1));
  const z = f32x4.mul(f, f);
  p = f32x4.mul(f32x4.mul(p, f), z);
  p = madd(e, splat(-2.12194440e-4), p);
  p = madd(z, splat(-0.5), p);
  let y = madd(e, splat(0.693359375), f32x4.add(f, p));
  y = v128.bitselect(splat(-Infinity), y, f32x4.eq(x, splat(0)));
  y = v128.bitselect(splat(NaN), y, f32x4.lt(x, splat(0)));
  // Infinity and NaN are their own logarithms.
  return v128.bitselect(y, x, f32x4.lt(x, splat(Infinity)));
}

/** Odd rational approximation up to where tanh rounds to ±1. */
export function tanh4(x: v128): v128 {
  const s = f32x4.mul(x, x);
  let p = madd(splat(-2.76076847742355e-16), s, splat(2.00018790482477e-13));
  p = madd(p, s, splat(-8.60467152213735e-11));
  p = madd(p, s, splat(5.12229709037114e-8));
  p = madd(p, s, splat(1.48572235717979e-5));
  p = madd(p, s, splat(6.37261928875436e-4));
  p = madd(p, s, splat(4.89352455891786e-3));
  let q = madd(splat(1.19825839466702e-6), s, splat(1.18534705686654e-4));
  q = madd(q, s, splat(2.26843463243900e-3));
  q = madd(q, s, splat(4.89352518554385e-3));
  const one = v128.bitselect(splat(1), x, i32x4.splat(0x7fffffff));
  return v128.bitselect(one, f32x4.div(f32x4.mul(x, p), q), f32x4.gt(s, splat(62.49)));
}

export function sigmoid4(x: v128): v128 {
  return f32x4.div(splat(1), f32x4.add(splat(1), exp4(f32x4.neg(x))));
}

/** An odd polynomial near 0, 1 − exp(polynomial) beyond. */
export function erf4(x: v128): v128 {
  const t = f32x4.abs(x), s = f32x4.mul(x, x);
  let far = madd(splat(-1.72853470e-5), t, splat(3.83197126e-4));
  far = madd(far, s, madd(splat(-3.88396438e-3), t, splat(2.42546219e-2)));
  far = madd(far, t, splat(-1.06777877e-1));
  far = madd(far, t, splat(-6.34846687e-1));
  far = madd(far, t, splat(-1.28717512e-1));
  far = f32x4.sub(f32x4.mul(far, t), t);
  // Beyond 4 the result is 1 and the polynomial no longer falls.
  far = v128.bitselect(splat(-105), far, f32x4.gt(t, splat(4)));
  far = f32x4.sub(splat(1), exp4(far));
  far = v128.bitselect(far, x, i32x4.splat(0x7fffffff));
  let near = madd(splat(-5.96761703e-4), s, splat(4.99119423e-3));
  near = madd(near, s, splat(-2.67681349e-2));
  near = madd(near, s, splat(1.12819925e-1));
  near = madd(near, s, splat(-3.76125336e-1));
  near = madd(near, s, splat(1.28379166e-1));
  near = madd(near, x, x);
  return v128.bitselect(far, near, f32x4.gt(t, splat(0.921875)));
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

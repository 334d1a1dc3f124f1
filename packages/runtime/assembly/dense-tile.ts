// Register tiles of the dense product: `rows` × 8, 4 or 1 columns of C from a packed panel of A and a panel of B.
// 6×8 is the largest tile that fits V8's 15 allocatable vector registers: 12 accumulators, 2 of B, 1 broadcast of A.
//   A panel: [k][R] floats, R = 6 or 4 rows. B panel: rows of 8 floats, `stride` bytes apart.
//   C[r][j] = clamp(Σ A·B + start[r][j] + rowBias[r] + columnBias[j]); `start`, `rowBias`, `columnBias` may be null (0).
import { madd } from './common';

/** Limits of the clamp, and whether this pass over K is the last one (biases and the clamp belong to it). */
let lo: f32 = 0;
let hi: f32 = 0;
let clamps: bool = false;
let last: bool = true;

export function setLimits(low: f32, high: f32): void {
  lo = low;
  hi = high;
  clamps = low != -Infinity || high != Infinity;
}

export function setLast(value: bool): void {
  last = value;
}

// @ts-ignore: decorator
@inline
export function lowLimit(): v128 {
  return f32x4.splat(lo);
}

// @ts-ignore: decorator
@inline
export function highLimit(): v128 {
  return f32x4.splat(hi);
}

/** NaN stays NaN. */
// @ts-ignore: decorator
@inline
export function limit(value: v128, low: v128, high: v128): v128 {
  return f32x4.pmin(f32x4.pmax(value, low), high);
}

// @ts-ignore: decorator
@inline
export function clamp(value: v128): v128 {
  return limit(value, lowLimit(), highLimit());
}

// @ts-ignore: decorator
@inline
function finish8(c: usize, start: usize, rowBias: usize, columnBias: usize, v0: v128, v1: v128): void {
  if (start) {
    v0 = f32x4.add(v0, v128.load(start));
    v1 = f32x4.add(v1, v128.load(start, 16));
  }
  if (last) {
    if (rowBias) {
      const bias = v128.load32_splat(rowBias);
      v0 = f32x4.add(v0, bias);
      v1 = f32x4.add(v1, bias);
    }
    if (columnBias) {
      v0 = f32x4.add(v0, v128.load(columnBias));
      v1 = f32x4.add(v1, v128.load(columnBias, 16));
    }
    if (clamps) {
      v0 = clamp(v0);
      v1 = clamp(v1);
    }
  }
  v128.store(c, v0);
  v128.store(c, v1, 16);
}

// @ts-ignore: decorator
@inline
function finish4(c: usize, start: usize, rowBias: usize, columnBias: usize, v0: v128): void {
  if (start) v0 = f32x4.add(v0, v128.load(start));
  if (last) {
    if (rowBias) v0 = f32x4.add(v0, v128.load32_splat(rowBias));
    if (columnBias) v0 = f32x4.add(v0, v128.load(columnBias));
    if (clamps) v0 = clamp(v0);
  }
  v128.store(c, v0);
}

/** Moves a pointer that may be null. */
// @ts-ignore: decorator
@inline
function at(pointer: usize, offset: usize): usize {
  return pointer ? pointer + offset : 0;
}

// @ts-ignore: decorator
@inline
function finishRow8(
  row: i32, rows: i32, c: usize, ldc: usize, start: usize, lds: usize, rowBias: usize, columnBias: usize, v0: v128, v1: v128,
): void {
  if (rows > row) finish8(c + row * ldc, at(start, row * lds), at(rowBias, row * 4), columnBias, v0, v1);
}

// @ts-ignore: decorator
@inline
function finishRow4(
  row: i32, rows: i32, c: usize, ldc: usize, start: usize, lds: usize, rowBias: usize, columnBias: usize, v0: v128,
): void {
  if (rows > row) finish4(c + row * ldc, at(start, row * lds), at(rowBias, row * 4), columnBias, v0);
}

export function tile6x8(
  k: i32, a: usize, b: usize, stride: usize, rows: i32,
  c: usize, ldc: usize, start: usize, lds: usize, rowBias: usize, columnBias: usize,
): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0), c41 = f32x4.splat(0), c50 = f32x4.splat(0), c51 = f32x4.splat(0);
  let b0: v128, b1: v128, x: v128;
  for (const end = a + (k & -2) * 24; a < end; a += 48) {
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    b += stride;
    x = v128.load32_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    x = v128.load32_splat(a, 16);
    c40 = madd(x, b0, c40);
    c41 = madd(x, b1, c41);
    x = v128.load32_splat(a, 20);
    c50 = madd(x, b0, c50);
    c51 = madd(x, b1, c51);
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    b += stride;
    x = v128.load32_splat(a, 24);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 28);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 32);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 36);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    x = v128.load32_splat(a, 40);
    c40 = madd(x, b0, c40);
    c41 = madd(x, b1, c41);
    x = v128.load32_splat(a, 44);
    c50 = madd(x, b0, c50);
    c51 = madd(x, b1, c51);
  }
  if (k & 1) {
    b0 = v128.load(b);
    b1 = v128.load(b, 16);
    x = v128.load32_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    x = v128.load32_splat(a, 16);
    c40 = madd(x, b0, c40);
    c41 = madd(x, b1, c41);
    x = v128.load32_splat(a, 20);
    c50 = madd(x, b0, c50);
    c51 = madd(x, b1, c51);
  }
  if (rows == 6 && last && !start && !columnBias) {
    // The usual end of a convolution, in a straight line: it counts where k is small.
    if (rowBias) {
      x = v128.load32_splat(rowBias, 0);
      c00 = f32x4.add(c00, x);
      c01 = f32x4.add(c01, x);
      x = v128.load32_splat(rowBias, 4);
      c10 = f32x4.add(c10, x);
      c11 = f32x4.add(c11, x);
      x = v128.load32_splat(rowBias, 8);
      c20 = f32x4.add(c20, x);
      c21 = f32x4.add(c21, x);
      x = v128.load32_splat(rowBias, 12);
      c30 = f32x4.add(c30, x);
      c31 = f32x4.add(c31, x);
      x = v128.load32_splat(rowBias, 16);
      c40 = f32x4.add(c40, x);
      c41 = f32x4.add(c41, x);
      x = v128.load32_splat(rowBias, 20);
      c50 = f32x4.add(c50, x);
      c51 = f32x4.add(c51, x);
    }
    if (clamps) {
      b0 = lowLimit();
      b1 = highLimit();
      c00 = limit(c00, b0, b1);
      c01 = limit(c01, b0, b1);
      c10 = limit(c10, b0, b1);
      c11 = limit(c11, b0, b1);
      c20 = limit(c20, b0, b1);
      c21 = limit(c21, b0, b1);
      c30 = limit(c30, b0, b1);
      c31 = limit(c31, b0, b1);
      c40 = limit(c40, b0, b1);
      c41 = limit(c41, b0, b1);
      c50 = limit(c50, b0, b1);
      c51 = limit(c51, b0, b1);
    }
    v128.store(c, c00);
    v128.store(c, c01, 16);
    c += ldc;
    v128.store(c, c10);
    v128.store(c, c11, 16);
    c += ldc;
    v128.store(c, c20);
    v128.store(c, c21, 16);
    c += ldc;
    v128.store(c, c30);
    v128.store(c, c31, 16);
    c += ldc;
    v128.store(c, c40);
    v128.store(c, c41, 16);
    c += ldc;
    v128.store(c, c50);
    v128.store(c, c51, 16);
    return;
  }
  finishRow8(0, rows, c, ldc, start, lds, rowBias, columnBias, c00, c01);
  finishRow8(1, rows, c, ldc, start, lds, rowBias, columnBias, c10, c11);
  finishRow8(2, rows, c, ldc, start, lds, rowBias, columnBias, c20, c21);
  finishRow8(3, rows, c, ldc, start, lds, rowBias, columnBias, c30, c31);
  finishRow8(4, rows, c, ldc, start, lds, rowBias, columnBias, c40, c41);
  finishRow8(5, rows, c, ldc, start, lds, rowBias, columnBias, c50, c51);
}

export function tile4x8(
  k: i32, a: usize, b: usize, stride: usize, rows: i32,
  c: usize, ldc: usize, start: usize, lds: usize, rowBias: usize, columnBias: usize,
): void {
  let c00 = f32x4.splat(0), c01 = f32x4.splat(0), c10 = f32x4.splat(0), c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0), c21 = f32x4.splat(0), c30 = f32x4.splat(0), c31 = f32x4.splat(0);
  for (const end = a + k * 16; a < end; a += 16) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    b += stride;
    let x = v128.load32_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
  }
  finishRow8(0, rows, c, ldc, start, lds, rowBias, columnBias, c00, c01);
  finishRow8(1, rows, c, ldc, start, lds, rowBias, columnBias, c10, c11);
  finishRow8(2, rows, c, ldc, start, lds, rowBias, columnBias, c20, c21);
  finishRow8(3, rows, c, ldc, start, lds, rowBias, columnBias, c30, c31);
}

/** Six rows (or four: `pitch` is 16 bytes and rows ≤ 4) × 4 columns. */
export function tile6x4(
  k: i32, a: usize, pitch: usize, b: usize, stride: usize, rows: i32,
  c: usize, ldc: usize, start: usize, lds: usize, rowBias: usize, columnBias: usize,
): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0), c4 = f32x4.splat(0), c5 = f32x4.splat(0);
  for (const end = a + k * pitch; a < end; a += pitch) {
    const b0 = v128.load(b);
    b += stride;
    c0 = madd(v128.load32_splat(a), b0, c0);
    c1 = madd(v128.load32_splat(a, 4), b0, c1);
    c2 = madd(v128.load32_splat(a, 8), b0, c2);
    c3 = madd(v128.load32_splat(a, 12), b0, c3);
    c4 = madd(v128.load32_splat(a, 16), b0, c4);
    c5 = madd(v128.load32_splat(a, 20), b0, c5);
  }
  finishRow4(0, rows, c, ldc, start, lds, rowBias, columnBias, c0);
  finishRow4(1, rows, c, ldc, start, lds, rowBias, columnBias, c1);
  finishRow4(2, rows, c, ldc, start, lds, rowBias, columnBias, c2);
  finishRow4(3, rows, c, ldc, start, lds, rowBias, columnBias, c3);
  finishRow4(4, rows, c, ldc, start, lds, rowBias, columnBias, c4);
  finishRow4(5, rows, c, ldc, start, lds, rowBias, columnBias, c5);
}

// @ts-ignore: decorator
@inline
function finish1(
  row: i32, rows: i32, c: usize, ldc: usize, start: usize, lds: usize, rowBias: usize, columnBias: usize, value: f32,
): void {
  if (rows <= row) return;
  if (start) value += load<f32>(start + row * lds);
  if (last) {
    if (rowBias) value += load<f32>(rowBias + row * 4);
    if (columnBias) value += load<f32>(columnBias);
    if (clamps) value = value < lo ? lo : value > hi ? hi : value;
  }
  store<f32>(c + row * ldc, value);
}

/** One column: the lanes are rows. */
export function tile6x1(
  k: i32, a: usize, pitch: usize, b: usize, stride: usize, rows: i32,
  c: usize, ldc: usize, start: usize, lds: usize, rowBias: usize, columnBias: usize,
): void {
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), d0 = f32x4.splat(0), d1 = f32x4.splat(0);
  let e0 = f32x4.splat(0), e1 = f32x4.splat(0), g0 = f32x4.splat(0), g1 = f32x4.splat(0);
  let x: v128;
  for (const end = a + (k & -4) * pitch; a < end; ) {
    x = v128.load32_splat(b);
    c0 = madd(x, v128.load(a), c0);
    c1 = madd(x, v128.load(a, 16), c1);
    a += pitch;
    b += stride;
    x = v128.load32_splat(b);
    d0 = madd(x, v128.load(a), d0);
    d1 = madd(x, v128.load(a, 16), d1);
    a += pitch;
    b += stride;
    x = v128.load32_splat(b);
    e0 = madd(x, v128.load(a), e0);
    e1 = madd(x, v128.load(a, 16), e1);
    a += pitch;
    b += stride;
    x = v128.load32_splat(b);
    g0 = madd(x, v128.load(a), g0);
    g1 = madd(x, v128.load(a, 16), g1);
    a += pitch;
    b += stride;
  }
  for (const end = a + (k & 3) * pitch; a < end; a += pitch, b += stride) {
    x = v128.load32_splat(b);
    c0 = madd(x, v128.load(a), c0);
    c1 = madd(x, v128.load(a, 16), c1);
  }
  c0 = f32x4.add(f32x4.add(c0, d0), f32x4.add(e0, g0));
  c1 = f32x4.add(f32x4.add(c1, d1), f32x4.add(e1, g1));
  finish1(0, rows, c, ldc, start, lds, rowBias, columnBias, f32x4.extract_lane(c0, 0));
  finish1(1, rows, c, ldc, start, lds, rowBias, columnBias, f32x4.extract_lane(c0, 1));
  finish1(2, rows, c, ldc, start, lds, rowBias, columnBias, f32x4.extract_lane(c0, 2));
  finish1(3, rows, c, ldc, start, lds, rowBias, columnBias, f32x4.extract_lane(c0, 3));
  finish1(4, rows, c, ldc, start, lds, rowBias, columnBias, f32x4.extract_lane(c1, 0));
  finish1(5, rows, c, ldc, start, lds, rowBias, columnBias, f32x4.extract_lane(c1, 1));
}

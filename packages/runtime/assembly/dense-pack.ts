// Packing of operands of the dense product into panels: A as [k][6 or 4 rows], B as [k][8 columns].

/** Four-row panels at the end of A's panels, so that every even M is covered without waste (M ≥ 8). */
export function fourRowPanels(m: i32): i32 {
  const even = (m + 1) & -2;
  const rest = even % 6;
  return rest == 0 ? 0 : rest == 4 || even < 8 ? 1 : 2;
}

export function sixRowPanels(m: i32): i32 {
  const rows = ((m + 1) & -2) - 4 * fourRowPanels(m);
  return rows > 0 ? rows / 6 : 0;
}

// @ts-ignore: decorator
@inline
function lowPairs(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 4, 1, 5);
}
// @ts-ignore: decorator
@inline
function highPairs(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 6, 3, 7);
}
// @ts-ignore: decorator
@inline
function lowHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f64>(a, b, 0, 2);
}
// @ts-ignore: decorator
@inline
function highHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f64>(a, b, 1, 3);
}

/** Writes the transpose of four vectors at `to`, `to + pitch`, … */
// @ts-ignore: decorator
@inline
export function store4x4(to: usize, pitch: usize, r0: v128, r1: v128, r2: v128, r3: v128): void {
  const a = lowPairs(r0, r1), b = highPairs(r0, r1), c = lowPairs(r2, r3), d = highPairs(r2, r3);
  v128.store(to, lowHalves(a, c));
  v128.store(to + pitch, highHalves(a, c));
  v128.store(to + 2 * pitch, lowHalves(b, d));
  v128.store(to + 3 * pitch, highHalves(b, d));
}

/**
 * Interleaves `rows` ≤ R runs of `k` floats, `ld` bytes apart, as [k][R] (R = 4, 6 or 8), times alpha. Missing rows repeat
 * the last one.
 */
export function interleave(from: usize, ld: usize, rows: i32, k: i32, to: usize, R: i32, alpha: f32): void {
  const top = rows - 1;
  const pitch = <usize>R * 4;
  const p0 = from, p1 = from + min(1, top) * ld, p2 = from + min(2, top) * ld, p3 = from + min(3, top) * ld;
  const p4 = from + min(4, top) * ld, p5 = from + min(5, top) * ld;
  const p6 = from + min(6, top) * ld, p7 = from + min(7, top) * ld;
  const factor = f32x4.splat(alpha);
  const end = <usize>(k & -4) * 4;
  let i: usize = 0;
  for (; i < end; i += 16) {
    store4x4(
      to, pitch,
      f32x4.mul(factor, v128.load(p0 + i)), f32x4.mul(factor, v128.load(p1 + i)),
      f32x4.mul(factor, v128.load(p2 + i)), f32x4.mul(factor, v128.load(p3 + i)),
    );
    if (R == 8) {
      store4x4(
        to + 16, pitch,
        f32x4.mul(factor, v128.load(p4 + i)), f32x4.mul(factor, v128.load(p5 + i)),
        f32x4.mul(factor, v128.load(p6 + i)), f32x4.mul(factor, v128.load(p7 + i)),
      );
    } else if (R == 6) {
      const x = f32x4.mul(factor, v128.load(p4 + i)), y = f32x4.mul(factor, v128.load(p5 + i));
      const low = lowPairs(x, y), high = highPairs(x, y);
      v128.store64_lane(to, low, 0, 16);
      v128.store64_lane(to + pitch, low, 1, 16);
      v128.store64_lane(to + 2 * pitch, high, 0, 16);
      v128.store64_lane(to + 3 * pitch, high, 1, 16);
    }
    to += 4 * pitch;
  }
  for (const stop = <usize>k * 4; i < stop; i += 4, to += pitch) {
    store<f32>(to, alpha * load<f32>(p0 + i));
    store<f32>(to, alpha * load<f32>(p1 + i), 4);
    store<f32>(to, alpha * load<f32>(p2 + i), 8);
    store<f32>(to, alpha * load<f32>(p3 + i), 12);
    if (R > 4) {
      store<f32>(to, alpha * load<f32>(p4 + i), 16);
      store<f32>(to, alpha * load<f32>(p5 + i), 20);
    }
    if (R > 6) {
      store<f32>(to, alpha * load<f32>(p6 + i), 24);
      store<f32>(to, alpha * load<f32>(p7 + i), 28);
    }
  }
}

/** Copies `rows` ≤ R adjacent floats of each of k rows, `ld` bytes apart, as [k][R] (R = 4 or 6), times alpha. */
export function gatherRuns(from: usize, ld: usize, rows: i32, k: i32, to: usize, R: i32, alpha: f32): void {
  for (let i = 0; i < k; i++, from += ld, to += <usize>R * 4) {
    for (let r = 0; r < rows; r++) store<f32>(to + r * 4, alpha * load<f32>(from + r * 4));
    for (let r = rows; r < R; r++) store<f32>(to + r * 4, 0);
  }
}

/** Copies columns of k rows, `ld` bytes apart, to panels [column / 8][k][8]. Reads past the last column, up to 28 bytes. */
export function copyPanels(from: usize, ld: usize, k: i32, columns: i32, to: usize): void {
  const panel = <usize>k * 32;
  let j = 0;
  for (; j + 32 <= columns; j += 32, from += 128, to += 4 * panel) {
    // 32 columns at once: whole cache lines of wide rows.
    const to2 = to + 2 * panel, to1 = to + panel, to3 = to2 + panel;
    let row = from;
    for (let i: usize = 0; i < panel; i += 32, row += ld) {
      v128.store(to + i, v128.load(row));
      v128.store(to + i, v128.load(row, 16), 16);
      v128.store(to1 + i, v128.load(row, 32));
      v128.store(to1 + i, v128.load(row, 48), 16);
      v128.store(to2 + i, v128.load(row, 64));
      v128.store(to2 + i, v128.load(row, 80), 16);
      v128.store(to3 + i, v128.load(row, 96));
      v128.store(to3 + i, v128.load(row, 112), 16);
    }
  }
  for (; j < columns; j += 8, from += 32, to += panel) {
    let row = from;
    for (let i: usize = 0; i < panel; i += 32, row += ld) {
      v128.store(to + i, v128.load(row));
      v128.store(to + i, v128.load(row, 16), 16);
    }
  }
}

/** Panels from the transpose: columns are rows of k floats, `ld` bytes apart. */
export function transposePanels(from: usize, ld: usize, k: i32, columns: i32, to: usize): void {
  for (let j = 0; j < columns; j += 8, to += <usize>k * 32) interleave(from + j * ld, ld, min(8, columns - j), k, to, 8, 1);
}

/** Floats of one panel of int8 weights [k][8]: (weight − zero[j]) · scale[j]. */
export function widenPanel(from: usize, k: i32, scale: usize, zero: usize, to: usize): void {
  const s0 = v128.load(scale), s1 = v128.load(scale, 16), z0 = v128.load(zero), z1 = v128.load(zero, 16);
  for (const end = from + k * 8; from < end; from += 8, to += 32) {
    const wide = v128.load8x8_s(from);
    const low = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(wide));
    const high = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(wide));
    v128.store(to, f32x4.mul(s0, f32x4.sub(low, z0)));
    v128.store(to, f32x4.mul(s1, f32x4.sub(high, z1)), 16);
  }
}

/**
 * Panels of a convolution's patches from a padded image. `table`: output width, horizontal stride, bytes from one output
 * row to the next, then the byte offset of each tap (row of B). Columns are output pixels.
 */
export function patchPanels(image: usize, table: usize, k0: i32, k: i32, column: i32, columns: i32, to: usize): void {
  const width = load<i32>(table), stride = load<i32>(table, 4);
  const rowBytes = load<i32>(table, 8);
  const taps = table + 12 + k0 * 4;
  const end = taps + k * 4;
  const last = column + columns - 1;
  for (let j = 0; j < columns; j += 4, to += (j & 4) == 4 ? 16 : <usize>k * 32 - 16) {
    let p = column + j;
    const y = p / width, x = p - y * width;
    const p0 = image + y * rowBytes + x * stride * 4;
    let out = to;
    if (x + 3 < width && stride <= 2) {
      if (stride == 1) {
        for (let tap = taps; tap < end; tap += 4, out += 32) v128.store(out, v128.load(p0 + load<i32>(tap)));
      } else {
        for (let tap = taps; tap < end; tap += 4, out += 32) {
          const from = p0 + load<i32>(tap);
          v128.store(out, v128.shuffle<f32>(v128.load(from), v128.load(from, 16), 0, 2, 4, 6));
        }
      }
      continue;
    }
    p = min(p + 1, last);
    const p1 = image + (p / width) * rowBytes + (p % width) * stride * 4;
    p = min(p + 1, last);
    const p2 = image + (p / width) * rowBytes + (p % width) * stride * 4;
    p = min(p + 1, last);
    const p3 = image + (p / width) * rowBytes + (p % width) * stride * 4;
    for (let tap = taps; tap < end; tap += 4, out += 32) {
      const offset = load<i32>(tap);
      let v = v128.load32_zero(p0 + offset);
      v = v128.load32_lane(p1 + offset, v, 1);
      v = v128.load32_lane(p2 + offset, v, 2);
      v128.store(out, v128.load32_lane(p3 + offset, v, 3));
    }
  }
}

// One plane of a feature map, padded, in scratch memory. With a horizontal stride s its columns are dealt to s phases, so
// that neighbouring outputs read neighbouring floats: a row is [phase][⌈columns / s⌉].

/** Writes `count` floats, and up to three more. */
// @ts-ignore: decorator
@inline
function fill(to: usize, count: i32, value: v128): void {
  for (let i = 0; i < count; i += 4) v128.store(to + i * 4, value);
}

/**
 * Copies a plane [h][w] to [rows][stride][pitch] with `value` around it: padded column c lies in phase c % stride at
 * c / stride. Writes up to 12 bytes past the end.
 */
export function padPlane(
  x: usize, h: i32, w: i32, to: usize, top: i32, left: i32, rows: i32, pitch: i32, stride: i32, value: f32,
): void {
  const padding = f32x4.splat(value);
  for (let r = 0; r < rows; r++) {
    const y = r - top;
    if (y < 0 || y >= h) {
      fill(to, pitch * stride, padding);
      to += pitch * stride * 4;
      continue;
    }
    const row = x + y * w * 4;
    for (let phase = 0; phase < stride; phase++, to += pitch * 4) {
      // First and end of the columns of this phase that the plane has.
      const first = min(pitch, max(0, (left - phase + stride - 1) / stride));
      const end = min(pitch, max(first, (w + left - phase + stride - 1) / stride));
      fill(to, first, padding);
      let from = row + (first * stride + phase - left) * 4;
      if (stride == 1) {
        for (let i = first; i < end; i += 4, from += 16) v128.store(to + i * 4, v128.load(from));
      } else if (stride == 2) {
        for (let i = first; i < end; i += 4, from += 32) {
          v128.store(to + i * 4, v128.shuffle<f32>(v128.load(from), v128.load(from, 16), 0, 2, 4, 6));
        }
      } else {
        for (let i = first; i < end; i++, from += stride * 4) store<f32>(to + i * 4, load<f32>(from));
      }
      fill(to + end * 4, pitch - end, padding);
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

// Transposed convolution: the columns of a product are added up into the output planes.
import { share } from './common';
import { clamp, setLimits } from './dense-tile';
import { storeSome } from './dense-vector';

/**
 * y[plane][oh][ow] = clamp(bias[plane % channels] + Σ columns[plane][ky][kx][h][w] at (iy · sy + ky · dy − top, ix · sx + kx · dx − left)).
 */
export function foldColumns(
  columns: usize, y: usize, planes: i32, channels: i32, h: i32, w: i32, oh: i32, ow: i32, kh: i32, kw: i32,
  sy: i32, sx: i32, dy: i32, dx: i32, top: i32, left: i32, bias: usize, lo: f32, hi: f32, thread: i32, threads: i32,
): void {
  setLimits(lo, hi);
  const end = share(planes, 1, thread + 1, threads);
  for (let p = share(planes, 1, thread, threads); p < end; p++) {
    const plane = y + p * oh * ow * 4, size = oh * ow;
    const start = bias ? v128.load32_splat(bias + (p % channels) * 4) : f32x4.splat(0);
    for (let i = 0; i < size; i += 4) storeSome(plane + i * 4, start, size - i);
    for (let ky = 0; ky < kh; ky++) {
      for (let kx = 0; kx < kw; kx++) {
        const from = columns + ((p * kh + ky) * kw + kx) * h * w * 4;
        const shift = kx * dx - left;
        // Input columns whose output column exists.
        const first = max(0, (sx - 1 - shift) / sx), last = min(w - 1, (ow - 1 - shift + sx) / sx - 1);
        for (let iy = 0; iy < h; iy++) {
          const oy = iy * sy + ky * dy - top;
          if (oy < 0 || oy >= oh) continue;
          let a = from + (iy * w + first) * 4, b = plane + (oy * ow + first * sx + shift) * 4;
          let i = first;
          if (sx == 1) {
            for (; i + 3 <= last; i += 4, a += 16, b += 16) v128.store(b, f32x4.add(v128.load(b), v128.load(a)));
          }
          for (; i <= last; i++, a += 4, b += sx * 4) store<f32>(b, load<f32>(b) + load<f32>(a));
        }
      }
    }
    if (lo != -Infinity || hi != Infinity) {
      for (let i = 0; i < size; i += 4) storeSome(plane + i * 4, clamp(v128.load(plane + i * 4)), size - i);
    }
  }
}

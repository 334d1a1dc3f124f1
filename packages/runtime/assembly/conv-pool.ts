// Maximum and average pooling over padded copies of the planes.
import { share } from './common';
import { clearBand, padBand } from './conv-plane';
import { storeSome } from './dense-vector';

/**
 * Pools `planes` planes [h][w] to [oh][ow]. Bands, `table` and scratch are as in `depthwise`, but one band. `average` 0: the maximum;
 * else the sum over counts[r] · counts[oh + j], how many rows and columns of the window count.
 */
export function pool(
  x: usize, y: usize, planes: i32, h: i32, w: i32, oh: i32, ow: i32, top: i32, left: i32,
  band: i32, reach: i32, pitch: i32, sx: i32, sy: i32, table: usize, taps: i32, average: i32, counts: usize,
  scratch: usize, scratchBytes: i32, thread: i32, threads: i32,
): void {
  scratch += thread * scratchBytes;
  const step = sy * pitch * sx * 4;
  const padding = f32x4.splat(average ? 0 : -Infinity);
  clearBand(scratch, ((band - 1) * sy + reach) * pitch * sx, padding);
  const tableEnd = table + taps * 4;
  const end = share(planes, 1, thread + 1, threads);
  for (let p = share(planes, 1, thread, threads); p < end; p++) {
    let to = y + p * oh * ow * 4;
    for (let r = 0; r < oh; r++, to += ow * 4) {
      const row = r % band;
      if (row == 0) {
        const rows = (min(band, oh - r) - 1) * sy + reach;
        padBand(x + p * h * w * 4, h, w, scratch, r * sy - top, rows, left, pitch, sx, padding);
      }
      const from = scratch + row * step;
      for (let j = 0; j < ow; j += 4) {
        const source = from + j * 4;
        let v = v128.load(source + load<i32>(table));
        if (average) {
          for (let tap = table + 4; tap < tableEnd; tap += 4) v = f32x4.add(v, v128.load(source + load<i32>(tap)));
          v = f32x4.div(v, f32x4.mul(v128.load32_splat(counts + r * 4), v128.load(counts + (oh + j) * 4)));
        } else {
          for (let tap = table + 4; tap < tableEnd; tap += 4) v = f32x4.pmax(v, v128.load(source + load<i32>(tap)));
        }
        storeSome(to + j * 4, v, ow - j);
      }
    }
  }
}

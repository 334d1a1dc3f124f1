// Maximum and average pooling over padded copies of the planes.
import { share } from './common';
import { padPlane } from './conv-plane';
import { storeSome } from './dense-vector';

/**
 * Pools `planes` planes [h][w] to [oh][ow]. The padded copy and `table` are as in `depthwise`. `average` 0: the maximum;
 * else the sum over counts[r] · counts[oh + j], how many rows and columns of the window count.
 */
export function pool(
  x: usize, y: usize, planes: i32, h: i32, w: i32, oh: i32, ow: i32, top: i32, left: i32,
  rows: i32, pitch: i32, sx: i32, sy: i32, table: usize, taps: i32, average: i32, counts: usize,
  scratch: usize, scratchBytes: i32, thread: i32, threads: i32,
): void {
  scratch += thread * scratchBytes;
  const step = sy * pitch * sx * 4;
  const tableEnd = table + taps * 4;
  const end = share(planes, 1, thread + 1, threads);
  for (let p = share(planes, 1, thread, threads); p < end; p++) {
    padPlane(x + p * h * w * 4, h, w, scratch, top, left, rows, pitch, sx, average ? 0 : -Infinity);
    let to = y + p * oh * ow * 4;
    for (let r = 0; r < oh; r++, to += ow * 4) {
      const from = scratch + r * step;
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

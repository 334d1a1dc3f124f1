import { madd } from './common';

/** 12 · `iterations` multiply-adds of four floats on registers: the machine's 128-bit peak, a measure for kernels. */
export function peak(iterations: i32): f32 {
  // Not constants: the engine would load those anew for every use.
  const w = f32x4.splat(<f32>iterations * 1e-9), x = f32x4.splat(<f32>iterations * 1e-8);
  let a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
  for (; iterations > 0; --iterations) {
    a = madd(a, w, x);
    b = madd(b, w, x);
    c = madd(c, w, x);
    d = madd(d, w, x);
    e = madd(e, w, x);
    f = madd(f, w, x);
    g = madd(g, w, x);
    h = madd(h, w, x);
    i = madd(i, w, x);
    j = madd(j, w, x);
    k = madd(k, w, x);
    l = madd(l, w, x);
  }
  a = f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(f32x4.add(e, f), f32x4.add(g, h)));
  a = f32x4.add(a, f32x4.add(f32x4.add(i, j), f32x4.add(k, l)));
  return f32x4.extract_lane(a, 0);
}

// One step of LSTM and GRU cells after their products; gates are laid out as in ONNX.
import { madd, share } from './common';
import { sigmoid4, splat, tanh4 } from './dense-math';
import { storeSome } from './dense-vector';

/**
 * LSTM: gates[batch][i, o, f, c][size] are x·Wᵀ + h·Rᵀ + bias. `cell`[batch][size] is replaced; h[batch][size] is written.
 * `peepholes`: [i, o, f][size], or null.
 */
export function lstmCell(
  gates: usize, cell: usize, peepholes: usize, h: usize, batch: i32, size: i32, thread: i32, threads: i32,
): void {
  const start = share(size, 16, thread, threads), end = share(size, 16, thread + 1, threads);
  const gate = size * 4;
  for (let b = 0; b < batch; b++) {
    for (let j = start; j < end; j += 4) {
      const p = gates + (b * 4 * size + j) * 4, at = (b * size + j) * 4, peep = peepholes + j * 4;
      const before = v128.load(cell + at);
      let i = v128.load(p), o = v128.load(p + gate), f = v128.load(p + 2 * gate);
      if (peepholes) {
        i = madd(v128.load(peep), before, i);
        f = madd(v128.load(peep + 2 * gate), before, f);
      }
      const c = madd(sigmoid4(f), before, f32x4.mul(sigmoid4(i), tanh4(v128.load(p + 3 * gate))));
      if (peepholes) o = madd(v128.load(peep + gate), c, o);
      storeSome(cell + at, c, size - j);
      storeSome(h + at, f32x4.mul(sigmoid4(o), tanh4(c)), size - j);
    }
  }
}

/** GRU without linear_before_reset: y = sigmoid(x + h of the gate r) · before, whose product with R comes next. */
export function gruReset(
  x: usize, h: usize, before: usize, y: usize, batch: i32, size: i32, thread: i32, threads: i32,
): void {
  const start = share(size, 16, thread, threads), end = share(size, 16, thread + 1, threads);
  for (let b = 0; b < batch; b++) {
    for (let j = start; j < end; j += 4) {
      const p = ((b * 3 + 1) * size + j) * 4, at = (b * size + j) * 4;
      const r = sigmoid4(f32x4.add(v128.load(x + p), v128.load(h + p)));
      storeSome(y + at, f32x4.mul(r, v128.load(before + at)), size - j);
    }
  }
}

/**
 * GRU: x and h, [batch][z, r, h][size], are x·Wᵀ + bias and before·Rᵀ + bias. The candidate is tanh(x + r · h), or with
 * `candidate` (the product of gruReset, [batch][size]) tanh(x + candidate). y = (1 − z) · candidate + z · before.
 */
export function gruCell(
  x: usize, h: usize, candidate: usize, before: usize, y: usize, batch: i32, size: i32, thread: i32, threads: i32,
): void {
  const start = share(size, 16, thread, threads), end = share(size, 16, thread + 1, threads);
  const gate = size * 4;
  for (let b = 0; b < batch; b++) {
    for (let j = start; j < end; j += 4) {
      const p = x + (b * 3 * size + j) * 4, q = h + (b * 3 * size + j) * 4, at = (b * size + j) * 4;
      const z = sigmoid4(f32x4.add(v128.load(p), v128.load(q)));
      let inner: v128;
      if (candidate) inner = v128.load(candidate + at);
      else inner = f32x4.mul(sigmoid4(f32x4.add(v128.load(p + gate), v128.load(q + gate))), v128.load(q + 2 * gate));
      const fresh = tanh4(f32x4.add(v128.load(p + 2 * gate), inner));
      storeSome(y + at, madd(z, f32x4.sub(v128.load(before + at), fresh), fresh), size - j);
    }
  }
}

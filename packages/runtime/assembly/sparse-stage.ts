// Products whose tiles of results are staged in cache before they are stored: tokens (rows of x are vectors, so that
// tiles are transposed on the way in and out) and k×k convolutions (tiles run over padded planes, whose junk columns are
// dropped).
import { share } from './common';
import { chunkOf, clamp, fullTiles, sparseShare, storeLanes, tileCount, tileStart } from './sparse-sweep';
import { sweepTile } from './sparse-tiles';

/** Rows of results that are staged at a time. */
const STAGED: i32 = 256;

/** Rows a, b, c, d of four floats at `to`, transposed, `pitch` bytes apart. */
// @ts-ignore: decorator
@inline
function transpose(
  a: v128, b: v128, c: v128, d: v128, to: usize, pitch: usize, low: v128, high: v128, add: usize, lanes: i32, count: i32,
): void {
  const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
  const cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const AB = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
  const CD = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  put(to, v128.shuffle<u64>(ab, cd, 0, 2), low, high, add, lanes);
  if (count > 1) put(to + pitch, v128.shuffle<u64>(ab, cd, 1, 3), low, high, add ? add + pitch : 0, lanes);
  if (count > 2) put(to + pitch * 2, v128.shuffle<u64>(AB, CD, 0, 2), low, high, add ? add + pitch * 2 : 0, lanes);
  if (count > 3) put(to + pitch * 3, v128.shuffle<u64>(AB, CD, 1, 3), low, high, add ? add + pitch * 3 : 0, lanes);
}

// @ts-ignore: decorator
@inline
function put(to: usize, value: v128, low: v128, high: v128, add: usize, lanes: i32): void {
  if (add) value = f32x4.add(value, v128.load(add));
  storeLanes(to, clamp(value, low, high), lanes);
}

/** Transposes `count` rows of x [cols], to panel [cols][stride]; the last row stands in for rows that pad a vector. */
function fillTokens(panel: usize, stride: usize, x: usize, cols: i32, count: i32): void {
  const none = f32x4.splat(-Infinity);
  const all = f32x4.splat(Infinity);
  const pitch = <usize>cols << 2;
  for (let token = 0; token < count; token += 4) {
    let a = x + <usize>token * pitch;
    let b = token + 1 < count ? a + pitch : a;
    let c = token + 2 < count ? b + pitch : b;
    let d = token + 3 < count ? c + pitch : c;
    let to = panel + (<usize>token << 2);
    for (let col = 0; col < cols; col += 4) {
      transpose(v128.load(a), v128.load(b), v128.load(c), v128.load(d), to, stride, none, all, 0, 4, 4);
      a += 16;
      b += 16;
      c += 16;
      d += 16;
      to += stride << 2;
    }
  }
}

/** Transposes stage [count rows][stride] to `tokens` rows of y, `pitch` bytes apart, with residual and clamp. */
function drainTokens(
  stage: usize, stride: usize, count: i32, y: usize, residual: usize, pitch: usize, tokens: i32, lo: f32, hi: f32,
): void {
  const low = f32x4.splat(lo);
  const high = f32x4.splat(hi);
  for (let row = 0; row < count; row += 4) {
    const lanes = count - row < 4 ? count - row : 4;
    const a = stage + <usize>row * stride;
    const b = lanes > 1 ? a + stride : a;
    const c = lanes > 2 ? b + stride : b;
    const d = lanes > 3 ? c + stride : c;
    for (let token = 0; token < tokens; token += 4) {
      const at = <usize>token << 2;
      const to = <usize>token * pitch + (<usize>row << 2);
      const add = residual ? residual + to : 0;
      const va = v128.load(a + at), vb = v128.load(b + at), vc = v128.load(c + at), vd = v128.load(d + at);
      transpose(va, vb, vc, vd, y + to, pitch, low, high, add, lanes, tokens - token);
    }
  }
}

/**
 * y [tokens, rows] = clamp(x [tokens, cols] · Wᵀ + bias + residual), all row-major. For each thread, `panel` has cols
 * rounded up to 4 rows of `stride` bytes (128; 192 when `wide`), `stage` 256 + blockRows.
 */
export function sparseTokens(
  kind: i32, wide: i32, chunks: i32, pack: usize, blocks: i32, blockRows: i32, x: usize, y: usize, residual: usize,
  rows: i32, cols: i32, tokens: i32, panel: usize, stage: usize, stride: usize, lo: f32, hi: f32, thread: i32,
  threads: i32,
): void {
  const xPitch = <usize>cols << 2;
  const yPitch = <usize>rows << 2;
  const full = fullTiles(kind, wide, tokens);
  const work = tileCount(kind, full, tokens);
  const byTile = work >= 8 * threads || work % threads === 0;
  const begin = byTile ? share(work, 1, thread, threads) : 0;
  const stop = byTile ? share(work, 1, thread + 1, threads) : work;
  const first = byTile ? 0 : sparseShare(chunkOf(pack, 0), blocks, thread, threads);
  const end = byTile ? blocks : sparseShare(chunkOf(pack, 0), blocks, thread + 1, threads);
  const chunk = (STAGED + blockRows - 1) / blockRows;
  panel += <usize>(thread * ((cols + 3) & -4)) * stride;
  stage += <usize>(thread * (STAGED + blockRows)) * stride;
  for (let tile = begin; tile < stop; ++tile) {
    const from = tileStart(kind, full, work, tokens, tile);
    const vectors = tileStart(kind, full, work, tokens, tile + 1) - from;
    const token = from << 2;
    const there = min(tokens - token, vectors << 2);
    fillTokens(panel, stride, x + <usize>token * xPitch, cols, there);
    for (let block = first; block < end; block += chunk) {
      const last = min(block + chunk, end);
      const row = block * blockRows;
      const count = min(last * blockRows, rows) - row;
      const to = <usize>token * yPitch + (<usize>row << 2);
      const add = residual ? residual + to : 0;
      sweepTile(vectors, kind, chunks, pack, block, last, panel, stage, 0, stride, 4, -Infinity, Infinity);
      drainTokens(stage, stride, count, y + to, add, yPitch, there, lo, hi);
    }
  }
}

/** Copies `count` floats that are `stride` floats apart. */
// @ts-ignore: decorator
@inline
function copyEvery(to: usize, from: usize, count: i32, stride: i32): void {
  let i = 0;
  if (stride === 1) {
    for (; i + 4 <= count; i += 4, to += 16, from += 16) v128.store(to, v128.load(from));
  } else if (stride === 2) {
    for (; i + 4 <= count; i += 4, to += 16, from += 32) {
      v128.store(to, v128.shuffle<f32>(v128.load(from), v128.load(from, 16), 0, 2, 4, 6));
    }
  }
  for (; i < count; ++i, to += 4, from += stride << 2) store<f32>(to, load<f32>(from));
}

// @ts-ignore: decorator
@inline
function zero(to: usize, count: i32): void {
  let i = 0;
  for (; i + 4 <= count; i += 4, to += 16) v128.store(to, f32x4.splat(0));
  for (; i < count; ++i, to += 4) store<f32>(to, 0);
}

/**
 * Deals planes [height, width] to `phases` (pairs i32 [row, column]) of a stride, with zeros around: phase (r, c) holds
 * what lies at rows r + i·strideY, columns c + j·strideX, in row i + top, column j of [planeRows, pitch]. `lead` zeros
 * precede everything: what is left of a row's first column are the zeros that end the row before.
 */
export function sparsePlanes(
  x: usize, to: usize, planes: i32, height: i32, width: i32, strideY: i32, strideX: i32, phases: usize, count: i32,
  top: i32, planeRows: i32, pitch: i32, lead: i32, thread: i32, threads: i32,
): void {
  if (thread === 0) zero(to, lead);
  const first = share(planes, 1, thread, threads);
  const end = share(planes, 1, thread + 1, threads);
  const row = <usize>pitch << 2;
  to += (<usize>lead << 2) + <usize>(first * count * planeRows) * row;
  for (let plane = first; plane < end; ++plane) {
    const from = x + (<usize>(plane * height * width) << 2);
    for (let phase = phases; phase < phases + (<usize>count << 3); phase += 8) {
      const dy = load<i32>(phase);
      const dx = load<i32>(phase, 4);
      const kept = dx < width ? (width - dx + strideX - 1) / strideX : 0;
      for (let i = 0; i < planeRows; ++i, to += row) {
        const line = (i - top) * strideY + dy;
        if (i < top || line >= height) {
          zero(to, pitch);
          continue;
        }
        copyEvery(to, from + (<usize>(line * width + dx) << 2), kept, strideX);
        zero(to + (<usize>kept << 2), pitch - kept);
      }
    }
  }
}

/** Stores the valid runs of staged rows [count][stride], which start at position `from` of the padded plane. */
function drainRuns(
  stage: usize, stride: usize, count: i32, from: i32, vectors: i32, y: usize, residual: usize, outHeight: i32,
  outWidth: i32, pitch: i32, lo: f32, hi: f32,
): void {
  const low = f32x4.splat(lo);
  const high = f32x4.splat(hi);
  const end = min(from + (vectors << 2), (outHeight - 1) * pitch + outWidth);
  const plane = <usize>(outHeight * outWidth) << 2;
  for (let line = from / pitch; line * pitch < end; ++line) {
    const begin = max(from, line * pitch);
    const length = min(end, line * pitch + outWidth) - begin;
    const at = <usize>(line * outWidth + begin - line * pitch) << 2;
    for (let row = 0; row < count; ++row) {
      let source = stage + <usize>row * stride + (<usize>(begin - from) << 2);
      let offset = at + <usize>row * plane;
      for (let left = length; left > 0; left -= 4) {
        put(y + offset, v128.load(source), low, high, residual ? residual + offset : 0, min(left, 4));
        source += 16;
        offset += 16;
      }
    }
  }
}

/**
 * Sparse k×k convolution over the planes of `sparsePlanes` for `batch` images: a tap is a column, its offset a position
 * in the planes. Images are planeBatch and yBatch bytes apart; `stage` has 256 + blockRows rows of `stride` bytes for
 * each thread.
 */
export function sparseConvolution(
  kind: i32, wide: i32, chunks: i32, pack: usize, blocks: i32, blockRows: i32, planes: usize, y: usize, residual: usize,
  rows: i32, outHeight: i32, outWidth: i32, pitch: i32, batch: i32, planeBatch: usize, yBatch: usize, stage: usize,
  stride: usize, lo: f32, hi: f32, thread: i32, threads: i32,
): void {
  const positions = (outHeight - 1) * pitch + outWidth;
  const plane = <usize>(outHeight * outWidth) << 2;
  const full = fullTiles(kind, wide, positions);
  const tiles = tileCount(kind, full, positions);
  const work = tiles * batch;
  const byTile = work >= 8 * threads || work % threads === 0;
  const begin = byTile ? share(work, 1, thread, threads) : 0;
  const stop = byTile ? share(work, 1, thread + 1, threads) : work;
  const first = byTile ? 0 : sparseShare(chunkOf(pack, 0), blocks, thread, threads);
  const end = byTile ? blocks : sparseShare(chunkOf(pack, 0), blocks, thread + 1, threads);
  const chunk = (STAGED + blockRows - 1) / blockRows;
  stage += <usize>(thread * (STAGED + blockRows)) * stride;
  for (let item = begin; item < stop; ++item) {
    const image = item / tiles;
    const from = tileStart(kind, full, tiles, positions, item - image * tiles);
    const vectors = tileStart(kind, full, tiles, positions, item - image * tiles + 1) - from;
    const source = planes + <usize>image * planeBatch + (<usize>from << 4);
    for (let block = first; block < end; block += chunk) {
      const last = min(block + chunk, end);
      const row = block * blockRows;
      const count = min(last * blockRows, rows) - row;
      const to = <usize>image * yBatch + <usize>row * plane;
      const add = residual ? residual + to : 0;
      sweepTile(vectors, kind, chunks, pack, block, last, source, stage, 0, stride, 4, -Infinity, Infinity);
      drainRuns(stage, stride, count, from << 2, vectors, y + to, add, outHeight, outWidth, pitch, lo, hi);
    }
  }
}

// Products of sparse weights and dense activations. Packs and tiles are described in `sparse-sweep.ts`.
import { share } from './common';
import { chunkOf, fullTiles, sparseShare, tileCount, tileStart } from './sparse-sweep';
import { sweepTile } from './sparse-tiles';

export { peak } from './peak';
export { sparseConvolution, sparsePlanes, sparseTokens } from './sparse-stage';
export { sparseVector, sparseVectorGrouped } from './sparse-vector';

/**
 * y = clamp(W · x + bias + residual) for `batch` images of x [cols, pixels], y and residual (0: none) [rows, pixels];
 * images are xBatch and yBatch bytes apart. A tile of x is first copied to `panel` (cols rows of `stride` bytes for each
 * thread), where nothing straddles a cache line or page, whatever the number of pixels; deltas count in these rows.
 * `wide` (stride 192 instead of 128) asks for tiles that pay when the engine joins pairs of vectors to 256 bits.
 */
export function sparseProduct(
  kind: i32,
  wide: i32,
  chunks: i32,
  pack: usize,
  blocks: i32,
  blockRows: i32,
  x: usize,
  y: usize,
  residual: usize,
  cols: i32,
  pixels: i32,
  batch: i32,
  xBatch: usize,
  yBatch: usize,
  panel: usize,
  stride: usize,
  lo: f32,
  hi: f32,
  thread: i32,
  threads: i32,
): void {
  const pitch = <usize>pixels << 2;
  const full = fullTiles(kind, wide, pixels);
  const tiles = tileCount(kind, full, pixels);
  const work = tiles * batch;
  // Rows are always shared evenly; with many tiles, each thread rather reads its own part of x.
  const byTile = work >= 8 * threads || work % threads === 0;
  const begin = byTile ? share(work, 1, thread, threads) : 0;
  const stop = byTile ? share(work, 1, thread + 1, threads) : work;
  const first = byTile ? 0 : sparseShare(chunkOf(pack, 0), blocks, thread, threads);
  const end = byTile ? blocks : sparseShare(chunkOf(pack, 0), blocks, thread + 1, threads);
  panel += <usize>(thread * cols) * stride;
  for (let item = begin; item < stop; ++item) {
    const image = item / tiles;
    const tile = item - image * tiles;
    const from = tileStart(kind, full, tiles, pixels, tile);
    const vectors = tileStart(kind, full, tiles, pixels, tile + 1) - from;
    const lanes = min(4, pixels - ((from + vectors - 1) << 2));
    const at = <usize>from << 4;
    const target = <usize>image * yBatch + <usize>(first * blockRows) * pitch + at;
    const add = residual ? residual + target : 0;
    fillPanel(panel, stride, x + <usize>image * xBatch + at, cols, pitch, vectors);
    sweepTile(vectors, kind, chunks, pack, first, end, panel, y + target, add, pitch, lanes, lo, hi);
  }
}

/** Copies a tile of `vectors` vectors of every row of x to rows of `stride` bytes. */
function fillPanel(panel: usize, stride: usize, x: usize, cols: i32, pitch: usize, vectors: i32): void {
  const bytes = <usize>vectors << 4;
  for (let col = 0; col < cols; ++col) {
    for (let at: usize = 0; at < bytes; at += 16) v128.store(panel + at, v128.load(x + at));
    panel += stride;
    x += pitch;
  }
}

// `sweep` for each kind of pack and number of vectors: one function each, so that the engine gives each its registers.
import { BLOCKS, chunkOf, QUANTISED, ROWS, sweep } from './sparse-sweep';

/** All chunks of blocks [first, end) on one tile, see `sweep`. Rows take up to 8 vectors, blocks up to 6, or 12. */
export function sweepTile(
  vectors: i32, kind: i32, chunks: i32, pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize,
  pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  for (let c = 0; c < chunks; ++c) {
    const last = c === chunks - 1;
    const low: f32 = last ? lo : -Infinity;
    const high: f32 = last ? hi : Infinity;
    sweepChunk(vectors, kind, chunkOf(pack, c), first, end, x, y, c ? y : residual, pitch, lanes, low, high);
  }
}

function sweepChunk(
  vectors: i32, kind: i32,
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  if (kind === ROWS) {
    if (vectors === 1) rows1(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 2) rows2(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 3) rows3(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 4) rows4(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 5) rows5(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 6) rows6(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 7) rows7(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else rows8(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
  } else if (kind === BLOCKS) {
    if (vectors === 1) blocks1(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 2) blocks2(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 3) blocks3(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 4) blocks4(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 5) blocks5(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 6) blocks6(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
    else blocks12(chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
  } else {
    // Fewer sizes, to save code.
    for (let left = vectors; left > 0; ) {
      const size = left >= 8 ? 8 : left >= 4 ? 4 : 1;
      left -= size;
      const part = left ? 4 : lanes;
      if (size === 8) quantised8(chunk, first, end, x, y, residual, pitch, part, lo, hi);
      else if (size === 4) quantised4(chunk, first, end, x, y, residual, pitch, part, lo, hi);
      else quantised1(chunk, first, end, x, y, residual, pitch, part, lo, hi);
      const bytes = <usize>size << 4;
      x += bytes;
      y += bytes;
      residual += residual ? bytes : 0;
    }
  }
}

function rows1(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(1, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows2(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(2, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows3(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(3, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows4(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(4, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows5(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(5, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows6(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(6, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows7(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(7, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows8(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(8, ROWS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks1(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(1, BLOCKS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks2(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(2, BLOCKS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks3(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(3, BLOCKS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks4(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(4, BLOCKS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks5(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(5, BLOCKS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks6(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(6, BLOCKS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks12(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(12, BLOCKS, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function quantised1(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(1, QUANTISED, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function quantised4(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(4, QUANTISED, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function quantised8(
  chunk: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32,
  hi: f32,
): void {
  sweep(8, QUANTISED, chunk, first, end, x, y, residual, pitch, lanes, lo, hi);
}

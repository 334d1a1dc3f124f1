// `sweep` for each kind of pack and number of vectors: one function each, so that the engine gives each its registers.
import { BLOCKS, QUANTISED, ROWS, sweep } from './sparse-sweep';

/** All rows of blocks [first, end) on one tile; see `sweep`. Single rows take up to 8 vectors, blocks up to 6, or 12. */
export function sweepTile(
  vectors: i32, kind: i32,
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  if (kind === ROWS) {
    if (vectors === 1) rows1(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 2) rows2(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 3) rows3(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 4) rows4(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 5) rows5(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 6) rows6(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 7) rows7(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else rows8(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
  } else if (kind === BLOCKS) {
    if (vectors === 1) blocks1(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 2) blocks2(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 3) blocks3(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 4) blocks4(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 5) blocks5(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else if (vectors === 6) blocks6(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
    else blocks12(pack, first, end, x, y, residual, pitch, lanes, lo, hi);
  } else {
    // Fewer sizes, to save code.
    for (let left = vectors; left > 0; ) {
      const size = left >= 8 ? 8 : left >= 4 ? 4 : 1;
      left -= size;
      const part = left ? 4 : lanes;
      if (size === 8) quantised8(pack, first, end, x, y, residual, pitch, part, lo, hi);
      else if (size === 4) quantised4(pack, first, end, x, y, residual, pitch, part, lo, hi);
      else quantised1(pack, first, end, x, y, residual, pitch, part, lo, hi);
      const bytes = <usize>size << 4;
      x += bytes;
      y += bytes;
      residual += residual ? bytes : 0;
    }
  }
}

function rows1(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(1, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows2(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(2, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows3(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(3, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows4(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(4, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows5(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(5, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows6(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(6, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows7(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(7, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function rows8(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(8, ROWS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks1(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(1, BLOCKS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks2(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(2, BLOCKS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks3(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(3, BLOCKS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks4(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(4, BLOCKS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks5(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(5, BLOCKS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks6(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(6, BLOCKS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function blocks12(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(12, BLOCKS, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function quantised1(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(1, QUANTISED, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function quantised4(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(4, QUANTISED, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

function quantised8(
  pack: usize, first: i32, end: i32, x: usize, y: usize, residual: usize, pitch: usize, lanes: i32, lo: f32, hi: f32,
): void {
  sweep(8, QUANTISED, pack, first, end, x, y, residual, pitch, lanes, lo, hi);
}

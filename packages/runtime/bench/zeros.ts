// Zeros in random weights, fast enough for a hundred million of them: exact counts, the smallest magnitudes to within the
// width of a histogram's bucket. Networks with real weights are pruned by the methods of `gossamer`.

/** How zeros lie: single weights, blocks of output rows that share their inputs, or n of every m along a row. */
export type Pattern = 'element' | '2x1' | '4x1' | '2:4';

/**
 * A copy of a matrix [rows, cols] with round(share · units) units set to zero; `2:4` has a share of its own, one half.
 * The last block of rows may be smaller.
 */
export function withZeros(weights: Float32Array, rows: number, share: number, pattern: Pattern): Float32Array {
  const cols = weights.length / rows;
  const kept = weights.slice();
  if (pattern === '2:4') {
    for (let at = 0; at < kept.length; at += cols) zeroTwoOfFour(kept, at, at + cols);
    return kept;
  }
  const height = pattern === 'element' ? 1 : Number(pattern[0]);
  const blocks = Math.ceil(rows / height);
  const scores = new Float32Array(blocks * cols);
  for (let row = 0; row < rows; row++) {
    const base = Math.floor(row / height) * cols;
    for (let c = 0; c < cols; c++) scores[base + c] += Math.abs(weights[row * cols + c]);
  }
  const dropped = lowest(scores, Math.round(share * scores.length));
  for (let row = 0; row < rows; row++) {
    const base = Math.floor(row / height) * cols;
    for (let c = 0; c < cols; c++) if (dropped[base + c]) kept[row * cols + c] = 0;
  }
  return kept;
}

/** In every four of `values[from … to)` the two smallest magnitudes become zero. */
function zeroTwoOfFour(values: Float32Array, from: number, to: number): void {
  for (let at = from; at < to; at += 4) {
    for (let i = at; i < Math.min(at + 4, to); i++) {
      const own = Math.abs(values[i]);
      let larger = 0;
      for (let j = at; j < Math.min(at + 4, to); j++) {
        const other = Math.abs(values[j]);
        if (other > own || (other === own && j < i)) larger++;
      }
      if (larger >= 2) dropped[i - at] = 1;
    }
    for (let i = 0; i < 4; i++) {
      if (dropped[i]) values[at + i] = 0;
      dropped[i] = 0;
    }
  }
}

const dropped = new Uint8Array(4);

/** Marks `count` of the lowest scores ≥ 0: the bits of such floats have the order of their values. */
function lowest(scores: Float32Array, count: number): Uint8Array {
  const bits = new Uint32Array(scores.buffer, scores.byteOffset, scores.length);
  const sizes = new Uint32Array(1 << 16);
  for (let i = 0; i < bits.length; i++) sizes[bits[i] >>> 16]++;
  let bucket = 0;
  let rest = count;
  while (rest > 0 && sizes[bucket] <= rest) rest -= sizes[bucket++];
  const marks = new Uint8Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const own = bits[i] >>> 16;
    if (own < bucket || (own === bucket && rest-- > 0)) marks[i] = 1;
  }
  return marks;
}

/** Panels of constant operands of the dense product, as `assembly/dense.ts` reads them. */

/** Six- and four-row panels that cover m rows; for m ≥ 8 at most one row is wasted. */
export function panelsOf(m: number): { sixes: number; fours: number } {
  const even = m + (m & 1);
  const rest = even % 6;
  const fours = rest === 0 ? 0 : rest === 4 || even < 8 ? 1 : 2;
  return { sixes: Math.max(0, Math.floor((even - 4 * fours) / 6)), fours };
}

/** Rows of A's panels, padding included. */
export const paddedRows = (m: number): number => panelsOf(m).sixes * 6 + panelsOf(m).fours * 4;

/** A[r][i] = data[offset + r · rowStride + i · columnStride]. */
export interface Strided<T = Float32Array> {
  readonly data: T;
  readonly offset?: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** A's panels [k][6], then [k][4], times alpha; missing rows are zero. */
export function packRows(source: Strided, m: number, k: number, alpha = 1): Float32Array {
  const { data, offset = 0, rowStride, columnStride } = source;
  const { sixes, fours } = panelsOf(m);
  const packed = new Float32Array((sixes * 6 + fours * 4) * k);
  for (let panel = 0, row = 0, at = 0; panel < sixes + fours; panel++) {
    const size = panel < sixes ? 6 : 4;
    for (let r = 0; r < size && row + r < m; r++) {
      for (
        let i = 0, from = offset + (row + r) * rowStride, to = at + r;
        i < k;
        i++, from += columnStride, to += size
      ) {
        packed[to] = alpha * data[from];
      }
    }
    row += size;
    at += size * k;
  }
  return packed;
}

/** B's panels [⌈n / 8⌉][k][8]; missing columns are zero. Of int8 data, panels of int8; of uint8 data too, less 128. */
export function packColumns<T extends Float32Array | Int8Array | Uint8Array>(
  source: Strided<T>,
  k: number,
  n: number,
): Float32Array | Int8Array {
  const { data, offset = 0, rowStride, columnStride } = source;
  const length = Math.ceil(n / 8) * 8 * k;
  const packed = data instanceof Float32Array ? new Float32Array(length) : new Int8Array(length);
  const shift = data instanceof Uint8Array ? 128 : 0;
  for (let j = 0; j < n; j++) {
    const first = (j >> 3) * 8 * k + (j & 7);
    for (let i = 0, from = offset + j * columnStride; i < k; i++, from += rowStride) {
      packed[first + i * 8] = data[from] - shift;
    }
  }
  return packed;
}

/** Scales, then zero points, of int8 panels: n rounded up to 8 floats each. */
export function packScales(
  n: number,
  scale: ArrayLike<number>,
  zero: ArrayLike<number> | undefined,
  shift: number,
): Float32Array {
  const width = Math.ceil(n / 8) * 8;
  const table = new Float32Array(2 * width);
  for (let j = 0; j < n; j++) {
    table[j] = scale[scale.length === 1 ? 0 : j];
    table[width + j] = (zero ? zero[zero.length === 1 ? 0 : j] : 0) - shift;
  }
  return table;
}

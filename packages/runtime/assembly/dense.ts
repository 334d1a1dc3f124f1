// Dense matrix product: C = clamp(alpha · A·B + bias + residual), batched; also convolutions, whose B are image patches.
import { share } from './common';
import {
  copyPanels, fourRowPanels, gatherRuns, interleave, patchPanels, sixRowPanels, transposePanels, widenPanel,
} from './dense-pack';
import { setLast, setLimits, tile4x8, tile6x1, tile6x4, tile6x8 } from './dense-tile';

// How A is given: packed panels; row-major [m][k]; its transpose [k][m].
const A_PANELS = 0, A_ROWS = 1;
// How B is given: row-major [k][n], used in place or copied to panels; its transpose [n][k]; panels [n / 8][k][8] of floats
// or of int8; a padded image (see patchPanels).
const B_DIRECT = 0, B_ROWS = 1, B_TRANSPOSED = 2, B_PANELS = 3, B_INT8 = 4;

/** First row of a panel. */
// @ts-ignore: decorator
@inline
function rowOf(panel: i32, sixes: i32): i32 {
  return panel <= sixes ? panel * 6 : sixes * 6 + (panel - sixes) * 4;
}

/**
 * For every item of the batch, C[m][n] = clamp(alpha · A·B + rowBias[m] + columnBias[n] + residual[m][n], lo, hi).
 * - `lda`, `ldb`, `ldc`, `ldr`: elements between rows; `aStep` …: elements between items (0: shared). A and rowBias repeat
 *   after `period` items (a convolution's groups).
 * - `table`: taps of a convolution, or scales and zero points of int8 panels (n rounded up to 8 floats each).
 * - alpha applies to A given as rows. Biases and residual may be null.
 * - `kc`, `mc`, `nc`: block sizes in elements, panels of A, columns (a multiple of 8).
 * - Each item is cut into `parts` ranges of columns (`byRows` 0) or of A's panels (1); threads share items × parts.
 * - `scratch`: per thread `scratchBytes`: A block mc·6·kc floats unless packed, then the B block kc·nc floats.
 */
export function gemm(
  a: usize, aMode: i32, lda: i32, aStep: i32, period: i32,
  b: usize, bMode: i32, ldb: i32, bStep: i32, table: usize,
  c: usize, ldc: i32, cStep: i32, m: i32, n: i32, k: i32, batch: i32,
  alpha: f32, rowBias: usize, columnBias: usize, residual: usize, ldr: i32, rStep: i32, lo: f32, hi: f32,
  kc: i32, mc: i32, nc: i32, byRows: i32, parts: i32, scratch: usize, scratchBytes: i32, thread: i32, threads: i32,
): void {
  setLimits(lo, hi);
  scratch += thread * scratchBytes;
  const sixes = sixRowPanels(m), panels = sixes + fourRowPanels(m);
  const bBlock = aMode == A_PANELS ? scratch : scratch + mc * 6 * kc * 4;
  const units = batch * parts;
  const lastUnit = share(units, 1, thread + 1, threads);
  for (let unit = share(units, 1, thread, threads); unit < lastUnit; unit++) {
    const item = unit / parts, part = unit % parts;
    const columnParts = byRows ? 1 : parts, columnPart = byRows ? 0 : part;
    const rowParts = byRows ? parts : 1, rowPart = byRows ? part : 0;
    const firstColumn = share(n, 8, columnPart, columnParts), endColumn = share(n, 8, columnPart + 1, columnParts);
    const firstPanel = share(panels, 1, rowPart, rowParts), endPanel = share(panels, 1, rowPart + 1, rowParts);
    const aItem = a + (item % period) * aStep * 4;
    const bItem = b + item * bStep * (bMode == B_INT8 ? 1 : 4);
    const cItem = c + item * cStep * 4;
    const rItem = residual ? residual + item * rStep * 4 : 0;
    const bias = rowBias ? rowBias + (item % period) * m * 4 : 0;
    for (let jc = firstColumn; jc < endColumn; jc += nc) {
      const columns = min(nc, endColumn - jc);
      let k0 = 0;
      do {
        const depth = min(kc, k - k0);
        setLast(k0 + depth >= k);
        let bBase = bBlock, stride: usize = 32, panelStep = <usize>depth * 32;
        if (bMode == B_DIRECT) {
          bBase = bItem + (k0 * ldb + jc) * 4;
          stride = ldb * 4;
          panelStep = 32;
        } else if (bMode == B_PANELS) {
          bBase = bItem + (k0 * 8 + jc * k) * 4;
          panelStep = k * 32;
        } else if (bMode == B_ROWS) {
          copyPanels(bItem + (k0 * ldb + jc) * 4, ldb * 4, depth, columns, bBlock);
        } else if (bMode == B_TRANSPOSED) {
          transposePanels(bItem + (jc * ldb + k0) * 4, ldb * 4, depth, columns, bBlock);
        } else if (bMode == B_INT8) {
          const zeros = table + ((n + 7) & -8) * 4;
          for (let j = jc; j < jc + columns; j += 8) {
            widenPanel(bItem + k0 * 8 + j * k, depth, table + j * 4, zeros + j * 4, bBlock + (j - jc) * depth * 4);
          }
        } else {
          patchPanels(bItem, table, k0, depth, jc, columns, bBlock);
        }
        const from = k0 == 0 ? rItem : cItem, ldf = (k0 == 0 ? ldr : ldc) * 4;
        for (let pc = firstPanel; pc < endPanel; pc += mc) {
          const pe = min(pc + mc, endPanel), firstRow = rowOf(pc, sixes);
          if (aMode != A_PANELS) {
            for (let p = pc; p < pe; p++) {
              const row = rowOf(p, sixes), R = p < sixes ? 6 : 4, to = scratch + (row - firstRow) * depth * 4;
              if (aMode == A_ROWS) interleave(aItem + (row * lda + k0) * 4, lda * 4, min(R, m - row), depth, to, R, alpha);
              else gatherRuns(aItem + (k0 * lda + row) * 4, lda * 4, min(R, m - row), depth, to, R, alpha);
            }
          }
          for (let j = 0; j < columns; ) {
            const left = columns - j, width = left >= 8 ? 8 : left >= 4 ? 4 : 1;
            const bTile = bBase + (j >> 3) * panelStep + (j & 7) * 4;
            const columnTile = columnBias ? columnBias + (jc + j) * 4 : 0;
            for (let p = pc; p < pe; p++) {
              const row = rowOf(p, sixes), R = p < sixes ? 6 : 4, rows = min(R, m - row);
              const aTile = aMode == A_PANELS ? aItem + (row * k + k0 * R) * 4 : scratch + (row - firstRow) * depth * 4;
              const cTile = cItem + (row * ldc + jc + j) * 4;
              const start = from ? from + row * ldf + (jc + j) * 4 : 0;
              const rowTile = bias ? bias + row * 4 : 0;
              if (width == 8) {
                if (R == 6) tile6x8(depth, aTile, bTile, stride, rows, cTile, ldc * 4, start, ldf, rowTile, columnTile);
                else tile4x8(depth, aTile, bTile, stride, rows, cTile, ldc * 4, start, ldf, rowTile, columnTile);
              } else if (width == 4) {
                tile6x4(depth, aTile, R * 4, bTile, stride, rows, cTile, ldc * 4, start, ldf, rowTile, columnTile);
              } else {
                tile6x1(depth, aTile, R * 4, bTile, stride, rows, cTile, ldc * 4, start, ldf, rowTile, columnTile);
              }
            }
            j += width;
          }
        }
        k0 += kc;
      } while (k0 < k);
    }
  }
}

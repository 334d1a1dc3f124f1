/** Dense matrix products: the steps of `assembly/dense.ts`. */
import { check } from '../errors.ts';
import type { Address, Emitter } from '../plan/emitter.ts';
import { packColumns, packRows, packScales, panelsOf } from './dense-pack.ts';

/** A matrix in planned memory, row-major. */
export interface Matrix {
  readonly at: Address;
  /** Elements from one row to the next; the rows' length when absent. */
  readonly ld?: number;
  /** Elements from one item of the batch to the next; 0 shares one matrix. Default: dense, one after another. */
  readonly step?: number;
}

/** An operand that is computed at run time. `transposed`: stored [k, m] for A, [n, k] for B. */
export interface Activation extends Matrix {
  readonly transposed?: boolean;
}

/** A constant operand; it is packed once for each key and shared by all items of the batch. */
export interface Weight {
  readonly data: Float32Array | Int8Array | Uint8Array;
  /** Identifies the data: equal keys mean equal bytes and strides. */
  readonly key: string;
  readonly ld?: number;
  readonly transposed?: boolean;
  /** Of 8-bit data (B only): (data − zero) · scale, one value or one for each column. */
  readonly scale?: ArrayLike<number>;
  readonly zero?: ArrayLike<number>;
}

export interface Limits {
  /** The result is clamped to [lo, hi]; default unlimited. */
  readonly lo?: number;
  readonly hi?: number;
}

/** C[m, n] = clamp(alpha · A[m, k] · B[k, n] + rowBias[m] + columnBias[n] + residual[m, n]), for each item of the batch. */
export interface Gemm extends Limits {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Default 1. */
  readonly batch?: number;
  readonly a: Activation | Weight;
  readonly b: Activation | Weight;
  readonly c: Matrix;
  /** Default 1. */
  readonly alpha?: number;
  readonly rowBias?: Address;
  readonly columnBias?: Address;
  /** May be C itself. */
  readonly residual?: Matrix;
}

/** How `gemm` of the assembly is to find B; see there. */
export interface Panels {
  readonly at: Address;
  readonly mode: number;
  readonly ld: number;
  readonly step: number;
  readonly table: Address;
}

/** How it is to find A. After `period` items A and the row bias repeat. */
export interface Rows {
  readonly at: Address;
  readonly mode: number;
  readonly ld: number;
  readonly step: number;
  readonly period: number;
}

export const B_MODE = { direct: 0, rows: 1, transposed: 2, panels: 3, int8: 4, patches: 5 } as const;

const isWeight = (operand: Activation | Weight): operand is Weight => 'data' in operand;

/** Emits the product. One step; a product with m = 1 and constant B streams the weights once. */
export function gemm(e: Emitter, options: Gemm): void {
  const { m, n, k, batch = 1, alpha = 1 } = options;
  if (m * n * batch === 0) return;
  product(e, options, rowsOf(e, options), columnsOf(e, options), { m, n, k, batch, alpha });
}

function rowsOf(e: Emitter, { a, m, k, alpha = 1 }: Gemm): Rows {
  if (!isWeight(a)) {
    const { at, transposed = false, ld = transposed ? m : k, step = transposed ? k * ld : m * ld } = a;
    return { at, mode: transposed ? 2 : 1, ld, step, period: step === 0 ? 1 : 0x7fffffff };
  }
  const { data, key, transposed = false, ld = transposed ? m : k } = a;
  check(data instanceof Float32Array, `gemm ${key}: 8-bit weights must be the second operand`);
  const strides = transposed ? { rowStride: 1, columnStride: ld } : { rowStride: ld, columnStride: 1 };
  const at = e.constant(`${key} rows ${m}x${k} ${ld} ${transposed} ${alpha}`, () =>
    packRows({ data, ...strides }, m, k, alpha),
  );
  return { at, mode: 0, ld: 0, step: 0, period: 1 };
}

function columnsOf(e: Emitter, { a, b, m, n, k }: Gemm): Panels {
  if (!isWeight(b)) {
    const { at, transposed = false, ld = transposed ? k : n, step = transposed ? n * ld : k * ld } = b;
    // A panel that is used by few rows, or that lies well in the cache, is not worth a copy.
    const copies = transposed || m > 24 || (m > 8 && ld % 256 === 0);
    const mode = transposed ? B_MODE.transposed : copies ? B_MODE.rows : B_MODE.direct;
    return { at, mode, ld, step, table: 0 };
  }
  check(!isWeight(a), 'gemm: both operands are constant; fold the product');
  const { data, key, transposed = false, ld = transposed ? k : n, scale, zero } = b;
  const strides = transposed ? { rowStride: 1, columnStride: ld } : { rowStride: ld, columnStride: 1 };
  const at = e.constant(`${key} columns ${k}x${n} ${ld} ${transposed}`, () => packColumns({ data, ...strides }, k, n));
  if (data instanceof Float32Array) return { at, mode: B_MODE.panels, ld: 0, step: 0, table: 0 };
  const shift = data instanceof Uint8Array ? 128 : 0;
  const table = e.constant(`${key} scales ${n}`, () => packScales(n, scale ?? [1], zero, shift));
  return { at, mode: B_MODE.int8, ld: 0, step: 0, table };
}

/** Emits the step for operands that have been found. */
export function product(
  e: Emitter,
  { c, rowBias = 0, columnBias = 0, residual, lo = -Infinity, hi = Infinity }: Omit<Gemm, 'a' | 'b' | 'm' | 'n' | 'k'>,
  a: Rows,
  b: Panels,
  { m, n, k, batch, alpha }: { m: number; n: number; k: number; batch: number; alpha: number },
): void {
  const { ld: ldc = n, step: cStep = m * ldc } = c;
  const { ld: ldr = n, step: rStep = m * ldr } = residual ?? {};
  if (m === 1 && b.mode >= B_MODE.panels && b.mode <= B_MODE.int8 && a.mode === 1 && !rowBias) {
    const args = [a.at, a.step, b.at, b.mode === B_MODE.int8 ? 1 : 0, b.table, c.at, cStep, n, k, batch, alpha];
    e.step('gemv', ...args, columnBias, residual?.at ?? 0, rStep, lo, hi);
    return;
  }
  const streams = b.mode === B_MODE.direct || b.mode === B_MODE.panels;
  const columns = Math.ceil(n / 8) * 8;
  const { sixes, fours } = panelsOf(m);
  const panels = sixes + fours;
  const kc = Math.ceil(k / Math.ceil(k / 640 || 1) / 2) * 2;
  const mc = Math.min(panels, Math.max(1, Math.floor(16384 / Math.max(1, kc))));
  const nc = streams ? columns : Math.min(columns, Math.max(8, (131072 / Math.max(1, kc)) & ~7));
  const { byRows, parts } = split(e.threads, batch, panels, columns / 8, { packsA: a.mode !== 0, packsB: !streams });
  const bytes = Math.ceil(((a.mode === 0 ? 0 : mc * 6 * kc) + (streams ? 0 : kc * nc)) / 16) * 64 + 64;
  const scratch = a.mode === 0 && streams ? 0 : e.scratch(bytes * e.threads);
  e.step(
    'gemm',
    ...[a.at, a.mode, a.ld, a.step, a.period],
    ...[b.at, b.mode, b.ld, b.step, b.table],
    ...[c.at, ldc, cStep, m, n, k, batch],
    ...[alpha, rowBias, columnBias, residual?.at ?? 0, ldr, rStep, lo, hi],
    ...[kc, mc, nc, byRows, parts, scratch, bytes],
  );
}

/** How threads share a product: whole items, or each item's columns or rows, whichever leaves the least waiting and repeated packing. */
function split(
  threads: number,
  batch: number,
  panels: number,
  columns: number,
  { packsA, packsB }: { packsA: boolean; packsB: boolean },
): { byRows: 0 | 1; parts: number } {
  if (threads === 1 || batch % threads === 0 || batch >= 4 * threads) return { byRows: 0, parts: 1 };
  const cost = (units: number, repeated: number) => Math.ceil(units / threads) + repeated;
  const byColumns = (cost(columns, packsA ? 1 : 0) / columns) * threads;
  const byRows = (cost(panels, packsB ? 1 : 0) / panels) * threads;
  return { byRows: byRows < byColumns ? 1 : 0, parts: threads };
}

/** Scaled dot-product attention and rotary embeddings. */
import { check } from '../errors.ts';
import type { Address, Emitter } from '../plan/emitter.ts';

/** An array of heads: element (item, head, row, i) lies at item · strides[0] + head · strides[1] + row · strides[2] + i. */
export interface Heads {
  readonly at: Address;
  readonly strides: readonly [item: number, head: number, row: number];
}

/** Strides of a dense [batch, heads, rows, depth]. */
export const headsFirst = (heads: number, rows: number, depth: number): Heads['strides'] => [
  heads * rows * depth,
  rows * depth,
  depth,
];

/** Strides of a dense [batch, rows, heads, depth]. */
export const rowsFirst = (heads: number, rows: number, depth: number): Heads['strides'] => [
  rows * heads * depth,
  depth,
  heads * depth,
];

/** y[queries, valueDepth] = softmax(scale · q[queries, depth] · k[keys, depth]ᵀ + mask) · v[keys, valueDepth], for each head. */
export interface Attention {
  readonly q: Heads;
  readonly k: Heads;
  readonly v: Heads;
  readonly y: Heads;
  readonly batch: number;
  readonly heads: number;
  /** Divides heads; each head of k and v serves heads / kvHeads neighbours. Default heads. */
  readonly kvHeads?: number;
  readonly queries: number;
  readonly keys: number;
  readonly depth: number;
  /** Default depth. */
  readonly valueDepth?: number;
  /** Default 1 / √depth. */
  readonly scale?: number;
  /** Added to the scores: rows of `keys` floats; strides may be 0. */
  readonly mask?: Heads;
  /** Query t sees the keys up to t + keys − queries. */
  readonly causal?: boolean;
}

export function attention(e: Emitter, options: Attention): void {
  const { q, k, v, y, batch, heads, kvHeads = heads, queries, keys, depth, valueDepth = depth } = options;
  const { scale = 1 / Math.sqrt(depth), mask, causal = false } = options;
  check(heads % kvHeads === 0, `attention: ${kvHeads} key and value heads do not divide ${heads} heads`);
  check(!causal || keys >= queries, `attention: causal, but only ${keys} keys for ${queries} queries`);
  if (batch * heads * queries * valueDepth === 0) return;
  const wide = Math.ceil(keys / 8) * 8;
  const floats = wide * depth + 24 * depth + 30 * wide;
  const bytes = Math.ceil((floats * 4 + 64) / 64) * 64;
  const pairs = batch * heads;
  const parts = pairs % e.threads === 0 || pairs >= 4 * e.threads || queries < 48 ? 1 : e.threads;
  e.step(
    'attention',
    ...[q, k, v, y, mask ?? NO_MASK].flatMap(({ at, strides }) => [at, ...strides]),
    ...[batch, heads, kvHeads, queries, keys, depth, valueDepth, scale, causal ? 1 : 0, keys - queries],
    ...[parts, e.scratch(bytes * e.threads), bytes],
  );
}

const NO_MASK: Heads = { at: 0, strides: [0, 0, 0] };

/** Rotates pairs of floats of each head's row by the angles of its position. y may be x. */
export interface Rotary {
  readonly x: Address;
  readonly y: Address;
  /** Of x and of y. */
  readonly strides: Heads['strides'];
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly depth: number;
  /** [positions, rotated / 2]. */
  readonly cosines: Address;
  readonly sines: Address;
  /** The first floats of a row that are rotated; even; default depth. */
  readonly rotated?: number;
  /** Pairs are neighbours; else (i, i + rotated / 2). */
  readonly interleaved?: boolean;
  /** int64 [batch, rows], or [rows] for all items with `positionStride` 0. Default 0, 1, 2, … */
  readonly positions?: Address;
  /** Default rows. */
  readonly positionStride?: number;
  /** Added to the positions. Default 0. */
  readonly offset?: number;
}

export function rotary(e: Emitter, options: Rotary): void {
  const { x, y, strides, batch, heads, rows, depth, cosines, sines, rotated = depth, interleaved = false } = options;
  const { positions = 0, positionStride = rows, offset = 0 } = options;
  if (batch * heads * rows === 0) return;
  e.step(
    'rotary',
    ...[x, y, batch, heads, rows, depth, ...strides, cosines, sines, rotated, interleaved ? 1 : 0],
    ...[positions, positionStride, offset],
  );
}

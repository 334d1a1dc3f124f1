/** Steps that multiply sparse weights with dense activations. Kernels: `assembly/sparse*.ts`; packs: `pack.ts`. */
import type { Address, Emitter } from '../plan/emitter.ts';
import { bitsIn, blockBitmap } from './bitmap.ts';
import {
  chunksOf,
  fitsGroups,
  type Matrix,
  MOST_COLUMNS,
  maskTable,
  packBlocks,
  packGroups,
  packVectors,
  supportOf,
} from './pack.ts';
import type { Pattern } from './pattern.ts';

/** Weights as the planner knows them. */
export interface SparseWeights extends Matrix {
  /** How to pack them: one of `detect`'s patterns. Zeros that the pattern does not cover are stored. */
  readonly pattern: Pattern;
  /** Names the weights: equal keys are packed once. */
  readonly key: string;
  /** The engine joins pairs of vectors to 256 bits (`isWide` of cost.ts). */
  readonly wide?: boolean;
}

/** y = min(max(W · x + bias + residual, lo), hi). */
export interface Epilogue {
  /** Laid out as y. */
  readonly residual?: Address;
  /** −Infinity when absent. */
  readonly lo?: number;
  /** Infinity when absent. */
  readonly hi?: number;
}

export interface ProductShape extends Epilogue {
  /** [batch, cols, pixels] */
  readonly x: Address;
  /** [batch, rows, pixels] */
  readonly y: Address;
  readonly pixels: number;
  /** 1 when absent. */
  readonly batch?: number;
  /** Elements from one image to the next; cols · pixels when absent. */
  readonly xBatchStride?: number;
  /** rows · pixels when absent. */
  readonly yBatchStride?: number;
}

/** Kinds of block packs in `assembly/sparse-sweep.ts`. */
const ROWS = 0;
const BLOCKS = 1;
const QUANTISED = 2;

/** Rows of results that `assembly/sparse-stage.ts` stages at a time, less those of a block. */
export const STAGED = 256;

export interface TokensShape extends Epilogue {
  /** [tokens, cols] */
  readonly x: Address;
  /** [tokens, rows] */
  readonly y: Address;
  readonly tokens: number;
}

/** Below this many tokens, one vector after the other is faster than tiles. */
const FEW_TOKENS = 4;

/** Bytes of activations that a chunk of columns should touch: most of a first-level cache. */
const CACHE = 40_960;

/** Nonzeros that a row of a chunk should have at least, to pay for loading and storing its sums: single rows, and blocks. */
const WORTH = [32, 96];

/**
 * How many columns to a chunk, in units of `unit` columns of which each touches `bytes` of activations for a tile.
 * Chunks are about equal.
 */
export function chunkCols(matrix: Matrix, blockRows: number, bytes: number, unit = 1): number {
  const { rows, cols } = matrix;
  // The share of its columns that a block of rows stores, on average.
  const density = bitsIn(blockBitmap(matrix, blockRows).words) / Math.max(1, Math.ceil(rows / blockRows) * cols);
  const most = Math.max((CACHE / bytes) * unit, WORTH[blockRows > 1 ? 1 : 0] / density, unit);
  const chunks = Math.max(1, Math.round(cols / most));
  return Math.max(1, Math.ceil(cols / chunks / unit) * unit);
}

/** How the pixel kernels see a matrix. N:M weights run as unstructured ones: there, only their index list would be shorter. */
export function blocksOf({ weight, rows, pattern, wide }: SparseWeights) {
  const blockRows = pattern.kind === 'block' && weight instanceof Float32Array ? pattern.rows : 1;
  const kind = weight instanceof Int8Array ? QUANTISED : blockRows > 1 ? BLOCKS : ROWS;
  const joined = wide && kind === BLOCKS ? 1 : 0;
  return { blockRows, kind, blocks: Math.ceil(rows / blockRows), wide: joined, stride: joined ? 192 : 128 };
}

/** The pack for panels of `stride` bytes a column, and the first arguments of the kernels that take it. */
function pixelPack(e: Emitter, weights: SparseWeights) {
  const { blockRows, kind, blocks, wide, stride } = blocksOf(weights);
  const chunk = chunkCols(weights, blockRows, stride);
  const key = `${weights.key}/blocks${blockRows}x${stride}`;
  const pack = e.constant(key, () => packBlocks(weights, supportOf(weights, blockRows), chunk, col => col * stride));
  const args = [kind, wide, chunksOf(weights, chunk), pack, blocks, blockRows] as const;
  return { args, blockRows, stride };
}

/**
 * Product with activations whose pixels are contiguous: 1×1 convolutions of NCHW images, MatMul with the weights on the
 * left. Source: Elsen et al., Fast Sparse ConvNets (2019), §4, with tiles copied to panels.
 */
export function sparseProduct(e: Emitter, weights: SparseWeights, shape: ProductShape): void {
  const { rows, cols } = weights;
  const { x, y, residual = 0, pixels, batch = 1, lo = -Infinity, hi = Infinity } = shape;
  const { xBatchStride = cols * pixels, yBatchStride = rows * pixels } = shape;
  const { args, stride } = pixelPack(e, weights);
  const panel = e.scratch(e.threads * cols * stride);
  const strides = [xBatchStride * 4, yBatchStride * 4];
  e.step('sparseProduct', ...args, x, y, residual, cols, pixels, batch, ...strides, panel, stride, lo, hi);
}

/**
 * Product with row-major vectors, a transformer's linear layer: y [tokens, rows] = x [tokens, cols] · Wᵀ + bias. Weights
 * of a MatMul, given as [cols, rows], have rowStride 1.
 */
export function sparseTokens(e: Emitter, weights: SparseWeights, shape: TokensShape): void {
  const { rows, cols } = weights;
  const { x, y, residual = 0, tokens, lo = -Infinity, hi = Infinity } = shape;
  if (tokens < FEW_TOKENS && cols <= MOST_COLUMNS) {
    sparseVector(e, weights, shape);
    return;
  }
  const { args, blockRows, stride } = pixelPack(e, weights);
  const panel = e.scratch(e.threads * Math.ceil(cols / 4) * 4 * stride);
  const stage = e.scratch(e.threads * (STAGED + blockRows) * stride);
  const sizes = [rows, cols, tokens];
  e.step('sparseTokens', ...args, x, y, residual, ...sizes, panel, stage, stride, lo, hi);
}

/** The same product where weights are read once for a vector or a few: batch-1 fully connected layers, decoding. */
export function sparseVector(e: Emitter, weights: SparseWeights, shape: TokensShape): void {
  const { rows, cols, key, pattern } = weights;
  const { x, y, residual = 0, tokens, lo = -Infinity, hi = Infinity } = shape;
  const quantised = weights.weight instanceof Int8Array ? 1 : 0;
  const io = [x, y, residual, tokens, cols * 4, rows * 4, lo, hi];
  if (pattern.kind === 'nm' && fitsGroups(pattern.n, pattern.m)) {
    const pack = e.constant(`${key}/groups`, () => packGroups(weights));
    const table = e.constant('sparse/masks', maskTable);
    e.step('sparseVectorGrouped', quantised, pack, table, rows, Math.ceil(cols / 8), ...io);
    return;
  }
  if (cols > MOST_COLUMNS) {
    sparseTokens(e, weights, shape);
    return;
  }
  const { blockRows, blocks } = blocksOf(weights);
  const pack = e.constant(`${key}/vectors${blockRows}`, () => packVectors(weights, supportOf(weights, blockRows)));
  e.step('sparseVector', quantised, pack, blocks, ...io);
}

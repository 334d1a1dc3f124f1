/** Steps that multiply sparse weights with dense activations. Kernels: `assembly/sparse*.ts`; packs: `pack.ts`. */
import type { Address, Emitter } from '../plan/emitter.ts';
import { blockBytes, type Matrix, packBlocks } from './pack.ts';
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

/** What was emitted: the bytes of packed weights. */
export interface Emitted {
  readonly bytes: number;
}

/** Kinds of block packs in `assembly/sparse-sweep.ts`. */
const ROWS = 0;
const BLOCKS = 1;
const QUANTISED = 2;

/** How the pixel kernels see a matrix. N:M weights run as unstructured ones: there, only their index list would be shorter. */
function blocksOf({ weight, rows, pattern, wide }: SparseWeights) {
  const blockRows = pattern.kind === 'block' && weight instanceof Float32Array ? pattern.rows : 1;
  const kind = weight instanceof Int8Array ? QUANTISED : blockRows > 1 ? BLOCKS : ROWS;
  const joined = wide && kind === BLOCKS ? 1 : 0;
  return { blockRows, kind, blocks: Math.ceil(rows / blockRows), wide: joined, stride: joined ? 192 : 128 };
}

/**
 * Product with activations whose pixels are contiguous: 1×1 convolutions of NCHW images, MatMul with the weights on the
 * left. Source: Elsen et al., Fast Sparse ConvNets (2019), §4, with tiles copied to panels.
 */
export function sparseProduct(e: Emitter, weights: SparseWeights, shape: ProductShape): Emitted {
  const { rows, cols, key } = weights;
  const { x, y, residual = 0, pixels, batch = 1, lo = -Infinity, hi = Infinity } = shape;
  const { xBatchStride = cols * pixels, yBatchStride = rows * pixels } = shape;
  const { blockRows, kind, blocks, wide, stride } = blocksOf(weights);
  const pack = e.constant(`${key}/blocks${blockRows}x${stride}`, () =>
    packBlocks(weights, blockRows, col => col * stride),
  );
  const panel = e.scratch(e.threads * cols * stride);
  e.step(
    'sparseProduct',
    kind,
    wide,
    pack,
    blocks,
    x,
    y,
    residual,
    cols,
    pixels,
    batch,
    xBatchStride * 4,
    yBatchStride * 4,
    panel,
    stride,
    lo,
    hi,
  );
  return { bytes: blockBytes(weights, blockRows) };
}

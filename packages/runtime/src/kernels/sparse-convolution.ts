/** Sparse k×k convolution: a tap is a column of the sparse matrix, its offset a position in zero-padded planes. */
import { check } from '../errors.ts';
import { type Address, type Emitter, shift } from '../plan/emitter.ts';
import { chunksOf, packBlocks, supportOf } from './pack.ts';
import { blocksOf, chunkCols, type Epilogue, type SparseWeights, STAGED, sparseProduct } from './sparse.ts';

/** Geometry of a 2-D convolution; pairs are [vertical, horizontal], pads [top, left, bottom, right]. */
export interface Geometry {
  readonly batch: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  readonly pads: readonly [number, number, number, number];
  readonly groups: number;
}

export interface ConvolutionShape extends Epilogue {
  /** [batch, channels, height, width] */
  readonly x: Address;
  /** [batch, rows, outHeight, outWidth] */
  readonly y: Address;
  readonly geometry: Geometry;
}

/** One axis: how taps fall on the phases of the stride. */
interface Axis {
  /** Positions of the output. */
  readonly out: number;
  /** Phases that taps use, in order. */
  readonly phases: readonly number[];
  /** For each tap: index into `phases`, and shift within the phase's plane. */
  readonly taps: readonly { readonly phase: number; readonly shift: number }[];
  /** Zeros needed before the first and after the last element of a phase, and its longest extent. */
  readonly before: number;
  readonly after: number;
  readonly extent: number;
}

function axis(size: number, kernel: number, stride: number, dilation: number, begin: number, end: number): Axis {
  const out = Math.floor((size + begin + end - (kernel - 1) * dilation - 1) / stride) + 1;
  const places = Array.from({ length: kernel }, (_, k) => {
    const at = k * dilation - begin;
    const phase = ((at % stride) + stride) % stride;
    return { phase, shift: (at - phase) / stride };
  });
  const phases = [...new Set(places.map(place => place.phase))].sort((a, b) => a - b);
  const taps = places.map(({ phase, shift }) => ({ phase: phases.indexOf(phase), shift }));
  const shifts = taps.map(tap => tap.shift);
  const extent = Math.ceil(size / stride);
  const before = Math.max(0, -Math.min(...shifts));
  const after = Math.max(0, out + Math.max(...shifts) - extent);
  return { out, phases, taps, before, after, extent };
}

/**
 * y = min(max(conv(x, W) + bias + residual, lo), hi). Weights are OIHW as a matrix [out channels, channels / groups ·
 * kernel height · kernel width]. Outputs are computed over whole padded rows, whose ends are dropped on store.
 */
export function sparseConvolution(e: Emitter, weights: SparseWeights, shape: ConvolutionShape): void {
  const { rows, cols, key } = weights;
  const { x, y, residual = 0, geometry, lo = -Infinity, hi = Infinity } = shape;
  const { batch, channels, height, width, kernel, strides, dilations, pads, groups } = geometry;
  const taps = kernel[0] * kernel[1];
  const perGroup = channels / groups;
  check(
    cols === perGroup * taps && rows % groups === 0,
    () =>
      `sparse convolution: weights [${rows}, ${cols}] do not fit ${channels} channels in ${groups} groups and kernel ${kernel.join('×')}; expected [multiple of ${groups}, ${perGroup * taps}]`,
  );
  if (taps === 1 && groups === 1 && [...strides, ...pads].join() === '1,1,0,0,0,0') {
    sparseProduct(e, weights, { ...shape, pixels: height * width, batch });
    return;
  }
  const vertical = axis(height, kernel[0], strides[0], dilations[0], pads[0], pads[2]);
  const horizontal = axis(width, kernel[1], strides[1], dilations[1], pads[1], pads[3]);
  const phases = vertical.phases.length * horizontal.phases.length;
  // A row's right padding is the next row's left padding.
  const pitch = Math.max(horizontal.extent + Math.max(horizontal.before, horizontal.after), horizontal.out);
  const planeRows = vertical.before + Math.max(vertical.extent + vertical.after, 0);
  const plane = planeRows * pitch;
  const lead = Math.ceil(horizontal.before / 4) * 4;
  const blocked = blocksOf(weights);
  // A block must not span two groups.
  const blockRows = (rows / groups) % blocked.blockRows === 0 || groups === 1 ? blocked.blockRows : 1;
  const { kind, wide, stride } = blocksOf(blockRows === 1 ? { ...weights, pattern: { kind: 'csr' } } : weights);

  const offset = (col: number, row: number) => {
    const channel = Math.floor(row / (rows / groups)) * perGroup + Math.floor(col / taps);
    const v = vertical.taps[Math.floor((col % taps) / kernel[1])];
    const h = horizontal.taps[col % kernel[1]];
    const index = (channel * vertical.phases.length + v.phase) * horizontal.phases.length + h.phase;
    return 4 * (index * plane + (v.shift + vertical.before) * pitch + h.shift);
  };
  // Lines of a channel that a tile touches: a run in every row of taps, or the whole plane.
  const runs = new Set(vertical.taps.map(tap => `${tap.phase} ${tap.shift}`)).size * horizontal.phases.length;
  const touched = Math.min(runs * (stride + 64), phases * plane * 4);
  const chunk = chunkCols(weights, blockRows, touched, taps);
  const identity = [channels, height, width, strides, dilations, pads].join();
  const pack = e.constant(`${key}/taps${blockRows}x${stride}:${identity}`, () =>
    packBlocks(weights, supportOf(weights, blockRows), chunk, offset),
  );
  const table = e.constant(`sparse/phases ${vertical.phases} ${horizontal.phases}`, () =>
    Int32Array.from(vertical.phases.flatMap(v => horizontal.phases.flatMap(h => [v, h]))),
  );
  const image = channels * phases * plane;
  const planes = e.scratch((lead + batch * image) * 4);
  const stage = e.scratch(e.threads * (STAGED + blockRows) * stride);
  const size = [batch * channels, height, width, ...strides];
  e.step('sparsePlanes', x, planes, ...size, table, phases, vertical.before, planeRows, pitch, lead);
  const from = shift(planes, lead * 4);
  const packed = [kind, wide, chunksOf(weights, chunk), pack, Math.ceil(rows / blockRows), blockRows];
  const out = [rows, vertical.out, horizontal.out, pitch, batch, image * 4, rows * vertical.out * horizontal.out * 4];
  e.step('sparseConvolution', ...packed, from, y, residual, ...out, stage, stride, lo, hi);
}

/** Reductions, softmax and normalisations of dense float32 arrays. */
import type { Address, Emitter } from '../plan/emitter.ts';

/** The position is the kernel's code. */
const REDUCE = ['sum', 'mean', 'sumSquare', 'l2', 'l1', 'max', 'min', 'prod'] as const;

export type Reduce = (typeof REDUCE)[number];

/** An array [outer, n, inner] whose middle axis an operation runs along. Reducing several adjacent axes is one n. */
export interface Along {
  readonly x: Address;
  readonly y: Address;
  readonly outer: number;
  readonly n: number;
  /** Default 1: the last axes. */
  readonly inner?: number;
}

/** y[outer, inner]: x reduced along n ≥ 1. Not in place. */
export function reduce(e: Emitter, name: Reduce, { x, y, outer, n, inner = 1 }: Along): void {
  if (outer * inner > 0) e.step('reduce', REDUCE.indexOf(name), x, y, outer, n, inner);
}

/** Softmax, or its logarithm, along n. y may be x. */
export function softmax(
  e: Emitter,
  { x, y, outer, n, inner = 1, logarithm = false }: Along & { readonly logarithm?: boolean },
): void {
  if (outer * n * inner > 0) e.step('softmax', x, y, outer, n, inner, logarithm ? 1 : 0);
}

interface Norm {
  readonly x: Address;
  /** May be x. */
  readonly y: Address;
  /** Default 1e-5, as in ONNX. */
  readonly epsilon?: number;
  /** Default 1 and 0. */
  readonly scale?: Address;
  readonly bias?: Address;
}

/** y = (v − mean) / √(variance + epsilon) · scale[n] + bias[n] over rows of n, where v = x + residual. */
export interface LayerNorm extends Norm {
  readonly rows: number;
  readonly n: number;
  /** v / √(mean of squares + epsilon) · scale. */
  readonly rms?: boolean;
  readonly residual?: Address;
  /** Keeps v; may be the residual or x. */
  readonly sum?: Address;
}

export function layerNorm(
  e: Emitter,
  { x, y, rows, n, epsilon = 1e-5, scale = 0, bias = 0, rms = false, residual = 0, sum = 0 }: LayerNorm,
): void {
  if (rows * n > 0) e.step('normalize', x, y, rows, n, scale, bias, 0, 1, epsilon, rms ? 1 : 0, residual, sum);
}

/** Statistics over groups of channels of [batch, channels, inner]; scale and bias by channel. Instance norm: one channel each. */
export interface GroupNorm extends Norm {
  readonly batch: number;
  readonly channels: number;
  readonly inner: number;
  /** Divides channels. */
  readonly groups: number;
}

export function groupNorm(
  e: Emitter,
  { x, y, batch, channels, inner, groups, epsilon = 1e-5, scale = 0, bias = 0 }: GroupNorm,
): void {
  const perRow = channels / groups;
  if (batch * channels * inner === 0) return;
  e.step('normalize', x, y, batch * groups, perRow * inner, scale, bias, channels, perRow, epsilon, 0, 0, 0);
}

/** ONNX LRN of [batch, channels, inner]: y = x / (bias + alpha / size · Σ x²)^beta over `size` neighbouring channels. */
export function localResponse(
  e: Emitter,
  o: {
    readonly x: Address;
    readonly y: Address;
    readonly batch: number;
    readonly channels: number;
    readonly inner: number;
    readonly size: number;
    /** Defaults of ONNX: 1e-4, 0.75, 1. */
    readonly alpha?: number;
    readonly beta?: number;
    readonly bias?: number;
  },
): void {
  const { alpha = 1e-4, beta = 0.75, bias = 1 } = o;
  if (o.batch * o.channels * o.inner === 0) return;
  e.step('localResponse', o.x, o.y, o.batch, o.channels, o.inner, o.size, alpha, beta, bias);
}

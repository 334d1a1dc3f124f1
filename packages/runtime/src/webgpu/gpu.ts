/** Matrix products on WebGPU: dense, block-sparse, N:M and unstructured weights; 1×1 convolutions and linear layers. */
import { check } from '../errors.ts';
import { type Device, openDevice } from './device.ts';
import { launch, MOST_MATRICES, MOST_ROWS, type Strides } from './launch.ts';
import { createMatrix, type GpuMatrix } from './matrix.ts';
import type { Weight } from './pack.ts';

export type { GpuMatrix, MultiplyOptions } from './matrix.ts';
export type { Pattern, Weight } from './pack.ts';

export interface GpuOptions {
  /** The largest buffer in bytes (default: what the adapter allows). Larger operands are computed in pieces. */
  readonly maxBufferBytes?: number;
}

/** Sizes of a batch of products [m × k] · [k × n], row-major. */
export interface MatmulDims {
  readonly m: number;
  readonly k: number;
  readonly n: number;
  /** Products; default 1. An operand that holds a single matrix is used for all of them. */
  readonly batch?: number;
  /** The operand is stored transposed: A as k × m, B as n × k. */
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

export interface Gpu {
  /** The adapter, for reports. */
  readonly name: string;
  /** Packs a weight and uploads it once. */
  matrix(weight: Weight): GpuMatrix;
  /** A · B for two activations; batch × m × n values. */
  matmul(a: Float32Array, b: Float32Array, dims: MatmulDims): Promise<Float32Array>;
  /** Frees the device and all that lies on it. */
  release(): void;
}

async function matmul(device: Device, a: Float32Array, b: Float32Array, dims: MatmulDims): Promise<Float32Array> {
  const { m, k, n, batch = 1, transposeA = false, transposeB = false } = dims;
  const shared = (name: string, length: number, size: number) => {
    check(
      length === size || length === batch * size,
      () => `webgpu: matmul: ${name} has ${length} values, expected ${batch} × ${size} or ${size}`,
    );
    return length === size ? 0 : size;
  };
  const aBatch = shared('a', a.length, m * k);
  const bBatch = shared('b', b.length, k * n);
  const y = new Float32Array(batch * m * n);
  if (y.length === 0) return y;
  const samples = Math.min(batch, MOST_MATRICES, Math.floor(device.limit / 4 / Math.max(m * k, k * n, m * n)));
  check(
    samples > 0 && Math.max(m, n) <= MOST_ROWS,
    () =>
      `webgpu: matmul of ${m} × ${k} and ${k} × ${n} exceeds the largest buffer, ${device.limit} bytes; compute it with WebAssembly`,
  );
  const aStrides: Strides = transposeA ? [1, m, aBatch] : [k, 1, aBatch];
  const bStrides: Strides = transposeB ? [1, k, bBatch] : [n, 1, bBatch];
  // Tiles have 64 rows: few rows and many columns are computed as the transposed product Bᵀ · Aᵀ.
  const flip = m <= 16 && n > m;
  for (let from = 0; from < batch; from += samples) {
    const count = Math.min(samples, batch - from);
    const of = (data: Float32Array, stride: number) =>
      stride ? data.subarray(from * stride, (from + count) * stride) : data;
    const [left, right] = flip ? [of(b, bBatch), of(a, aBatch)] : [of(a, aBatch), of(b, bBatch)];
    const swap = ([rows, cols, matrix]: Strides): Strides => [cols, rows, matrix];
    const values = await launch(device, {
      pattern: 'dense',
      parts: [{ from: 0, rows: flip ? n : m, values: left }],
      cols: k,
      pixels: flip ? m : n,
      batch: count,
      w: flip ? swap(bStrides) : aStrides,
      x: flip ? swap(aStrides) : bStrides,
      y: flip ? [1, n, m * n] : [n, 1, m * n],
      input: right,
      length: count * m * n,
      lo: -Infinity,
      hi: Infinity,
    });
    y.set(values, from * m * n);
  }
  return y;
}

/**
 * The machine's GPU through WebGPU, or undefined where there is none (Node, older browsers, no adapter).
 * @example
 * const gpu = await createGpu();
 * const layer = gpu?.matrix({ data, rows: 128, cols: 64, pattern: { block: 4 }, bias });
 * const y = await layer?.multiply(x, 56 * 56, { layout: 'columns', lo: 0 });
 */
export async function createGpu({ maxBufferBytes = Infinity }: GpuOptions = {}): Promise<Gpu | undefined> {
  const api = globalThis.navigator?.gpu as GPU | undefined;
  const adapter = await api?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return undefined;
  const device = await openDevice(adapter, maxBufferBytes);
  return {
    name: device.name,
    matrix: weight => createMatrix(device, weight),
    matmul: (a, b, dims) => matmul(device, a, b, dims),
    release: device.release,
  };
}

/** One submission to the device: Y = clamp(W · X + bias + residual, lo, hi) for operands that fit its buffers. */
import { type Device, READBACK, STORAGE, UNIFORM } from './device.ts';
import type { Pattern } from './pack.ts';
import { BIAS, FIELDS, HIGH, LOW, RESIDUAL, tileOf, W_ALONG_ROWS, wgsl, X_ALONG_PIXELS } from './wgsl.ts';

/** `GPUMapMode.READ`. */
const MAP_READ = 1;

/** The most workgroups along one dimension of a dispatch, on every device. */
const WORKGROUPS = 65535;
/** The most matrices of a batch, and the most rows or pixels (every tile has 64 rows or more, and 64 pixels if Y has), of a launch. */
export const MOST_MATRICES = WORKGROUPS;
export const MOST_ROWS = WORKGROUPS * 64;

/** W, or some rows of it, on the device. */
export interface Part {
  readonly from: number;
  readonly rows: number;
  /** A buffer, or values to upload for this launch only. */
  readonly values: GPUBuffer | Float32Array;
  readonly index?: GPUBuffer;
  readonly bias?: GPUBuffer;
}

/** Distances in elements between rows, columns (or pixels) and matrices of a batch. */
export type Strides = readonly [number, number, number];

export interface Launch {
  readonly pattern: Pattern;
  readonly parts: readonly Part[];
  readonly cols: number;
  readonly pixels: number;
  readonly batch: number;
  readonly w: Strides;
  readonly x: Strides;
  readonly y: Strides;
  readonly input: Float32Array;
  readonly residual?: Float32Array;
  readonly length: number;
  readonly lo: number;
  readonly hi: number;
}

/** Computes Y (`length` values) from X that fits the device: one dispatch for each part of W, one submission. */
export async function launch(device: Device, call: Launch): Promise<Float32Array> {
  const { pattern, parts, cols, pixels, batch, w, x, y, input, residual, length, lo, hi } = call;
  const tile = tileOf(pattern, pixels);
  device.alive();
  const pipeline = await device.pipeline(wgsl(pattern, tile));
  const flags =
    (parts[0].bias ? BIAS : 0) |
    (residual ? RESIDUAL : 0) |
    (lo > -Infinity ? LOW : 0) |
    (hi < Infinity ? HIGH : 0) |
    (x[1] === 1 ? X_ALONG_PIXELS : 0) |
    (w[0] === 1 ? W_ALONG_ROWS : 0);
  const { gpu } = device;
  const bytes = length * 4;
  const { result, done } = device.guard(() => {
    const used = [device.upload(input, STORAGE)];
    const output = residual ? device.upload(residual, STORAGE) : device.acquire(bytes, STORAGE);
    const staging = device.acquire(bytes, READBACK);
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    for (const part of parts) {
      const fields = new ArrayBuffer(FIELDS.length * 4);
      new Uint32Array(fields).set([flags, part.rows, cols, pixels, ...w, ...x, ...y, part.from * y[0]]);
      new Float32Array(fields).set([lo, hi], FIELDS.length - 2);
      const uniform = device.upload(new Uint8Array(fields), UNIFORM);
      const values = 'length' in part.values ? device.upload(part.values, STORAGE) : part.values;
      used.push(uniform);
      if (values !== part.values) used.push(values);
      // Without a bias any readable buffer takes its place.
      const buffers = [uniform, values, used[0], output, part.bias ?? used[0], ...(part.index ? [part.index] : [])];
      const entries = buffers.map((buffer, binding) => ({
        binding,
        resource: { buffer, size: Math.min(buffer.size, device.limit) },
      }));
      pass.setBindGroup(0, gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      pass.dispatchWorkgroups(Math.ceil(pixels / tile.pixels), Math.ceil(part.rows / tile.rows), batch);
    }
    pass.end();
    encoder.copyBufferToBuffer(output, 0, staging, 0, bytes);
    gpu.queue.submit([encoder.finish()]);
    for (const buffer of [...used, output]) device.recycle(buffer);
    return { staging, mapped: staging.mapAsync(MAP_READ, 0, bytes) };
  });
  const { staging, mapped } = result;
  const [refused, unmapped] = await Promise.allSettled([done, mapped]);
  if (refused.status === 'rejected' || unmapped.status === 'rejected') {
    staging.destroy();
    // A lost device rejects the map first and reports itself right after.
    await new Promise(resolve => setTimeout(resolve));
    device.alive();
    throw refused.status === 'rejected' ? refused.reason : (unmapped as PromiseRejectedResult).reason;
  }
  const values = new Float32Array(staging.getMappedRange(0, bytes)).slice();
  staging.unmap();
  device.recycle(staging);
  return values;
}

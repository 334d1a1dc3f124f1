/** A WebGPU device with what every call needs: pooled buffers, cached pipelines, and errors that say what went wrong. */
import { check, RuntimeError } from '../errors.ts';

/** `GPUBufferUsage` of the specification; the global object exists only where WebGPU does. */
const COPY_SRC = 4;
const COPY_DST = 8;
export const STORAGE = 128 | COPY_SRC | COPY_DST;
export const UNIFORM = 64 | COPY_DST;
export const READBACK = 1 | COPY_DST;

/** Idle buffers beyond this many bytes are freed. */
const IDLE_BYTES = 2 ** 28;

export interface Device {
  readonly name: string;
  /** Largest buffer and binding in bytes. */
  readonly limit: number;
  readonly gpu: GPUDevice;
  /** Throws once the device is lost or released. */
  alive(): void;
  /** The pipeline of a shader, compiled once. */
  pipeline(code: string): Promise<GPUComputePipeline>;
  /** An idle buffer of at least `bytes` and this usage, or a new one; its contents are arbitrary. */
  acquire(bytes: number, usage: number): GPUBuffer;
  /** A buffer, from the pool, that begins with `data` (4-byte elements). */
  upload(data: ArrayBufferView, usage: number): GPUBuffer;
  /** Gives a buffer back. Commands already submitted may still use it: the queue keeps their order. */
  recycle(buffer: GPUBuffer): void;
  /** Runs `work`; the promise fails with what the device refused of it, or with the loss of the device. */
  guard<T>(work: () => T): { readonly result: T; readonly done: Promise<void> };
  release(): void;
}

/** Wraps an adapter's device. `maxBytes` lowers the limit that the adapter gives to a buffer. */
export async function openDevice(adapter: GPUAdapter, maxBytes: number): Promise<Device> {
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const gpu = await adapter.requestDevice({ requiredLimits: { maxBufferSize, maxStorageBufferBindingSize } });
  const limit = Math.floor(Math.min(maxBytes, maxBufferSize, maxStorageBufferBindingSize) / 4) * 4;
  const { vendor, architecture, description } = adapter.info;
  const pipelines = new Map<string, Promise<GPUComputePipeline>>();
  const idle = new Map<string, GPUBuffer[]>();
  let idleBytes = 0;
  let ended = '';
  gpu.lost.then(({ message }) => {
    ended ||= `the device was lost (${message || 'no reason given'}); create it again, or compute with WebAssembly`;
  });

  const alive = () => check(!ended, () => `webgpu: ${ended}`);
  /** Sizes are rounded up to an eighth of their power of two: few distinct ones, little waste. */
  const roundUp = (bytes: number) => {
    const step = Math.max(256, 2 ** (Math.floor(Math.log2(bytes)) - 3));
    return Math.max(bytes, Math.min(Math.ceil(bytes / step) * step, limit));
  };
  const keyOf = (size: number, usage: number) => `${size} ${usage}`;

  const device: Device = {
    name: [vendor, architecture, description].filter(Boolean).join(' '),
    limit,
    gpu,
    alive,
    pipeline(code) {
      let pipeline = pipelines.get(code);
      if (!pipeline) {
        const module = gpu.createShaderModule({ code });
        pipeline = gpu.createComputePipelineAsync({ layout: 'auto', compute: { module } }).catch(error => {
          alive();
          throw new RuntimeError(`webgpu: the device refuses a kernel: ${error.message}`);
        });
        pipelines.set(code, pipeline);
      }
      return pipeline;
    },
    acquire(bytes, usage) {
      const size = roundUp(Math.max(bytes, 4));
      const buffer = idle.get(keyOf(size, usage))?.pop();
      if (!buffer) return gpu.createBuffer({ size, usage });
      idleBytes -= size;
      return buffer;
    },
    upload(data, usage) {
      const buffer = device.acquire(data.byteLength, usage);
      gpu.queue.writeBuffer(buffer, 0, data);
      return buffer;
    },
    recycle(buffer) {
      const key = keyOf(buffer.size, buffer.usage);
      if (ended || idleBytes + buffer.size > IDLE_BYTES) return buffer.destroy();
      idleBytes += buffer.size;
      if (!idle.has(key)) idle.set(key, []);
      idle.get(key)!.push(buffer);
    },
    guard(work) {
      alive();
      gpu.pushErrorScope('out-of-memory');
      gpu.pushErrorScope('validation');
      try {
        return { result: work(), done: settle() };
      } catch (error) {
        settle().catch(() => {});
        throw error;
      }
    },
    release() {
      ended = 'the device was released';
      idle.clear();
      gpu.destroy();
    },
  };

  /** Closes the two error scopes of `guard`. */
  async function settle(): Promise<void> {
    const [invalid, memory] = await Promise.allSettled([gpu.popErrorScope(), gpu.popErrorScope()]);
    alive();
    for (const scope of [memory, invalid]) {
      const error = scope.status === 'fulfilled' ? scope.value : scope.reason;
      if (error) throw new RuntimeError(`webgpu: ${error.message}`);
    }
  }
  return device;
}

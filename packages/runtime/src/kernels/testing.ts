/** An Emitter that executes at once on one thread (or simulates several, one after another): for tests and measurements of kernels. */
import type { Address, Emitter } from '../plan/emitter.ts';
import { instantiate, type Kernels } from './module.ts';

export interface Bench extends Emitter {
  readonly kernels: Kernels;
  readonly memory: WebAssembly.Memory;
  /** Allocates (never freed) and fills; returns the byte address. */
  put(data: ArrayBufferView): number;
  /** Allocates zeroed floats. */
  floats(length: number): number;
  /** A view of floats at an address; invalid after the next allocation. */
  view(address: Address, length: number): Float32Array;
  /** Steps recorded since the last call; they have already run once. */
  take(): (() => void)[];
}

/** Kernels of one build on fresh memory. Throws when this engine lacks the features. */
export async function bench(build: 'simd' | 'relaxed', threads = 1): Promise<Bench> {
  const memory = new WebAssembly.Memory({ initial: 2048, maximum: 65536 });
  const kernels = await instantiate(build, memory);
  const constants = new Map<string, number>();
  let top = 65536;
  let recorded: (() => void)[] = [];
  const allocate = (bytes: number) => {
    const address = top;
    top += Math.ceil((bytes + 64) / 64) * 64;
    const missing = top + 65536 - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return address;
  };
  const put = (data: ArrayBufferView) => {
    const address = allocate(data.byteLength);
    new Uint8Array(memory.buffer, address, data.byteLength).set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    );
    return address;
  };
  return {
    threads,
    kernels,
    memory,
    put,
    floats: length => allocate(length * 4),
    view: (address, length) => new Float32Array(memory.buffer, address as number, length),
    constant(key, make) {
      if (!constants.has(key)) constants.set(key, put(make()));
      return constants.get(key)!;
    },
    scratch: allocate,
    step(kernel, ...args) {
      const run = () => {
        for (let thread = 0; thread < threads; thread++) kernels[kernel](...(args as number[]), thread, threads);
      };
      run();
      recorded.push(run);
    },
    take() {
      const steps = recorded;
      recorded = [];
      return steps;
    },
  };
}

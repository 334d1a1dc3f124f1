/** What kernels' TypeScript sides may ask for while a plan is built. Addresses become numbers once memory is laid out. */

/** A stretch of planned memory: 64-byte aligned; up to 64 bytes after its end may be read (not written). */
export interface Buffer {
  readonly bytes: number;
  /** Byte address, known after layout. */
  address?: number;
}

/** A byte address: absolute, or an offset into a planned buffer. */
export type Address = number | { readonly buffer: Buffer; readonly offset: number };

/** `at` moved by bytes. */
export function shift(at: Address, bytes: number): Address {
  return typeof at === 'number' ? at + bytes : { buffer: at.buffer, offset: at.offset + bytes };
}

/** One call of an exported kernel; `(thread, threads)` are appended when it runs. */
export interface Step {
  readonly kernel: string;
  readonly args: readonly Address[];
}

export interface Emitter {
  /** Threads that will execute the plan (≥ 1): every one of them calls every step and takes its share of it. */
  readonly threads: number;
  /** Copies constant bytes into permanent memory once for each key, 64-byte aligned. */
  constant(key: string, make: () => ArrayBufferView): Address;
  /** Memory that lives during the steps of this node only. */
  scratch(bytes: number): Address;
  /** Appends a step. Args are i32 or f32 values; every thread finishes a step before any begins the next. */
  step(kernel: string, ...args: Address[]): void;
}

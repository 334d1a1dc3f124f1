/** One WebAssembly memory: control words, then permanent data (weights, programs) and arenas for activations. */
import { RuntimeError } from './errors.ts';
import { align, SLACK } from './plan/layout.ts';
import { arrayOf, type DataType, type NumericArray } from './values.ts';

const PAGE = 65536;
const CHUNK = 4096;
/** The kernels' own statics lie below. */
const START = PAGE;

export class Memory {
  readonly wasm: WebAssembly.Memory;
  #top = START;
  #arena = { address: 0, bytes: 0 };
  /** Addresses given back, by size. */
  readonly #free = new Map<number, number[]>();

  /** @param shared for threads; needs SharedArrayBuffer */
  constructor(shared: boolean) {
    // Shared memory reserves its maximum; engines with little address space refuse 4 GiB.
    for (let maximum = 65536; ; maximum /= 2) {
      try {
        this.wasm = new WebAssembly.Memory({ initial: 2, maximum, shared });
        return;
      } catch (error) {
        if (maximum <= 1024) throw error;
      }
    }
  }

  get buffer(): ArrayBuffer {
    return this.wasm.buffer as ArrayBuffer;
  }

  /** Bytes of memory in use or reserved by growth. */
  get bytes(): number {
    return this.buffer.byteLength;
  }

  /** Takes permanent memory; returns its 64-byte aligned address. */
  allocate(bytes: number): number {
    const address = this.#top;
    const top = address + align(bytes);
    const missing = top + SLACK - this.bytes;
    if (missing > 0) {
      try {
        this.wasm.grow(Math.ceil(missing / PAGE));
      } catch {
        throw new RuntimeError(
          `memory: ${((top + SLACK) / 2 ** 20).toFixed(0)} MiB needed, more than one WebAssembly memory can hold here`,
        );
      }
    }
    this.#top = top;
    return address;
  }

  /** Permanent memory filled with bytes. */
  put(data: ArrayBufferView): number {
    const address = this.allocate(data.byteLength);
    new Uint8Array(this.buffer, address, data.byteLength).set(
      new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
    );
    return address;
  }

  /** Like `allocate`, for what will be given back: whole chunks of 4 KiB. */
  borrow(bytes: number): number {
    const chunk = Math.ceil(bytes / CHUNK) * CHUNK;
    return this.#free.get(chunk)?.pop() ?? this.allocate(chunk);
  }

  giveBack(address: number, bytes: number): void {
    const chunk = Math.ceil(bytes / CHUNK) * CHUNK;
    const list = this.#free.get(chunk);
    if (list) list.push(address);
    else this.#free.set(chunk, [address]);
  }

  /** Memory for one plan's activations. Plans run one at a time and share it; a larger plan gets a new, larger one. */
  arena(bytes: number): number {
    if (bytes > this.#arena.bytes) {
      // A second arena means that shapes vary: leave room, so that growing sequences do not take a new one each time.
      const room = this.#arena.bytes ? Math.max(bytes, this.#arena.bytes * 2) : bytes;
      // The last thing allocated can grow in place.
      if (this.#arena.bytes && this.#arena.address + align(this.#arena.bytes) === this.#top)
        this.#top = this.#arena.address;
      this.#arena = { address: this.allocate(room), bytes: room };
    }
    return this.#arena.address;
  }

  /** A typed view; not valid after memory grew. */
  view(type: Exclude<DataType, 'string'>, address: number, length: number): NumericArray {
    const Type = arrayOf(type) as unknown as new (buffer: ArrayBuffer, at: number, length: number) => NumericArray;
    return new Type(this.buffer, address, length);
  }
}

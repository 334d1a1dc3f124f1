/** One WebAssembly memory: control words, then permanent data (weights, programs) and an arena for activations. */
import { RuntimeError } from './errors.ts';
import { align, SLACK } from './plan/layout.ts';
import { arrayOf, type DataType, type NumericArray } from './values.ts';

const PAGE = 65536;
/** The kernels' own statics lie below. */
const START = PAGE;

export class Memory {
  readonly wasm: WebAssembly.Memory;
  #top = START;
  /** Blocks given back, by address; no two touch, and none touches the top. */
  #free: { address: number; bytes: number }[] = [];
  #arena = { address: 0, bytes: 0 };

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

  /** Bytes of the whole memory. */
  get bytes(): number {
    return this.buffer.byteLength;
  }

  /**
   * Takes memory; returns its 64-byte aligned address. Its content is not defined.
   *
   * @throws RuntimeError when the memory cannot grow that far
   */
  allocate(bytes: number): number {
    bytes = align(bytes);
    const gap = this.#free.find(block => block.bytes >= bytes);
    if (gap) {
      const { address } = gap;
      gap.address += bytes;
      gap.bytes -= bytes;
      if (gap.bytes === 0) this.#free.splice(this.#free.indexOf(gap), 1);
      return address;
    }
    const address = this.#top;
    this.#raise(address + bytes);
    return address;
  }

  #raise(top: number): void {
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
  }

  /** Gives back what `allocate` returned for as many bytes. */
  free(address: number, bytes: number): void {
    bytes = align(bytes);
    if (bytes === 0) return;
    let at = this.#free.findIndex(block => block.address > address);
    if (at < 0) at = this.#free.length;
    this.#free.splice(at, 0, { address, bytes });
    for (const i of [at, at - 1]) {
      const [low, high] = [this.#free[i], this.#free[i + 1]];
      if (!low || !high || low.address + low.bytes !== high.address) continue;
      low.bytes += high.bytes;
      this.#free.splice(i + 1, 1);
    }
    const last = this.#free.at(-1)!;
    if (last.address + last.bytes === this.#top) {
      this.#top = last.address;
      this.#free.pop();
    }
  }

  /** Memory filled with bytes. */
  put(data: ArrayBufferView): number {
    const address = this.allocate(data.byteLength);
    new Uint8Array(this.buffer, address, data.byteLength).set(
      new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
    );
    return address;
  }

  /**
   * Memory for one plan's activations. Plans run one at a time and share it. For a larger plan it grows where it is if it can;
   * else it moves, and plans for the old address must not be run any more.
   */
  arena(bytes: number): number {
    const { address, bytes: had } = this.#arena;
    if (bytes <= had) return address;
    if (had > 0 && address + had === this.#top) {
      this.#raise(address + align(bytes));
      this.#arena = { address, bytes: align(bytes) };
    } else {
      this.free(address, had);
      // Shapes vary: leave room, so that sequences that grow do not move it each time.
      const room = align(Math.max(bytes, had * 1.5));
      this.#arena = { address: 0, bytes: 0 };
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

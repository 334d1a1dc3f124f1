/** Loads the WebAssembly builds of `assembly/` and picks the best one that the engine accepts. */
import { UnsupportedError } from '../errors.ts';

/** Exported kernels by name; all parameters are i32 or f32, the last two are `thread` and `threads`. */
export type Kernels = Record<string, (...args: number[]) => number>;

export type Build = 'simd' | 'relaxed';

const MODULES = new Map<string, Promise<WebAssembly.Module>>();

/** `(func (drop (f32x4.relaxed_madd …)))` and `(func (drop (v128.const …)))`: validate only where the feature exists. */
const PROBES: Record<Build, readonly number[]> = {
  simd: [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
  relaxed: [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
    253, 128, 2, 11,
  ],
};

/** Whether this engine has the instructions of a build. */
export const supports = (build: Build): boolean => WebAssembly.validate(new Uint8Array(PROBES[build]));

async function read(url: URL): Promise<BufferSource> {
  if (url.protocol === 'file:') {
    const { readFile } = await import('node:fs/promises');
    return readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok)
    throw new UnsupportedError(
      `${url}: ${response.status} ${response.statusText}; the runtime's .wasm files must be served beside its script`,
    );
  return response.arrayBuffer();
}

/** The memory import of a module says whether it is shared: this flips that flag, so that one file serves both. */
function patchShared(bytes: Uint8Array): Uint8Array {
  // Import section: the only import is "env"."memory"; its limits flag follows the external kind 2.
  const marker = [3, 0x65, 0x6e, 0x76, 6, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 2];
  for (let at = 8; at < bytes.length - marker.length; at++) {
    if (marker.every((byte, i) => bytes[at + i] === byte)) {
      const patched = bytes.slice();
      patched[at + marker.length] |= 2;
      return patched;
    }
  }
  throw new UnsupportedError('kernels: the module imports no env.memory');
}

/** Whether V8 is asked to join pairs of vector operations to 256 bits. A flag of the whole process. */
let revectorized = false;

/**
 * Switches V8's revectoriser on for the modules that are compiled from now on; false where that cannot be done. It is an
 * experiment of V8: `isWide` of cost.ts tells whether it worked.
 */
export async function revectorize(): Promise<boolean> {
  if (typeof process === 'undefined' || !process.versions?.v8) return false;
  const { setFlagsFromString } = await import('node:v8');
  setFlagsFromString('--experimental-wasm-revectorize');
  revectorized = true;
  return true;
}

/** The compiled module of a build, for shared or unshared memory; compiled once for each. */
export function compile(build: Build, shared: boolean): Promise<WebAssembly.Module> {
  const key = `${build} ${shared} ${revectorized}`;
  let module = MODULES.get(key);
  if (!module) {
    const url =
      build === 'relaxed' ? new URL('./relaxed.wasm', import.meta.url) : new URL('./simd.wasm', import.meta.url);
    module = read(url).then(source => {
      const bytes = ArrayBuffer.isView(source)
        ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
        : new Uint8Array(source);
      return WebAssembly.compile((shared ? patchShared(bytes) : bytes) as BufferSource);
    });
    MODULES.set(key, module);
  }
  return module;
}

/** Kernels of a build over a memory. */
export async function instantiate(build: Build, memory: WebAssembly.Memory): Promise<Kernels> {
  const shared = typeof SharedArrayBuffer !== 'undefined' && memory.buffer instanceof SharedArrayBuffer;
  const instance = await WebAssembly.instantiate(await compile(build, shared), { env: { memory } });
  return instance.exports as unknown as Kernels;
}

/** Bytes from paths and addresses. */
import { RuntimeError } from '../errors.ts';

export type Bytes = Uint8Array | ArrayBuffer;

const inNode = (): boolean => typeof process !== 'undefined' && process.versions?.node !== undefined;

export const view = (bytes: Bytes): Uint8Array =>
  ArrayBuffer.isView(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes);

/** A URL, or a path of the file system. */
export function locate(source: string | URL): string | URL {
  if (source instanceof URL) return source;
  if (/^(https?|file|data|blob):/i.test(source)) return new URL(source);
  return inNode() ? source : new URL(source, globalThis.location?.href);
}

export const isFile = (address: string | URL): boolean => typeof address === 'string' || address.protocol === 'file:';

/** Runs an operation of the file system or the network; its failure names the file. */
export async function attempt<T>(address: string | URL, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof RuntimeError) throw error;
    throw new RuntimeError(`${address}: cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

export const readWhole = (address: string | URL): Promise<Uint8Array> =>
  attempt(address, async () => {
    if (isFile(address)) {
      const { readFile } = await import('node:fs/promises');
      return view(await readFile(address));
    }
    const response = await fetch(address);
    if (!response.ok) throw new RuntimeError(`${address}: ${response.status} ${response.statusText}`.trim());
    return new Uint8Array(await response.arrayBuffer());
  });

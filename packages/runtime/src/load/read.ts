/** Models from paths, addresses and bytes, with the files of external data that lie beside them. */
import { FormatError, RuntimeError } from '../errors.ts';
import type { ExternalRange } from './external.ts';
import type { Model } from './graph.ts';
import { externalRanges } from './locate.ts';
import { parseModel } from './model.ts';

type Bytes = Uint8Array | ArrayBuffer;

/** Files of external data by location, a path relative to the model with `/`; or a function that finds them. */
export type ExternalFiles =
  | Readonly<Record<string, Bytes>>
  | ((location: string) => Bytes | undefined | Promise<Bytes | undefined>);

export interface ReadOptions {
  /** Looked up before the model's folder. */
  readonly external?: ExternalFiles;
}

/** A file of which parts can be read. */
interface File {
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * Reads a model from a path (Node), an address (`http`, `file`, `data`, `blob`; relative ones in a browser) or bytes,
 * which must not change afterwards. Of external data only the parts that tensors name are read, in a browser the whole
 * file. Errors start with the model's name.
 */
export async function readModel(source: string | URL | Bytes, options: ReadOptions = {}): Promise<Model> {
  const address = typeof source === 'string' || source instanceof URL ? locate(source) : undefined;
  const name = address === undefined ? 'model' : String(address);
  const bytes = address === undefined ? view(source as Bytes) : await readWhole(address);
  try {
    const parts = await readRanges(externalRanges(bytes), options.external, address);
    return parseModel(bytes, { owned: address !== undefined, external: range => parts.get(keyOf(range)) });
  } catch (error) {
    if (!(error instanceof RuntimeError)) throw error;
    throw new (error.constructor as typeof RuntimeError)(`${name}: ${error.message}`, { cause: error });
  }
}

const inNode = (): boolean => typeof process !== 'undefined' && process.versions?.node !== undefined;

const view = (bytes: Bytes): Uint8Array =>
  ArrayBuffer.isView(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes);

/** A URL, or a path of the file system. */
function locate(source: string | URL): string | URL {
  if (source instanceof URL) return source;
  if (/^(https?|file|data|blob):/i.test(source)) return new URL(source);
  return inNode() ? source : new URL(source, globalThis.location?.href);
}

const isFile = (address: string | URL): boolean => typeof address === 'string' || address.protocol === 'file:';

/** The address of a file in the folder of another; undefined if that has no folder. */
function beside(address: string | URL, location: string): string | URL | undefined {
  if (typeof address === 'string') return `${/^.*[/\\]/s.exec(address)?.[0] ?? ''}${location}`;
  if (address.protocol === 'data:' || address.protocol === 'blob:') return undefined;
  return new URL(location.split('/').map(encodeURIComponent).join('/'), address);
}

/** Runs an operation of the file system or the network; its failure names the file. */
async function attempt<T>(address: string | URL, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof RuntimeError) throw error;
    throw new RuntimeError(`${address}: cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

const readWhole = (address: string | URL): Promise<Uint8Array> =>
  attempt(address, async () => {
    if (isFile(address)) {
      const { readFile } = await import('node:fs/promises');
      return view(await readFile(address));
    }
    const response = await fetch(address);
    if (!response.ok) throw new RuntimeError(`${address}: ${response.status} ${response.statusText}`.trim());
    return new Uint8Array(await response.arrayBuffer());
  });

const fileOf = (bytes: Uint8Array): File => ({
  size: bytes.length,
  read: async (offset, length) => bytes.subarray(offset, offset + length),
  close: async () => {},
});

const openFile = (address: string | URL): Promise<File> =>
  attempt(address, async () => {
    if (!isFile(address)) return fileOf(await readWhole(address));
    const { open } = await import('node:fs/promises');
    const handle = await open(address);
    const { size } = await handle.stat();
    const read = async (offset: number, length: number): Promise<Uint8Array> => {
      const bytes = new Uint8Array(length);
      // One call reads at most 2 GiB.
      for (let at = 0; at < length; ) {
        const { bytesRead } = await handle.read(bytes, at, Math.min(length - at, 2 ** 30), offset + at);
        if (bytesRead === 0) throw new FormatError(`${address}: became shorter while it was read`);
        at += bytesRead;
      }
      return bytes;
    };
    return {
      size,
      read: (offset, length) => attempt(address, () => read(offset, length)),
      close: () => handle.close(),
    };
  });

const keyOf = ({ location, offset, length }: ExternalRange): string => `${offset} ${length} ${location}`;

/** Ranges closer than this are read together (alignment leaves gaps), up to so many bytes. */
const MAX_GAP = 2 ** 16;
const MAX_CHUNK = 2 ** 26;

/** The bytes of all ranges, by `keyOf`. Ranges of a file that is not found are left out. */
async function readRanges(
  ranges: readonly ExternalRange[],
  given: ExternalFiles | undefined,
  address: string | URL | undefined,
): Promise<Map<string, Uint8Array>> {
  const parts = new Map<string, Uint8Array>();
  const unique = [...new Map(ranges.map(range => [keyOf(range), range])).values()];
  for (const [location, list] of Map.groupBy(unique, range => range.location)) {
    const file = await findFile(location, given, address);
    if (!file) continue;
    try {
      for (const chunk of chunksOf(list, file.size)) {
        const bytes = await file.read(chunk.offset, chunk.length);
        for (const range of chunk.ranges) {
          const start = range.offset - chunk.offset;
          parts.set(keyOf(range), bytes.subarray(start, start + range.length));
        }
      }
    } finally {
      await file.close();
    }
  }
  return parts;
}

async function findFile(
  location: string,
  given: ExternalFiles | undefined,
  address: string | URL | undefined,
): Promise<File | undefined> {
  let bytes: Bytes | undefined;
  if (typeof given === 'function') bytes = await given(location);
  else for (const key in given) if (key.replace(/^(\.\/)+/, '') === location) bytes = given[key];
  if (bytes) return fileOf(view(bytes));
  const sibling = address === undefined ? undefined : beside(address, location);
  return sibling === undefined ? undefined : openFile(sibling);
}

interface Chunk {
  readonly offset: number;
  length: number;
  readonly ranges: ExternalRange[];
}

/** What to read at once. Fails if a range leaves its file, or if ranges overlap so that they exceed it. */
function chunksOf(ranges: readonly ExternalRange[], size: number): Chunk[] {
  const chunks: Chunk[] = [];
  let total = 0;
  for (const range of [...ranges].sort((a, b) => a.offset - b.offset)) {
    const { location, offset, length } = range;
    if (offset + length > size) {
      throw new FormatError(
        `external data '${location}' has ${size} bytes, a tensor takes ${offset} to ${offset + length}`,
      );
    }
    if ((total += length) > size) throw new FormatError(`tensors overlap in the external data '${location}'`);
    const last = chunks.at(-1);
    const end = offset + length;
    if (last && offset - (last.offset + last.length) <= MAX_GAP && end - last.offset <= MAX_CHUNK) {
      last.length = Math.max(last.length, end - last.offset);
      last.ranges.push(range);
    } else chunks.push({ offset, length, ranges: [range] });
  }
  return chunks;
}

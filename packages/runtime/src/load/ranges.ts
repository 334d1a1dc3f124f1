/** Reads external data: the parts of files beside a model that its tensors name. */
import { FormatError } from '../errors.ts';
import type { External, ExternalRange } from './external.ts';
import { attempt, type Bytes, isFile, readWhole, view } from './source.ts';

/** Files of external data by location, a path relative to the model with `/`; or a function that finds them. */
export type ExternalFiles =
  | Readonly<Record<string, Bytes>>
  | ((location: string) => Bytes | undefined | Promise<Bytes | undefined>);

/** A file of which parts can be read. */
interface File {
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The address of a file in the folder of another; undefined if that has no folder. */
function beside(address: string | URL, location: string): string | URL | undefined {
  if (typeof address === 'string') return `${/^.*[/\\]/s.exec(address)?.[0] ?? ''}${location}`;
  if (address.protocol === 'data:' || address.protocol === 'blob:') return undefined;
  return new URL(location.split('/').map(encodeURIComponent).join('/'), address);
}

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

/** Reads all ranges, those of a file that is not found left out; `address` is the model's. */
export async function readRanges(
  ranges: readonly ExternalRange[],
  given: ExternalFiles | undefined,
  address: string | URL | undefined,
): Promise<External> {
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
  return range => parts.get(keyOf(range));
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

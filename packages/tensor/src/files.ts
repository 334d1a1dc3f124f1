import { FormatError, GossamerError } from './errors.ts';

/** Where bytes come from: a path or `file:` URL (Node), an http(s) URL, or bytes at hand. */
export type Source = string | URL | Uint8Array | Blob;

/** Bytes of known length, read by position; nothing else of the file is held in memory. */
export interface RandomAccess {
  /** What error messages call it: a path, a URL, a file name. */
  readonly name: string;
  /** Length in bytes; may exceed 4 GiB. */
  readonly size: number;
  /** Fills `into` with the bytes from `offset` on. Throws a FormatError if the file ends before. */
  read(offset: number, into: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** Opens `source` without reading it. A server that ignores range requests is downloaded whole. */
export async function openRandomAccess(source: Source): Promise<RandomAccess> {
  if (source instanceof Uint8Array) return inMemory(source, 'bytes');
  if (source instanceof Blob) return inBlob(source);
  const place = await locate(source);
  return typeof place === 'string' ? openPath(place) : openUrl(place);
}

/** The paths of what a folder holds, sorted; null if `source` is no folder of this machine. */
export async function listFolder(source: Source): Promise<string[] | null> {
  if (source instanceof Uint8Array || source instanceof Blob) return null;
  const folder = await locate(source);
  if (typeof folder !== 'string') return null;
  const { fs, path } = await node();
  if (!(await fs.stat(folder).catch(() => null))?.isDirectory()) return null;
  return (await fs.readdir(folder)).sort().map(name => path.join(folder, name));
}

/** The place of `name`, a relative path with `/`, in the folder where the file `source` lies. */
export async function besideFile(source: string | URL, name: string): Promise<string | URL> {
  const place = await locate(source);
  if (typeof place !== 'string') return new URL(name.split('/').map(encodeURIComponent).join('/'), place);
  const { path } = await node();
  return path.join(path.dirname(place), ...name.split('/'));
}

/** One file to write: the parts of its content are pulled one at a time. */
export interface FileContent {
  readonly path: string;
  readonly chunks: Iterable<Uint8Array>;
}

/**
 * Writes files whole or not at all: everything goes to temporary names beside the targets, is synced, then renamed.
 * Of several files the last is the one that names the others (an index): an older one is removed before the first
 * rename, so that a crash in between never leaves an old index over new parts.
 */
export async function writeFiles(files: readonly FileContent[]): Promise<void> {
  const { fs } = await node();
  const paths = files.map(file => file.path);
  const temporaries = paths.map(path => `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`);
  try {
    for (const [i, file] of files.entries()) await writeSynced(temporaries[i], file.chunks);
    if (files.length > 1) await fs.rm(paths.at(-1)!, { force: true });
    for (const [i, path] of paths.entries()) await fs.rename(temporaries[i], path);
  } catch (error) {
    await Promise.all(temporaries.map(path => fs.rm(path, { force: true })));
    throw isSystemError(error) ? failure(paths.at(-1)!, 'cannot be written', error) : error;
  }
}

/** {@link writeFiles} for one file. */
export const writeFile = (path: string, chunks: Iterable<Uint8Array>): Promise<void> => writeFiles([{ path, chunks }]);

/** A single read or write call of the system moves less than 2 GiB. */
const maxTransfer = 2 ** 30;

// Imported on first use, so that this module also loads (and bundles) where there is no file system.
async function node() {
  try {
    return {
      fs: await import('node:fs/promises'),
      path: await import('node:path'),
      url: await import('node:url'),
    };
  } catch (cause) {
    throw new GossamerError('this platform has no file system: give a URL, a Blob or bytes', { cause });
  }
}

const onNode = typeof process !== 'undefined' && process.versions?.node !== undefined;

/** A path of the file system, or a URL to fetch. In a browser, a string is relative to the page. */
async function locate(source: string | URL): Promise<string | URL> {
  if (typeof source === 'string') {
    const isUrl = /^([a-z][a-z\d+.-]+:\/\/|blob:|data:)/i.test(source);
    if (!isUrl && onNode) return source;
    const url = URL.parse(source, isUrl ? undefined : globalThis.location?.href);
    if (!url) throw new GossamerError(`${source}: not a valid URL`);
    source = url;
  }
  return source.protocol === 'file:' ? (await node()).url.fileURLToPath(source) : source;
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string';

const failure = (name: string, what: string, cause: unknown): GossamerError =>
  new GossamerError(`${name}: ${what}: ${cause instanceof Error ? cause.message : cause}`, { cause });

const ended = (name: string, offset: number, length: number, got: number): FormatError =>
  new FormatError(`${name}: truncated: ${length} bytes wanted at offset ${offset}, ${got} are there`);

function inMemory(bytes: Uint8Array, name: string): RandomAccess {
  return {
    name,
    size: bytes.length,
    async read(offset, into) {
      const part = bytes.subarray(offset, offset + into.length);
      if (part.length !== into.length) throw ended(name, offset, into.length, part.length);
      into.set(part);
    },
    async close() {},
  };
}

function inBlob(blob: Blob): RandomAccess {
  const name = 'name' in blob && typeof blob.name === 'string' && blob.name !== '' ? blob.name : 'blob';
  return {
    name,
    size: blob.size,
    async read(offset, into) {
      const part = new Uint8Array(await blob.slice(offset, offset + into.length).arrayBuffer());
      if (part.length !== into.length) throw ended(name, offset, into.length, part.length);
      into.set(part);
    },
    async close() {},
  };
}

async function openPath(path: string): Promise<RandomAccess> {
  const { fs } = await node();
  const cannotOpen = (cause: unknown) => {
    throw failure(path, 'cannot be opened', cause);
  };
  // Asked before opening: to open a named pipe would wait for its other end.
  const { size, isFile } = await fs.stat(path).then(s => ({ size: s.size, isFile: s.isFile() }), cannotOpen);
  if (!isFile) throw new GossamerError(`${path}: is not a regular file`);
  const handle = await fs.open(path, 'r').catch(cannotOpen);
  return {
    name: path,
    size,
    async read(offset, into) {
      for (let done = 0; done < into.length; ) {
        const length = Math.min(into.length - done, maxTransfer);
        const { bytesRead } = await handle.read(into, done, length, offset + done);
        if (bytesRead === 0) throw ended(path, offset, into.length, done);
        done += bytesRead;
      }
    },
    close: () => handle.close(),
  };
}

async function openUrl(url: URL): Promise<RandomAccess> {
  const name = url.protocol === 'data:' ? 'data URL' : url.href;
  const fetchRange = async (offset: number, length: number): Promise<Response> => {
    const headers = { range: `bytes=${offset}-${offset + length - 1}` };
    const response = await fetch(url, { headers }).catch(cause => {
      throw failure(name, 'cannot be fetched', cause);
    });
    if (!response.ok) throw new GossamerError(`${name}: cannot be fetched: HTTP status ${response.status}`);
    return response;
  };

  const first = await fetchRange(0, 1);
  const size = Number(/^bytes 0-0\/(\d+)$/.exec(first.headers.get('content-range') ?? '')?.[1]);
  if (first.status !== 206) return inMemory(new Uint8Array(await first.arrayBuffer()), name);
  await first.body?.cancel();
  if (!Number.isSafeInteger(size)) {
    throw new GossamerError(`${name}: the server does not say how long the file is; download it and open the copy`);
  }
  return {
    name,
    size,
    async read(offset, into) {
      if (into.length === 0) return;
      const response = await fetchRange(offset, into.length);
      if (response.status !== 206) throw new GossamerError(`${name}: the server stopped answering range requests`);
      const part = new Uint8Array(await response.arrayBuffer());
      if (part.length !== into.length) throw ended(name, offset, into.length, part.length);
      into.set(part);
    },
    async close() {},
  };
}

async function writeSynced(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const { fs } = await node();
  const handle = await fs.open(path, 'wx');
  try {
    for (const chunk of chunks) {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await handle.write(chunk, done, Math.min(chunk.length - done, maxTransfer));
        done += bytesWritten;
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

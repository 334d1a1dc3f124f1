import { FormatError, GossamerError, writeFile } from '@gossamer/tensor';
import { decompress, isGzip } from './archive.ts';
import { joinBytes } from './bytes.ts';
import { checksums } from './checksums.ts';

/** A file of a data set, and where the world keeps it. */
export interface DataFile {
  /** Below the data folder, e.g. `mnist/train-images-idx3-ubyte.gz`. A `.gz` name may also be there uncompressed. */
  readonly path: string;
  /** Canonical address; absent where there is none (any more). */
  readonly url?: string;
  /** Accepted sha256, of the file or of its decompressed content; anything is accepted where absent. */
  readonly sha256?: readonly string[];
}

export interface LoadOptions {
  /** The data folder; default {@link dataFolder}. */
  folder?: string;
  /** Fetch what is missing; default true. */
  download?: boolean;
  /** Called as bytes arrive; `total` is null if the server does not say. */
  onProgress?: (progress: { file: string; received: number; total: number | null }) => void;
  /** Stops a download. */
  signal?: AbortSignal;
}

/** A data file with the checksums known for its path. */
export const dataFile = (path: string, url?: string): DataFile => ({ path, url, sha256: checksums[path] });

/** The data folder: `GOSSAMER_DATA`, else `gossamer` in the user's cache folder (`XDG_CACHE_HOME`, `~/.cache`). */
export async function dataFolder(): Promise<string> {
  const [{ homedir }, { join }] = await Promise.all([import('node:os'), import('node:path')]);
  const { GOSSAMER_DATA, XDG_CACHE_HOME } = process.env;
  return GOSSAMER_DATA || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'gossamer');
}

/** The path of a file in the data folder, in either form of a `.gz`; null if it is not there. */
export async function findFile(file: DataFile, folder: string): Promise<string | null> {
  const [{ stat }, { join }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  for (const path of [file.path, file.path.replace(/\.gz$/, '')]) {
    const full = join(folder, path);
    if ((await stat(full).catch(() => null))?.isFile()) return full;
  }
  return null;
}

/** The file's content, decompressed if it is gzip, after its sha256 was checked. */
export async function readStored(file: DataFile, path: string): Promise<Uint8Array> {
  const { readFile } = await import('node:fs/promises');
  const bytes = await readFile(path).catch(cause => {
    throw new GossamerError(`${path}: cannot be read: ${cause.message}`, { cause });
  });
  return verified(file, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), path);
}

/** The content of any file of the data folder, decompressed if it is gzip, e.g. `meshes/cow.obj.gz`. */
export async function readData(path: string, options: Pick<LoadOptions, 'folder'> = {}): Promise<Uint8Array> {
  return loadVariant(path, [{ files: [dataFile(path)], read: ([bytes]) => bytes }], { ...options, download: false });
}

async function verified(file: DataFile, bytes: Uint8Array, where: string): Promise<Uint8Array> {
  const known = file.sha256;
  if (!known) return decompress(bytes, where);
  const outer = await sha256(bytes);
  if (known.includes(outer)) return decompress(bytes, where);
  const content = await decompress(bytes, where);
  // Compressed anew, a file has other bytes and the same content.
  if (isGzip(bytes) && known.includes(await sha256(content))) return content;
  throw new FormatError(
    `${where}: sha256 ${outer} is none of those known for ${file.path} (${known.join(', ')}); ` +
      `the file is damaged or another version: remove it${file.url ? `, and get ${file.url}` : ''}`,
  );
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const { createHash } = await import('node:crypto');
  return createHash('sha256').update(bytes).digest('hex');
}

/** Fetches a file into the data folder: checked first, then written whole or not at all. Returns its path. */
export async function fetchFile(file: DataFile, folder: string, options: LoadOptions = {}): Promise<string> {
  const [{ mkdir }, { dirname, join }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  const { url, path } = file;
  if (!url) throw new GossamerError(`${path}: has no address to fetch it from`);
  const parts: Uint8Array[] = [];
  let received = 0;
  try {
    const response = await fetch(url, { signal: options.signal });
    if (!response.ok || !response.body) throw new GossamerError(`HTTP status ${response.status}`);
    const total = Number(response.headers.get('content-length')) || null;
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      received += part.value.length;
      options.onProgress?.({ file: path, received, total });
    }
  } catch (cause) {
    if (options.signal?.aborted) throw cause;
    const inner = (cause as Error).cause;
    const reason = inner instanceof Error ? inner.message : (cause as Error).message;
    throw new GossamerError(`${url}: cannot be fetched: ${reason}`, { cause });
  }
  const bytes = joinBytes(parts);
  await verified(file, bytes, url);
  const target = join(folder, path);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, [bytes]);
  return target;
}

/** One way a data set may be stored: the files it needs, and how they are read. */
export interface Variant<T> {
  readonly files: readonly DataFile[];
  /** @param bytes content of each file, decompressed, in the order of `files` */
  read(bytes: readonly Uint8Array[]): T | Promise<T>;
}

/**
 * Reads the first variant whose files are all in the data folder. If none is, fetches the first one that has an address
 * for every file. What is there decides, so the same folder always gives the same data, with a network or without.
 */
export async function loadVariant<T>(
  name: string,
  variants: readonly Variant<T>[],
  options: LoadOptions = {},
): Promise<T> {
  const folder = options.folder ?? (await dataFolder());
  for (const variant of variants) {
    const paths = await Promise.all(variant.files.map(file => findFile(file, folder)));
    if (paths.every(path => path !== null)) return readVariant(variant, paths);
  }
  const remote = variants.find(variant => variant.files.every(file => file.url));
  let reason = remote ? 'fetching is switched off' : 'no address is known to fetch it from';
  if (remote && options.download !== false) {
    try {
      const paths: string[] = [];
      for (const file of remote.files) {
        paths.push((await findFile(file, folder)) ?? (await fetchFile(file, folder, options)));
      }
      return await readVariant(remote, paths);
    } catch (error) {
      if (!(error instanceof GossamerError) || error instanceof FormatError) throw error;
      reason = error.message;
    }
  }
  throw new GossamerError(missing(name, variants, folder, reason));
}

async function readVariant<T>(variant: Variant<T>, paths: readonly string[]): Promise<T> {
  const contents: Uint8Array[] = [];
  for (const [i, file] of variant.files.entries()) contents.push(await readStored(file, paths[i]));
  return variant.read(contents);
}

function missing(name: string, variants: readonly Variant<unknown>[], folder: string, reason: string): string {
  const choices = variants.map(({ files }) => {
    const shown = files.slice(0, 8).map(file => `  ${folder}/${file.path}${file.url ? `  from ${file.url}` : ''}`);
    return [...shown, ...(files.length > 8 ? [`  … and ${files.length - 8} more like these`] : [])].join('\n');
  });
  return (
    `data set '${name}' is not in ${folder} (${reason}). Put there\n${choices.join('\nor\n')}\n` +
    'or set GOSSAMER_DATA to the folder that has them'
  );
}

import { arrayType, type NDArray, sizeOf, type TypedArray } from './dtype.ts';
import { check, FormatError, GossamerError } from './errors.ts';
import { besideFile, listFolder, openRandomAccess, type RandomAccess, type Source } from './files.ts';
import { float8ToFloat32, isFloat8 } from './float8.ts';
import { isObject, parseJson, show } from './json.ts';
import { type Header, maxHeaderBytes, readHeader, type TensorInfo } from './safetensors-header.ts';

export type { TensorInfo } from './safetensors-header.ts';
export { encodeSafetensors, type NamedArrays, type SafetensorsOptions, writeSafetensors } from './safetensors-write.ts';

interface Entry {
  readonly info: TensorInfo;
  readonly file: RandomAccess;
}

/** An open safetensors file, or the shards of one: only headers are in memory, tensors are read on demand. */
export class Safetensors implements AsyncDisposable {
  /** The path, URL or file name it was opened by. */
  readonly name: string;
  /** The file's `__metadata__`; of several shards, all entries, the first shard's where they differ. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #files: readonly RandomAccess[];
  #closed = false;

  /** Use {@link openSafetensors}. */
  constructor(
    name: string,
    metadata: Readonly<Record<string, string>>,
    entries: ReadonlyMap<string, Entry>,
    files: readonly RandomAccess[],
  ) {
    this.name = name;
    this.metadata = metadata;
    this.#entries = entries;
    this.#files = files;
  }

  /** The tensors' names, in the order of their data (of the index, if there are shards). */
  names(): string[] {
    return [...this.#entries.keys()];
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Dtype, shape and place of a tensor. Throws a GossamerError if there is none of that name. */
  info(name: string): TensorInfo {
    return this.#entry(name).info;
  }

  /**
   * Reads one tensor, and nothing else. float16 and bfloat16 come as raw bits ({@link toFloat32} converts them).
   * Throws a GossamerError if there is no such tensor or the file is closed, a FormatError if its data is malformed.
   */
  async read(name: string): Promise<NDArray> {
    const { info, file } = this.#entry(name);
    check(!this.#closed, () => `${this.name}: tensor ${show(name)} cannot be read: the file is closed`);
    if (isFloat8(info.code)) {
      const bits = new Uint8Array(info.byteLength);
      await file.read(info.byteOffset, bits);
      return { dtype: 'float32', shape: info.shape, data: float8ToFloat32(bits, info.code) };
    }
    const data = allocate(info, `${file.name}: tensor ${show(name)}`);
    await file.read(info.byteOffset, new Uint8Array(data.buffer));
    if (info.dtype === 'bool') {
      const wrong = (data as Uint8Array).findIndex(byte => byte > 1);
      if (wrong >= 0) {
        throw new FormatError(`${file.name}: tensor ${show(name)}: element ${wrong} of a BOOL is ${data[wrong]}`);
      }
    }
    return { dtype: info.dtype, shape: info.shape, data };
  }

  /** Closes the file. Closing twice does no harm. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#files.map(file => file.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry) return entry;
    const names = this.names();
    const some = names.slice(0, 5).map(show).join(', ') + (names.length > 5 ? ', …' : '');
    throw new GossamerError(`${this.name}: no tensor ${show(name)}; it holds ${names.length}: ${some}`);
  }
}

/**
 * Opens a safetensors file without reading its data, so it may be larger than memory:
 *
 *     await using file = await openSafetensors('model.safetensors');
 *     const { data, shape } = await file.read('fc1.weight');
 *
 * `source` is a path, a URL (http servers are asked for ranges), a Blob or bytes. A `*.index.json`, or a folder with
 * one or with a single `.safetensors` file, opens all shards as one file. Throws a {@link FormatError} that names
 * file, tensor and value if a header is malformed, a shard or one of its tensors is missing, or an index points
 * outside its folder.
 */
export async function openSafetensors(source: Source): Promise<Safetensors> {
  const place = await pickFromFolder(source);
  if ((typeof place === 'string' || place instanceof URL) && isIndex(place)) return openShards(place);
  const { file, header } = await openFile(place);
  const entries = new Map([...header.tensors].map(([name, info]) => [name, { info, file }]));
  return new Safetensors(file.name, header.metadata, entries, [file]);
}

const isIndex = (place: string | URL): boolean => /\.index\.json([?#].*)?$/.test(String(place));

async function openFile(source: Source): Promise<{ file: RandomAccess; header: Header }> {
  const file = await openRandomAccess(source);
  try {
    return { file, header: await readHeader(file) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The one file of a folder that is meant by the folder; anything else is returned as it is. */
async function pickFromFolder(source: Source): Promise<Source> {
  const paths = await listFolder(source);
  if (paths === null) return source;
  const indexes = paths.filter(path => path.endsWith('.safetensors.index.json'));
  const files = paths.filter(path => path.endsWith('.safetensors'));
  // Files beside an index are its shards, unless one bears the name of the whole: then one of the two is out of date.
  const wholes = indexes.length === 0 ? files : files.filter(path => indexes.includes(`${path}.index.json`));
  const candidates = [...indexes, ...wholes];
  if (candidates.length === 1) return candidates[0];
  throw new GossamerError(
    candidates.length === 0
      ? `${source}: the folder holds no .safetensors file and no .safetensors.index.json`
      : `${source}: the folder holds several models; name one of ${candidates.map(show).join(', ')}`,
  );
}

/** Opens the shards that a Hugging Face `*.index.json` names: `{ weight_map: { tensor: file } }`. */
async function openShards(index: string | URL): Promise<Safetensors> {
  const shardOf = await readWeightMap(index);
  const shards = new Map<string, { file: RandomAccess; header: Header }>();
  try {
    const entries = new Map<string, Entry>();
    for (const [name, path] of shardOf) {
      const shard = shards.get(path) ?? (await openShard(index, path));
      shards.set(path, shard);
      const info = shard.header.tensors.get(name);
      if (!info) throw new FormatError(`${index}: tensor ${show(name)} is not in its shard ${show(path)}`);
      entries.set(name, { info, file: shard.file });
    }
    const all = [...shards.values()];
    // Reversed, so that the first shard's entry is the one that stays.
    const metadata = Object.fromEntries(all.toReversed().flatMap(shard => Object.entries(shard.header.metadata)));
    return new Safetensors(
      String(index),
      metadata,
      entries,
      all.map(shard => shard.file),
    );
  } catch (error) {
    await Promise.all([...shards.values()].map(shard => shard.file.close()));
    throw error;
  }
}

async function openShard(index: string | URL, path: string): Promise<{ file: RandomAccess; header: Header }> {
  try {
    return await openFile(await besideFile(index, path));
  } catch (error) {
    if (!(error instanceof GossamerError) || error instanceof FormatError) throw error;
    throw new FormatError(`${index}: shard ${show(path)} cannot be opened: ${error.message}`, { cause: error });
  }
}

async function readWeightMap(index: string | URL): Promise<[tensor: string, path: string][]> {
  const file = await openRandomAccess(index);
  const refuse = (what: string): never => {
    throw new FormatError(`${file.name}: ${what}`);
  };
  try {
    if (file.size > maxHeaderBytes) refuse(`${file.size} bytes are more than an index may have (${maxHeaderBytes})`);
    const bytes = new Uint8Array(file.size);
    await file.read(0, bytes);
    const json = parseJson(bytes);
    const map = isObject(json) ? json.weight_map : undefined;
    if (!isObject(map)) return refuse('no object "weight_map" of tensor names and file names');
    return Object.entries(map).map(([name, path]) =>
      isInside(path)
        ? [name, path]
        : refuse(`tensor ${show(name)}: shard ${show(path)} is not the path of a file in the index's own folder`),
    );
  } catch (error) {
    if (error instanceof SyntaxError) refuse(`not valid JSON: ${error.message}`);
    throw error;
  } finally {
    await file.close();
  }
}

/** A relative path with `/` that cannot leave its folder, on any system. */
const isInside = (path: unknown): path is string =>
  typeof path === 'string' &&
  path.isWellFormed() &&
  !/[\\:\0]/.test(path) &&
  path.split('/').every(part => part !== '' && part !== '.' && part !== '..');

function allocate(info: TensorInfo, where: string): TypedArray {
  try {
    return new (arrayType(info.dtype))(sizeOf(info.shape));
  } catch (cause) {
    throw new GossamerError(`${where}: its ${info.byteLength} bytes do not fit in memory`, { cause });
  }
}

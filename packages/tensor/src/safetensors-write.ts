import { arrayType, type NDArray, sizeOf } from './dtype.ts';
import { check } from './errors.ts';
import { type FileContent, writeFile, writeFiles } from './files.ts';
import { encodeHeader } from './safetensors-header.ts';

/** Tensors by name: an object, a Map, or any iterable of pairs. */
export type NamedArrays = Readonly<Record<string, NDArray>> | Iterable<readonly [string, NDArray]>;

export interface SafetensorsOptions {
  /** Free text entries, stored as the file's `__metadata__` (in every shard). Default: none. */
  readonly metadata?: Readonly<Record<string, string>>;
  /**
   * Tensor bytes a file may hold. If there are more, `model-00001-of-00003.safetensors`, … and
   * `model.safetensors.index.json` are written in place of `model.safetensors`; a tensor larger than this gets a
   * shard of its own. Default: one file, whatever its size.
   */
  readonly maxShardBytes?: number;
}

/** The bytes of a safetensors file. Throws a GossamerError on a tensor whose data do not fit its dtype and shape. */
export function encodeSafetensors(
  tensors: NamedArrays,
  options: Pick<SafetensorsOptions, 'metadata'> = {},
): Uint8Array<ArrayBuffer> {
  const chunks = [...fileChunks(checked(tensors), checkedMetadata(options.metadata))];
  const bytes = new Uint8Array(chunks.reduce((n, chunk) => n + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/**
 * Writes tensors as a safetensors file, whole or not at all, and returns the path to open it by: `path`, or that of
 * the index if there are several shards. With `null` in place of a path, returns the bytes. Throws a GossamerError
 * on a tensor whose data do not fit its dtype and shape, or if the file cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: NamedArrays,
  options?: SafetensorsOptions,
): Promise<string>;
export async function writeSafetensors(
  path: null,
  tensors: NamedArrays,
  options?: Pick<SafetensorsOptions, 'metadata'>,
): Promise<Uint8Array<ArrayBuffer>>;
export async function writeSafetensors(
  path: string | null,
  tensors: NamedArrays,
  options: SafetensorsOptions = {},
): Promise<string | Uint8Array> {
  if (path === null) return encodeSafetensors(tensors, options);
  const all = checked(tensors);
  const metadata = checkedMetadata(options.metadata);
  const shards = split(all, options.maxShardBytes ?? Infinity);
  if (shards.length === 1) {
    await writeFile(path, fileChunks(all, metadata));
    return path;
  }

  check(path.endsWith('.safetensors'), `${path}: to be written in shards, a path must end in .safetensors`);
  const stem = path.slice(0, -'.safetensors'.length);
  const width = Math.max(5, String(shards.length).length);
  const number = (n: number) => String(n).padStart(width, '0');
  const shardPath = (i: number) => `${stem}-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  const index = `${path}.index.json`;
  const files: FileContent[] = shards.map((shard, i) => ({ path: shardPath(i), chunks: fileChunks(shard, metadata) }));
  await writeFiles([
    ...files,
    { path: index, chunks: [encodeIndex(shards, i => shardPath(i).replace(/^.*[\\/]/, ''))] },
  ]);
  return index;
}

function* fileChunks(
  tensors: ReadonlyMap<string, NDArray>,
  metadata: Readonly<Record<string, string>>,
): Generator<Uint8Array> {
  const { bytes, ordered } = encodeHeader(tensors, metadata);
  yield bytes;
  for (const { data } of ordered) yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Fills one shard after the other in the given order, as `huggingface_hub` does. Always at least one. */
function split(tensors: ReadonlyMap<string, NDArray>, maxBytes: number): Map<string, NDArray>[] {
  check(maxBytes > 0, `maxShardBytes ${maxBytes}: a positive number of bytes expected`);
  const shards = [new Map<string, NDArray>()];
  let used = 0;
  for (const [name, tensor] of tensors) {
    if (used + tensor.data.byteLength > maxBytes && shards.at(-1)!.size > 0) {
      shards.push(new Map());
      used = 0;
    }
    shards.at(-1)!.set(name, tensor);
    used += tensor.data.byteLength;
  }
  return shards;
}

function encodeIndex(shards: readonly ReadonlyMap<string, NDArray>[], fileName: (i: number) => string): Uint8Array {
  const arrays = shards.flatMap(shard => [...shard.values()]);
  const index = {
    metadata: { total_size: arrays.reduce((n, { data }) => n + data.byteLength, 0) },
    weight_map: Object.fromEntries(shards.flatMap((shard, i) => [...shard.keys()].map(name => [name, fileName(i)]))),
  };
  return new TextEncoder().encode(`${JSON.stringify(index, null, 2)}\n`);
}

const isIterable = (tensors: NamedArrays): tensors is Iterable<readonly [string, NDArray]> =>
  typeof (tensors as Partial<Iterable<unknown>>)[Symbol.iterator] === 'function';

function checked(tensors: NamedArrays): Map<string, NDArray> {
  const all = new Map<string, NDArray>();
  for (const [name, tensor] of isIterable(tensors) ? tensors : Object.entries(tensors)) {
    const where = `safetensors: tensor ${JSON.stringify(name)}`;
    check(name !== '__metadata__', `${where}: the name is reserved`);
    check(name.isWellFormed(), `${where}: the name is not valid Unicode`);
    check(!all.has(name), `${where} is given twice`);
    checkArray(tensor, where);
    all.set(name, tensor);
  }
  return all;
}

function checkArray({ dtype, shape, data }: NDArray, where: string): void {
  const { name } = arrayType(dtype) as unknown as { name: string };
  check(data.constructor.name === name, `${where}: dtype ${dtype} needs a ${name}, got a ${data.constructor.name}`);
  check(
    shape.every(d => Number.isSafeInteger(d) && d >= 0) && sizeOf(shape) === data.length,
    `${where}: shape [${shape.join(', ')}] does not describe ${data.length} elements`,
  );
  if (dtype !== 'bool') return;
  const wrong = (data as Uint8Array).findIndex(byte => byte > 1);
  check(wrong < 0, () => `${where}: element ${wrong} of a bool is ${data[wrong]}, 0 or 1 expected`);
}

function checkedMetadata(metadata: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  for (const [key, value] of Object.entries(metadata)) {
    check(
      typeof value === 'string' && value.isWellFormed() && key.isWellFormed(),
      `safetensors: metadata entry ${JSON.stringify(key)}: a string of valid Unicode expected`,
    );
  }
  return metadata;
}

import {
  check,
  FormatError,
  GossamerError,
  type NDArray,
  openSafetensors,
  type Random,
  realize,
  type Tensor,
  tensor,
  toFloat32,
} from '@gossamer/tensor';
import type { Values } from '../nn/init.ts';
import type { Module } from '../nn/module.ts';

/** Where a parameter's values lie in a file, and how that file's layout becomes ours. */
export interface Stored {
  readonly name: string;
  /** Default: the layouts agree. */
  readonly convert?: (x: Tensor) => Tensor;
}

/** Kernels of TensorFlow convolutions, [height, width, in, out], as [out, in, height, width]. */
export const fromHWIO = (x: Tensor): Tensor => x.transpose([3, 2, 0, 1]);

/** Weights of TensorFlow products, [in, out], as [out, in]. */
export const fromInOut = (x: Tensor): Tensor => x.transpose();

export interface PretrainedOptions {
  /** Name and layout in the file of the parameter called `name` in the model; default: the same ones. */
  stored?: (name: string) => string | Stored;
  /** Tensors of the file that have no place in the model; default: PyTorch's `num_batches_tracked` counters. */
  ignore?: (name: string) => boolean;
}

/**
 * Fills a model from a safetensors file, an index of shards or a folder (see `openSafetensors`) and switches it to
 * evaluation. Every parameter must be in the file and every tensor of the file must be used; else a GossamerError
 * lists both kinds of names as the file writes them.
 */
export async function loadPretrained<M extends Module>(
  model: M,
  source: string | URL,
  { stored = name => name, ignore = name => name.endsWith('num_batches_tracked') }: PretrainedOptions = {},
): Promise<M> {
  await using file = await openSafetensors(source);
  const places = new Map<string, Stored>();
  for (const name of model.stateDict().keys()) {
    const place = stored(name);
    places.set(name, typeof place === 'string' ? { name: place } : place);
  }
  const wanted = new Set([...places.values()].map(place => place.name));
  const missing = [...wanted].filter(name => !file.has(name));
  const extra = file.names().filter(name => !wanted.has(name) && !ignore(name));
  check(
    missing.length + extra.length === 0,
    () => `${file.name}: missing ${list(missing)}; not in ${model.constructor.name}: ${list(extra)}`,
  );
  const arrays = new Map<string, NDArray>();
  const converted = new Map<string, Tensor>();
  for (const [name, place] of places) {
    const array = await file.read(place.name);
    if (place.convert) converted.set(name, convert(toFloat32(array), place, file.name));
    else arrays.set(name, array);
  }
  await realize(...converted.values());
  for (const [name, value] of converted) arrays.set(name, await value.array());
  return model.loadStateDict(arrays).eval();
}

/** Shapes of a safetensors file's tensors by name: a model's sizes are read off them before it is built. */
export async function storedShapes(source: string | URL): Promise<ReadonlyMap<string, readonly number[]>> {
  await using file = await openSafetensors(source);
  return new Map(file.names().map(name => [name, file.info(name).shape]));
}

/** A JSON file of a model's folder; undefined if it may be missing and is. */
export async function readJson(folder: string | URL, file: string, { optional = false } = {}): Promise<unknown> {
  const [{ readFile }, { join }, { fileURLToPath }] = await Promise.all([
    import('node:fs/promises'),
    import('node:path'),
    import('node:url'),
  ]);
  const path = join(folder instanceof URL ? fileURLToPath(folder) : folder, file);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (optional && (cause as { code?: string }).code === 'ENOENT') return undefined;
    throw new GossamerError(`${path}: cannot be read: ${(cause as Error).message}`, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`${path}: not valid JSON: ${(cause as Error).message}`, { cause });
  }
}

function convert(array: NDArray, { name, convert }: Stored, file: string): Tensor {
  try {
    return convert!(tensor(array));
  } catch (cause) {
    throw new GossamerError(`${file}: ${name} [${array.shape}] has not the expected layout`, { cause });
  }
}

/**
 * Draws parameters anew, each from its own fork of `random`: for architectures whose papers prescribe other initial
 * values than the layers' own. `draw` returns undefined for what stays as it is.
 */
export function initialize(
  model: Module,
  random: Random,
  draw: (name: string, shape: readonly number[], random: Random) => Values | undefined,
): void {
  for (const [name, parameter] of model.namedParameters()) {
    const values = draw(name, parameter.shape, random.fork(name));
    if (values) parameter.set(values.data);
  }
}

const list = (names: readonly string[]): string =>
  names.length === 0
    ? 'nothing'
    : `${names.slice(0, 8).join(', ')}${names.length > 8 ? ` and ${names.length - 8} more` : ''}`;

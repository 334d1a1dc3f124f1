import {
  check,
  FormatError,
  GossamerError,
  type NDArray,
  openSafetensors,
  type Safetensors,
  writeSafetensors,
} from '@gossamer/tensor';

/** Everything a run needs to go on: arrays by name, and the rest as JSON. */
export interface Checkpoint {
  readonly arrays: Readonly<Record<string, NDArray>>;
  readonly json: unknown;
}

/** The metadata entry of the safetensors file that holds the JSON part. */
const entry = 'gossamer.checkpoint';

/** Reads a checkpoint. Throws a FormatError if the file is damaged or no checkpoint. */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
  const { file, json } = await openCheckpoint(path);
  await using open = file;
  const arrays: Record<string, NDArray> = {};
  for (const name of open.names()) arrays[name] = await open.read(name);
  return { arrays, json };
}

async function openCheckpoint(path: string): Promise<{ file: Safetensors; json: unknown }> {
  const file = await openSafetensors(path);
  const text = file.metadata[entry];
  try {
    if (text === undefined) throw new FormatError(`${path}: a safetensors file, but no checkpoint of a training run`);
    return { file, json: JSON.parse(text) };
  } catch (error) {
    await file.close();
    if (error instanceof FormatError) throw error;
    throw new FormatError(`${path}: its JSON part is damaged: ${(error as Error).message}`, { cause: error });
  }
}

const nameOf = (step: number): string => `step-${String(step).padStart(9, '0')}.safetensors`;
const pattern = /^step-(\d{9,})\.safetensors$/;
const temporary = /^step-\d{9,}\.safetensors\.[^.]+\.tmp$/;

/**
 * Saves the checkpoint of a step as one safetensors file in the folder of a run (made if it is not there), and removes
 * older ones. The file is whole and on the disk before any other goes: a run killed at any moment has one to go on from.
 *
 * @param options.keep checkpoints that stay, this one included; default 2
 * @returns the file's path
 */
export async function saveCheckpoint(
  folder: string,
  step: number,
  { arrays, json }: Checkpoint,
  { keep = 2 }: { keep?: number } = {},
): Promise<string> {
  check(Number.isInteger(keep) && keep >= 1, () => `saveCheckpoint: keep ${keep}: expected 1 or more checkpoints`);
  check(Number.isSafeInteger(step) && step >= 0, () => `saveCheckpoint: step ${step}: expected a whole number from 0`);
  const [{ mkdir, readdir, rm }, { join }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  await mkdir(folder, { recursive: true }).catch(cause => {
    throw new GossamerError(`${folder}: cannot be made: ${cause.message}`, { cause });
  });
  const path = join(folder, nameOf(step));
  await writeSafetensors(path, arrays, { metadata: { [entry]: JSON.stringify(json) } });
  await syncFolder(folder);
  const old = (await steps(folder)).filter(s => s < step).slice(keep - 1);
  const torn = (await readdir(folder)).filter(name => temporary.test(name));
  await Promise.all([...old.map(nameOf), ...torn].map(name => rm(join(folder, name), { force: true })));
  return path;
}

/** A file's new name is on the disk only once its folder is. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return; // which has no such call
  const { open } = await import('node:fs/promises');
  const folder = await open(path, 'r');
  await folder.sync().finally(() => folder.close());
}

/** Steps that the folder has checkpoints of, latest first. */
async function steps(folder: string): Promise<number[]> {
  const { readdir } = await import('node:fs/promises');
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    throw new GossamerError(`${folder}: cannot be read: ${cause.message}`, { cause });
  });
  return names.flatMap(name => pattern.exec(name)?.slice(1).map(Number) ?? []).sort((a, b) => b - a);
}

/**
 * Path of the latest checkpoint in the folder of a run that can be read; undefined if there is none. A damaged one is
 * passed over for the one before; if all are damaged, the latest one's error is thrown.
 */
export async function latestCheckpoint(folder: string): Promise<string | undefined> {
  const { join } = await import('node:path');
  let damage: unknown;
  for (const step of await steps(folder)) {
    const path = join(folder, nameOf(step));
    try {
      // Opening compares the header with the length of the file.
      await (await openCheckpoint(path)).file.close();
      return path;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      damage ??= error;
    }
  }
  if (damage) throw damage;
  return undefined;
}

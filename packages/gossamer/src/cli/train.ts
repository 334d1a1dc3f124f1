import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { check, GossamerError, type Spec, writeFile, writeOnnx, writeSafetensors } from '@gossamer/tensor';
import type { DataLoader } from '../data/loader.ts';
import { horizontalFlip, randomCrop } from '../data/transforms.ts';
import { createModel, models } from '../models/registry.ts';
import { loadPretrained } from '../models/weights.ts';
import { exportModel } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';
import { Adam, AdamW, LAMB, Lion, type Optimizer, RMSprop, SGD } from '../optim/index.ts';
import {
  constantSchedule,
  cosineSchedule,
  linearSchedule,
  oneCycle,
  type RateSchedule,
  stepSchedule,
  warmUp,
} from '../optim/schedule.ts';
import { latestCheckpoint } from '../train/checkpoint.ts';
import type { Recipe, RecipeOptions } from '../train/recipe.ts';
import { classification } from '../train/task.ts';
import type { TrainerOptions } from '../train/trainer.ts';
import { batches } from './classification.ts';
import { openData } from './data.ts';
import { type SparsifierFlags, sparsifiersOf } from './sparsifier.ts';

export const optimizers = { sgd: SGD, adam: Adam, adamw: AdamW, rmsprop: RMSprop, lion: Lion, lamb: LAMB } as const;

export const schedules: Readonly<Record<string, (steps: number) => RateSchedule>> = {
  constant: () => constantSchedule(),
  cosine: steps => cosineSchedule({ steps }),
  linear: steps => linearSchedule({ steps }),
  step: steps => stepSchedule({ every: Math.ceil(steps / 3) }),
  'one-cycle': steps => oneCycle({ steps }),
};

/** What the flags of `gossamer train` say. */
export interface TrainFlags extends SparsifierFlags {
  readonly model: string;
  readonly data: string;
  readonly normalize?: string;
  readonly width?: number;
  readonly augment?: boolean;
  readonly epochs: number;
  readonly batch: number;
  readonly optimizer: keyof typeof optimizers;
  readonly lr: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly schedule: string;
  readonly warmup: number;
  readonly labelSmoothing: number;
  /** A safetensors file to start from. */
  readonly weights?: string;
  readonly seed: number;
}

/** A classification from flags. */
export async function fromFlags(flags: TrainFlags): Promise<TrainerOptions> {
  const { epochs, batch: batchSize, seed } = flags;
  const { input } = models[flags.model];
  const data = await openData(flags.data, flags.normalize, { dtype: input.dtype, shape: [1, ...input.shape] });
  const model = createModel(flags.model, { classes: data.classes, width: flags.width, seed });
  if (flags.weights !== undefined) (await loadPretrained(model, flags.weights)).train();
  const augmented = flags.augment
    ? { ...data, transforms: [randomCrop(), horizontalFlip(), ...data.transforms] }
    : data;
  const train = batches(augmented, 'train', { batchSize, shuffle: true, seed, dropLast: true });
  const then = schedules[flags.schedule](epochs * train.length - flags.warmup);
  return {
    model,
    task: classification({ labelSmoothing: flags.labelSmoothing }),
    train,
    validation: batches(data, 'test', { batchSize }),
    optimizer: optimizerOf(model, flags),
    schedule: flags.warmup > 0 ? warmUp(flags.warmup, then) : then,
    epochs,
    sparsifiers: await sparsifiersOf(flags),
    seed,
  };
}

function optimizerOf(model: Module, { optimizer, lr, momentum, weightDecay }: TrainFlags): Optimizer {
  const options = { learningRate: lr, weightDecay };
  return optimizer === 'sgd'
    ? new SGD(model.parameters(), { ...options, momentum })
    : new optimizers[optimizer](model.parameters(), options);
}

/** The default export of a file, made for a seed. */
export async function fromRecipe(path: string, options: RecipeOptions): Promise<TrainerOptions> {
  check(existsSync(path), `${path}: no such file; a recipe is a TypeScript or JavaScript file`);
  const module = (await import(pathToFileURL(resolve(path)).href).catch((cause: Error) => {
    throw new GossamerError(`${path}: cannot be loaded: ${cause.message}`, { cause });
  })) as { default?: Recipe };
  const made = typeof module.default === 'function' ? await module.default(options) : module.default;
  const needed = ['model', 'task', 'train', 'optimizer'] as const;
  const missing = needed.filter(key => made?.[key] === undefined);
  check(
    made && missing.length === 0,
    () => `${path}: its default export has no ${missing.join(', ')}; see gossamer help train`,
  );
  return made;
}

/**
 * Prepares the folder of a run: refuses to mix two runs, and remembers what this one was asked for.
 *
 * @param settings what defines the run; going on needs the same
 */
export async function prepareRun(folder: string, settings: object, resume: boolean): Promise<void> {
  const file = join(folder, 'run.json');
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  const found = await latestCheckpoint(folder);
  if (found) {
    check(resume, `${folder}: holds a run already (${found}): --resume goes on with it, another --out starts anew`);
    const before = existsSync(file) ? readFileSync(file, 'utf8') : text;
    check(before === text, () => `--resume: ${file} was started with other options: ${changed(before, text)}`);
  }
  await mkdir(folder, { recursive: true }).catch(cause => {
    throw new GossamerError(`${folder}: cannot be made: ${cause.message}`, { cause });
  });
  await writeFile(file, [new TextEncoder().encode(text)]);
}

function changed(before: string, after: string): string {
  const [a, b] = [before, after].map(text => JSON.parse(text) as Record<string, unknown>);
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return keys
    .filter(key => JSON.stringify(a[key]) !== JSON.stringify(b[key]))
    .map(key => `${key} ${JSON.stringify(a[key])}, now ${JSON.stringify(b[key])}`)
    .join('; ');
}

/** Shape and element type of one sample of the first field: what a model is exported and measured with. */
export async function inputOf(train: DataLoader): Promise<Spec & { name: string }> {
  const batch = await train.batchAt(0, 0);
  const [name, { shape, dtype }] = Object.entries(batch)[0];
  return { name, dtype, shape: [1, ...shape.slice(1)] };
}

/** Writes the trained model as safetensors and ONNX, with sparse initializers where they are smaller. */
export async function writeModel(
  folder: string,
  model: Module,
  { name, ...input }: Spec & { name: string },
): Promise<string[]> {
  const paths = ['model.safetensors', 'model.onnx'].map(file => join(folder, file));
  const arrays = await Promise.all([...model.stateDict()].map(async ([key, p]) => [key, await p.array()] as const));
  await writeSafetensors(paths[0], arrays);
  const onnx = await exportModel(model, { [name]: input });
  await writeOnnx(paths[1], onnx, { sparse: 1 / 3 });
  return paths;
}

import { check, type Executable, type NDArray, Random } from '@gossamer/tensor';
import type { OnnxModel } from '@gossamer/tensor/onnx';
import type { Batch } from '../data/dataset.ts';
import type { DataLoader } from '../data/loader.ts';
import { SGD } from '../optim/index.ts';
import { cosineSchedule } from '../optim/schedule.ts';
import { type Layer, maskable } from '../sparsity/layer.ts';
import type { Mask } from '../sparsity/mask.ts';
import { StaticMask } from '../sparsity/masked.ts';
import type { ModelLayers } from '../sparsity/model.ts';
import { type PruneOptions, prune } from '../sparsity/prune.ts';
import type { Calibration } from '../sparsity/score-data.ts';
import type { Progress } from '../train/progress.ts';
import { Trainer } from '../train/trainer.ts';
import { batches, classifierTask } from './classification.ts';
import type { LabelledData } from './data.ts';
import { graphBatch, type Input, type ModelFile } from './model-file.ts';
import { randomFeeds } from './runtimes.ts';
import { scoreMethods } from './scores.ts';

export interface CompressOptions extends PruneOptions {
  /** A name in {@link scoreMethods}. */
  readonly method: string;
  readonly exclude: readonly string[];
  readonly seed: number;
  /** Samples that data-dependent scores look at. */
  readonly samples: number;
  readonly batch: number;
  readonly progress: Progress;
}

/** What goes, and what is left dense. */
export interface Pruned {
  readonly mask: Mask;
  readonly excluded: readonly string[];
  readonly excludedShare: number;
}

/** Scores the layers and decides which weights stay. */
export async function chooseWeights(file: ModelFile, options: CompressOptions, data?: LabelledData): Promise<Pruned> {
  const method = scoreMethods[options.method];
  const { layers, excluded, excludedShare } = maskable(file.layers, options.exclude);
  const calibration = method.data ? calibrationOf(file, options, data!) : undefined;
  const score = await method.score(layers, new Random(options.seed), calibration);
  const mask = prune(layers, score, { allocation: method.allocation, ...options });
  return { mask, excluded: excluded.map(l => l.name), excludedShare };
}

function calibrationOf(
  file: ModelFile,
  options: CompressOptions,
  data: LabelledData,
): Calibration & { layers: ModelLayers } {
  const { samples, batch, seed, progress } = options;
  const { module, found } = traced(file);
  const batchSize = graphBatch(file, batch);
  const loader = batches(data, 'train', { batchSize, limit: samples, seed, dropLast: batchSize !== batch });
  return { model: module, task: classifierTask(file.onnx), batches: watched(loader, progress), layers: found };
}

/** The loader's batches, with a bar each time that they are gone through. */
const watched = (loader: DataLoader, progress: Progress): AsyncIterable<Batch> => ({
  async *[Symbol.asyncIterator]() {
    using bar = progress.start('scoring', loader.length, { unit: 'batches', transient: true });
    let done = 0;
    for await (const batch of loader) {
      yield batch;
      bar.update(++done);
    }
  },
});

/** The model's graph and parameters, or an error that says why they are not to be had. */
export function traced(file: ModelFile): NonNullable<ModelFile['traced']> {
  check(
    file.traced,
    `${file.path}: its graph cannot be followed, which scores from data and fine-tuning need: ${file.untraced}`,
  );
  return file.traced;
}

/** The layers' values under the mask. */
export function pruned(layers: readonly Layer[], mask: Mask): Map<string, Float32Array> {
  return new Map(
    layers.flatMap(({ name, values }) => {
      if (!mask.has(name)) return [];
      const kept = values.slice();
      mask.apply(name, kept);
      return [[name, kept] as const];
    }),
  );
}

/** Trains the unmasked weights on, and everything else; returns all values of the file's parameters. */
export async function finetune(
  file: ModelFile,
  mask: Mask,
  data: LabelledData,
  options: { epochs: number; lr: number; batch: number; seed: number; progress: Progress },
): Promise<Map<string, Float32Array>> {
  const { module, found } = traced(file);
  for (const [name, values] of pruned(found.layers, mask)) found.parameters.get(name)!.set(values);
  const batchSize = graphBatch(file, options.batch);
  const loader = batches(data, 'train', { batchSize, shuffle: true, seed: options.seed, dropLast: true });
  await new Trainer({
    model: module,
    task: classifierTask(file.onnx),
    train: loader,
    optimizer: new SGD(module.parameters(), { learningRate: options.lr, momentum: 0.9 }),
    schedule: cosineSchedule({ steps: options.epochs * loader.length }),
    epochs: options.epochs,
    sparsifiers: [new StaticMask(mask)],
    seed: options.seed,
    progress: options.progress,
    label: 'fine-tuning',
  }).run();
  const values = new Map<string, Float32Array>();
  for (const [name, parameter] of module.stateDict()) {
    const data = (await parameter.data()).slice();
    if (mask.has(name)) mask.apply(name, data);
    values.set(name, data);
  }
  return values;
}

export interface Difference {
  /** Random inputs that were tried. */
  readonly inputs: number;
  /** Largest |a − b| over all outputs, and the largest |a|. */
  readonly difference: number;
  readonly output: number;
}

/** How far two models' outputs lie apart on random inputs. */
export async function difference(
  [before, after]: readonly Executable[],
  inputs: readonly Input[],
  { seed, count = 8 }: { seed: number; count?: number },
): Promise<Difference> {
  const found = { inputs: count, difference: 0, output: 0 };
  for (let i = 0; i < count; i++) {
    const feeds = randomFeeds(inputs, new Random(seed).fork(i));
    const ordered = (e: Executable): NDArray[] => e.inputNames.map(name => feeds[name]);
    const [a, b] = [await before.run(ordered(before)), await after.run(ordered(after))];
    a.forEach((values, o) => {
      if (!(values instanceof Float32Array || values instanceof Float64Array)) return;
      for (let k = 0; k < values.length; k++) {
        found.difference = Math.max(found.difference, Math.abs(values[k] - Number(b[o][k])));
        found.output = Math.max(found.output, Math.abs(values[k]));
      }
    });
  }
  return found;
}

/** Whether a model has one input of float samples, which labelled data can be fed to. */
export function checkDataInput(path: string, inputs: readonly Input[], { graph }: OnnxModel): Input {
  check(
    inputs.length === 1 && inputs[0].dtype === 'float32',
    () => `--data: ${path} has the inputs ${graph.inputs.map(i => i.name).join(', ')}; expected one, of float32`,
  );
  return inputs[0];
}

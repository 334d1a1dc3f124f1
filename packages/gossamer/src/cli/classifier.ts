import type { Spec } from '@gossamer/tensor';
import { type Command, Option } from 'commander';
import type { Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { horizontalFlip, randomCrop, type Transform } from '../data/transforms.ts';
import { createModel, models } from '../models/registry.ts';
import { loadPretrained } from '../models/weights.ts';
import type { Module } from '../nn/module.ts';
import { SGD } from '../optim/index.ts';
import { batches } from './classification.ts';
import { integer, nonNegative, positive, share } from './command.ts';
import { dataHelp, normalizeHelp, openData } from './data.ts';

// What procedures that train a classifier of the registry several times have in common.

export interface ClassifierFlags {
  readonly model: string;
  readonly data: string;
  readonly normalize?: string;
  readonly width?: number;
  readonly weights?: string;
  readonly augment?: boolean;
  readonly batch: number;
  readonly lr: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly seed: number;
}

/** Models that `--data` can train. */
export const classifiers = Object.keys(models).filter(
  m => models[m].input.dtype === 'float32' && models[m].classes !== null,
);

/** Adds the options of {@link ClassifierFlags}. */
export const classifierOptions = (c: Command): Command =>
  c
    .optionsGroup('Model, data, training:')
    .addOption(new Option('--model <name>', 'an image classifier').choices(classifiers).makeOptionMandatory())
    .requiredOption('--data <source>', dataHelp)
    .option('--normalize <how>', normalizeHelp)
    .option('--width <factor>', "factor on the model's width", positive)
    .option('--weights <file>', 'safetensors to start from')
    .option('--augment', 'random crops and flips')
    .option('--batch <n>', 'samples of a batch', integer(1), 64)
    .option('--lr <rate>', 'learning rate of SGD', positive, 0.1)
    .option('--momentum <m>', 'of SGD', share, 0.9)
    .option('--weight-decay <d>', 'of SGD', nonNegative, 1e-4)
    .option('--seed <n>', 'seed of everything random', integer(0), 0);

export interface Classifier {
  readonly model: Module;
  /** One sample. */
  readonly input: Spec;
  readonly data: Dataset;
  /** Without augmentation. */
  readonly transforms: readonly Transform[];
  readonly test: DataLoader;
  /** Training batches, of `data` or a part of it, in an order of their own for each number. */
  train(order: number, data?: Dataset): DataLoader;
  optimizer(options?: { readonly learningRate?: number; readonly weightDecay?: number }): SGD;
}

export async function openClassifier(flags: ClassifierFlags): Promise<Classifier> {
  const { batch: batchSize, lr: learningRate, momentum, weightDecay, seed } = flags;
  const { dtype, shape } = models[flags.model].input;
  const input: Spec = { dtype, shape: [1, ...shape] };
  const opened = await openData(flags.data, flags.normalize, input);
  const model = createModel(flags.model, { classes: opened.classes, width: flags.width, seed });
  if (flags.weights !== undefined) (await loadPretrained(model, flags.weights)).train();
  const { dataset: data } = batches(opened, 'train', { batchSize });
  const transforms = [...(flags.augment ? [randomCrop(), horizontalFlip()] : []), ...opened.transforms];
  return {
    model,
    input,
    data,
    transforms: opened.transforms,
    test: batches(opened, 'test', { batchSize }),
    train: (order, part = data) =>
      new DataLoader(part, { batchSize, shuffle: true, seed: seed + order, dropLast: true, transforms }),
    optimizer: options => new SGD(model.parameters(), { learningRate, momentum, weightDecay, ...options }),
  };
}

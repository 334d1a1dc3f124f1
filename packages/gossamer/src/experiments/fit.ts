import type { Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import type { Module } from '../nn/module.ts';
import { cosineSchedule, type Optimizer, type RateSchedule, SGD } from '../optim/index.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { evaluator, type Metrics } from '../train/evaluate.ts';
import { classification, type Task } from '../train/task.ts';
import { Trainer, type TrainingResult } from '../train/trainer.ts';

// The training that experiments give to all their arms.

export interface FitOptions {
  readonly train: Dataset;
  /** One of them. */
  readonly epochs?: number;
  readonly steps?: number;
  /** Default 100. */
  readonly batchSize?: number;
  /** Order of the batches, and what sparsifiers draw. */
  readonly seed: number;
  /** Default SGD with learning rate `learningRate`, momentum 0.9, weight decay 5e-4. */
  readonly optimizer?: (model: Module) => Optimizer;
  /** Default 0.1. */
  readonly learningRate?: number;
  /** Factor on the learning rate, given the steps of this training; default cosine to zero. */
  readonly schedule?: (steps: number, epochSteps: number) => RateSchedule;
  readonly sparsifiers?: readonly Sparsifier[];
  /** Default classification. */
  readonly task?: Task;
  readonly clip?: number;
}

/** Trains without looking at test data. */
export async function fit(model: Module, options: FitOptions): Promise<TrainingResult> {
  const { train: data, epochs, seed, task = classification(), clip, learningRate = 0.1 } = options;
  const train = new DataLoader(data, { batchSize: options.batchSize ?? 100, shuffle: true, dropLast: true, seed });
  const steps = options.steps ?? epochs! * train.length;
  const makeOptimizer =
    options.optimizer ?? (m => new SGD(m.parameters(), { learningRate, momentum: 0.9, weightDecay: 5e-4 }));
  return new Trainer({
    model,
    task,
    train,
    optimizer: makeOptimizer(model),
    steps,
    schedule: options.schedule?.(steps, train.length) ?? cosineSchedule({ steps }),
    sparsifiers: options.sparsifiers ?? [],
    seed,
    ...(clip !== undefined && { clip }),
  }).run();
}

/** The task's loss and metrics over a data set, in evaluation mode. */
export async function measure(
  model: Module,
  data: Dataset,
  { task = classification(), batchSize = 500 }: { readonly task?: Task; readonly batchSize?: number } = {},
): Promise<Metrics> {
  const found = evaluator(model, task, []);
  try {
    return await found.run(new DataLoader(data, { batchSize: Math.min(batchSize, data.length) }));
  } finally {
    await found.dispose();
  }
}

/** Share of right answers in percent. */
export const accuracyOf = async (model: Module, data: Dataset): Promise<number> =>
  100 * (await measure(model, data)).accuracy;

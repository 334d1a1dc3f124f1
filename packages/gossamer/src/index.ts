export * as data from './data/index.ts';
export type { Check, Context, Experiment, Findings, Job, Outcome, Verdict } from './experiments/experiment.ts';
export {
  discoverExperiments,
  findExperiment,
  type Report,
  type ReproduceOptions,
  reproduce,
} from './experiments/run.ts';
export { discoverMethods, findMethod, type MethodInfo } from './methods/method.ts';
export * as models from './models/index.ts';
export { exportModel } from './nn/export.ts';
export * as nn from './nn/index.ts';
export * as optim from './optim/index.ts';
export * as sparsity from './sparsity/index.ts';
export { evaluate, evaluator, type Metrics } from './train/evaluate.ts';
export { type Progress, progressBars } from './train/progress.ts';
export { type Recipe, recipe } from './train/recipe.ts';
export { restore, type Snapshot, snapshot } from './train/snapshot.ts';
export { classification, languageModelling, regression, type Task, type TensorBatch } from './train/task.ts';
export { Trainer, type TrainerOptions, type TrainingResult } from './train/trainer.ts';

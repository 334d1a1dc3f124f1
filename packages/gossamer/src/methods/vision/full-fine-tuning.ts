import { Random, type Tensor } from '@gossamer/tensor';
import type { Batch, Dataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { Linear } from '../../nn/linear.ts';
import { Module } from '../../nn/module.ts';
import { cosineSchedule, SGD } from '../../optim/index.ts';
import { Mask, modelLayers, StaticMask } from '../../sparsity/index.ts';
import { headOf } from '../../train/penultimate.ts';
import { type Predictions, predict } from '../../train/predict.ts';
import { restore, snapshot } from '../../train/snapshot.ts';
import { classification } from '../../train/task.ts';
import { Trainer } from '../../train/trainer.ts';
import { featuresOf } from './linear-probe.ts';

/** A network with another linear head. */
class Rehead extends Module {
  readonly body: Module;
  readonly head: Linear;

  constructor(body: Module, head: Linear) {
    super();
    this.body = body;
    this.head = head;
  }

  override forward(x: Tensor): Tensor {
    return this.head.forward(headOf(this.body.forward(x), x).features);
  }
}

/**
 * Trains all weights of a classifier and a new head on a target (`inputs` as the network takes them, `labels`); pruned
 * weights stay zero. The network itself is given back as it was: the result predicts with what was learned.
 */
export async function fineTune(
  source: Module,
  train: Dataset,
  {
    classes,
    epochs = 20,
    learningRate = 0.02,
    batchSize = 64,
    seed = 0,
  }: {
    readonly classes: number;
    readonly epochs?: number;
    readonly learningRate?: number;
    readonly batchSize?: number;
    readonly seed?: number;
  },
): Promise<(test: AsyncIterable<Batch>) => Promise<Predictions>> {
  const before = await snapshot(source);
  const { inputs } = await train.batch([0]);
  const input = { dtype: inputs.dtype, shape: inputs.shape };
  const [, width] = (await featuresOf(source, train.take(1))).fields.inputs.shape;
  const model = new Rehead(source, new Linear(width, classes, { random: new Random(seed).fork('head') }));
  const { layers } = await modelLayers(model, [input]);
  const mask = Mask.ofNonzeros(layers);
  const loader = new DataLoader(train, {
    batchSize: Math.min(batchSize, train.length),
    shuffle: true,
    dropLast: true,
    seed,
  });
  const steps = epochs * loader.length;
  const optimizer = new SGD(model.parameters(), { learningRate, momentum: 0.9 });
  const schedule = cosineSchedule({ steps });
  const sparsifiers = [new StaticMask(mask)];
  await new Trainer({
    model,
    task: classification(),
    train: loader,
    optimizer,
    steps,
    schedule,
    sparsifiers,
    seed,
  }).run();
  const tuned = await snapshot(model);
  restore(source, before);
  source.eval();
  return async test => {
    restore(model, tuned);
    try {
      return await predict(model, test);
    } finally {
      restore(source, before);
    }
  };
}

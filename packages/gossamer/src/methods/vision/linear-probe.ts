import { check, compile, gradients, type NDArray, Random, type Tensor, tensor } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { inEvalMode } from '../../nn/export.ts';
import { Linear } from '../../nn/linear.ts';
import { crossEntropy } from '../../nn/loss.ts';
import type { Module } from '../../nn/module.ts';
import { Adam, cosineSchedule } from '../../optim/index.ts';
import { accuracy } from '../../train/calibration.ts';
import { headOf } from '../../train/penultimate.ts';
import { predict } from '../../train/predict.ts';
import { toTensors } from '../../train/task.ts';

/** Penultimate activations of a frozen network for all samples, with their labels: `inputs` [n, width], `labels` [n]. */
export async function featuresOf(model: Module, data: Dataset, batchSize = 500): Promise<ArrayDataset> {
  const forward = compile((x: Tensor) => headOf(model.forward(x), x).features);
  const rows: Float32Array[] = [];
  let width = 0;
  try {
    await inEvalMode(model, async () => {
      for await (const batch of new DataLoader(data, { batchSize: Math.min(batchSize, data.length) })) {
        const features = await forward(toTensors(batch).inputs);
        width = features.shape[1];
        rows.push((await features.data()).slice());
      }
    });
  } finally {
    await forward.dispose();
  }
  const all = new Float32Array(data.length * width);
  let at = 0;
  for (const row of rows) {
    all.set(row, at);
    at += row.length;
  }
  const inputs: NDArray = { dtype: 'float32', shape: [data.length, width], data: all };
  return new ArrayDataset({ inputs, labels: (await data.all()).labels });
}

export interface ProbeOptions {
  readonly classes: number;
  /** Passes over the features; default 100. */
  readonly epochs?: number;
  /**
   * Rates of Adam to choose from, by accuracy on a fifth of the samples that is held out for that; default 0.1, 0.03,
   * 0.01, 0.003. With fewer than five samples of a class nothing can be held out, and the third is taken.
   */
  readonly rates?: readonly number[];
  /** Default 256. */
  readonly batchSize?: number;
  /** Default 0. */
  readonly seed?: number;
}

/** Trains a linear layer on features by cross entropy. Serves raw pixels, too: the naive baseline. */
export async function linearProbe(features: ArrayDataset, options: ProbeOptions): Promise<Linear> {
  const { classes, rates = [0.1, 0.03, 0.01, 0.003], seed = 0 } = options;
  check(rates.length > 0, 'linearProbe: no learning rates to choose from');
  const chosen = rates.length > 1 && enough(features, classes) ? await choose(features, rates, options) : undefined;
  return fitHead(features, chosen ?? rates[Math.min(2, rates.length - 1)], { ...options, seed });
}

const enough = (features: ArrayDataset, classes: number): boolean => {
  const counts = new Array<number>(classes).fill(0);
  for (const label of features.fields.labels.data) counts[Number(label)]++;
  return counts.every(n => n >= 5);
};

async function choose(features: ArrayDataset, rates: readonly number[], options: ProbeOptions): Promise<number> {
  const parts = await features.split([0.8, 0.2], { seed: options.seed ?? 0, stratify: 'labels' });
  const [rest, held] = await Promise.all(parts.map(async p => new ArrayDataset(await p.all())));
  let best = { rate: rates[0], score: -1 };
  for (const rate of rates) {
    const head = await fitHead(rest, rate, options);
    const { logits, labels } = await predict(head, new DataLoader(held, { batchSize: held.length }));
    const score = accuracy(logits, labels);
    if (score > best.score) best = { rate, score };
  }
  return best.rate;
}

async function fitHead(
  features: ArrayDataset,
  learningRate: number,
  { classes, epochs = 100, batchSize = 256, seed = 0 }: ProbeOptions,
): Promise<Linear> {
  const head = new Linear(features.fields.inputs.shape[1], classes, { random: new Random(seed).fork('probe') });
  const optimizer = new Adam(head.parameters(), { learningRate });
  const step = compile((inputs: Tensor, labels: Tensor) => {
    const loss = crossEntropy(head.forward(inputs), labels.cast('int32'));
    optimizer.step(gradients(loss, optimizer.parameters));
    return loss;
  });
  const size = Math.min(batchSize, features.length);
  const loader = new DataLoader(features, { batchSize: size, shuffle: true, seed, dropLast: true, prefetch: 0 });
  const schedule = cosineSchedule({ steps: epochs * loader.length });
  try {
    for (let epoch = 0, done = 0; epoch < epochs; epoch++) {
      for await (const { inputs, labels } of loader) {
        optimizer.setLearningRate(learningRate * schedule(done++));
        await step(tensor(inputs), tensor(labels));
      }
    }
  } finally {
    await step.dispose();
  }
  return head;
}

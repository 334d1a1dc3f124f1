// A training run of its own process for trainer.test.ts, which kills it: `node killable.ts <folder> <steps>`.
import { createHash } from 'node:crypto';
import { Random, type Tensor } from '@gossamer/tensor';
import { embeddedDigits } from '../data/digits.ts';
import { DataLoader } from '../data/loader.ts';
import { normalize } from '../data/transforms.ts';
import { GradualMagnitudePruning } from '../methods/pruning/gradual-magnitude-pruning.ts';
import { Dropout } from '../nn/dropout.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { EMA } from '../optim/ema.ts';
import { AdamW } from '../optim/index.ts';
import { cosineSchedule } from '../optim/schedule.ts';
import { classification } from './task.ts';
import { Trainer } from './trainer.ts';

class Net extends Module {
  readonly fc1 = new Linear(784, 32, { random: new Random(1) });
  readonly dropout = new Dropout(0.2, { random: new Random(2) });
  readonly fc2 = new Linear(32, 10, { random: new Random(3) });
  override forward(x: Tensor): Tensor {
    return this.fc2.forward(this.dropout.forward(this.fc1.forward(x.flatten()).relu()));
  }
}

const [out, steps] = [process.argv[2], Number(process.argv[3])];
const { train, test } = await embeddedDigits();
const model = new Net();
const data = (set: typeof train, shuffle: boolean) =>
  new DataLoader(set.take(512), { batchSize: 32, shuffle, seed: 4, transforms: [normalize(0.13, 0.31)] });
const { history } = await new Trainer({
  model,
  task: classification(),
  train: data(train, true),
  validation: data(test, false),
  optimizer: new AdamW(model.parameters(), { learningRate: 2e-3 }),
  schedule: cosineSchedule({ steps }),
  steps,
  clip: 1,
  ema: new EMA(model.parameters(), { decay: 0.9 }),
  sparsifiers: [new GradualMagnitudePruning({ sparsity: 0.8, interval: 7 })],
  out,
  checkpointEvery: 5,
}).run();
const hash = createHash('sha256');
for (const [, p] of model.stateDict()) hash.update(new Uint8Array((await p.data()).slice().buffer));
console.log(JSON.stringify({ hash: hash.digest('hex'), history }));

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gradients, type NDArray, Random, type Tensor, tensor } from '@gossamer/tensor';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { BatchNorm1d } from '../../nn/batch-norm.ts';
import { MLP } from '../../nn/container.ts';
import { Linear } from '../../nn/linear.ts';
import { Module } from '../../nn/module.ts';
import { SGD } from '../../optim/index.ts';
import type { Layer } from '../../sparsity/layer.ts';
import type { LearnedMask } from '../../sparsity/learned-mask.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { type ModelLayers, modelLayers } from '../../sparsity/model.ts';
import type { Sparsifier, Training } from '../../sparsity/sparsifier.ts';
import { restore, type Snapshot, snapshot } from '../../train/snapshot.ts';
import { classification, type Task } from '../../train/task.ts';
import { Trainer, type TrainerOptions } from '../../train/trainer.ts';

// For the tests of pruning at initialisation.

const random = new Random(5);
const inputs: NDArray = { dtype: 'float32', shape: [30, 12], data: random.normal(360) };
const labels: NDArray = { dtype: 'int32', shape: [30], data: random.integers(30, 0, 4) };

export const spec = [{ dtype: 'float32' as const, shape: [1, 12] }];

export interface Network {
  readonly model: MLP;
  readonly task: Task;
  readonly batches: readonly Record<string, NDArray>[];
  readonly layers: ModelLayers;
}

/** A perceptron with random data of 4 classes. */
export async function network(sizes: readonly number[] = [12, 16, 8, 4]): Promise<Network> {
  const model = new MLP(sizes, { random: new Random(1) });
  const layers = await modelLayers(model, spec);
  return { model, task: classification(), batches: [{ inputs, labels }], layers };
}

/** Gradients of the loss with logits over `temperature`, and Hessian-gradient products, one tensor at a time. */
export async function derivatives({ model, layers }: Network, temperature = 1) {
  const weights = [...layers.parameters.values()];
  const scaled = { forward: (x: Tensor) => model.forward(x).div(temperature) } as Module;
  const { loss } = classification()(scaled, { inputs: tensor(inputs), labels: tensor(labels) });
  const g = gradients(loss, weights);
  const flow = g.map(x => x.mul(x.detach()).sum()).reduce((a, b) => a.add(b));
  const hg = gradients(flow, weights);
  const arrays = (list: readonly Tensor[]) => Promise.all(list.map(x => x.data()));
  return { g: await arrays(g), hg: await arrays(hg) };
}

/** The 0/1 arrays of the n − round(s·n) highest scores of all, by sorting. */
export function highest(scores: readonly ArrayLike<number>[], sparsity: number): number[][] {
  const all = scores.flatMap(s => Array.from(s)).sort((a, b) => b - a);
  const cut = all[all.length - Math.round(sparsity * all.length) - 1];
  return scores.map(s => Array.from(s, v => (v >= cut ? 1 : 0)));
}

// For the tests of learned masks.

/** A perceptron with a norm that has learned which of its first four inputs is largest. */
class Judge extends Module {
  readonly fc1 = new Linear(12, 24, { random: new Random(1) });
  readonly norm = new BatchNorm1d(24);
  readonly fc2 = new Linear(24, 16, { random: new Random(2) });
  readonly fc3 = new Linear(16, 4, { random: new Random(3) });
  override forward(x: Tensor): Tensor {
    return this.fc3.forward(this.fc2.forward(this.norm.forward(this.fc1.forward(x)).relu()).relu());
  }
}

const judged = (() => {
  const n = 128;
  const data = new Random(11).normal(n * 12);
  const first = (i: number) => data.subarray(12 * i, 12 * i + 4);
  const labels = Int32Array.from({ length: n }, (_, i) => first(i).indexOf(Math.max(...first(i))));
  return new ArrayDataset({
    inputs: { dtype: 'float32', shape: [n, 12], data },
    labels: { dtype: 'int32', shape: [n], data: labels },
  });
})();

let trained: Promise<Snapshot> | undefined;

/** A small trained network and its data. */
export async function pretrained() {
  const model = new Judge();
  const task = classification();
  trained ??= (async () => {
    const teacher = new Judge();
    await trainer(teacher, [], { steps: 120 }).run();
    return snapshot(teacher);
  })();
  restore(model, await trained);
  return { model, task, data: judged };
}

function trainer(model: Module, sparsifiers: readonly Sparsifier[], options: Partial<TrainerOptions>): Trainer {
  const train = new DataLoader(judged, { batchSize: 16, shuffle: true });
  const optimizer = new SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9, weightDecay: 1e-3 });
  return new Trainer({ model, task: classification(), train, optimizer, steps: 40, sparsifiers, ...options });
}

/** What a training with a learned mask looks like after an update. */
export interface Found {
  readonly step: number;
  readonly mask: Mask;
  readonly layers: readonly Layer[];
  readonly scores: ReadonlyMap<string, Float32Array>;
  readonly weights: ReadonlyMap<string, Float32Array>;
  /** Gradients by the effective weights on the coming mini-batch. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  readonly momentum: ReadonlyMap<string, Float32Array>;
  /** All stored parameters and buffers. */
  readonly state: Snapshot;
  readonly rate: number;
}

export interface SearchOptions {
  readonly others?: readonly Sparsifier[];
  readonly out?: string;
  /** Ends the training after this step, as if it had been killed. */
  readonly stopAt?: number;
  readonly model?: Module;
}

/** Trains for 40 steps from the trained network, and looks at every update. */
export async function search(sparsifier: LearnedMask, { others = [], out, stopAt, ...given }: SearchOptions = {}) {
  const model = given.model ?? (await pretrained()).model;
  const before = await snapshot(model);
  const seen: Found[] = [];
  const update = sparsifier.update.bind(sparsifier);
  sparsifier.update = async (training: Training) => {
    await update(training);
    const { optimizer, denseGradients, layers, step } = training;
    const momentum = [...model.namedParameters()].flatMap(([name, p]) =>
      p.trainable ? [[name, optimizer.stateOf(p)[0]] as const] : [],
    );
    const copy = async (entries: Iterable<readonly [string, Tensor]>) =>
      new Map(await Promise.all(Array.from(entries, async ([n, t]) => [n, (await t.data()).slice()] as const)));
    seen.push({
      step,
      mask: sparsifier.mask!,
      layers: await sparsifier.maskedLayers(training),
      scores: new Map([...(await sparsifier.scores())].map(([n, s]) => [n, s.slice()])),
      weights: await copy([...layers.parameters].map(([n, p]) => [n, p] as const)),
      gradients: await denseGradients(),
      momentum: await copy(momentum),
      state: await snapshot(model),
      rate: 0.05 * training.rate,
    });
    if (step === stopAt) throw new Error('stopped');
  };
  const files = out === undefined ? {} : { out, checkpointEvery: 8 };
  const run = trainer(model, [sparsifier, ...others], files).run();
  if (stopAt === undefined) await run;
  else
    await run.catch(error => {
      if (error.message !== 'stopped') throw error;
    });
  return { seen, model, before };
}

/** A folder of its own, and how to remove it. */
export async function temporary() {
  const folder = await mkdtemp(join(tmpdir(), 'gossamer-'));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

import { Random, type Tensor } from '@gossamer/tensor';
import { ArrayDataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import { Linear } from '../../nn/linear.ts';
import { Module } from '../../nn/module.ts';
import { Adam, type Optimizer, SGD } from '../../optim/index.ts';
import type { Sparsifier, Training } from '../../sparsity/sparsifier.ts';
import { classification } from '../../train/task.ts';
import { Trainer, type TrainingResult } from '../../train/trainer.ts';

// For the tests of methods that prune anew at every step.

const random = new Random(7);
export const data = new ArrayDataset({
  inputs: { dtype: 'float32', shape: [64, 32], data: random.normal(64 * 32) },
  labels: { dtype: 'int32', shape: [64], data: random.integers(64, 0, 4) },
});

class Branch extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(seed: Random) {
    super();
    this.fc1 = new Linear(32, 64, { random: seed.fork(1) });
    this.fc2 = new Linear(64, 32, { random: seed.fork(2) });
  }

  override forward(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(x).relu());
  }
}

class Block extends Module {
  readonly qkv: Linear;
  readonly mlp: Branch;

  constructor(seed: Random) {
    super();
    this.qkv = new Linear(32, 96, { random: seed.fork('qkv') });
    this.mlp = new Branch(seed);
  }

  override forward(x: Tensor): Tensor {
    const [q, k, v] = this.qkv.forward(x).split(3, 1);
    return this.mlp.forward(x.add(q.mul(k.tanh()).add(v)));
  }
}

/** Named like a transformer: `h.0.qkv.weight` [96, 32], `h.0.mlp.fc1.weight` [64, 32], `h.0.mlp.fc2.weight` [32, 64], `head.weight`. */
export class Net extends Module {
  readonly h: Block[];
  readonly head: Linear;

  constructor(seed = 3) {
    super();
    this.h = [new Block(new Random(seed))];
    this.head = new Linear(32, 4, { random: new Random(seed + 1) });
  }

  override forward(x: Tensor): Tensor {
    return this.head.forward(this.h[0].forward(x));
  }
}

/** What a training looks like right after an update. */
export interface Seen {
  readonly step: number;
  readonly values: ReadonlyMap<string, Float32Array>;
  readonly keep: ReadonlyMap<string, Uint8Array>;
}

export interface Plan {
  readonly steps?: number;
  readonly optimizer?: (model: Module) => Optimizer;
  readonly model?: Net;
  readonly behind?: readonly Sparsifier[];
  readonly out?: string;
}

export const sgd = (model: Module): Optimizer => new SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9 });
export const adam = (model: Module): Optimizer => new Adam(model.parameters(), { learningRate: 3e-3 });

/** Trains for 40 steps and looks at the stored weights and the mask at every update. */
export async function watch(
  sparsifier: Sparsifier,
  { steps = 40, optimizer = sgd, model = new Net(), behind = [], out }: Plan = {},
): Promise<{ seen: Seen[]; model: Net; weights: ReadonlyMap<string, Float32Array>; result: TrainingResult }> {
  const seen: Seen[] = [];
  const update = sparsifier.update!.bind(sparsifier);
  sparsifier.update = async (training: Training) => {
    await update(training);
    const names = sparsifier.mask!.names;
    const values = await Promise.all(
      names.map(async n => [n, (await training.layers.parameters.get(n)!.data()).slice()] as const),
    );
    const keep = new Map(names.map(n => [n, sparsifier.mask!.get(n)]));
    seen.push({ step: training.step, values: new Map(values), keep });
  };
  const train = new DataLoader(data, { batchSize: 16, shuffle: true });
  const result = await new Trainer({
    model,
    task: classification(),
    train,
    optimizer: optimizer(model),
    steps,
    sparsifiers: [sparsifier, ...behind],
    ...(out !== undefined && { out, checkpointEvery: 5 }),
  }).run();
  const weights = new Map<string, Float32Array>();
  for (const [name, p] of model.stateDict()) weights.set(name, await p.data());
  return { seen, model, weights, result };
}

/** The places of the n largest |w| of every m in a row, of equal ones the first, by sorting. */
export function largestOfEach(values: Float32Array, n: number, m: number): Uint8Array {
  const keep = new Uint8Array(values.length);
  for (let start = 0; start < values.length; start += m) {
    const run = Array.from({ length: m }, (_, i) => start + i);
    run.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b);
    for (const i of run.slice(0, n)) keep[i] = 1;
  }
  return keep;
}

import { check, Random, type Spec } from '@gossamer/tensor';
import type { Batch, Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { imp } from '../methods/pruning/imp.ts';
import type { Module } from '../nn/module.ts';
import { cosineSchedule, type Optimizer } from '../optim/index.ts';
import { findCollapse } from '../sparsity/collapse.ts';
import { type Mask, sparsityReport } from '../sparsity/index.ts';
import { StaticMask } from '../sparsity/masked.ts';
import { type ModelLayers, modelLayers } from '../sparsity/model.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import { Trainer } from '../train/trainer.ts';
import { type Arm, type Setting, task } from './arms.ts';
import type { Measures } from './experiment.ts';
import { TrainingCost } from './training-cost.ts';

/** A network, its data, and the training that every method gets. */
export interface Problem {
  readonly name: string;
  readonly model: (random: Random) => Module;
  /** The narrowest network of this kind that has at least so many weights in its layers. */
  readonly narrow?: (random: Random, weights: number) => Module;
  readonly train: Dataset;
  readonly test: Dataset;
  readonly batchSize: number;
  /** Of every arm, all phases together. */
  readonly epochs: number;
  readonly optimizer: (model: Module) => Optimizer;
}

/** What one training or several in a row are told, and what they took. */
interface Phase {
  readonly epochs: number;
  readonly sparsifiers: readonly Sparsifier[];
  /** Phases of the same number see the data in the same order. */
  readonly order: number;
}

interface Trained {
  readonly state: Snapshot;
  readonly cost: number;
  readonly cpu: number;
}

/** Trains arms on a problem; networks trained densely for a seed are shared by all arms that prune afterwards. */
export class PruningBench {
  readonly problem: Problem;
  readonly #trained = new Map<number, Promise<Trained>>();

  constructor(problem: Problem) {
    this.problem = problem;
  }

  /** Epochs of the dense training before one-shot pruning; the rest of the budget fine-tunes. */
  get denseEpochs(): number {
    return Math.ceil(this.problem.epochs / 2);
  }

  /** What {@link run} measures, of the dense network with the whole budget. */
  async dense(seed: number): Promise<Measures> {
    const cpu = cpuSeconds();
    const { epochs } = this.problem;
    const accuracy = await this.#train(this.#fresh(seed), seed, { epochs, sparsifiers: [], order: 0 });
    return { accuracy, flops: 100, nonzeros: 100, training: 100, cpu: cpuSeconds() - cpu };
  }

  /** The same of a narrower dense network that has as many weights as are left at the setting's sparsity. */
  async narrow({ sparsity, seed }: Setting): Promise<Measures> {
    const { narrow, epochs, name } = this.problem;
    check(narrow, () => `${name}: has no narrower networks`);
    const cpu = cpuSeconds();
    const wide = await this.#size(this.#fresh(seed));
    const model = narrow(new Random(seed).fork('model'), Math.round((1 - sparsity) * wide.weights));
    const accuracy = await this.#train(model, seed, { epochs, sparsifiers: [], order: 0 });
    const { weights, flops } = await this.#size(model);
    const share = (100 * flops) / wide.flops;
    const nonzeros = (100 * weights) / wide.weights;
    return { accuracy, flops: share, nonzeros, training: share, cpu: cpuSeconds() - cpu };
  }

  /**
   * Test accuracy; FLOPs and weights left; operations of the whole training, all in percent (of the dense network and its
   * training); and its CPU seconds. With `inspect` also whether the network is connected (1 or 0).
   */
  async run(arm: Arm, setting: Setting, { inspect = false } = {}): Promise<Measures> {
    const cpu = cpuSeconds();
    const model = this.#fresh(setting.seed);
    const input = await this.#input();
    const cost = new TrainingCost();
    const { accuracy, mask, before = 0 } = await this.#prune(arm, model, setting, cost);
    const found = await modelLayers(model, [input]);
    const { total } = sparsityReport(found.layers, { mask });
    const measures = {
      accuracy,
      flops: (100 * total.flopsSparse) / total.flopsDense,
      nonzeros: (100 * total.nonzeros) / total.parameters,
      training: (100 * cost.steps) / (this.problem.epochs * this.#loader(0, 0).length),
      cpu: cpuSeconds() - cpu + before,
    };
    if (!inspect) return measures;
    const { connected, empty } = await findCollapse(model, [input], found, mask);
    return { ...measures, connected: Number(connected), empty: empty.length };
  }

  /** Spends the budget as the arm says. `before`: CPU seconds of a shared training that this run did not spend. */
  async #prune(
    arm: Arm,
    model: Module,
    setting: Setting,
    cost: TrainingCost,
  ): Promise<{ accuracy: number; mask: Mask; before?: number }> {
    const { seed } = setting;
    const { epochs } = this.problem;
    const epochSteps = this.#loader(seed, 0).length;
    const train = async (sparsifier: Sparsifier, left: number, denseGradients = 0) => {
      const sparsifiers = [cost.watch(sparsifier, denseGradients)];
      const accuracy = await this.#train(model, seed, { epochs: left, sparsifiers, order: left === epochs ? 0 : 2 });
      return { accuracy, mask: sparsifier.mask! };
    };
    const later = epochs - this.denseEpochs;
    switch (arm.when) {
      case 'rounds':
        return this.#rounds(arm, model, setting, cost);
      case 'before': {
        const input = await this.#input();
        const found = await modelLayers(model, [input]);
        const samples = (count: number) => this.#samples(seed, count);
        return train(new StaticMask(await arm.mask({ model, found, input, samples }, setting)), epochs);
      }
      case 'after': {
        const before = await this.#loadTrained(model, seed, cost);
        const found = await this.#layers(model);
        return { ...(await train(new StaticMask(arm.mask(found, setting)), later)), before };
      }
      case 'during': {
        if (arm.from !== 'trained') {
          return train(arm.sparsifier(setting, { steps: epochs * epochSteps, epochSteps }), epochs, arm.denseGradients);
        }
        const before = await this.#loadTrained(model, seed, cost);
        const sparsifier = arm.sparsifier(setting, { steps: later * epochSteps, epochSteps });
        return { ...(await train(sparsifier, later, arm.denseGradients)), before };
      }
    }
  }

  /** The budget in equal parts: a dense training and the rounds. */
  async #rounds(
    { rounds, rewind }: Arm & { when: 'rounds' },
    model: Module,
    { sparsity, seed }: Setting,
    cost: TrainingCost,
  ): Promise<{ accuracy: number; mask: Mask }> {
    const { epochs, name } = this.problem;
    check(
      epochs % (rounds + 1) === 0,
      () => `${name}: ${epochs} epochs do not divide into ${rounds} rounds and a dense training`,
    );
    const each = epochs / (rounds + 1);
    const found = imp({
      model,
      inputs: [await this.#input()],
      sparsity,
      rounds,
      rewind,
      train: async ({ round, sparsifiers }) => {
        if (round === 0) cost.add(each * this.#loader(seed, 0).length);
        else for (const s of sparsifiers) cost.watch(s);
        // A rewound training sees the same batches again.
        return this.#train(model, seed, { epochs: each, sparsifiers, order: 0 });
      },
    });
    let last: { accuracy: number; mask: Mask } | undefined;
    for await (const { result, mask } of found) if (mask) last = { accuracy: result, mask };
    return last!;
  }

  #fresh(seed: number): Module {
    return this.problem.model(new Random(seed).fork('model'));
  }

  async #layers(model: Module): Promise<ModelLayers> {
    return modelLayers(model, [await this.#input()]);
  }

  async #size(model: Module): Promise<{ weights: number; flops: number }> {
    const { total } = sparsityReport((await this.#layers(model)).layers);
    return { weights: total.parameters, flops: total.flopsDense };
  }

  /** Loads the network that was trained for half of the budget, and returns the CPU seconds which that took before. */
  async #loadTrained(model: Module, seed: number, cost: TrainingCost): Promise<number> {
    const known = this.#trained.get(seed);
    const found =
      known ??
      (async () => {
        const cpu = cpuSeconds();
        const dense = this.#fresh(seed);
        await this.#train(dense, seed, { epochs: this.denseEpochs, sparsifiers: [], order: 1 });
        const steps = this.denseEpochs * this.#loader(seed, 1).length;
        return { state: await snapshot(dense), cost: steps, cpu: cpuSeconds() - cpu };
      })();
    this.#trained.set(seed, found);
    const trained = await found;
    restore(model, trained.state);
    cost.add(trained.cost);
    return known ? trained.cpu : 0;
  }

  #loader(seed: number, order: number): DataLoader {
    const { train, batchSize } = this.problem;
    return new DataLoader(train, { batchSize, shuffle: true, dropLast: true, seed: 1000 * order + seed });
  }

  /** Test accuracy in percent after a training with its own learning-rate schedule. */
  async #train(model: Module, seed: number, { epochs, sparsifiers, order }: Phase): Promise<number> {
    const { test, optimizer } = this.problem;
    const train = this.#loader(seed, order);
    const { metrics } = await new Trainer({
      model,
      task,
      train,
      optimizer: optimizer(model),
      epochs,
      schedule: cosineSchedule({ steps: epochs * train.length }),
      sparsifiers,
      validation: new DataLoader(test, { batchSize: 500 }),
      evaluateEvery: epochs,
      seed,
    }).run();
    return 100 * metrics.accuracy;
  }

  async #input(): Promise<Spec> {
    const { inputs } = await this.problem.train.batch([0]);
    return { shape: inputs.shape, dtype: inputs.dtype };
  }

  async #samples(seed: number, count: number): Promise<Batch> {
    const { train } = this.problem;
    const order = new Random(seed).fork('calibration').permutation(train.length);
    return train.batch(order.subarray(0, count));
  }
}

/** Of this process, on all threads. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

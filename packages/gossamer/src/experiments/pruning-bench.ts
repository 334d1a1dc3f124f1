import { Random, type Spec } from '@gossamer/tensor';
import type { Batch, Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { GradualGlobalMagnitudePruning, globalMagnitudePruning } from '../methods/pruning/global-mp.ts';
import { GradualMagnitudePruning } from '../methods/pruning/gradual-magnitude-pruning.ts';
import { grasp } from '../methods/pruning/grasp.ts';
import { oneShotMagnitude } from '../methods/pruning/one-shot-magnitude.ts';
import { snip } from '../methods/pruning/snip.ts';
import { synflow } from '../methods/pruning/synflow.ts';
import { RigL } from '../methods/sparse-training/rigl.ts';
import { SET } from '../methods/sparse-training/set.ts';
import type { Module } from '../nn/module.ts';
import { cosineSchedule, type Optimizer } from '../optim/index.ts';
import { findCollapse } from '../sparsity/collapse.ts';
import { type Mask, prune, randomScore, sparsityReport } from '../sparsity/index.ts';
import { StaticMask } from '../sparsity/masked.ts';
import { type ModelLayers, modelLayers } from '../sparsity/model.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import type { Measures } from './experiment.ts';

// The pruners that papers compare with, trained on one problem with one budget: all see the same number of epochs.

/** A network, its data, and the training that every method gets. */
export interface Problem {
  readonly name: string;
  readonly model: (random: Random) => Module;
  readonly train: Dataset;
  readonly test: Dataset;
  readonly batchSize: number;
  /** Of every arm, all phases together. */
  readonly epochs: number;
  readonly optimizer: (model: Module) => Optimizer;
}

export interface Setting {
  readonly sparsity: number;
  readonly seed: number;
}

/** How an arm makes its mask: from a trained network, from an untrained one, or while it trains. */
export type Arm =
  | { readonly when: 'after'; mask(found: ModelLayers, setting: Setting): Mask }
  | { readonly when: 'before'; mask(at: Start, setting: Setting): Promise<Mask> | Mask }
  | { readonly when: 'during'; sparsifier(setting: Setting, plan: { steps: number; epochSteps: number }): Sparsifier };

/** An untrained network with what data-driven pruners look at. */
export interface Start {
  readonly model: Module;
  readonly found: ModelLayers;
  readonly input: Spec;
  /** Random training samples, other ones for each seed. */
  samples(count: number): Promise<Batch>;
}

const task = classification();

/** Updates in the course of a training, of the methods that update often. */
const UPDATES = 40;
const interval = (steps: number): number => Math.max(1, Math.round(steps / UPDATES));

/** The usual baselines by name. */
export const baselines = {
  'uniform MP': { when: 'after', mask: ({ layers }, { sparsity }) => oneShotMagnitude(layers, { sparsity }) },
  'ERK MP': {
    when: 'after',
    mask: ({ layers }, { sparsity }) => oneShotMagnitude(layers, { sparsity, allocation: 'erk' }),
  },
  'global MP': { when: 'after', mask: ({ layers }, { sparsity }) => globalMagnitudePruning(layers, { sparsity }) },
  'gradual global MP': {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) => new GradualGlobalMagnitudePruning({ sparsity, interval: interval(steps) }),
  },
  GMP: {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) =>
      new GradualMagnitudePruning({ sparsity, interval: interval(steps), exclude: [] }),
  },
  SNIP: {
    when: 'before',
    mask: async ({ model, found, samples }, { sparsity }) =>
      snip({ model, task, layers: found, batches: [await samples(128)] }, { sparsity }),
  },
  GraSP: {
    when: 'before',
    mask: async ({ model, found, samples }, { sparsity }) =>
      grasp({ model, task, layers: found, batches: [await samples(100)] }, { sparsity }),
  },
  SynFlow: {
    when: 'before',
    mask: ({ model, found, input }, { sparsity }) => synflow(model, [input], found, { sparsity }),
  },
  RigL: {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) => new RigL({ sparsity, interval: interval(steps) }),
  },
  SET: {
    when: 'during',
    sparsifier: ({ sparsity }, { epochSteps }) => new SET({ sparsity, interval: epochSteps }),
  },
  random: {
    when: 'before',
    mask: ({ found: { layers } }, { sparsity, seed }) => {
      const random = new Random(seed).fork('random pruning');
      return prune(layers, l => randomScore(l.values.length, random.fork(l.name)), { sparsity });
    },
  },
} satisfies Record<string, Arm>;

/** Trains arms on a problem; networks trained densely for a seed are shared by all arms that prune afterwards. */
export class PruningBench {
  readonly problem: Problem;
  readonly #trained = new Map<number, Promise<Snapshot>>();

  constructor(problem: Problem) {
    this.problem = problem;
  }

  /** Epochs of the dense training before one-shot pruning; the rest of the budget fine-tunes. */
  get denseEpochs(): number {
    return Math.ceil(this.problem.epochs / 2);
  }

  /** Test accuracy in percent of the dense network with the whole budget. */
  async dense(seed: number): Promise<Measures> {
    return { accuracy: await this.#train(this.#fresh(seed), seed, this.problem.epochs, []) };
  }

  /** Test accuracy, and FLOPs left, both in percent; with `inspect` also whether the network is connected (1 or 0). */
  async run(arm: Arm, setting: Setting, { inspect = false } = {}): Promise<Measures> {
    const { problem } = this;
    const { seed } = setting;
    const model = this.#fresh(seed);
    const input = await this.#input();
    let epochs = problem.epochs;
    let sparsifier: Sparsifier;
    if (arm.when === 'during') {
      const epochSteps = this.#loader(seed, 0).length;
      sparsifier = arm.sparsifier(setting, { steps: epochs * epochSteps, epochSteps });
    } else {
      if (arm.when === 'after') {
        await this.#loadTrained(model, seed);
        epochs -= this.denseEpochs;
      }
      const found = await modelLayers(model, [input]);
      const samples = (count: number) => this.#samples(seed, count);
      const mask =
        arm.when === 'after' ? arm.mask(found, setting) : await arm.mask({ model, found, input, samples }, setting);
      sparsifier = new StaticMask(mask);
    }
    const accuracy = await this.#train(model, seed, epochs, [sparsifier]);
    const found = await modelLayers(model, [input]);
    const mask = sparsifier.mask!;
    const { total } = sparsityReport(found.layers, { mask });
    const measures = { accuracy, flops: (100 * total.flopsSparse) / total.flopsDense };
    if (!inspect) return measures;
    const { connected, empty } = await findCollapse(model, [input], found, mask);
    return { ...measures, connected: Number(connected), empty: empty.length };
  }

  #fresh(seed: number): Module {
    return this.problem.model(new Random(seed).fork('model'));
  }

  async #loadTrained(model: Module, seed: number): Promise<void> {
    let state = this.#trained.get(seed);
    if (!state) {
      state = (async () => {
        const dense = this.#fresh(seed);
        await this.#train(dense, seed, this.denseEpochs, []);
        return snapshot(dense);
      })();
      this.#trained.set(seed, state);
    }
    restore(model, await state);
  }

  #loader(seed: number, phase: number): DataLoader {
    const { train, batchSize } = this.problem;
    return new DataLoader(train, { batchSize, shuffle: true, dropLast: true, seed: 1000 * phase + seed });
  }

  async #train(model: Module, seed: number, epochs: number, sparsifiers: readonly Sparsifier[]): Promise<number> {
    const { test, optimizer, epochs: all } = this.problem;
    // Fine-tuning sees the data in an order of its own.
    const train = this.#loader(seed, epochs === all ? 0 : 1 + sparsifiers.length);
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

import { cpuUsage } from 'node:process';
import { Random, type Spec } from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';
import { constantSchedule, cosineSchedule, inSequence, type RateSchedule } from '../optim/index.ts';
import type { Mask } from '../sparsity/mask.ts';
import { StaticMask } from '../sparsity/masked.ts';
import { type ModelLayers, modelLayers } from '../sparsity/model.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import type { Measures } from './experiment.ts';
import { accuracyOf, type FitOptions, fit } from './fit.ts';
import type { Images } from './images.ts';

/** A network, its data, and the trainings that arms get. */
export interface MaskProblem {
  readonly name: string;
  readonly model: (random: Random) => Module;
  readonly data: Images;
  /** Of the pretraining, and of every arm after it. */
  readonly pretrainEpochs: number;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
}

/** Trains arms that start from one pretrained network for each seed, and measures what they cost beyond it. */
export class MaskSearchBench {
  readonly problem: MaskProblem;
  readonly #trained = new Map<number, Promise<Snapshot>>();

  constructor(problem: MaskProblem) {
    this.problem = problem;
  }

  fresh(seed: number): Module {
    return this.problem.model(new Random(seed).fork('model'));
  }

  /** The state of the dense network trained for a seed. */
  trained(seed: number): Promise<Snapshot> {
    let state = this.#trained.get(seed);
    if (!state) {
      state = (async () => {
        const model = this.fresh(seed);
        await this.fit(model, seed, { epochs: this.problem.pretrainEpochs });
        return snapshot(model);
      })();
      this.#trained.set(seed, state);
    }
    return state;
  }

  async pretrained(seed: number): Promise<Module> {
    const model = this.fresh(seed);
    restore(model, await this.trained(seed));
    return model;
  }

  /** Trains with the problem's data, batch size and rate; fine-tuning sees the data in an order of its own. */
  async fit(model: Module, seed: number, options: Partial<FitOptions> & { phase?: number } = {}): Promise<void> {
    const { data, epochs, batchSize, learningRate } = this.problem;
    const { phase = 0, ...rest } = options;
    const length = rest.steps === undefined ? { epochs: rest.epochs ?? epochs } : {};
    await fit(model, { train: data.train, batchSize, learningRate, seed: seed + 1000 * phase, ...length, ...rest });
  }

  async layers(model: Module): Promise<ModelLayers> {
    return modelLayers(model, [await this.input()]);
  }

  /** Shape and element type of one sample. */
  async input(): Promise<Spec> {
    const { inputs } = await this.problem.data.train.batch([0]);
    return { shape: inputs.shape, dtype: inputs.dtype };
  }

  /** Random training samples, other ones for each seed. */
  async samples(seed: number, count: number) {
    const { train } = this.problem.data;
    const order = new Random(seed).fork('calibration').permutation(train.length);
    return train.batch(order.subarray(0, Math.min(count, train.length)));
  }

  async accuracy(model: Module): Promise<number> {
    return accuracyOf(model, this.problem.data.test);
  }

  /** Accuracy in percent and seconds of processor time of what `train` does to the pretrained network. */
  async fromPretrained(seed: number, train: (model: Module) => Promise<unknown>): Promise<Measures> {
    const model = await this.pretrained(seed);
    const seconds = await processorTime(() => train(model));
    return { accuracy: await this.accuracy(model), seconds };
  }

  /** The pretrained network under a sparsifier. */
  sparsified(seed: number, sparsifier: Sparsifier, options: Partial<FitOptions> = {}): Promise<Measures> {
    return this.fromPretrained(seed, model =>
      this.fit(model, seed, { phase: 1, sparsifiers: [sparsifier], ...options }),
    );
  }

  /** Trains from the initial weights under a mask found there, for as long as pretraining and an arm together. */
  async fromStart(seed: number, find: (model: Module, found: ModelLayers) => Promise<Mask> | Mask): Promise<Measures> {
    const model = this.fresh(seed);
    const seconds = await processorTime(async () => {
      const mask = await find(model, await this.layers(model));
      const epochs = this.problem.pretrainEpochs + this.problem.epochs;
      await this.fit(model, seed, { epochs, sparsifiers: [new StaticMask(mask)] });
    });
    return { accuracy: await this.accuracy(model), seconds };
  }
}

/** A constant rate for a first part, then a cosine to zero: for methods whose second part trains anew. */
export const thenCosine = (first: number, steps: number): RateSchedule =>
  inSequence([constantSchedule(), first], [cosineSchedule({ steps: steps - first }), steps - first]);

/** Seconds that this process computed, on all cores, whatever else the machine does. */
export async function processorTime(work: () => Promise<unknown>): Promise<number> {
  const before = cpuUsage();
  await work();
  const { user, system } = cpuUsage(before);
  return (user + system) / 1e6;
}

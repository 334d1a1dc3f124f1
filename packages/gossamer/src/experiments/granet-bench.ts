import { Random, type Spec } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { widthFor } from '../methods/pruning/equal-size.ts';
import { grasp } from '../methods/pruning/grasp.ts';
import { snip } from '../methods/pruning/snip.ts';
import { GraNet } from '../methods/sparse-training/granet.ts';
import { type PlasticityStudy, recovery } from '../methods/sparse-training/pruning-plasticity.ts';
import { RigL } from '../methods/sparse-training/rigl.ts';
import { SET } from '../methods/sparse-training/set.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import type { Module } from '../nn/module.ts';
import { multiStepSchedule } from '../optim/index.ts';
import { type Layer, modelLayers, prune, randomScore, type Sparsifier, StaticMask } from '../sparsity/index.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import { classification } from '../train/task.ts';
import type { Measures } from './experiment.ts';
import { accuracyOf, fit } from './fit.ts';
import type { Images } from './images.ts';
import { ConvNet } from './small-models.ts';
import { flopsShare, TrainingCost } from './training-cost.ts';

const task = classification();
const batchSize = 100;
/** Shares of the training at which the learning rate falls to a tenth. */
const drops = [0.5, 0.75];
/** Updates in the pruning window, the first half of the training. */
export const updates = 20;

/** What is trained, and for how long. */
export interface Problem extends Images {
  readonly channels: number;
  readonly side: number;
  readonly epochs: number;
  readonly network: 'two convolutions' | 'five convolutions' | 'ResNet-8';
}

/** What an arm makes its sparsifier from. */
interface Setting {
  readonly bench: GraNetBench;
  readonly model: Module;
  readonly sparsity: number;
  readonly seed: number;
}

export const fromDense = 'GraNet (s_i = 0)';
export const fromHalf = 'GraNet (s_i = 0.5)';

/** The arms that train under masks, by name. */
export const arms: Readonly<Record<string, (setting: Setting) => Promise<Sparsifier> | Sparsifier>> = {
  [fromDense]: ({ bench: { interval }, sparsity }) => new GraNet({ sparsity, interval }),
  [fromHalf]: ({ bench: { interval }, sparsity }) => new GraNet({ sparsity, interval, initial: 0.5 }),
  GMP: ({ bench: { interval }, sparsity }) => new GraNet({ sparsity, interval, fraction: 0 }),
  RigL: ({ bench: { interval }, sparsity }) => new RigL({ sparsity, interval }),
  SET: ({ bench: { epochSteps }, sparsity }) =>
    new SET({ sparsity, allocation: 'erk', interval: epochSteps, spread: 0 }),
  'static random ERK': async ({ bench, model, sparsity, seed }) => {
    const { layers } = await modelLayers(model, [bench.input]);
    const random = new Random(seed).fork('random pruning');
    const score = (l: Layer) => randomScore(l.values.length, random.fork(l.name));
    return new StaticMask(prune(layers, score, { sparsity, allocation: 'erk' }));
  },
  SNIP: async ({ bench, model, sparsity, seed }) => {
    const layers = await modelLayers(model, [bench.input]);
    return new StaticMask(await snip({ model, task, layers, batches: [await bench.samples(seed, 128)] }, { sparsity }));
  },
  GraSP: async ({ bench, model, sparsity, seed }) => {
    const layers = await modelLayers(model, [bench.input]);
    return new StaticMask(
      await grasp({ model, task, layers, batches: [await bench.samples(seed, 100)] }, { sparsity }),
    );
  },
};

/** When the plasticity study prunes, as shares of the training. */
export const places = [
  { at: 5 / 12, label: 'before the first drop' },
  { at: 7 / 12, label: 'after the first drop' },
  { at: 3 / 4, label: 'after the last drop' },
];
/** How long networks train on after it, as a share of the training. */
const further = 1 / 4;

/** Trains all arms of the experiment on one problem; the dense networks that the plasticity study enters are shared. */
export class GraNetBench {
  readonly #problem: Problem;
  readonly #dense = new Map<string, Promise<Snapshot>>();

  constructor(problem: Problem) {
    this.#problem = problem;
  }

  get epochSteps(): number {
    return Math.floor(this.#problem.train.length / batchSize);
  }

  get steps(): number {
    return this.#problem.epochs * this.epochSteps;
  }

  /** Steps between mask updates. */
  get interval(): number {
    return Math.max(1, Math.floor(this.steps / 2 / updates));
  }

  /** Steps that pruned networks train on in the plasticity study. */
  get delta(): number {
    return Math.round(further * this.steps);
  }

  get input(): Spec {
    const { channels, side } = this.#problem;
    return { dtype: 'float32', shape: [1, channels, side, side] };
  }

  async samples(seed: number, count: number): Promise<Batch> {
    const { train } = this.#problem;
    const order = new Random(seed).fork('calibration').permutation(train.length);
    return train.batch(order.subarray(0, Math.min(count, train.length)));
  }

  async dense(seed: number): Promise<Measures> {
    return { accuracy: await this.#whole(this.#model(seed), seed, []), cost: 1, costWithLooks: 1 };
  }

  async sparse(arm: string, sparsity: number, seed: number): Promise<Measures> {
    const model = this.#model(seed);
    const sparsifier = await arms[arm]({ bench: this, model, sparsity, seed });
    const all = new TrainingCost();
    const watched = all.watch(sparsifier);
    const update = watched.update!.bind(watched);
    let cost = 0;
    watched.update = async training => {
      await update(training);
      if (training.step < this.steps) cost += flopsShare(training.layers.layers, sparsifier.mask) / this.steps;
    };
    const accuracy = await this.#whole(model, seed, [watched]);
    return { accuracy, cost, costWithLooks: all.steps / this.steps, kept: sparsifier.mask!.kept() };
  }

  /** A narrower dense network with at least as many parameters as the sparse one has non-zeros. */
  async small(sparsity: number, seed: number): Promise<Measures> {
    const size = (m: Module) => m.parameters().reduce((n, p) => n + p.size, 0);
    const large = this.#model(seed);
    const masked = (await modelLayers(large, [this.input])).layers.reduce((n, l) => n + l.values.length, 0);
    const budget = size(large) - Math.round(sparsity * masked);
    const model = this.#model(
      seed,
      widthFor(w => size(this.#model(seed, w)), budget, this.#width),
    );
    const operations = async (m: Module) =>
      (await modelLayers(m, [this.input])).layers.reduce((n, l) => n + l.positions * l.values.length, 0);
    const cost = (await operations(model)) / (await operations(large));
    return { accuracy: await this.#whole(model, seed, []), cost, costWithLooks: cost, kept: size(model) };
  }

  /** Accuracies before and after pruning at a share of the dense training, and after further training. */
  async recovery(at: number, sparsity: number, regenerate: number, seed: number): Promise<Measures> {
    const model = this.#model(seed);
    const study: PlasticityStudy = {
      model,
      input: this.input,
      task,
      batches: [await this.samples(seed, batchSize)],
      steps: this.steps,
      train: ({ from, to }, sparsifiers) => this.#train(model, seed, from, to, sparsifiers),
      evaluate: () => accuracyOf(model, this.#problem.test),
    };
    const step = this.#stepOf(at);
    const state = await this.#state(seed, step);
    return { ...(await recovery(study, state, { step, delta: this.delta, sparsity, regenerate })) };
  }

  get #width(): number {
    return this.#problem.network === 'ResNet-8' ? 16 : 8;
  }

  #model(seed: number, width = this.#width): Module {
    const { network, channels } = this.#problem;
    const random = new Random(seed).fork('model');
    if (network === 'ResNet-8') return new CifarResNet({ depth: 8, width, channels, random });
    const factors = network === 'two convolutions' ? [1, 2] : [1, 2, 4, 4, 8];
    return new ConvNet(
      channels,
      factors.map(f => f * width),
      random,
    );
  }

  #stepOf(share: number): number {
    return Math.round(share * this.steps);
  }

  async #train(model: Module, seed: number, from: number, to: number, sparsifiers: readonly Sparsifier[]) {
    const rate = multiStepSchedule({ milestones: drops.map(d => this.#stepOf(d)) });
    await fit(model, {
      train: this.#problem.train,
      batchSize,
      steps: to - from,
      schedule: () => step => rate(from + step),
      sparsifiers,
      seed: seed + 1000 * from,
    });
  }

  async #whole(model: Module, seed: number, sparsifiers: readonly Sparsifier[]): Promise<number> {
    await this.#train(model, seed, 0, this.steps, sparsifiers);
    return accuracyOf(model, this.#problem.test);
  }

  /** The dense network at a step of its training, reached from the place before it. */
  #state(seed: number, step: number): Promise<Snapshot> {
    const key = `${seed} ${step}`;
    let state = this.#dense.get(key);
    if (!state) {
      state = (async () => {
        const model = this.#model(seed);
        const from = Math.max(0, ...places.map(p => this.#stepOf(p.at)).filter(s => s < step));
        if (from > 0) restore(model, await this.#state(seed, from));
        await this.#train(model, seed, from, step, []);
        return snapshot(model);
      })();
      this.#dense.set(key, state);
    }
    return state;
  }
}

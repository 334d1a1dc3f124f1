import { Random, type Spec } from '@gossamer/tensor';
import { ArrayDataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { load } from '../data/registry.ts';
import {
  candidateScorers,
  type NodeCandidate,
  NodeSpace,
  randomSearch,
} from '../methods/architecture-search/random-search.ts';
import { LeNet300 } from '../models/lenet.ts';
import { initialize } from '../models/weights.ts';
import { kaimingNormal, zerosOf } from '../nn/init.ts';
import type { Module } from '../nn/module.ts';
import { Adam } from '../optim/index.ts';
import { StaticMask } from '../sparsity/masked.ts';
import { modelLayers } from '../sparsity/model.ts';
import { prune } from '../sparsity/prune.ts';
import { magnitude } from '../sparsity/score.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { Curve } from '../train/curve.ts';
import { classification } from '../train/task.ts';
import type { Measures } from './experiment.ts';
import { accuracyOf, fit, measure } from './fit.ts';
import { images } from './images.ts';

// Problems and trainings of the experiment on random search.

/** Data in four parts, none of them shared, and the parent's hidden widths. */
export interface Problem {
  readonly name: string;
  readonly inputs: number;
  readonly classes: number;
  readonly hidden: readonly [number, number];
  readonly train: ArrayDataset;
  /** Held-out training data: what candidates are judged on, and what learning curves are measured on. */
  readonly sample: ArrayDataset;
  readonly validation: ArrayDataset;
  readonly test: ArrayDataset;
  readonly epochs: number;
  readonly batchSize: number;
  readonly sparsities: readonly number[];
  /** Random counterparts of each found network where the rules look; elsewhere one. */
  readonly draws: number;
}

/** Sparsities at which the rules look. */
export const judged = [0.8, 0.9];

export interface Scale {
  readonly side: number;
  readonly hidden: readonly [number, number];
  readonly train: number;
  readonly held: number;
  readonly test: number;
  readonly epochs: number;
  readonly budget: number;
  readonly ranked: number;
  readonly sparsities: readonly number[];
  readonly draws: number;
}

export const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: {
    side: 14,
    hidden: [40, 40],
    train: 200,
    held: 50,
    test: 100,
    epochs: 1,
    budget: 5,
    ranked: 3,
    sparsities: judged,
    draws: 1,
  },
  standard: {
    side: 14,
    hidden: [512, 512],
    train: 10_000,
    held: 500,
    test: 5000,
    epochs: 5,
    budget: 100,
    ranked: 20,
    sparsities: [0.5, 0.8, 0.9, 0.95, 0.98],
    draws: 2,
  },
  full: {
    side: 28,
    hidden: [512, 512],
    train: 50_000,
    held: 1000,
    test: 10_000,
    epochs: 5,
    budget: 100,
    ranked: 40,
    sparsities: [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98],
    draws: 5,
  },
};

export async function problemsOf(scale: Scale, smoke: boolean): Promise<Problem[]> {
  const { side, hidden, train: count, held, test: tested, epochs, sparsities, draws } = scale;
  const picture = async (name: string, set: Parameters<typeof images>[0]): Promise<Problem> => {
    const { train, test } = await images(smoke ? 'digits' : set, count + 3 * held, tested, side);
    return {
      name,
      inputs: side * side,
      classes: 10,
      hidden,
      train: train.slice(0, count),
      sample: train.slice(count, count + held),
      validation: train.slice(count + held),
      test,
      epochs,
      batchSize: 100,
      sparsities,
      draws,
    };
  };
  const all = [await picture('Fashion-MNIST', 'fashion-mnist'), await picture('MNIST', 'mnist')];
  return smoke ? all : [...all, await letters(scale)];
}

/** Spoken letters, for a second kind of data: few samples of many features. */
async function letters({ hidden }: Scale): Promise<Problem> {
  const set = await load('isolet');
  const [train, sample, validation] = await set.train.split([848, 200, 200], { stratify: 'labels' });
  const part = async (d: typeof train) => new ArrayDataset(await d.all());
  return {
    name: 'ISOLET',
    inputs: 617,
    classes: 26,
    hidden,
    train: await part(train),
    sample: await part(sample),
    validation: await part(validation),
    test: set.test,
    epochs: 15,
    batchSize: 50,
    sparsities: judged,
    draws: 2,
  };
}

const task = classification();

/** What the arms of one initialisation share. */
export class Bench {
  readonly #budget: number;
  readonly #searches = new Map<string, Promise<{ candidate: NodeCandidate; initial: number; deviations: number }>>();

  constructor(budget: number) {
    this.#budget = budget;
  }

  async parent(problem: Problem, seed: number): Promise<Measures> {
    return this.#train(problem, networkOf(problem, problem.hidden, seed), seed);
  }

  async found(problem: Problem, sparsity: number, seed: number): Promise<Measures> {
    const space = await spaceOf(problem, seed);
    const { candidate, initial, deviations } = await this.#search(problem, space, sparsity, seed);
    const { model } = await space.network(candidate);
    return {
      ...(await this.#train(problem, model, seed)),
      initial,
      deviations,
      weights: space.sparsity(candidate).weights,
    };
  }

  async random(problem: Problem, sparsity: number, seed: number, draw: number): Promise<Measures> {
    const space = await spaceOf(problem, seed);
    const candidate = space.sample(sparsity, new Random(seed).fork('counterpart').fork(draw));
    const { model } = await space.network(candidate);
    const { loss: initial } = await measure(model, problem.sample);
    return { ...(await this.#train(problem, model, seed)), initial, weights: space.sparsity(candidate).weights };
  }

  /** A dense network of as many nodes that inherits nothing. */
  async naive(problem: Problem, sparsity: number, seed: number): Promise<Measures> {
    const space = await spaceOf(problem, seed);
    const kept = space.sample(sparsity, new Random(0));
    const hidden = [...kept.values()].map(k => k.length) as [number, number];
    return this.#train(problem, networkOf(problem, hidden, seed, 'naive'), seed);
  }

  /** The weights of largest initial magnitude in every layer, as many as the node sparsity leaves. */
  async outside(problem: Problem, sparsity: number, seed: number): Promise<Measures> {
    const space = await spaceOf(problem, seed);
    const { weights } = space.sparsity(space.sample(sparsity, new Random(0)));
    const model = networkOf(problem, problem.hidden, seed);
    const { layers } = await modelLayers(model, [inputOf(problem)]);
    const mask = prune(layers, l => magnitude(l.values), { sparsity: weights });
    return { ...(await this.#train(problem, model, seed, [new StaticMask(mask)])), weights };
  }

  #search(problem: Problem, space: NodeSpace, sparsity: number, seed: number) {
    const key = `${problem.name} ${sparsity} ${seed}`;
    let result = this.#searches.get(key);
    if (!result) {
      result = (async () => {
        const sample = await problem.sample.all();
        const scorer = candidateScorers.loss({ space, task, sample });
        const random = new Random(seed).fork('search').fork(String(sparsity));
        const {
          found: candidate,
          best,
          deviations,
        } = await randomSearch({ space, sparsity, budget: this.#budget, scorer, random });
        await scorer.dispose!();
        return { candidate, initial: best.at(-1)!, deviations };
      })();
      this.#searches.set(key, result);
    }
    return result;
  }

  /** Test accuracy, and the learning curve on validation data as `step0`, `accuracy0`, `loss0`, …: jobs keep numbers only. */
  async #train(
    problem: Problem,
    model: Module,
    seed: number,
    sparsifiers: readonly Sparsifier[] = [],
  ): Promise<Measures> {
    const { train, epochs, batchSize } = problem;
    const steps = epochs * Math.floor(train.length / batchSize);
    const data = new DataLoader(problem.validation, { batchSize: problem.validation.length });
    const curve = new Curve({ task, data, every: Math.max(1, Math.floor(steps / 25)), sparsifiers });
    await fit(model, {
      train,
      epochs,
      batchSize,
      seed,
      optimizer: m => new Adam(m.parameters(), { learningRate: 1e-3 }),
      sparsifiers: [...sparsifiers, curve],
    });
    const points = curve.points.flatMap(({ step, accuracy, loss }, i) => [
      [`step${i}`, step],
      [`accuracy${i}`, accuracy],
      [`loss${i}`, loss],
    ]);
    return { accuracy: await accuracyOf(model, problem.test), ...Object.fromEntries(points) };
  }
}

const inputOf = ({ train }: Problem): Spec => {
  const { shape, dtype } = train.fields.inputs;
  return { dtype, shape: [1, ...shape.slice(1)] };
};

/** A perceptron with He's initial weights. */
function networkOf(
  { inputs, classes }: Problem,
  hidden: readonly [number, number],
  seed: number,
  fork = 'parent',
): Module {
  const random = new Random(seed).fork(fork);
  const model = new LeNet300({ inputs, classes, hidden, random });
  initialize(model, random, (name, shape, r) => (name.endsWith('bias') ? zerosOf(shape) : kaimingNormal(r, shape)));
  return model;
}

const spaceOf = (problem: Problem, seed: number): Promise<NodeSpace> =>
  NodeSpace.of(networkOf(problem, problem.hidden, seed), [inputOf(problem)]);

import { Random, type Spec } from '@gossamer/tensor';
import { WGSEF } from '../methods/structured/wgsef.ts';
import type { Module } from '../nn/module.ts';
import { SGD } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { envelopeProx } from '../sparsity/envelope.ts';
import { channelGroups } from '../sparsity/groups.ts';
import { deadChannels, partitionLayers } from '../sparsity/partition.ts';
import {
  type GroupOperator,
  GroupProximal,
  groupLasso,
  groupSubgradient,
  halfSpace,
  hardTopK,
  type ProximalSparsifier,
} from '../sparsity/proximal.ts';
import { shrink } from '../sparsity/shrink.ts';
import type { Training } from '../sparsity/sparsifier.ts';
import { statistics } from '../statistics.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import {
  type Check,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  type Job,
  type Measures,
  type Outcome,
  summarize,
  type Table,
  tableOf,
} from './experiment.ts';
import { accuracyOf, fit } from './fit.ts';
import { type Images, images } from './images.ts';
import { timeModels } from './model-speed.ts';
import { ConvNet, SmallLeNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'wgsef',
  title: 'WGSEF',
  claim:
    'A regulariser made for "at most k live groups" ends with exactly k of them and is more accurate than group lasso with as many; the network without the dead groups runs faster.',
  version: 1,
  seeds: 3,
  run,
};

/** The lengths of the experiment. Training images are followed by `validation` ones, which λ is chosen on. */
interface Scale {
  readonly train: number;
  readonly validation: number;
  readonly test: number;
  readonly epochs: number;
  /** Of the VGG-like network. */
  readonly colourEpochs: number;
  /** Height and width of the grey and of the colour images. */
  readonly side: number;
  readonly colourSide: number;
  readonly rounds: number;
  /** Group counts that the proximal step is timed on. */
  readonly sizes: readonly number[];
}

const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: {
    train: 200,
    validation: 100,
    test: 100,
    epochs: 2,
    colourEpochs: 2,
    side: 14,
    colourSide: 8,
    rounds: 3,
    sizes: [1e3, 1e4],
  },
  standard: {
    train: 3000,
    validation: 1000,
    test: 4000,
    epochs: 6,
    colourEpochs: 5,
    side: 14,
    colourSide: 16,
    rounds: 50,
    sizes: [1e3, 1e4, 1e5, 1e6],
  },
  full: {
    train: 20_000,
    validation: 5000,
    test: 10_000,
    epochs: 20,
    colourEpochs: 20,
    side: 28,
    colourSide: 32,
    rounds: 200,
    sizes: [1e3, 1e4, 1e5, 1e6],
  },
};

/** Share of the training after which all arms but magnitude have their final support. */
const UNTIL = 0.8;
/** Share of the groups that lives where λ of the secondary arms is chosen. */
const TUNED_AT = 0.25;

const levels = [0.5, 0.25, 0.1];
const own = 'WGSEF';
const lasso = 'group lasso';

/** Operators of the baselines, and the λ that each is tried with. */
interface Regularised {
  readonly lambdas: readonly number[];
  readonly operator?: GroupOperator;
}

const regularised: Readonly<Record<string, Regularised>> = {
  [own]: { lambdas: [0.1, 0.2, 0.3, 0.4] },
  [lasso]: { lambdas: [0.1, 0.2, 0.4], operator: groupLasso() },
  HSPG: { lambdas: [0.05, 0.15], operator: halfSpace() },
  'group L2 (SSL)': { lambdas: [0.05, 0.15], operator: groupSubgradient() },
  // On single weights.
  L1: { lambdas: [0.005, 0.015], operator: groupLasso() },
};
const hard = 'IHT';
const magnitude = 'magnitude';
const arms = [...Object.keys(regularised), hard, magnitude];

/** A network with its data, and what runs on it. */
interface Problem {
  readonly name: string;
  readonly model: (random: Random) => Module;
  readonly train: Images['train'];
  readonly validation: Images['train'];
  readonly test: Images['test'];
  readonly learningRate: number;
  readonly batchSize: number;
  readonly epochs: number;
  readonly levels: readonly number[];
  readonly arms: readonly string[];
}

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const problems = await problemsOf(scale, smoke, full);
  const benches = problems.map(p => new Bench(p, scale));

  const tuning = await execute(
    benches.flatMap(bench =>
      bench.problem.arms.flatMap(arm =>
        tunedAt(bench.problem, arm).flatMap(level =>
          regularised[arm].lambdas.slice(0, smoke ? 1 : undefined).map((lambda): Job => {
            const condition = { problem: bench.problem.name, level, lambda, part: 'validation' };
            return { arm, condition, run: () => bench.tune(arm, level, lambda) };
          }),
        ),
      ),
    ),
  );
  const jobs: Job[] = [];
  for (const seed of seeds) {
    for (const bench of benches) {
      const { name: problem, levels, arms } = bench.problem;
      jobs.push({ arm: 'dense', condition: { problem, seed }, run: () => bench.dense(seed) });
      for (const arm of arms) {
        for (const level of levels) {
          const lambda = chosen(tuning, problem, arm, level);
          const condition = { problem, level, seed, ...(lambda !== undefined && { lambda }) };
          jobs.push({ arm, condition, run: () => bench.run(arm, level, seed, lambda) });
        }
      }
    }
  }
  const timing = scale.sizes.map(
    (groups): Job => ({ arm: 'proximal step', condition: { groups }, run: async () => timeProx(groups) }),
  );
  const outcomes = await execute([...jobs, ...timing]);
  return {
    tables: [...problems.flatMap(p => tables(p, outcomes)), proxTable(outcomes, scale.sizes)],
    checks: [
      claimExact(problems, outcomes),
      claimLasso(problems, outcomes),
      claimDense(problems, outcomes),
      claimSpeed(problems, outcomes),
      claimLinear(outcomes, scale.sizes),
    ],
    figures: problems.filter(p => p.levels.length > 1).map(p => figure(p, outcomes)),
    notes: [
      `Groups are channels: filters and hidden neurons with bias, scale and shift. Every arm ends with the same number k of live groups. All arms but magnitude fix their support after ${100 * UNTIL} % of ${problems.map(p => p.epochs).join(' and ')} epochs, keeping the k groups of largest norm if more live, and train on without a penalty; magnitude trains half of the epochs densely, prunes and fine-tunes for the other half.`,
      `${scale.train} training images, ${scale.validation} others for the choice of λ, tested on ${scale.test}. λ of each regularised arm is the best of two to four by validation accuracy, seed 0: for WGSEF and group lasso at each share of live groups, for the others at ${100 * TUNED_AT} % (for WGSEF among those after which at most 2 % of the groups are projected; if there are none, the largest). Chosen: ${problems
        .flatMap(p =>
          p.arms
            .filter(arm => arm in regularised)
            .map(arm => `${arm} ${p.levels.map(l => chosen(tuning, p.name, arm, l)).join(' / ')} (${p.name})`),
        )
        .join(', ')}.`,
      `SGD with momentum 0.9, batches of ${problems.map(p => p.batchSize).join(' and ')}, cosine to 0, no weight decay. A proximal step takes the plain learning rate, so that λ is about ten times what it would be as a term of the loss under momentum. Norms compete over all layers.`,
      'HSPG is its half-space step from the beginning (ε = 0), without the preceding phase of plain proximal steps. L1 acts on single weights; its groups are then chosen by norm.',
      'Times are medians of one thread on a batch of 64, dense and small network in turns, on this project’s runtime.',
    ],
  };
}

async function problemsOf(scale: Scale, smoke: boolean, full: boolean): Promise<Problem[]> {
  const grey = await images(smoke ? 'digits' : 'fashion-mnist', scale.train + scale.validation, scale.test, scale.side);
  const colour = await images(
    smoke ? 'digits' : 'cifar-10',
    scale.train + scale.validation,
    scale.test,
    scale.colourSide,
  );
  const split = ({ train, test }: Images) => ({
    train: train.take(scale.train) as Images['train'],
    validation: train.subset(
      Int32Array.from({ length: scale.validation }, (_, i) => scale.train + i),
    ) as Images['train'],
    test,
  });
  const widths: [number, number, number] = full ? [20, 50, 500] : [8, 16, 64];
  const few = [own, lasso, magnitude];
  return [
    {
      name: `LeNet-5, ${smoke ? 'digits' : 'Fashion-MNIST'}`,
      model: random => new SmallLeNet(scale.side, random, smoke ? [4, 8, 16] : widths),
      ...split(grey),
      learningRate: 0.05,
      batchSize: 20,
      epochs: scale.epochs,
      levels: smoke ? [0.25] : levels,
      arms,
    },
    {
      name: `VGG-like, ${smoke ? 'digits' : 'CIFAR-10'}`,
      model: random =>
        new ConvNet(
          smoke ? 1 : 3,
          smoke ? [8, 16] : full ? [16, 16, 32, 32, 64, 64] : [12, 12, 24, 24, 48, 48],
          random,
        ),
      ...split(colour),
      learningRate: 0.1,
      batchSize: 50,
      epochs: scale.colourEpochs,
      levels: full ? levels : [0.25],
      arms: full ? arms : few,
    },
  ];
}

/** Where an arm's λ is chosen: at each share of live groups for the two that the claim compares. */
function tunedAt({ levels }: Problem, arm: string): readonly number[] {
  if (!(arm in regularised)) return [];
  return arm === own || arm === lasso ? levels : [TUNED_AT];
}

/** The λ that an arm runs with, by the tuning's outcomes. */
function chosen(tuning: readonly Outcome[], problem: string, arm: string, level: number): number | undefined {
  const tried = tuning.filter(o => o.arm === arm && o.condition.problem === problem);
  if (tried.length === 0) return undefined;
  const here = tried.filter(o => o.condition.level === level);
  const candidates = here.length > 0 ? here : tried;
  const exact = arm === own ? candidates.filter(o => o.measures.forced <= 2) : candidates;
  const order =
    exact.length > 0
      ? exact.toSorted((a, b) => b.measures.accuracy - a.measures.accuracy)
      : candidates.toSorted((a, b) => Number(b.condition.lambda) - Number(a.condition.lambda));
  return Number(order[0].condition.lambda);
}

// ---- training

class Bench {
  readonly problem: Problem;
  readonly #scale: Scale;
  readonly #input: Spec;
  /** Half-trained networks, by seed. */
  readonly #half = new Map<number, Promise<Snapshot>>();

  constructor(problem: Problem, scale: Scale) {
    this.problem = problem;
    this.#scale = scale;
    const [, ...sample] = problem.test.fields.inputs.shape;
    this.#input = { dtype: 'float32', shape: [1, ...sample] };
  }

  async dense(seed: number): Promise<Measures> {
    const model = this.problem.model(new Random(seed));
    await this.#fit(model, seed, this.problem.epochs);
    return { accuracy: await accuracyOf(model, this.problem.test) };
  }

  /** One training for the choice of λ. */
  async tune(arm: string, level: number, lambda: number): Promise<Measures> {
    const { model, sparsifier } = await this.#train(arm, level, 0, lambda);
    return { accuracy: await accuracyOf(model, this.problem.validation), forced: forced(sparsifier) };
  }

  async run(arm: string, level: number, seed: number, lambda: number | undefined): Promise<Measures> {
    const { model, sparsifier } = await this.#train(arm, level, seed, lambda);
    const { partition, alive, live, outcome } = sparsifier;
    const small = await shrink(model, [this.#input], { remove: deadChannels(partition, alive) });
    const input = { ...this.#input, shape: [64, ...this.#input.shape.slice(1)] };
    const times = arm === own ? await timeModels([model, small.model], input, this.#scale.rounds) : undefined;
    return {
      accuracy: await accuracyOf(small.model, this.problem.test),
      live,
      k: outcome!.k,
      reached: outcome!.live,
      forced: forced(sparsifier),
      flops: (100 * small.after.flops) / small.before.flops,
      parameters: (100 * small.after.parameters) / small.before.parameters,
      ...(times && { ms: times[1], speedup: times[0] / times[1] }),
    };
  }

  async #train(
    arm: string,
    level: number,
    seed: number,
    lambda = 0,
  ): Promise<{ model: Module; sparsifier: ProximalSparsifier }> {
    const model = this.problem.model(new Random(seed));
    const { epochs } = this.problem;
    const k = Math.round(level * (await this.#groups(model)));
    // Its operator changes nothing: groups go by their norms when the support is fixed.
    const keepLargest = (until: number) => new GroupProximal({ lambda: 0, operator: () => groupLasso(), k, until });
    if (arm === magnitude) {
      restore(model, await this.#halfTrained(seed));
      // The first step of the fine-tuning prunes.
      const sparsifier = keepLargest(0);
      await this.#fit(model, seed + 100, Math.floor(epochs / 2), [sparsifier]);
      return { model, sparsifier };
    }
    let sparsifier: ProximalSparsifier;
    const before: GroupProximal[] = [];
    if (arm === own) sparsifier = new WGSEF({ k, lambda, until: UNTIL });
    else if (arm === hard) {
      sparsifier = new GroupProximal({ lambda: 0, operator: () => hardTopK(k), k, until: UNTIL });
    } else if (arm === 'L1') {
      const weights = async ({ layers }: Training) => partitionLayers(layers, { kind: 'element' });
      before.push(new GroupProximal({ lambda, groups: weights, operator: () => groupLasso() }));
      sparsifier = keepLargest(UNTIL);
    } else {
      const { operator } = regularised[arm];
      sparsifier = new GroupProximal({ lambda, operator: () => operator!, k, until: UNTIL });
    }
    await this.#fit(model, seed, epochs, [...before, sparsifier]);
    return { model, sparsifier };
  }

  async #groups(model: Module): Promise<number> {
    const found = await channelGroups(model, [this.#input]);
    return found.groups.reduce((n, g) => n + g.channels.length, 0);
  }

  #halfTrained(seed: number): Promise<Snapshot> {
    let found = this.#half.get(seed);
    if (!found) {
      const train = async () => {
        const model = this.problem.model(new Random(seed));
        await this.#fit(model, seed, Math.ceil(this.problem.epochs / 2));
        return snapshot(model);
      };
      this.#half.set(seed, (found = train()));
    }
    return found;
  }

  async #fit(model: Module, seed: number, epochs: number, sparsifiers: ProximalSparsifier[] = []): Promise<void> {
    const { train, learningRate, batchSize } = this.problem;
    await fit(model, {
      train,
      epochs,
      batchSize,
      seed,
      sparsifiers,
      optimizer: m => new SGD(m.parameters(), { learningRate, momentum: 0.9 }),
    });
  }
}

/** Percent of all groups that the projection had to set to zero. */
function forced({ outcome }: ProximalSparsifier): number {
  return (100 * outcome!.projected) / outcome!.groups;
}

/** Least milliseconds of a proximal step on random norms. */
function timeProx(groups: number): Measures {
  const norms = Float64Array.from(new Random(0).normal(groups), Math.abs);
  const random = new Random(1);
  let least = Infinity;
  // As many steps for every size, so that all of them are compiled; the least time is free of what else the machine does.
  const end = performance.now() + 1000;
  for (let i = 0; i < 5 || performance.now() < end; i++) {
    const start = performance.now();
    envelopeProx(norms, 1e-2, { k: groups >> 2, rootFinder: 'random', random });
    least = Math.min(least, performance.now() - start);
  }
  return { ms: least };
}

// ---- tables and figures

const percent = (share: string | number): string => `${Math.round(100 * Number(share))} % of groups`;

function tables({ name, levels, arms }: Problem, outcomes: readonly Outcome[]): Table[] {
  const common = { vary: 'level', values: levels, where: { problem: name }, label: percent };
  const of = (title: string, measure: string, digits = 2, rows = arms) =>
    tableOf(`${name}: ${title}`, outcomes, { ...common, arms: rows, measure, digits });
  const { mean } = summarize(outcomes, 'dense', { problem: name }, 'accuracy');
  return [
    of(`test accuracy with as many live groups, % (dense ${mean.toFixed(2)})`, 'accuracy'),
    of('live groups before the projection', 'reached', 1),
    of('FLOPs left after removal, %', 'flops', 1),
    of('times as fast as the dense network after removal', 'speedup', 2, [own]),
  ];
}

const proxTable = (outcomes: readonly Outcome[], sizes: readonly number[]): Table =>
  tableOf('Proximal step by random pivots, milliseconds by number of groups', outcomes, {
    arms: ['proximal step'],
    vary: 'groups',
    values: sizes,
    measure: 'ms',
    digits: 3,
  });

function figure({ name, levels, arms }: Problem, outcomes: readonly Outcome[]): Figure {
  const dense = summarize(outcomes, 'dense', { problem: name }, 'accuracy');
  const series = arms.map(arm => ({
    name: arm,
    points: [
      { x: 100, mean: dense.mean, std: dense.std },
      ...levels.map(level => {
        const { mean, std } = summarize(outcomes, arm, { problem: name, level }, 'accuracy');
        return { x: 100 * level, mean, std };
      }),
    ],
  }));
  const svg = lineChart({
    title: `Groups that live, ${name}`,
    subtitle: 'Test accuracy with as many live filters and neurons, mean ± standard deviation over seeds',
    x: {
      label: 'live groups',
      scale: 'log',
      reverse: true,
      ticks: [100, ...levels.map(l => 100 * l)],
      format: v => `${Math.round(v)} %`,
    },
    y: { label: 'test accuracy, %' },
    series,
  });
  return { name: name.toLowerCase().replace(/[^a-z0-9]+/g, '-'), svg };
}

// ---- the rules

const claimExact = (problems: readonly Problem[], outcomes: readonly Outcome[]): Check => {
  const runs = outcomes.filter(o => o.arm === own && 'level' in o.condition);
  const exact = runs.filter(o => o.measures.live === o.measures.k).length;
  const most = Math.max(...runs.map(o => o.measures.forced));
  return {
    rule: 'WGSEF: exactly k groups live at the end of every run, and the projection set at most 2 % of the groups to zero',
    holds: exact === runs.length && most <= 2,
    found: `exact in ${exact} of ${runs.length} runs on ${problems.length} networks; at most ${most.toFixed(1)} % projected`,
  };
};

function claimLasso(problems: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const found = problems.map(({ name, levels }) => {
    const low = levels.filter(l => l <= 0.25);
    const at = (arm: string) =>
      statistics(low.map(level => summarize(outcomes, arm, { problem: name, level }, 'accuracy').mean)).mean;
    return { name, over: at(own) - at(lasso) };
  });
  return {
    rule: 'in each network, averaged over 10 % and 25 % of the groups (where they ran): WGSEF is at least 0.3 points above group lasso with as many live groups',
    holds: found.every(f => f.over >= 0.3),
    found: found.map(f => `${f.name}: ${f.over.toFixed(2)}`).join('; '),
  };
}

function claimDense(problems: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const found = problems
    .filter(p => p.levels.includes(0.5))
    .map(({ name }) => {
      const dense = summarize(outcomes, 'dense', { problem: name }, 'accuracy').mean;
      return { name, loss: dense - summarize(outcomes, own, { problem: name, level: 0.5 }, 'accuracy').mean };
    });
  return {
    rule: 'with 50 % of the groups, WGSEF is at most 1 point below the dense network',
    holds: found.every(f => f.loss <= 1),
    found: found.map(f => `${f.name}: ${f.loss.toFixed(2)} below`).join('; '),
  };
}

function claimSpeed(problems: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const found = problems.map(({ name, levels }) => {
    const of = (level: number) => summarize(outcomes, own, { problem: name, level }, 'speedup').mean;
    const speedups = levels.map(of);
    return { name, speedups, rises: speedups.every((s, i) => i === 0 || s > speedups[i - 1]), quarter: of(0.25) };
  });
  return {
    rule: 'in each network: the fewer groups, the faster the network without the dead ones; at 25 % at least 1.5 times as fast as the dense one',
    holds: found.every(f => f.rises && f.quarter >= 1.5),
    found: found.map(f => `${f.name}: ${f.speedups.map(s => `${s.toFixed(2)}×`).join(', ')}`).join('; '),
  };
}

function claimLinear(outcomes: readonly Outcome[], sizes: readonly number[]): Check {
  const points = sizes.map(groups => [
    Math.log(groups),
    Math.log(summarize(outcomes, 'proximal step', { groups }, 'ms').mean),
  ]);
  const [x, y] = [0, 1].map(i => points.reduce((s, p) => s + p[i], 0) / points.length);
  const slope =
    points.reduce((s, p) => s + (p[0] - x) * (p[1] - y), 0) / points.reduce((s, p) => s + (p[0] - x) ** 2, 0);
  return {
    rule: 'the time of the proximal step grows with the number of groups to the power of 0.9 to 1.15, from 10³ to 10⁶',
    holds: slope >= 0.9 && slope <= 1.15,
    found: `power ${slope.toFixed(3)}`,
  };
}

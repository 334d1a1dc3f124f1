import { Random, type Spec } from '@gossamer/tensor';
import { chooseMask, type MaskSource, penaltyMask, type Scene, sceneOf } from '../methods/structured/masksparsity.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import type { Module } from '../nn/module.ts';
import { SGD } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { ScalePenalty } from '../sparsity/scale-penalty.ts';
import { shrink } from '../sparsity/shrink.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
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
  tableOf,
} from './experiment.ts';
import { accuracyOf, fit } from './fit.ts';
import { type Images, images } from './images.ts';
import { ConvNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'masksparsity',
  title: 'MaskSparsity',
  claim:
    'Penalising only the channels that will be pruned leaves the others as strong as they were, so that pruning costs nothing and the small network ends more accurate than after a penalty on all channels.',
  version: 1,
  seeds: 3,
  run,
};

/** The lengths of the experiment. */
interface Scale {
  readonly train: number;
  readonly test: number;
  /** Height and width of the images. */
  readonly side: number;
  readonly epochs: number;
  readonly fineTuning: number;
  readonly batchSize: number;
  readonly lambda: number;
  readonly widths: readonly number[];
  /** Filters of the first stage of the residual network. */
  readonly width: number;
}

const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: {
    train: 200,
    test: 100,
    side: 8,
    epochs: 1,
    fineTuning: 1,
    batchSize: 50,
    lambda: 0.02,
    widths: [8, 16],
    width: 4,
  },
  standard: {
    train: 4000,
    test: 4000,
    side: 16,
    epochs: 4,
    fineTuning: 1,
    batchSize: 50,
    lambda: 0.02,
    widths: [16, 16, 32, 32, 64, 64],
    width: 8,
  },
  full: {
    train: 20_000,
    test: 10_000,
    side: 32,
    epochs: 30,
    fineTuning: 8,
    batchSize: 100,
    lambda: 2e-3,
    widths: [16, 16, 32, 32, 64, 64],
    width: 16,
  },
};

const LEARNING_RATE = 0.1;
/** Of the fine-tuning: a tenth. */
const SMALL_RATE = 0.01;
/** What is below counts as zero (the paper's scripts). */
const THRESHOLD = 0.01;

/** Where the mask of each arm comes from. */
const sources: Readonly<Record<string, MaskSource>> = {
  'network slimming': 'global-l1',
  MaskSparsity: 'global-l1',
  'filter L1 norm': 'l1-norm',
  uniform: 'uniform',
  FPGM: 'fpgm',
};
const scratch = 'scratch';
const arms = [...Object.keys(sources), scratch];
const [slimming, own, filterNorm] = arms;

/** A network, and the shares of its FLOPs that are to be left. */
interface Problem {
  readonly name: string;
  readonly model: (random: Random) => Module;
  readonly flops: readonly number[];
}

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const data = await images(smoke ? 'digits' : 'cifar-10', scale.train, scale.test, scale.side);
  const channels = smoke ? 1 : 3;
  const problems: Problem[] = [
    {
      name: 'plain network',
      model: random => new ConvNet(channels, scale.widths, random),
      flops: smoke ? [0.5] : [0.5, 0.35],
    },
    {
      name: 'residual network',
      model: random => new CifarResNet({ depth: smoke ? 8 : 14, width: scale.width, channels, random }),
      flops: full ? [0.5, 0.35] : [0.5],
    },
  ];
  const benches = problems.map(p => new Bench(p, data, scale));
  const jobs: Job[] = [];
  for (const seed of seeds) {
    for (const bench of benches) {
      const { name: problem, flops } = bench.problem;
      const condition = { problem, seed };
      jobs.push({ arm: 'dense', condition, run: () => bench.dense(seed) });
      jobs.push({ arm: 'global L1', condition, run: () => bench.slimmed(seed) });
      for (const left of flops) {
        for (const arm of Object.keys(sources)) {
          jobs.push({ arm, condition: { ...condition, left }, run: () => bench.prune(arm, left, seed) });
        }
        jobs.push({ arm: scratch, condition: { ...condition, left }, run: () => bench.scratch(left, seed) });
      }
    }
  }
  const outcomes = await execute(jobs);
  return {
    tables: problems.flatMap(p => tables(p, outcomes)),
    checks: [
      claimPruning(problems, outcomes),
      claimTraining(problems, outcomes),
      claimFineTuned(problems, outcomes),
      claimScales(problems, outcomes),
      claimGap(problems, outcomes),
    ],
    figures: problems.map(p => figure(p, outcomes)),
    notes: [
      `CIFAR-10: ${scale.train} training images of ${scale.side}×${scale.side} pixels, tested on ${scale.test}. Plain network: 3×3 convolutions with batch normalisation, ${scale.widths.join('-')} filters. Residual network: three stages of two blocks, ${scale.width} filters at first; layers that add into one stream vote.`,
      `Each training has ${scale.epochs} epochs (dense, global L1, masked, scratch), fine-tuning ${scale.fineTuning} at a tenth of the rate. Batches of ${scale.batchSize}, SGD 0.1 with momentum 0.9, cosine to 0, weight decay 5e-4 on weights and none on scales and shifts.`,
      `λ is ${scale.lambda} for both penalties. The paper's 5e-4 belongs to trainings a hundred times as long: what a scale can lose is about λ times the sum of the learning rates, divided by 1 − momentum.`,
      'Network slimming and MaskSparsity share the mask: the smallest scales after the global penalty. MaskSparsity penalises the shifts of the masked channels as well, since a channel with scale 0 still gives its shift. Removed channels contribute nothing in any arm (constant: drop).',
      'The three arms without a penalty prune the dense network. Scratch trains the architecture that MaskSparsity ends with, from new weights, as long as the dense network.',
    ],
  };
}

// ---- training

class Bench {
  readonly problem: Problem;
  readonly #data: Images;
  readonly #scale: Scale;
  readonly #input: Spec;
  readonly #dense = new Map<number, Promise<Snapshot>>();
  readonly #slimmed = new Map<number, Promise<Snapshot>>();

  constructor(problem: Problem, data: Images, scale: Scale) {
    this.problem = problem;
    this.#data = data;
    this.#scale = scale;
    const [, ...sample] = data.train.fields.inputs.shape;
    this.#input = { dtype: 'float32', shape: [1, ...sample] };
  }

  async dense(seed: number): Promise<Measures> {
    const model = await this.#at(seed, await this.#weights(seed));
    return { accuracy: await this.#accuracy(model) };
  }

  /** After the training with a penalty on all scales. */
  async slimmed(seed: number): Promise<Measures> {
    const model = await this.#at(seed, await this.#slim(seed));
    return { accuracy: await this.#accuracy(model), ...(await this.#kept(await this.#scene(model), [], seed)) };
  }

  /** An arm from the dense weights to the fine-tuned small network. */
  async prune(arm: string, left: number, seed: number): Promise<Measures> {
    const { lambda } = this.#scale;
    const source = sources[arm];
    const fromSlimmed = source === 'global-l1';
    const model = await this.#at(seed, fromSlimmed ? await this.#slim(seed) : await this.#weights(seed));
    const scene = await this.#scene(model);
    const removed = await chooseMask(scene, source, { flops: left });
    let scales: Measures = {};
    if (arm === own) {
      restore(model, await this.#weights(seed));
      await this.#fit(model, seed, 1, [new ScalePenalty({ lambda, only: penaltyMask(scene, removed) })]);
      scales = await this.#kept(scene, removed, seed);
    }
    const trained = await this.#accuracy(model);
    const { model: small, before, after } = await shrink(model, [this.#input], { remove: removed });
    const pruned = await this.#accuracy(small);
    await this.#fit(small, seed, 2, [], true);
    return {
      trained,
      pruned,
      accuracy: await this.#accuracy(small),
      flops: (100 * after.flops) / before.flops,
      parameters: (100 * after.parameters) / before.parameters,
      ...scales,
    };
  }

  /** The architecture that MaskSparsity ends with, from new weights. */
  async scratch(left: number, seed: number): Promise<Measures> {
    const model = await this.#at(seed, await this.#slim(seed));
    const removed = await chooseMask(await this.#scene(model), 'global-l1', { flops: left });
    const fresh = this.problem.model(new Random(seed).fork('scratch'));
    const { model: small, before, after } = await shrink(fresh, [this.#input], { remove: removed });
    await this.#fit(small, seed, 3);
    return { accuracy: await this.#accuracy(small), flops: (100 * after.flops) / before.flops };
  }

  /** Medians of |γ| of the channels that stay, here and in the dense network, and what is left of those that go. */
  async #kept(scene: Scene, removed: readonly number[], seed: number): Promise<Measures> {
    const dense = await this.#weights(seed);
    const gone = new Set(removed);
    const [now, then, masked]: number[][] = [[], [], []];
    for (const { voters } of scene.electorate.groups) {
      for (const { gamma, channels } of voters) {
        const values = await gamma.data();
        channels.forEach((id, i) => {
          if (gone.has(id)) masked.push(Math.abs(values[i]));
          else {
            now.push(Math.abs(values[i]));
            then.push(Math.abs(dense.get(gamma.name)![i]));
          }
        });
      }
    }
    const share = (test: (g: number) => boolean) => (100 * masked.filter(test).length) / Math.max(1, masked.length);
    return {
      kept: median(now),
      keptDense: median(then),
      ...(removed.length > 0 && {
        silent: share(g => g < THRESHOLD),
        between: share(g => g >= THRESHOLD && g <= 0.05),
        loud: share(g => g > 0.05),
      }),
    };
  }

  #scene(model: Module): Promise<Scene> {
    return sceneOf(model, [this.#input]);
  }

  /** W₀, trained once for each seed. */
  #weights(seed: number): Promise<Snapshot> {
    return once(this.#dense, seed, async () => {
      const model = this.problem.model(new Random(seed));
      await this.#fit(model, seed, 0);
      return snapshot(model);
    });
  }

  #slim(seed: number): Promise<Snapshot> {
    return once(this.#slimmed, seed, async () => {
      const model = await this.#at(seed, await this.#weights(seed));
      await this.#fit(model, seed, 1, [new ScalePenalty({ lambda: this.#scale.lambda })]);
      return snapshot(model);
    });
  }

  async #at(seed: number, weights: Snapshot): Promise<Module> {
    const model = this.problem.model(new Random(seed));
    restore(model, weights);
    return model;
  }

  /** @param phase trainings of one network see the data in orders of their own */
  async #fit(model: Module, seed: number, phase: number, sparsifiers: Sparsifier[] = [], fine = false): Promise<void> {
    const { epochs, fineTuning, batchSize } = this.#scale;
    await fit(model, {
      train: this.#data.train,
      epochs: fine ? fineTuning : epochs,
      batchSize,
      seed: 10 * seed + phase,
      sparsifiers,
      // Weight decay on scales would be a penalty on all of them.
      optimizer: m =>
        new SGD(m.parameters(), {
          learningRate: fine ? SMALL_RATE : LEARNING_RATE,
          momentum: 0.9,
          weightDecay: 5e-4,
          decayVectors: false,
        }),
    });
  }

  #accuracy(model: Module): Promise<number> {
    return accuracyOf(model, this.#data.test);
  }
}

function once<T>(cache: Map<number, Promise<T>>, seed: number, make: () => Promise<T>): Promise<T> {
  let found = cache.get(seed);
  if (!found) cache.set(seed, (found = make()));
  return found;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

// ---- tables and figures

const percent = (share: string | number): string => `${Math.round(100 * Number(share))} % of FLOPs`;

function tables({ name, flops }: Problem, outcomes: readonly Outcome[]) {
  const common = { vary: 'left', values: flops, where: { problem: name }, label: percent };
  const of = (title: string, rows: readonly string[], measure: string, digits = 2) =>
    tableOf(`${name}: ${title}`, outcomes, { ...common, arms: rows, measure, digits });
  const { mean: dense } = summarize(outcomes, 'dense', { problem: name }, 'accuracy');
  const { mean: global } = summarize(outcomes, 'global L1', { problem: name }, 'accuracy');
  const pruners = Object.keys(sources);
  return [
    of(`accuracy before pruning, % (dense ${dense.toFixed(2)}, global L1 ${global.toFixed(2)})`, pruners, 'trained'),
    of('accuracy right after pruning, %', pruners, 'pruned'),
    of('accuracy in the end, %', arms, 'accuracy'),
    of('parameters left, %', pruners, 'parameters', 1),
  ];
}

function figure({ name, flops }: Problem, outcomes: readonly Outcome[]): Figure {
  const { mean, std } = summarize(outcomes, 'dense', { problem: name }, 'accuracy');
  const series = arms.map(arm => ({
    name: arm,
    points: [
      ...(arm === scratch ? [] : [{ x: 100, mean, std }]),
      ...flops.flatMap(left => {
        const { mean, std, n } = summarize(outcomes, arm, { problem: name, left }, 'accuracy');
        return n > 0 ? [{ x: 100 * left, mean, std }] : [];
      }),
    ],
  }));
  const svg = lineChart({
    title: `Channel pruning, ${name}`,
    subtitle: 'Test accuracy after fine-tuning, mean ± standard deviation over seeds',
    x: {
      label: 'FLOPs left',
      reverse: true,
      ticks: [100, ...flops.map(f => 100 * f)],
      format: v => `${Math.round(v)} %`,
    },
    y: { label: 'test accuracy, %' },
    series,
  });
  return { name: name.replaceAll(' ', '-'), svg };
}

// ---- the rules

/** Mean over a problem's targets of the mean over seeds. */
function average({ name, flops }: Problem, outcomes: readonly Outcome[], arm: string, measure: string): number {
  return statistics(flops.map(left => summarize(outcomes, arm, { problem: name, left }, measure).mean)).mean;
}

function each(problems: readonly Problem[], judge: (p: Problem) => { holds: boolean; text: string }) {
  const found = problems.map(p => ({ ...judge(p), name: p.name }));
  return { holds: found.every(f => f.holds), found: found.map(f => `${f.name}: ${f.text}`).join('; ') };
}

const claimPruning = (problems: readonly Problem[], outcomes: readonly Outcome[]): Check => ({
  rule: 'in each network, averaged over targets: pruning costs MaskSparsity at most 0.5 points before fine-tuning, and the filter L1 norm at least 10',
  ...each(problems, p => {
    const drop = (arm: string) => average(p, outcomes, arm, 'trained') - average(p, outcomes, arm, 'pruned');
    const [a, b] = [drop(own), drop(filterNorm)];
    return { holds: a <= 0.5 && b >= 10, text: `${a.toFixed(2)} and ${b.toFixed(2)} points` };
  }),
});

const claimTraining = (problems: readonly Problem[], outcomes: readonly Outcome[]): Check => ({
  rule: 'in each network: after sparsity training MaskSparsity is at least 0.3 points above global L1',
  ...each(problems, p => {
    const over = average(p, outcomes, own, 'trained') - average(p, outcomes, slimming, 'trained');
    return { holds: over >= 0.3, text: `${over.toFixed(2)} points` };
  }),
});

const claimFineTuned = (problems: readonly Problem[], outcomes: readonly Outcome[]): Check => ({
  rule: 'in each network, averaged over targets: after fine-tuning MaskSparsity is at least 0.3 points above network slimming at equal FLOPs',
  ...each(problems, p => {
    const over = average(p, outcomes, own, 'accuracy') - average(p, outcomes, slimming, 'accuracy');
    return { holds: over >= 0.3, text: `${over.toFixed(2)} points` };
  }),
});

const claimScales = (problems: readonly Problem[], outcomes: readonly Outcome[]): Check => ({
  rule: 'in each network: the median |γ| of kept channels is within 10 % of the dense network for MaskSparsity, and at least 30 % lower for global L1 (all channels)',
  ...each(problems, p => {
    const ratio = (arm: string) => {
      const at = (measure: string) =>
        arm === own ? average(p, outcomes, arm, measure) : summarize(outcomes, arm, { problem: p.name }, measure).mean;
      return at('kept') / at('keptDense');
    };
    const [a, b] = [ratio(own), ratio('global L1')];
    return {
      holds: Math.abs(a - 1) <= 0.1 && b <= 0.7,
      text: `${a.toFixed(3)} and ${b.toFixed(3)} of the dense median`,
    };
  }),
});

const claimGap = (problems: readonly Problem[], outcomes: readonly Outcome[]): Check => ({
  rule: 'in each network: no masked channel has |γ| between 0.01 and 0.05 after MaskSparsity training',
  ...each(problems, p => {
    const [silent, between, loud] = ['silent', 'between', 'loud'].map(m => average(p, outcomes, own, m));
    const text = `${silent.toFixed(1)} % below 0.01, ${between.toFixed(1)} % between, ${loud.toFixed(1)} % above 0.05`;
    return { holds: between === 0, text };
  }),
});

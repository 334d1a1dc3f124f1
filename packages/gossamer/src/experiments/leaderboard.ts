import type { Random } from '@gossamer/tensor';
import { widthFor } from '../methods/pruning/equal-size.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import type { Module } from '../nn/module.ts';
import { SGD } from '../optim/index.ts';
import { panelChart, type Series } from '../plot.ts';
import { statistics } from '../statistics.ts';
import {
  type Check,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  format,
  type Job,
  type Outcome,
  summarize,
  type Table,
} from './experiment.ts';
import { images } from './images.ts';
import { arms, families } from './leaderboard-arms.ts';
import { type Problem, PruningBench } from './pruning-bench.ts';
import { SmallLeNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'leaderboard',
  title: 'Leaderboard of unstructured methods',
  claim:
    'All unstructured methods under one protocol: the same two networks and sets, the same budget of training, the same seeds; what each costs stands beside what it reaches.',
  version: 1,
  seeds: 3,
  comparison: true,
  run,
};

type Mode = 'smoke' | 'standard' | 'full';
const sparsitiesOf: Record<Mode, readonly number[]> = {
  smoke: [0.8],
  standard: [0.8, 0.9, 0.95, 0.98],
  full: [0.8, 0.9, 0.95, 0.98],
};
/** Dense networks: the whole one, and narrower ones with as many weights as a sparse one has left. */
const narrow = 'small-dense';
const names = ['dense', ...Object.keys(arms), narrow];
/** A smoke run goes through every arm on the first problem and through these on the others. */
const smokeArms = ['dense', 'uniform MP'];

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const mode = smoke ? 'smoke' : full ? 'full' : 'standard';
  const sparsities = sparsitiesOf[mode];
  const all = await problems(mode);
  const jobs: Job[] = [];
  for (const seed of seeds) {
    for (const [i, problem] of all.entries()) {
      const bench = new PruningBench(problem);
      const wanted = (arm: string) => !smoke || i === 0 || smokeArms.includes(arm);
      const condition = { problem: problem.name, seed };
      jobs.push({ arm: 'dense', condition, run: () => bench.dense(seed) });
      for (const sparsity of sparsities) {
        const setting = { sparsity, seed };
        const job = (arm: string, run: Job['run']): Job => ({ arm, condition: { ...condition, sparsity }, run });
        for (const [name, arm] of Object.entries(arms)) {
          if (wanted(name)) jobs.push(job(name, () => bench.run(arm, setting)));
        }
        if (wanted(narrow)) jobs.push(job(narrow, () => bench.narrow(setting)));
      }
    }
  }
  const outcomes = await execute(jobs);
  const seen = (problem: Problem) => outcomes.filter(o => o.condition.problem === problem.name);
  return {
    tables: all.flatMap(p => tables(p.name, sparsities, seen(p))),
    figures: all.map((p, i) => figure(p.name, `problem-${i + 1}`, sparsities, seen(p))),
    checks: [learns(all, outcomes), counts(outcomes)],
    notes: notes(all, seeds.length),
  };
}

// ---- problems

/** Images for training and testing, how they are gone through, height and width. */
type Scale = Readonly<Record<'train' | 'test' | 'epochs' | 'batchSize' | 'grey' | 'colour', number>>;
const scales: Record<Mode, Scale> = {
  smoke: { train: 400, test: 100, epochs: 3, batchSize: 10, grey: 14, colour: 16 },
  standard: { train: 2000, test: 4000, epochs: 6, batchSize: 50, grey: 14, colour: 16 },
  full: { train: 20_000, test: 10_000, epochs: 24, batchSize: 50, grey: 28, colour: 32 },
};

async function problems(mode: Mode): Promise<Problem[]> {
  const { train, test, grey, colour, ...common } = scales[mode];
  const smoke = mode === 'smoke';
  const clothes = await images(smoke ? 'digits' : 'fashion-mnist', train, test, grey);
  const things = await images(smoke ? 'digits' : 'cifar-10', train, test, colour);
  const channels = smoke ? 1 : 3;
  const sgd = (learningRate: number) => (model: Module) =>
    new SGD(model.parameters(), { learningRate, momentum: 0.9, weightDecay: 5e-4 });
  const lenet = (random: Random, percent = 100) => {
    const [a, b, hidden] = (smoke ? [4, 8, 16] : [6, 16, 300]).map(n => Math.ceil((n * percent) / 100));
    return new SmallLeNet(grey, random, [a, b, hidden]);
  };
  const resnet = (random: Random, width = smoke ? 4 : 8) => new CifarResNet({ depth: 8, width, channels, random });
  return [
    {
      name: `LeNet-5 on ${smoke ? 'digits' : 'Fashion-MNIST'}`,
      model: lenet,
      narrow: (random, weights) =>
        lenet(
          random,
          widthFor(p => sizeOf(lenet(random, p)), weights, 100),
        ),
      ...clothes,
      ...common,
      optimizer: sgd(0.05),
    },
    {
      name: `ResNet-8 on ${smoke ? 'digits' : 'CIFAR-10'}`,
      model: resnet,
      narrow: (random, weights) =>
        resnet(
          random,
          widthFor(w => sizeOf(resnet(random, w)), weights, 8),
        ),
      ...things,
      ...common,
      optimizer: sgd(0.1),
    },
  ];
}

/** Weights of linear layers and convolutions: all parameters with two axes or more. */
const sizeOf = (model: Module): number => model.parameters().reduce((n, p) => (p.shape.length > 1 ? n + p.size : n), 0);

// ---- tables and figure

const percent = (share: number) => `${+(100 * share).toFixed(1)} %`;

/** Accuracy, operations and time by arm, the best on average first. */
function tables(problem: string, sparsities: readonly number[], outcomes: readonly Outcome[]): Table[] {
  const at = (arm: string, sparsity: number, measure: string) =>
    summarize(outcomes, arm, arm === 'dense' ? {} : { sparsity }, measure);
  const average = (arm: string, measure: string) => statistics(sparsities.map(s => at(arm, s, measure).mean)).mean;
  const present = names.filter(name => outcomes.some(o => o.arm === name));
  const ranked = present.sort((a, b) => average(b, 'accuracy') - average(a, 'accuracy'));
  const columns = sparsities.map(percent);
  const table = (title: string, measure: string, digits: number, last: string, spread = true): Table => ({
    title: `${problem}: ${title}, by sparsity`,
    columns: [...columns, last],
    rows: ranked.map(name => ({
      name,
      cells: [
        ...sparsities.map(s => {
          const found = at(name, s, measure);
          return spread ? format(found, digits) : found.mean.toFixed(digits);
        }),
        average(name, last === 'CPU s' ? 'cpu' : measure).toFixed(digits),
      ],
    })),
  });
  return [
    table('test accuracy, %', 'accuracy', 2, 'mean'),
    table('operations of the training, % of the dense one', 'training', 1, 'CPU s', false),
    table('operations of inference, % of the dense network', 'flops', 1, 'mean', false),
  ];
}

function figure(problem: string, name: string, sparsities: readonly number[], outcomes: readonly Outcome[]): Figure {
  const dense = summarize(outcomes, 'dense', {}, 'accuracy');
  const series = (arm: string): Series => ({
    name: arm,
    points: sparsities.flatMap(sparsity => {
      const { mean, std, n } = summarize(outcomes, arm, { sparsity }, 'accuracy');
      return n > 0 ? [{ x: 100 * (1 - sparsity), mean, std }] : [];
    }),
  });
  const panels = Object.entries(families)
    .map(([title, list]) => ({ title, series: list.map(series).filter(s => s.points.length > 0) }))
    .filter(panel => panel.series.length > 0);
  const svg = panelChart({
    title: `Leaderboard: ${problem}`,
    subtitle: 'Test accuracy after the same number of epochs, mean ± standard deviation over seeds',
    x: {
      label: 'weights left',
      scale: 'log',
      reverse: true,
      ticks: sparsities.map(s => +(100 * (1 - s)).toFixed(1)),
      format: v => `${+v.toFixed(1)} %`,
    },
    y: { label: 'test accuracy, %' },
    level: { name: 'dense', y: dense.mean },
    panels,
  });
  return { name, svg };
}

// ---- what the comparison stands on

function learns(all: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const least = [75, 40];
  const found = all.map(({ name }) => summarize(outcomes, 'dense', { problem: name }, 'accuracy'));
  return {
    rule: `the dense networks learn: at least ${least.join(' and ')} % on average`,
    holds: found.every((f, i) => f.mean >= least[i]),
    found: found.map((f, i) => `${all[i].name} ${format(f)}`).join('; '),
  };
}

/** Points by which counts may differ from the sparsity: whole weights, and a layer that must not be empty. */
const slack = 0.5;

function counts(outcomes: readonly Outcome[]): Check {
  const over = outcomes
    .filter(o => !['dense', narrow].includes(o.arm))
    .map(o => ({ ...o, over: o.measures.nonzeros - 100 * (1 - Number(o.condition.sparsity)) }));
  const worst = over.reduce((a, b) => (Math.abs(b.over) > Math.abs(a.over) ? b : a));
  return {
    rule: `every sparse network has the number of weights that the sparsity says, to ${slack} points`,
    holds: Math.abs(worst.over) <= slack,
    found: `furthest off: ${worst.arm} at ${percent(Number(worst.condition.sparsity))}, by ${worst.over.toFixed(2)} points`,
  };
}

function notes(all: readonly Problem[], seeds: number): string[] {
  const [first] = all;
  const { epochs, batchSize } = first;
  return [
    `Every arm trains for ${epochs} epochs in all, batches of ${batchSize}, SGD with momentum 0.9, weight decay 5e-4, a learning rate of 0.05 (LeNet-5) or 0.1 (ResNet-8) that falls to 0 along a cosine in each phase, no augmentation; ${seeds} seeds. ${all.map(p => `${p.name}: ${p.train.length} images, tested on ${p.test.length}`).join('; ')}.`,
    'Pruning after training and methods that need a trained network spend the first half of the budget on it; its cost is theirs. Iterative magnitude pruning trains densely for a third and has two rounds of a third. Options are the defaults of each method; updates every 1/40 of the training. Nothing was tuned for any of them.',
    'Operations are those of the products with weights, biases and norms left out. A dense training step counts as three forward passes: forward, gradients of inputs, gradients of weights. Under a mask each counts at the share of operations that its live weights take at that step; gradients of weights count as dense where a method needs those of masked weights (STE, SR-STE, learned scores at every step; RigL, GraNet and BiP when they ask). Scoring before training is in the CPU seconds and not in the operations.',
    'CPU seconds are measured on dense kernels, under masks: they show what a method adds to training, not what sparse kernels would save. The last column of the second table is their mean over the sparsities.',
    'Percentages of weights are of all weights in linear layers and convolutions; no layer is left dense, also where a method would do so by default. Narrower dense networks have at least as many weights as the sparse ones; a ResNet has a whole number of filters, so a narrow one has up to twice as many.',
    'LeNet-5 has no normalisation, and the weights that a random mask leaves keep their initial scale: random sparse starts (random ERK, SET, RigL) pass almost no signal from 95 % on and stay at chance in so few steps. The ResNet, which normalises, shows that this is a matter of the network. `SET` starts new weights at zero and divides them by ERK.',
    'It cannot show: what methods reach with long training, where those that regrow or rewind gain most; large networks and sets, where published rankings were made; tuned options; structured patterns; time on sparse hardware. Differences smaller than the deviation over three seeds mean nothing.',
  ];
}

import { globalMagnitudePruning } from '../methods/pruning/global-mp.ts';
import { LeNet300 } from '../models/lenet.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import type { Module } from '../nn/module.ts';
import { Adam, SGD } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { statistics } from '../statistics.ts';
import { type Arm, baselines } from './arms.ts';
import {
  type Check,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  format,
  type Job,
  type Outcome,
  percent,
  summarize,
  tableOf,
} from './experiment.ts';
import { images } from './images.ts';
import { type Problem, PruningBench } from './pruning-bench.ts';
import { NarrowMobileNet, RowReader, SmallLeNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'global-mp',
  title: 'Global magnitude pruning',
  claim:
    'One global magnitude threshold beats layer-wise magnitude pruning and matches more complex pruners; a minimum per layer prevents the collapse of narrow networks; the gradual form lowers FLOPs further.',
  version: 1,
  seeds: 3,
  run,
};

/** A problem, at which sparsities what runs on it, and whether weights are used at several places. */
interface Part extends Problem {
  readonly sparsities: readonly number[];
  /** Sparsities of the baselines that train from a random start, which cost twice as much. */
  readonly fromStart: readonly number[];
  readonly convolutional?: boolean;
}

/** The weights that each layer keeps with MT: the paper's share of all weights. */
const minimum = '0.05%';
const withMinimum: Arm = {
  when: 'after',
  mask: ({ layers }, { sparsity }) => globalMagnitudePruning(layers, { sparsity, minimum }),
};
const arms: Record<string, Arm> = { ...baselines, 'global MP, MT': withMinimum };
const names = Object.keys(arms);
const gradual = 'gradual global MP';
const smokeArms = ['uniform MP', 'global MP', gradual, 'GraSP'];
/** The arms that show what the minimum is good for, and where: with more layers than weights it would be all there is. */
const floorArms = ['global MP', 'global MP, MT'];
const collapseSparsities = [0.98, 0.99];
const extreme = 0.99;

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const { parts, narrow: narrowProblem } = await problems(scale, smoke, full);
  const benches = parts.map(p => new PruningBench(p));
  const narrow = new PruningBench(narrowProblem);
  const jobs: Job[] = [];
  for (const seed of seeds) {
    for (const [i, bench] of benches.entries()) {
      const { name, sparsities, fromStart } = parts[i];
      jobs.push({ arm: 'dense', condition: { problem: name, seed }, run: () => bench.dense(seed) });
      for (const [label, arm] of Object.entries(arms)) {
        // A smoke run goes through each arm once, and through each network.
        if (smoke && i > 0 && !smokeArms.includes(label)) continue;
        for (const sparsity of arm.when === 'after' || label === gradual ? sparsities : fromStart) {
          // The minimum is for extremes.
          if (arm === withMinimum && sparsity < extreme && !smoke) continue;
          const condition = { problem: name, sparsity, seed };
          jobs.push({ arm: label, condition, run: () => bench.run(arm, { sparsity, seed }) });
        }
      }
    }
    for (const label of floorArms) {
      for (const sparsity of collapseSparsities) {
        const condition = { problem: narrow.problem.name, sparsity, seed };
        jobs.push({ arm: label, condition, run: () => narrow.run(arms[label], { sparsity, seed }, { inspect: true }) });
      }
    }
  }
  const outcomes = await execute(jobs);
  return {
    tables: [...parts.flatMap(p => tables(p, outcomes)), ...collapseTables(narrow.problem.name, outcomes)],
    checks: [
      claimAccuracy(parts, outcomes),
      claimCollapse(narrow.problem.name, outcomes),
      claimGradual(parts, outcomes),
    ],
    figures: parts.map(p => figure(p, outcomes)),
    notes: [
      `Every arm has the same number of epochs: ${parts.map(p => `${p.epochs} on ${p.name}`).join(', ')}. One-shot arms (uniform MP, ERK MP, global MP) train densely for half of them (rounded up) and fine-tune for the rest; all others train from a random start.`,
      `Training images: ${parts.map(p => `${p.train.length} for ${p.name}`).join(', ')}; tested on ${parts.map(p => p.test.length).join(', ')}. The networks and budgets are small, so accuracies lie below published ones and compare only with each other.`,
      `Images of LeNet-5 and of the narrow MobileNet are scaled to ${scale.side}×${scale.side} and 14×14, of the ResNet (8 layers, 8 filters at first) to ${scale.colourSide}×${scale.colourSide} pixels. SynFlow does not see the paths through the gates of the GRU, whose weights only scale others.`,
      'Sparse networks that train from a random start keep the initial scale of dense ones. In the LeNet-5 at 95 %, whose first layer then has a handful of weights, some of them never leave chance: hence the spread of RigL and SET and the value of the random mask.',
      'The narrow MobileNet was built for the claim about collapse: a thin depth-wise trunk under a wide hidden layer. Networks tried before it, made mostly of 1×1 convolutions, stay cut off at 99 % with MT, too, so MT repairs some collapses and not all.',
      `MT is ${minimum} of all weights, the released default. Weights are ranked as they are, also before batch normalisation.`,
    ],
  };
}

// ---- problems

/** The three lengths of the experiment: images, epochs, and height and width of the images. */
type Scale = Readonly<Record<'grey' | 'colour' | 'test' | 'epochs' | 'resnetEpochs' | 'side' | 'colourSide', number>>;

const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: { grey: 200, colour: 100, test: 100, epochs: 2, resnetEpochs: 2, side: 14, colourSide: 16 },
  standard: { grey: 5000, colour: 10_000, test: 5000, epochs: 5, resnetEpochs: 3, side: 14, colourSide: 16 },
  full: { grey: 20_000, colour: 20_000, test: 10_000, epochs: 10, resnetEpochs: 10, side: 28, colourSide: 32 },
};

async function problems(scale: Scale, smoke: boolean, full: boolean): Promise<{ parts: Part[]; narrow: Problem }> {
  const grey = (name: 'fashion-mnist' | 'mnist', side = 28) =>
    images(smoke ? 'digits' : name, scale.grey, scale.test, side);
  const colour = images(smoke ? 'digits' : 'cifar-10', scale.colour, scale.test, scale.colourSide);
  const sgd = (learningRate: number) => (model: Module) =>
    new SGD(model.parameters(), { learningRate, momentum: 0.9, weightDecay: 5e-4 });
  const every = smoke ? [0.95] : [0.9, 0.95, 0.98, 0.99, 0.995];
  const few = smoke ? [0.95] : [0.9, 0.95, 0.98];
  const { epochs, resnetEpochs, side } = scale;
  const clothes = smoke ? 'digits' : 'Fashion-MNIST';
  const parts: Part[] = [
    {
      name: `LeNet-300-100, ${clothes}`,
      model: random => new LeNet300({ random, ...(smoke && { hidden: [32, 16] }) }),
      ...(await grey('fashion-mnist')),
      batchSize: 100,
      epochs,
      optimizer: sgd(0.05),
      sparsities: every,
      fromStart: full || smoke ? every : [0.9, 0.95],
    },
    {
      name: `LeNet-5, ${clothes}`,
      model: random => new SmallLeNet(side, random, full ? [20, 50, 500] : [6, 16, 300]),
      ...(await grey('fashion-mnist', side)),
      batchSize: 100,
      epochs,
      optimizer: sgd(0.05),
      sparsities: every,
      fromStart: full || smoke ? every : [0.95],
      convolutional: true,
    },
    {
      name: `ResNet, ${smoke ? 'digits' : 'CIFAR-10'}`,
      model: random => new CifarResNet({ depth: 8, width: 8, channels: smoke ? 1 : 3, random }),
      ...(await colour),
      batchSize: 100,
      epochs: resnetEpochs,
      optimizer: sgd(0.1),
      sparsities: few,
      fromStart: full || smoke ? few : [0.95],
      convolutional: true,
    },
    {
      name: `GRU, rows of ${smoke ? 'digits' : 'MNIST'}`,
      model: random => new RowReader(28, full ? 1 : 2, smoke ? 16 : 128, random),
      ...(await grey('mnist')),
      batchSize: 100,
      epochs,
      optimizer: model => new Adam(model.parameters(), { learningRate: 4e-3 }),
      sparsities: few,
      fromStart: full || smoke ? few : [0.95],
    },
  ];
  const widths = smoke ? [4, 8] : [8, 16, 16, 32, 32, 32];
  const narrow: Problem = {
    name: `narrow MobileNet, ${clothes}`,
    model: random => new NarrowMobileNet(14, widths, smoke ? 32 : 256, random),
    ...(await grey('fashion-mnist', 14)),
    batchSize: 100,
    epochs,
    optimizer: sgd(0.05),
  };
  return { parts, narrow };
}

// ---- tables and figures

function tables({ name, sparsities, convolutional }: Part, outcomes: readonly Outcome[]) {
  const common = { vary: 'sparsity', values: sparsities, where: { problem: name }, label: percent };
  const dense = format(summarize(outcomes, 'dense', { problem: name }, 'accuracy'));
  const title = (what: string) => `${name}: ${what}, by sparsity`;
  const accuracy = tableOf(title(`test accuracy, % (dense ${dense})`), outcomes, {
    ...common,
    arms: names,
    measure: 'accuracy',
  });
  const flops = tableOf(title('FLOPs left, %'), outcomes, { ...common, arms: names, measure: 'flops' });
  return convolutional ? [accuracy, flops] : [accuracy];
}

function collapseTables(name: string, outcomes: readonly Outcome[]) {
  const common = {
    vary: 'sparsity',
    values: collapseSparsities,
    where: { problem: name },
    label: percent,
    arms: floorArms,
  };
  return [
    tableOf(`${name}: test accuracy, %, by sparsity`, outcomes, { ...common, measure: 'accuracy' }),
    tableOf(`${name}: emptied layers, by sparsity`, outcomes, { ...common, measure: 'empty', digits: 1 }),
  ];
}

/** The seven arms that a picture can hold. */
const drawn = ['global MP', gradual, 'uniform MP', 'ERK MP', 'GMP', 'SynFlow', 'RigL'];

function figure({ name, sparsities }: Part, outcomes: readonly Outcome[]): Figure {
  const series = drawn.map(arm => ({
    name: arm,
    points: sparsities.flatMap(sparsity => {
      const { mean, std, n } = summarize(outcomes, arm, { problem: name, sparsity }, 'accuracy');
      return n > 0 ? [{ x: 100 * (1 - sparsity), mean, std }] : [];
    }),
  }));
  const svg = lineChart({
    title: name,
    subtitle: 'Test accuracy after the same number of epochs, mean ± standard deviation over seeds',
    x: {
      label: 'weights left',
      scale: 'log',
      reverse: true,
      ticks: sparsities.map(s => 100 * (1 - s)),
      format: v => `${+v.toFixed(1)} %`,
    },
    y: { label: 'test accuracy, %' },
    series,
  });
  return { name: name.toLowerCase().replace(/[^a-z0-9]+/g, '-'), svg };
}

// ---- the rules

/** Mean accuracy (or another measure) over seeds, averaged over those sparsities at which the arm ran. */
function average(
  outcomes: readonly Outcome[],
  arm: string,
  problem: string,
  sparsities: readonly number[],
  measure = 'accuracy',
) {
  const found = sparsities.map(sparsity => summarize(outcomes, arm, { problem, sparsity }, measure));
  return statistics(found.filter(s => s.n > 0).map(s => s.mean)).mean;
}

function claimAccuracy(parts: readonly Part[], outcomes: readonly Outcome[]): Check {
  const found = parts.map(({ name, sparsities, fromStart }) => {
    const high = sparsities.filter(s => s >= 0.95);
    const low = fromStart.filter(s => s <= 0.95);
    const over = average(outcomes, 'global MP', name, high) - average(outcomes, 'uniform MP', name, high);
    const at = (arm: string) => average(outcomes, arm, name, low);
    const [first] = names.filter(n => !Number.isNaN(at(n))).sort((a, b) => at(b) - at(a));
    const behind = at(first) - Math.max(at('global MP'), at(gradual));
    const text = `${name}: ${over.toFixed(2)} above uniform; ${first} is first, ${behind.toFixed(2)} above`;
    return { holds: over >= 0.5 && behind <= 0.3, text };
  });
  return {
    rule: 'in each problem, averaged over sparsities: from 95 % on, global MP is at least 0.5 points above uniform MP; up to 95 %, global MP (one-shot or gradual) is the first of all arms or within 0.3 points of it',
    holds: found.every(f => f.holds),
    found: found.map(f => f.text).join('; '),
  };
}

function claimCollapse(problem: string, outcomes: readonly Outcome[]): Check {
  const sparsities = collapseSparsities.filter(s => s >= extreme);
  const [plain, repaired] = floorArms.map(arm => average(outcomes, arm, problem, sparsities));
  const connected = average(outcomes, floorArms[1], problem, sparsities, 'connected');
  return {
    rule: 'at 99 % in the narrow MobileNet, global MP is at chance (at most 12 %) or at least 20 points below the same with MT, and with MT all networks are connected and above chance',
    holds: (plain <= 12 || repaired - plain >= 20) && connected === 1 && repaired > 12,
    found: `${plain.toFixed(1)} % without, ${repaired.toFixed(1)} % with MT; connected with MT: ${percent(connected)}`,
  };
}

function claimGradual(parts: readonly Part[], outcomes: readonly Outcome[]): Check {
  const found = parts
    .filter(p => p.convolutional)
    .map(({ name, sparsities }) => {
      const moderate = sparsities.filter(s => s <= 0.98);
      const [once, slow] = ['global MP', gradual].map(arm => ({
        accuracy: average(outcomes, arm, name, moderate),
        flops: average(outcomes, arm, name, moderate, 'flops'),
      }));
      return {
        holds: slow.flops <= once.flops && slow.accuracy >= once.accuracy - 0.3,
        text: `${name}: FLOPs ${slow.flops.toFixed(2)} against ${once.flops.toFixed(2)} %, accuracy ${slow.accuracy.toFixed(2)} against ${once.accuracy.toFixed(2)} %`,
      };
    });
  return {
    rule: 'in each convolutional network, averaged over sparsities up to 98 %: gradual global MP has no more FLOPs than one-shot global MP, and an accuracy of at least that minus 0.3 points',
    holds: found.every(f => f.holds),
    found: found.map(f => f.text).join('; '),
  };
}

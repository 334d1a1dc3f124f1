import { check, Random, type Spec } from '@gossamer/tensor';
import type { ArrayDataset } from '../data/dataset.ts';
import { type Family, type SparseIFT, sparseIFT, widened } from '../methods/sparse-training/sparse-ift.ts';
import { IsoFlopTraining } from '../methods/sparse-training/sparse-ift-training.ts';
import { BatchNorm1d, Flatten, Linear, type Module, ReLU, Sequential } from '../nn/index.ts';
import { SGD } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { modelLayers } from '../sparsity/model.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import {
  type Check,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  format,
  type Job,
  type Measures,
  type Outcome,
  summarize,
  type Table,
} from './experiment.ts';
import { accuracyOf, fit } from './fit.ts';
import { images } from './images.ts';
import { ConvNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'sparse-ift',
  title: 'Sparse iso-FLOP transformations',
  claim:
    'Replacing dense layers by wider sparse ones of the same FLOPs raises accuracy with the training recipe unchanged; widening is the best of four ways to do so.',
  version: 1,
  seeds: 3,
  run,
};

/** A network at any width, its data, and which layers each family leaves dense. */
interface Problem {
  readonly name: string;
  readonly build: (width: number, random: Random) => Module;
  /** Where the multiply-adds of a widened network are made equal. */
  readonly balance: 'layer' | 'network';
  /** Layers that the families other than wide leave dense; default the first and the last. */
  readonly exclude?: readonly string[];
  /** Width at which the dense network costs twice as much. */
  readonly double: number;
  readonly train: ArrayDataset;
  readonly validation: ArrayDataset;
  readonly test: ArrayDataset;
  readonly epochs: number;
  readonly batchSize: number;
}

/** A transformation of the network, or none of it. */
interface Arm {
  readonly family?: Family;
  readonly sparsity: number;
  readonly masks?: 'rigl' | 'set' | 'static';
  readonly kind?: 'dense' | 'double' | 'same width';
}

const dense = 'dense';
const double = 'dense, 2× FLOPs';
const sameWidth = 'sparse, same width';
const wide = 'Sparse Wide';
const names: Readonly<Record<'parallel' | 'factorized' | 'doped', string>> = {
  parallel: 'Sparse Parallel',
  factorized: 'Sparse Factorized',
  doped: 'Sparse Doped',
};
const others = Object.entries(names) as [Family, string][];
const [withSet, withStatic] = [`${wide}, SET`, `${wide}, static masks`];
const main = 0.75;

const arms: readonly (readonly [name: string, arm: Arm])[] = [
  [dense, { sparsity: 0, kind: 'dense' }],
  [double, { sparsity: 0, kind: 'double' }],
  [sameWidth, { sparsity: main, kind: 'same width' }],
  ...[0.5, 0.75, 0.9].map(sparsity => [wide, { family: 'wide', sparsity }] as const),
  ...others.flatMap(([family, name]) => [0.5, 0.75].map(sparsity => [name, { family, sparsity }] as const)),
  [withSet, { family: 'wide', sparsity: main, masks: 'set' }],
  [withStatic, { family: 'wide', sparsity: main, masks: 'static' }],
];

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const problems = await problemsOf(smoke ? 'smoke' : full ? 'full' : 'standard');
  const jobs = seeds.flatMap(seed =>
    problems.flatMap(problem =>
      arms.map(
        ([arm, how]): Job => ({
          arm,
          condition: { problem: problem.name, sparsity: how.sparsity, seed },
          run: () => train(problem, how, seed),
        }),
      ),
    ),
  );
  const outcomes = await execute(jobs);
  const [first] = problems;
  return {
    tables: problems.flatMap(({ name }) => tables(name, outcomes)),
    checks: [
      claimWide(first.name, outcomes),
      claimRigL(first.name, outcomes),
      claimWidth(first.name, outcomes),
      claimFamilies(first.name, outcomes),
    ],
    figures: problems.map(({ name }) => figure(name, outcomes)),
    notes: [
      `${problems.map(p => `${p.name}: ${p.train.length} training, ${p.validation.length} validation and ${p.test.length} test images, ${p.epochs} epochs`).join('; ')}. Validation images decide which sparsity of a family counts in the rules.`,
      'All arms have the same recipe: SGD with momentum 0.9, learning rate 0.1 falling by a cosine, weight decay 5e-4, batch norm behind every hidden layer (so that Sparse Parallel, whose branches have their own, is compared fairly).',
      `FLOPs are counted from the non-zero weights. In the perceptron the first layer has 91 % of them; widened, it grows on one side only and is masked at its own density (as is the head), and the other families transform it, too, leaving only the head dense. For the same reason the dense network of twice the FLOPs is ${first.double.toFixed(2)} times as wide, not 1.41.`,
      `Sparse Wide ${whereItStops(first.name, outcomes)}`,
    ],
  };
}

// ---- problems and training

async function problemsOf(scale: 'smoke' | 'standard' | 'full'): Promise<Problem[]> {
  const sizes = { smoke: [200, 100, 100], standard: [20_000, 5000, 10_000], full: [55_000, 5000, 10_000] }[scale];
  const hidden = scale === 'smoke' ? 16 : 64;
  const side = scale === 'smoke' ? 14 : 28;
  const inputs = side * side;
  const perceptron: Problem = {
    name: 'perceptron, Fashion-MNIST',
    build: (k, random) => perceptronOf(inputs, widened(hidden, k), random),
    balance: 'layer',
    exclude: ['7.weight'],
    // 784·w + w² + 10·w twice what it is at 64.
    double: widthOf(2 * (inputs * hidden + hidden ** 2 + 10 * hidden), inputs) / hidden,
    ...(await parts(scale === 'smoke' ? 'digits' : 'fashion-mnist', sizes, side)),
    epochs: scale === 'smoke' ? 2 : 10,
    batchSize: scale === 'smoke' ? 50 : 100,
  };
  if (scale !== 'full') return [perceptron];
  const convolutions: Problem = {
    name: 'conv net, CIFAR-10',
    build: (k, random) =>
      new ConvNet(
        3,
        [8, 16, 32].map(w => widened(w, k)),
        random,
      ),
    balance: 'network',
    double: Math.SQRT2,
    ...(await parts('cifar-10', [10_000, 2000, 10_000], 32)),
    epochs: 20,
    batchSize: 100,
  };
  return [perceptron, convolutions];
}

/** The width at which a perceptron costs so many multiply-adds. */
const widthOf = (cost: number, inputs: number): number =>
  Math.round((Math.sqrt((inputs + 10) ** 2 + 4 * cost) - inputs - 10) / 2);

const perceptronOf = (inputs: number, width: number, random: Random): Module =>
  new Sequential(
    new Flatten(),
    new Linear(inputs, width, { random: random.fork('fc1') }),
    new BatchNorm1d(width),
    new ReLU(),
    new Linear(width, width, { random: random.fork('fc2') }),
    new BatchNorm1d(width),
    new ReLU(),
    new Linear(width, 10, { random: random.fork('fc3') }),
  );

async function parts(name: Parameters<typeof images>[0], [count, held, tested]: readonly number[], side: number) {
  const { train, test } = await images(name, count + held, tested, side);
  return { train: train.slice(0, count), validation: train.slice(count), test };
}

async function train(problem: Problem, { family, sparsity, masks, kind }: Arm, seed: number): Promise<Measures> {
  const { epochs, batchSize, balance, exclude } = problem;
  const random = new Random(seed);
  const build = (width: number) => problem.build(width, random.fork('model'));
  const { inputs } = await problem.train.batch([0]);
  const input: Spec = { dtype: inputs.dtype, shape: inputs.shape };
  const steps = epochs * Math.floor(problem.train.length / batchSize);
  // 20 updates until 80 % of the training, but never more often than every ΔT = 100 steps where there is room for that.
  const interval = Math.max(1, Math.min(100, Math.floor(steps / 20)));
  const ift = await sparseIFT({
    build,
    input,
    family: family ?? 'wide',
    sparsity: family ? sparsity : 0,
    random,
    ...(family === 'wide' || !family ? { balance } : exclude && { exclude }),
  });
  let { model, audit } = ift;
  const sparsifiers: Sparsifier[] = [];
  let flops = audit.ratio;
  if (kind === 'double') {
    model = build(problem.double);
    flops = (await multiplyAdds(model, input)) / audit.dense;
  } else if (kind === 'same width') {
    const layers = audit.rows.slice(0, -1);
    const densities = new Map(layers.map(r => [r.name, 1 - sparsity]));
    sparsifiers.push(new IsoFlopTraining({ densities, interval }));
    flops = 1 - (sparsity * layers.reduce((n, r) => n + r.dense, 0)) / audit.dense;
  } else if (family) {
    sparsifiers.push(ift.sparsifier({ interval, maskOptimizer: masks ?? 'rigl', weightDecay })!);
  }
  const groups = family ? (ift as SparseIFT).groups() : [{ parameters: model.parameters() }];
  await fit(model, {
    train: problem.train,
    epochs,
    batchSize,
    seed,
    optimizer: () => new SGD(groups, { learningRate: 0.1, momentum: 0.9, weightDecay }),
    sparsifiers,
  });
  return {
    accuracy: await accuracyOf(model, problem.test),
    validation: await accuracyOf(model, problem.validation),
    flops: 100 * flops,
    weights: family ? audit.maskable : 0,
  };
}

const weightDecay = 5e-4;

async function multiplyAdds(model: Module, input: Spec): Promise<number> {
  const { layers } = await modelLayers(model, [input]);
  return layers.reduce((n, l) => n + l.values.length * l.positions, 0);
}

// ---- tables and figures

function tables(problem: string, outcomes: readonly Outcome[]): Table[] {
  const row = ([name, { sparsity }]: (typeof arms)[number]) => {
    const of = (measure: string) => summarize(outcomes, name, { problem, sparsity }, measure);
    return {
      name: sparsity > 0 ? `${name}, s = ${sparsity}` : name,
      cells: [
        format(of('accuracy')),
        format(of('validation')),
        of('flops').mean.toFixed(2),
        `${of('weights').mean || '–'}`,
      ],
    };
  };
  return [
    {
      title: `${problem}: accuracy, %`,
      columns: ['test', 'validation', 'FLOPs, % of dense', 'maskable weights'],
      rows: arms.map(row),
    },
  ];
}

function figure(problem: string, outcomes: readonly Outcome[]): Figure {
  const all = [0, 0.5, 0.75, 0.9];
  const at = (name: string, sparsity: number, x = sparsity) => {
    const { mean, std, n } = summarize(outcomes, name, { problem, sparsity }, 'accuracy');
    return n > 0 ? [{ x, mean, std }] : [];
  };
  const level = (name: string) => all.flatMap(x => at(name, 0, x));
  const svg = lineChart({
    title: `Sparse-IFT: ${problem}`,
    subtitle: 'Test accuracy at the FLOPs of the dense network, mean ± standard deviation over seeds',
    x: { label: 'sparsity s', ticks: all },
    y: { label: 'test accuracy, %' },
    series: [
      { name: wide, points: [...at(dense, 0), ...all.flatMap(s => at(wide, s))] },
      ...others.map(([, name]) => ({ name, points: all.flatMap(s => at(name, s)) })),
      { name: dense, points: level(dense) },
      { name: double, points: level(double) },
      { name: `${sameWidth} (fewer FLOPs)`, points: at(sameWidth, main) },
    ],
  });
  return { name: problem.toLowerCase().replace(/[^a-z0-9]+/g, '-'), svg };
}

// ---- the rules

const sparsitiesOf = (name: string): number[] => arms.filter(([n]) => n === name).map(([, a]) => a.sparsity);
const mean = (outcomes: readonly Outcome[], name: string, problem: string, sparsity: number, measure = 'accuracy') =>
  summarize(outcomes, name, { problem, sparsity }, measure).mean;

/** The sparsity of highest validation accuracy, and the test accuracy there. */
function best(outcomes: readonly Outcome[], name: string, problem: string): { sparsity: number; accuracy: number } {
  const validation = (s: number) => mean(outcomes, name, problem, s, 'validation');
  const [sparsity] = sparsitiesOf(name).sort((a, b) => validation(b) - validation(a));
  check(sparsity !== undefined, `sparse-ift: no outcome of ${name}`);
  return { sparsity, accuracy: mean(outcomes, name, problem, sparsity) };
}

function claimWide(problem: string, outcomes: readonly Outcome[]): Check {
  const { sparsity, accuracy } = best(outcomes, wide, problem);
  const base = mean(outcomes, dense, problem, 0);
  const ratios = sparsitiesOf(wide).map(s => mean(outcomes, wide, problem, s, 'flops'));
  const equal = ratios.every(r => Math.abs(r - 100) <= 0.5);
  return {
    rule: 'Sparse Wide at its best sparsity (by validation) is at least 0.4 points above dense in mean test accuracy, at audited multiply-adds within 0.5 % of the dense network',
    holds: accuracy >= base + 0.4 && equal,
    found: `${accuracy.toFixed(2)} % at s = ${sparsity} against ${base.toFixed(2)} %; FLOPs ${ratios.map(r => r.toFixed(2)).join(', ')} %`,
  };
}

function claimRigL(problem: string, outcomes: readonly Outcome[]): Check {
  const [rigl, set, fixed] = [wide, withSet, withStatic].map(name => mean(outcomes, name, problem, main));
  return {
    rule: `Sparse Wide at s = ${main}: RigL is not more than 0.1 points below a static random mask`,
    holds: rigl >= fixed - 0.1,
    found: `RigL ${rigl.toFixed(2)}, SET ${set.toFixed(2)}, static ${fixed.toFixed(2)} %`,
  };
}

function claimWidth(problem: string, outcomes: readonly Outcome[]): Check {
  const [wider, same] = [wide, sameWidth].map(name => mean(outcomes, name, problem, main));
  return {
    rule: `at s = ${main} the sparse network of the dense one's width is at least 0.5 points below Sparse Wide`,
    holds: same <= wider - 0.5,
    found: `${same.toFixed(2)} against ${wider.toFixed(2)} %`,
  };
}

function claimFamilies(problem: string, outcomes: readonly Outcome[]): Check {
  const found = [wide, ...others.map(([, name]) => name)].map(name => ({ name, ...best(outcomes, name, problem) }));
  const top = Math.max(...found.map(f => f.accuracy));
  return {
    rule: 'Sparse Wide is the best family or within 0.2 points of it, each at its best sparsity (by validation)',
    holds: found[0].accuracy >= top - 0.2,
    found: found.map(f => `${f.name} ${f.accuracy.toFixed(2)} % (s = ${f.sparsity})`).join(', '),
  };
}

function whereItStops(problem: string, outcomes: readonly Outcome[]): string {
  const at = (s: number) => mean(outcomes, wide, problem, s);
  const ordered = sparsitiesOf(wide).sort((a, b) => a - b);
  const stop = ordered.findIndex((s, i) => i > 0 && at(s) < at(ordered[i - 1]));
  return stop < 0
    ? `gains with every higher sparsity tried, up to ${ordered.at(-1)}.`
    : `stops gaining at s = ${ordered[stop]} (${at(ordered[stop]).toFixed(2)} % after ${at(ordered[stop - 1]).toFixed(2)} % at s = ${ordered[stop - 1]}).`;
}

import { lineChart } from '../plot.ts';
import {
  type Check,
  type Condition,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  format,
  type Job,
  type Outcome,
  percent,
  summarize,
  type Table,
  tableOf,
} from './experiment.ts';
import { images } from './images.ts';
import {
  arms,
  ERK,
  GraSP,
  magnitudeArm,
  RandomPruningBench,
  type Scale,
  SNIP,
  SNIPRatio,
  uniform,
} from './random-pruning-bench.ts';

export const experiment: Experiment = {
  slug: 'random-pruning',
  title: 'Random pruning',
  claim:
    'A network pruned at random before training, with good densities of its layers, comes close to its dense twin as it gets wider; the densities matter and the positions do not; a wide one beats a small dense network of the same size.',
  version: 1,
  seeds: 3,
  run,
};

// biome-ignore format: a table
const scales: Record<'smoke' | 'standard' | 'full', Scale & { readonly set: 'digits' | 'fashion-mnist' | 'cifar-10' }> = {
  smoke: { set: 'digits', train: 200, test: 100, side: 14, epochs: 2, base: 2, factors: [1, 2], deeper: false, sparsities: [0.8, 0.9], deviation: 0.31 },
  standard: { set: 'fashion-mnist', train: 2500, test: 5000, side: 14, epochs: 8, base: 4, factors: [1, 2, 4, 8], deeper: true, sparsities: [0.5, 0.8, 0.9, 0.95], deviation: 0.353 },
  full: { set: 'cifar-10', train: 15_000, test: 10_000, side: 32, epochs: 16, base: 8, factors: [1, 2, 4, 8], deeper: true, sparsities: [0.5, 0.7, 0.8, 0.9, 0.95], deviation: 0.25 },
};

/** The sparsity at which widths are compared, and those from which the densities must matter. */
const matched = 0.8;
const high = 0.9;
const dense = 'dense';
const smallDense = 'small dense';

interface Found {
  readonly scale: Scale;
  readonly outcomes: readonly Outcome[];
}

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const { set, train, test, side } = scale;
  const data = await images(set, train, test, side);
  const other = ({ digits: 'digits', 'fashion-mnist': 'mnist', 'cifar-10': 'fashion-mnist' } as const)[set];
  const strange = await images(other, 100, test, side);
  const bench = new RandomPruningBench(scale, data, strange.test);
  const outcomes = await execute(seeds.flatMap(seed => jobsOf(bench, scale, seed)));
  const found = { scale, outcomes };
  const name = { digits: 'digits', 'fashion-mnist': 'Fashion-MNIST', 'cifar-10': 'CIFAR-10' }[set];
  const foreign = { digits: 'the same digits', mnist: 'MNIST', 'fashion-mnist': 'Fashion-MNIST in grey' }[other];
  const middle = scale.factors.at(-2)!;
  return {
    tables: tables(found, middle),
    checks: [gapShrinks(found), densitiesMatter(found, middle), positionsDoNot(found, middle), wideBeatsSmall(found)],
    figures: [widthFigure(found, name), sparsityFigure(found, name, middle)],
    notes: [
      `${train} training and ${test} test images of ${name}, ${side}×${side} pixels. ${bench.describe()} All arms and widths: ${scale.epochs} epochs of ${Math.floor(train / 100)} steps of 100 images, SGD with momentum 0.9, weight decay 5e-4, rate 0.1 along a cosine; nothing is tuned by width.`,
      `Layer densities and positions are compared at width ×${middle}. Weights keep the scale of the dense initialisation (rescaling by 1/√ρ is an option that is off).`,
      'A small dense network has the width at which its parameters are at least as many as the non-zeros of the sparse one.',
      `Calibration error (15 bins) and negative log-likelihood are measured on the test set; detection of foreign images is the area under the ROC of the largest softmax against ${test} images of ${foreign}; attacks are single gradient sign steps of ${bench.attack}. Gradient flow is ‖∇L‖ over the live weights, on 100 training images, before and after training.`,
      ...(full
        ? []
        : [
            'Widths start at 4 filters, and the deeper network has 6 convolutions instead of 14 layers, so that everything runs in minutes; --full takes 8 filters and ResNets of 8 and 14 layers.',
          ]),
    ],
  };
}

function jobsOf(bench: RandomPruningBench, { factors, sparsities, deeper }: Scale, seed: number): Job[] {
  const jobs: Job[] = [];
  const add = (arm: string, condition: Condition, job: Job['run']) =>
    jobs.push({ arm, condition: { ...condition, seed }, run: job });
  const depths = deeper ? (['shallow', 'deep'] as const) : (['shallow'] as const);
  const middle = factors.at(-2)!;
  for (const depth of depths) {
    // The deeper network answers one question, at two widths.
    for (const factor of depth === 'deep' ? factors.slice(0, 2) : factors) {
      const at = { depth, factor };
      add(dense, at, () => bench.dense({ ...at, seed }));
      add(ERK, { ...at, sparsity: matched }, () => bench.sparse(ERK, { ...at, sparsity: matched, seed }));
      if (depth === 'shallow')
        add(smallDense, { ...at, sparsity: matched }, () => bench.small({ ...at, sparsity: matched, seed }));
    }
  }
  const at = { depth: 'shallow', factor: middle } as const;
  for (const arm of Object.keys(arms)) {
    for (const sparsity of sparsities) {
      if (arm === ERK ? sparsity === matched : sparsity < high && arm !== uniform) continue;
      add(arm, { ...at, sparsity }, () => bench.sparse(arm, { ...at, sparsity, seed }));
    }
  }
  return jobs;
}

// ---- tables and figures

const times = (f: string | number) => `×${f}`;

/** The dense networks, and the others at the sparsity at which widths are compared. */
const comparable = (outcomes: readonly Outcome[]) =>
  outcomes.filter(({ condition: { sparsity = matched } }) => sparsity === matched);

function tables({ scale, outcomes }: Found, middle: number): Table[] {
  const twins = comparable(outcomes);
  const { factors, sparsities, deeper } = scale;
  const byWidth = { vary: 'factor', values: factors, label: times, arms: [dense, ERK, smallDense] };
  const shallow = { depth: 'shallow' };
  const twin = format(summarize(outcomes, dense, { ...shallow, factor: middle }, 'accuracy'));
  const quality = [
    ['accuracy', 'test accuracy, %', 2],
    ['ece', 'expected calibration error, %', 2],
    ['nll', 'negative log-likelihood, nats', 3],
    ['auroc', 'detection of foreign images, AUROC', 3],
    ['adversarial', 'accuracy under attack, %', 2],
    ['flowBefore', 'gradient flow before training', 3],
    ['flowAfter', 'gradient flow after training', 3],
  ] as const;
  return [
    ...quality.map(([measure, what, digits]) =>
      tableOf(`${percent(matched)} sparse: ${what}, by width`, twins, {
        ...byWidth,
        where: shallow,
        measure,
        digits,
      }),
    ),
    ...(deeper
      ? [
          tableOf(`${percent(matched)} sparse, deeper network: test accuracy, %, by width`, twins, {
            ...byWidth,
            arms: [dense, ERK],
            values: factors.slice(0, 2),
            where: { depth: 'deep' },
            measure: 'accuracy',
          }),
        ]
      : []),
    tableOf(`Width ×${middle}: test accuracy, % (dense ${twin}), by sparsity`, outcomes, {
      vary: 'sparsity',
      values: sparsities,
      label: percent,
      arms: Object.keys(arms),
      where: { ...shallow, factor: middle },
      measure: 'accuracy',
    }),
  ];
}

function widthFigure({ scale, outcomes }: Found, data: string): Figure {
  const series = [dense, ERK, smallDense].map(name => ({
    name: name === dense ? dense : `${name}, ${percent(matched)}`,
    points: scale.factors.map(factor => {
      const { mean, std } = summarize(comparable(outcomes), name, { depth: 'shallow', factor }, 'accuracy');
      return { x: factor, mean, std };
    }),
  }));
  const svg = lineChart({
    title: `Random pruning and width: ${data}`,
    subtitle: 'Test accuracy of dense networks, of the same pruned at random, and of dense ones of the latter’s size',
    x: { label: 'width of the network that is pruned', scale: 'log', ticks: scale.factors, format: times },
    y: { label: 'test accuracy, %' },
    series,
  });
  return { name: 'width', svg };
}

function sparsityFigure({ scale, outcomes }: Found, data: string, middle: number): Figure {
  const drawn = [ERK, SNIPRatio, uniform, SNIP, GraSP, magnitudeArm];
  const series = drawn.map(name => ({
    name,
    points: scale.sparsities.flatMap(sparsity => {
      const { mean, std, n } = summarize(outcomes, name, { depth: 'shallow', factor: middle, sparsity }, 'accuracy');
      return n > 0 ? [{ x: 100 * (1 - sparsity), mean, std }] : [];
    }),
  }));
  const svg = lineChart({
    title: `Masks before training: ${data}, width ×${middle}`,
    subtitle: 'Test accuracy, mean ± standard deviation over seeds',
    x: {
      label: 'weights left',
      scale: 'log',
      reverse: true,
      ticks: scale.sparsities.map(s => 100 * (1 - s)),
      format: v => `${+v.toFixed(1)} %`,
    },
    y: { label: 'test accuracy, %' },
    series,
  });
  return { name: 'sparsity', svg };
}

// ---- the rules

const mean = ({ outcomes }: Found, arm: string, condition: Condition): number =>
  summarize(outcomes, arm, { depth: 'shallow', ...condition }, 'accuracy').mean;

function gapShrinks(found: Found): Check {
  const { factors } = found.scale;
  const gaps = factors.map(factor => mean(found, dense, { factor }) - mean(found, ERK, { factor, sparsity: matched }));
  return {
    rule: 'at 80 % sparsity, dense − random ERK shrinks with every step in width (a rise of up to 0.3 points counts as none), is at least 1.5 points at the smallest width and at most 0.5 at the largest',
    holds: gaps.every((g, i) => i === 0 || g <= gaps[i - 1] + 0.3) && gaps[0] >= 1.5 && gaps.at(-1)! <= 0.5,
    found: gaps.map((g, i) => `×${factors[i]}: ${g.toFixed(2)}`).join(', '),
  };
}

const sparse = ({ scale }: Found) => scale.sparsities.filter(s => s >= high);

function densitiesMatter(found: Found, factor: number): Check {
  const gains = sparse(found).map(sparsity => {
    const at = (arm: string) => mean(found, arm, { factor, sparsity });
    return { sparsity, gain: Math.max(at(ERK), at(SNIPRatio)) - at(uniform) };
  });
  return {
    rule: 'from 90 % sparsity on, random with the densities of ERK or of SNIP is at least 0.5 points above uniform',
    holds: gains.every(g => g.gain >= 0.5),
    found: gains.map(g => `${percent(g.sparsity)}: ${g.gain.toFixed(2)} above`).join(', '),
  };
}

function positionsDoNot(found: Found, factor: number): Check {
  const gaps = sparse(found).map(sparsity => {
    const at = (arm: string) => mean(found, arm, { factor, sparsity });
    return { sparsity, gap: at(SNIP) - at(SNIPRatio) };
  });
  return {
    rule: 'from 90 % sparsity on, random with the densities of SNIP is within 0.5 points of SNIP or above it',
    holds: gaps.every(g => g.gap <= 0.5),
    found: gaps.map(g => `${percent(g.sparsity)}: SNIP ${g.gap.toFixed(2)} above`).join(', '),
  };
}

function wideBeatsSmall(found: Found): Check {
  const factor = found.scale.factors.at(-1)!;
  const at = (arm: string) => mean(found, arm, { factor, sparsity: matched });
  return {
    rule: 'at the largest width and 80 % sparsity, the random sparse network is above the dense network of as many parameters',
    holds: at(ERK) > at(smallDense),
    found: `${at(ERK).toFixed(2)} against ${at(smallDense).toFixed(2)} %`,
  };
}

import { lineChart } from '../plot.ts';
import {
  type Check,
  type Context,
  type Experiment,
  type Figure,
  type Findings,
  format,
  type Job,
  percent as label,
  type Outcome,
  summarize,
  tableOf,
} from './experiment.ts';
import { arms, fromDense, fromHalf, GraNetBench, type Problem, places, updates } from './granet-bench.ts';
import { images } from './images.ts';

export const experiment: Experiment = {
  slug: 'granet',
  title: 'GraNet',
  claim:
    'Gradual pruning is better when every update also regrows connections, from a dense start and, at less cost than gradual pruning, from a half-sparse one; a network recovers from pruning while the learning rate is high, and better if connections are regrown.',
  version: 1,
  seeds: 3,
  run,
};

interface Scale {
  readonly train: number;
  readonly test: number;
  readonly side: number;
  readonly epochs: number;
  readonly network: Problem['network'];
  readonly sparsities: readonly number[];
  /** Sparsities of the arms that no rule is about. */
  readonly others: readonly number[];
}

const all = [0.9, 0.95, 0.98];
// biome-ignore format: a table
const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: { train: 200, test: 100, side: 14, epochs: 4, network: 'two convolutions', sparsities: [0.95], others: [0.95] },
  standard: { train: 2000, test: 5000, side: 16, epochs: 12, network: 'five convolutions', sparsities: all, others: [0.95, 0.98] },
  full: { train: 15_000, test: 10_000, side: 32, epochs: 16, network: 'ResNet-8', sparsities: all, others: all },
};

const decisive = [fromDense, fromHalf, 'GMP', 'RigL'];
const smallDense = 'small dense';
const pruned = 'pruned';
const regrown = 'pruned, regenerated';
const control = 'not pruned';

interface Found {
  readonly scale: Scale;
  readonly outcomes: readonly Outcome[];
  /** Differences from the unpruned network that trained on as long, seed by seed. */
  readonly points: readonly Outcome[];
}

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const { train, test } = await images(smoke ? 'digits' : 'cifar-10', scale.train, scale.test, scale.side);
  const bench = new GraNetBench({ ...scale, channels: smoke ? 1 : 3, train, test });
  const outcomes = await execute(seeds.flatMap(seed => jobsOf(bench, scale, seed)));
  const data = `${smoke ? 'digits' : 'CIFAR-10'}, ${scale.side}×${scale.side} pixels`;
  const found = { scale, outcomes, points: plasticities(outcomes) };
  const network = {
    'two convolutions': 'two 3×3 convolutions of 8 and 16 filters',
    'five convolutions': '3×3 convolutions of 8, 16, 32, 32 and 64 filters, with batch normalisation',
    'ResNet-8': 'a ResNet of 8 layers with 16 filters at first',
  }[scale.network];
  return {
    tables: tables(found, data),
    checks: [betterThanParts(found), plasticityFalls(found), regenerationHelps(found)],
    figures: [accuracyFigure(found, data), plasticityFigure(found, data)],
    notes: [
      `${scale.train} training and ${scale.test} test images of ${data}; ${network}. All arms: ${scale.epochs} epochs of ${bench.epochSteps} steps of 100 images, SGD with momentum 0.9, weight decay 5e-4, rate 0.1 divided by 10 at 50 and 75 %. Networks and budgets are small, so accuracies lie below published ones.`,
      `Gradual pruning ends at half of the training after ${updates} intervals of ${bench.interval} steps; GraNet exchanges at these intervals to the end, RigL to three quarters. GMP is GraNet without regeneration: global ranking, masked weights are zero for good.`,
      `Training FLOPs, in the rule too, are density × dense forward and backward pass, averaged over steps. A look at dense gradients costs two sparse and one dense forward pass more; with an update every ${bench.interval} steps that is a large part, with the paper's 1000 steps none.`,
      'SET starts its new weights at zero and divides weights by ERK, as in the comparisons of RigL and GraNet. In a first run new weights were as large as those that had stayed; at decayed rates they remained noise, and SET ended at chance.',
      'Small dense networks have at least as many parameters as the sparse ones have non-zeros.',
      `Plasticity: pruned by magnitude over all layers, trained on for ${bench.delta} of ${bench.steps} steps at the rates of the rest of the schedule, from the same state and with new momentum as the network that is not pruned. Regeneration is one exchange of half of every layer's weights. Positive numbers mean that the pruned network ends above the other.`,
      ...(full
        ? []
        : ['The rules on accuracy are about 95 and 98 %; arms that they do not name run at 90 % with --full only.']),
    ],
  };
}

function jobsOf(bench: GraNetBench, { sparsities, others }: Scale, seed: number): Job[] {
  const jobs: Job[] = [{ arm: 'dense', condition: { seed }, run: () => bench.dense(seed) }];
  for (const arm of [...Object.keys(arms), smallDense]) {
    for (const sparsity of decisive.includes(arm) ? sparsities : others) {
      const job = () => (arm === smallDense ? bench.small(sparsity, seed) : bench.sparse(arm, sparsity, seed));
      jobs.push({ arm, condition: { sparsity, seed }, run: job });
    }
  }
  for (const { at, label: place } of places) {
    jobs.push({ arm: control, condition: { place, seed }, run: () => bench.recovery(at, 0, 0, seed) });
    for (const sparsity of sparsities) {
      for (const arm of [pruned, regrown]) {
        const job = () => bench.recovery(at, sparsity, arm === regrown ? 0.5 : 0, seed);
        jobs.push({ arm, condition: { place, sparsity, seed }, run: job });
      }
    }
  }
  return jobs;
}

function plasticities(outcomes: readonly Outcome[]): Outcome[] {
  const key = ({ condition: { place, seed } }: Outcome) => `${place} ${seed}`;
  const after = new Map(outcomes.filter(o => o.arm === control).map(o => [key(o), o.measures.after]));
  return outcomes
    .filter(o => o.arm === pruned || o.arm === regrown)
    .map(o => ({
      ...o,
      measures: {
        plasticity: o.measures.after - after.get(key(o))!,
        drop: o.measures.pruned - o.measures.before,
      },
    }));
}

// ---- tables and figures

function tables({ scale, outcomes, points }: Found, data: string) {
  const dense = format(summarize(outcomes, 'dense', {}, 'accuracy'));
  const names = [...Object.keys(arms), smallDense];
  const common = { vary: 'sparsity', values: scale.sparsities, label };
  const accuracy = `${data}: test accuracy, % (dense ${dense}), by sparsity`;
  const cost = 'FLOPs of the training over the dense one, by sparsity';
  const looks = 'The same with the looks at dense gradients, by sparsity';
  const hardest = scale.sparsities.at(-1)!;
  return [
    tableOf(accuracy, outcomes, { ...common, arms: names, measure: 'accuracy' }),
    tableOf(cost, outcomes, { ...common, arms: names, measure: 'cost', digits: 3 }),
    tableOf(looks, outcomes, { ...common, arms: names, measure: 'costWithLooks', digits: 3 }),
    ...places.map(({ label: place }) =>
      tableOf(`Plasticity, points, pruned ${place}, by sparsity`, points, {
        ...common,
        arms: [pruned, regrown],
        where: { place },
        measure: 'plasticity',
      }),
    ),
    tableOf(`What pruning ${label(hardest)} costs at once, points, by when`, points, {
      arms: [pruned],
      vary: 'place',
      values: places.map(p => p.label),
      where: { sparsity: hardest },
      measure: 'drop',
    }),
  ];
}

const weightsLeft = (sparsities: readonly number[]) => ({
  label: 'weights left',
  scale: 'log' as const,
  reverse: true,
  ticks: sparsities.map(s => 100 * (1 - s)),
  format: (v: number) => `${+v.toFixed(1)} %`,
});

function accuracyFigure({ scale, outcomes }: Found, data: string): Figure {
  const drawn = [fromDense, fromHalf, 'GMP', 'RigL', 'static random ERK', 'SNIP', smallDense];
  const series = drawn.map(name => ({
    name,
    points: scale.sparsities.flatMap(sparsity => {
      const { mean, std, n } = summarize(outcomes, name, { sparsity }, 'accuracy');
      return n > 0 ? [{ x: 100 * (1 - sparsity), mean, std }] : [];
    }),
  }));
  const svg = lineChart({
    title: `GraNet and what it is made of: ${data}`,
    subtitle: 'Test accuracy after the same number of epochs, mean ± standard deviation over seeds',
    x: weightsLeft(scale.sparsities),
    y: { label: 'test accuracy, %' },
    series,
  });
  return { name: 'accuracy', svg };
}

function plasticityFigure({ scale, points }: Found, data: string): Figure {
  const series = places.flatMap(({ label: place }) =>
    [pruned, regrown].map(arm => ({
      name: arm === regrown ? `${place}, regenerated` : place,
      points: scale.sparsities.map(sparsity => {
        const { mean, std } = summarize(points, arm, { place, sparsity }, 'plasticity');
        return { x: 100 * (1 - sparsity), mean, std };
      }),
    })),
  );
  const svg = lineChart({
    title: `Pruning plasticity: ${data}`,
    subtitle: 'Accuracy after further training, against the unpruned network that trained as long',
    x: weightsLeft(scale.sparsities),
    y: { label: 'plasticity, points' },
    series,
  });
  return { name: 'plasticity', svg };
}

// ---- the rules

function betterThanParts({ scale, outcomes }: Found): Check {
  const results = scale.sparsities
    .filter(s => s >= 0.95)
    .map(sparsity => {
      const at = (arm: string, measure = 'accuracy') => summarize(outcomes, arm, { sparsity }, measure).mean;
      const [dense, half] = [at(fromDense) - at('GMP'), at(fromHalf) - at('RigL')];
      const [cost, other] = [at(fromHalf, 'cost'), at('GMP', 'cost')];
      return {
        holds: dense >= 0.2 && half >= 0.3 && cost < other,
        text: `${label(sparsity)}: ${dense.toFixed(2)} above GMP, ${half.toFixed(2)} above RigL, FLOPs ${cost.toFixed(3)} against ${other.toFixed(3)}`,
      };
    });
  return {
    rule: 'at 95 and at 98 %: GraNet (s_i = 0) is at least 0.2 points above GMP, GraNet (s_i = 0.5) at least 0.3 points above RigL, and the latter takes fewer training FLOPs than GMP',
    holds: results.every(r => r.holds),
    found: results.map(r => r.text).join('; '),
  };
}

function plasticityFalls({ scale, points }: Found): Check {
  const ends = [places[0], places.at(-1)!];
  const results = scale.sparsities.map(sparsity => {
    const [early, late] = ends.map(p => summarize(points, pruned, { place: p.label, sparsity }, 'plasticity').mean);
    return {
      holds: early - late >= 1,
      text: `${label(sparsity)}: ${early.toFixed(2)} before, ${late.toFixed(2)} after`,
    };
  });
  return {
    rule: 'at every sparsity from 90 % on, plasticity before the first drop of the learning rate is at least 1 point above that after the last drop',
    holds: results.every(r => r.holds),
    found: results.map(r => r.text).join('; '),
  };
}

function regenerationHelps({ scale, points }: Found): Check {
  const gains = places.flatMap(({ label: place }) =>
    scale.sparsities.map(sparsity => {
      const mean = (arm: string) => summarize(points, arm, { place, sparsity }, 'plasticity').mean;
      return mean(regrown) - mean(pruned);
    }),
  );
  const held = gains.filter(gain => gain >= 0).length;
  return {
    rule: 'with regeneration, plasticity is at least that without in 80 % of the cells (when × sparsity, means over seeds)',
    holds: held >= 0.8 * gains.length,
    found: `${held} of ${gains.length} cells; gains ${gains.map(g => g.toFixed(2)).join(', ')}`,
  };
}

import type { Trained } from '../methods/architecture-search/random-search.ts';
import { lineChart } from '../plot.ts';
import { formatInterval, pairedInterval, spearman, statistics } from '../statistics.ts';
import { areaUnder, stepsTo } from '../train/curve.ts';
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
import { Bench, judged, type Problem, problemsOf, scales } from './random-search-bench.ts';

export const experiment: Experiment = {
  slug: 'random-search',
  title: 'Random search for sparse architectures',
  claim:
    'The best of many random sub-networks by its loss before training is neither better nor faster after training than any random one, and much of the performance survives even at high sparsity.',
  version: 1,
  seeds: 5,
  run,
};

const parent = 'fully connected parent';
const found = 'random-search sparse';
const chance = 'random sparse';
const naive = 'small dense, fresh';
const outside = 'magnitude at initialisation (weights)';
/** Sub-networks at one sparsity whose initial loss is compared with what becomes of them. */
const ranked = 'random sparse, ranked';

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const problems = await problemsOf(scale, smoke);
  const [main] = problems;
  const bench = new Bench(scale.budget);
  const jobs = problems.flatMap(problem =>
    seeds.flatMap((seed): Job[] => [
      { arm: parent, condition: { problem: problem.name, seed }, run: () => bench.parent(problem, seed) },
      ...problem.sparsities.flatMap(sparsity => {
        const condition = { problem: problem.name, sparsity, seed };
        return [
          { arm: found, condition, run: () => bench.found(problem, sparsity, seed) },
          ...Array.from({ length: judged.includes(sparsity) ? problem.draws : 1 }, (_, draw) => ({
            arm: chance,
            condition: { ...condition, draw },
            run: () => bench.random(problem, sparsity, seed, draw),
          })),
          { arm: naive, condition, run: () => bench.naive(problem, sparsity, seed) },
        ];
      }),
      ...(problem === main
        ? [
            {
              arm: outside,
              condition: { problem: problem.name, sparsity: 0.9, seed },
              run: () => bench.outside(problem, 0.9, seed),
            },
          ]
        : []),
    ]),
  );
  const pictures = problems.filter(p => p.classes === 10);
  const extra = pictures.flatMap(problem =>
    Array.from(
      { length: scale.ranked },
      (_, draw): Job => ({
        arm: ranked,
        condition: { problem: problem.name, sparsity: 0.9, seed: 0, draw: 1000 + draw },
        run: () => bench.random(problem, 0.9, 0, 1000 + draw),
      }),
    ),
  );
  const outcomes = await execute([...jobs, ...extra]);
  const verdicts = problems.map(p => verdictOf(p, seeds, outcomes));
  return {
    tables: problems.flatMap(p => tables(p, outcomes)),
    checks: [
      claimSurvival(pictures, outcomes),
      claimSearch(pictures, outcomes),
      claimNeutral(pictures, verdicts.slice(0, pictures.length)),
      claimSpeed(pictures, verdicts.slice(0, pictures.length)),
      claimRanks(pictures, outcomes),
    ],
    figures: pictures.map(p => figure(p, outcomes)),
    notes: [
      ...problems.map(
        (p, i) => `${p.name}: ${verdicts[i].line}; mean loss over the training ${formatInterval(verdicts[i].area, 4)}.`,
      ),
      `Perceptrons ${problems.map(p => `${p.inputs}-${p.hidden.join('-')}-${p.classes} on ${p.name} (${p.train.length} training, ${p.sample.length} judging, ${p.validation.length} validation, ${p.test.length} test samples, ${p.epochs} epochs)`).join('; ')}. He's initial weights; Adam, learning rate 1e-3 falling by a cosine, batches of ${main.batchSize} in an order that is the same for all arms of a seed.`,
      `Each search judges ${scale.budget} candidates by the loss of inherited initial weights on its own held-out training samples; seeds draw new initial weights. Each found network is compared with the mean of its random counterparts of the same seed (${main.draws} at 80 and 90 %, else one).`,
      'Sub-networks are trained as physically smaller dense networks; that equals training under the mask.',
    ],
  };
}

// ---- tables and figures

const percent = (s: number) => `${+(100 * s).toFixed(1)} %`;

function tables(problem: Problem, outcomes: readonly Outcome[]): Table[] {
  const { name, sparsities } = problem;
  const dense = summarize(outcomes, parent, { problem: name }, 'accuracy');
  const cell = (arm: string, sparsity: number, measure: string, digits = 2) => {
    const s = summarize(outcomes, arm, { problem: name, sparsity }, measure);
    return s.n === 0 ? '–' : format(s, digits);
  };
  const arms = [found, chance, naive, outside].filter(arm =>
    outcomes.some(o => o.arm === arm && o.condition.problem === name),
  );
  const weights = sparsities.map(s => summarize(outcomes, chance, { problem: name, sparsity: s }, 'weights').mean);
  const columns = sparsities.map((s, i) => `${percent(s)} (${percent(weights[i])})`);
  return [
    {
      title: `${name}: test accuracy, % (${parent} ${format(dense)}), by share of the nodes gone (of the weights)`,
      columns,
      rows: arms.map(arm => ({ name: arm, cells: sparsities.map(s => cell(arm, s, 'accuracy')) })),
    },
    {
      title: `${name}: loss before training, and how far the found one lies below the mean candidate, in deviations`,
      columns,
      rows: [
        ...[found, chance].map(arm => ({ name: arm, cells: sparsities.map(s => cell(arm, s, 'initial', 4)) })),
        { name: 'deviations', cells: sparsities.map(s => cell(found, s, 'deviations')) },
      ],
    },
  ];
}

function figure({ name, sparsities }: Problem, outcomes: readonly Outcome[]): Figure {
  const at = (arm: string) =>
    sparsities.flatMap(sparsity => {
      const { mean, std, n } = summarize(outcomes, arm, { problem: name, sparsity }, 'accuracy');
      return n > 0 ? [{ x: 100 * (1 - sparsity), mean, std }] : [];
    });
  const dense = summarize(outcomes, parent, { problem: name }, 'accuracy');
  const svg = lineChart({
    title: `Random search: ${name}`,
    subtitle: 'Test accuracy, mean ± standard deviation over seeds (and draws)',
    x: {
      label: 'hidden nodes left',
      scale: 'log',
      reverse: true,
      ticks: sparsities.map(s => 100 * (1 - s)),
      format: v => `${+v.toFixed(1)} %`,
    },
    y: { label: 'test accuracy, %' },
    series: [
      { name: parent, points: sparsities.map(s => ({ x: 100 * (1 - s), mean: dense.mean, std: dense.std })) },
      ...[found, chance, naive, outside].map(arm => ({ name: arm, points: at(arm) })).filter(s => s.points.length > 0),
    ],
  });
  return { name: name.toLowerCase().replace(/[^a-z0-9]+/g, '-'), svg };
}

// ---- the rules

function claimSurvival(problems: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const shares = problems.map(({ name }) => {
    const dense = summarize(outcomes, parent, { problem: name }, 'accuracy').mean;
    return judged.map(sparsity => summarize(outcomes, chance, { problem: name, sparsity }, 'accuracy').mean / dense);
  });
  return {
    rule: 'with 80 and 90 % of the nodes gone, random sub-networks have at least 95 % of the accuracy of the parent, on both image sets',
    holds: shares.flat().every(s => s >= 0.95),
    found: problems.map((p, i) => `${p.name}: ${shares[i].map(percent).join(' and ')}`).join('; '),
  };
}

function claimSearch(problems: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const deviations = problems.map(({ name }) =>
    judged.map(sparsity => summarize(outcomes, found, { problem: name, sparsity }, 'deviations').mean),
  );
  return {
    rule: 'at 80 and 90 % the found network starts at least 2 standard deviations of the candidates below their mean loss (mean over seeds)',
    holds: deviations.flat().every(d => d >= 2),
    found: problems.map((p, i) => `${p.name}: ${deviations[i].map(d => d.toFixed(2)).join(' and ')}`).join('; '),
  };
}

/** Found against random, paired by seed; what is paired are means over the two judged sparsities. */
function verdictOf({ name }: Problem, seeds: readonly number[], outcomes: readonly Outcome[]) {
  const average = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const own = (arm: string, seed: number) =>
    outcomes.filter(o => o.arm === arm && o.condition.problem === name && o.condition.seed === seed);
  const perSeed = (arm: string, of: (t: Trained, seed: number) => number) =>
    seeds.map(seed =>
      average(
        judged.map(sparsity =>
          average(
            own(arm, seed)
              .filter(o => o.condition.sparsity === sparsity)
              .map(o => of(trainedOf(o), seed)),
          ),
        ),
      ),
    );
  const target = (seed: number) => 0.95 * trainedOf(own(parent, seed)[0]).curve.at(-1)!.accuracy;
  const difference = (of: (t: Trained) => number) => pairedInterval(perSeed(found, of), perSeed(chance, of));
  const final = difference(t => t.final);
  const [a, b] = [found, chance].map(arm =>
    average(perSeed(arm, (t, seed) => stepsTo(t.curve, 'accuracy', target(seed)))),
  );
  return {
    final,
    area: difference(t => areaUnder(t.curve, 'loss')),
    steps: { found: a, random: b },
    line: `found − random = ${formatInterval(final)}; steps to 95 % of the parent ${a.toFixed(0)} against ${b.toFixed(0)}`,
  };
}

function trainedOf({ measures }: Outcome): Trained {
  const points = Object.keys(measures).filter(k => /^step\d+$/.test(k)).length;
  return {
    final: measures.accuracy,
    curve: Array.from({ length: points }, (_, i) => ({
      step: measures[`step${i}`],
      accuracy: measures[`accuracy${i}`],
      loss: measures[`loss${i}`],
    })),
  };
}

type SeedVerdict = ReturnType<typeof verdictOf>;

function claimNeutral(problems: readonly Problem[], verdicts: readonly SeedVerdict[]): Check {
  return {
    rule: 'at 80 and 90 % (mean of both), the paired difference of the final accuracy has a 95 % interval that contains 0 and is at most 0.5 points to either side, on both image sets',
    holds: verdicts.every(({ final: { low, high, halfWidth } }) => low <= 0 && high >= 0 && halfWidth <= 0.5),
    found: problems.map((p, i) => `${p.name}: ${formatInterval(verdicts[i].final)}`).join('; '),
  };
}

function claimSpeed(problems: readonly Problem[], verdicts: readonly SeedVerdict[]): Check {
  const ratios = verdicts.map(v => v.steps.found / v.steps.random);
  return {
    rule: 'there, the steps until 95 % of the final accuracy of the parent differ by less than 10 %',
    holds: ratios.every(r => Math.abs(r - 1) < 0.1),
    found: problems
      .map((p, i) => `${p.name}: ${verdicts[i].steps.found.toFixed(0)} against ${verdicts[i].steps.random.toFixed(0)}`)
      .join('; '),
  };
}

/** The 5 % critical value of Spearman's ρ for 20 pairs. */
const critical = 0.45;

function claimRanks(problems: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const values = problems.map(({ name }) => {
    const own = outcomes.filter(o => o.arm === ranked && o.condition.problem === name);
    return {
      rho: spearman(
        own.map(o => o.measures.initial),
        own.map(o => o.measures.accuracy),
      ),
      spread: statistics(own.map(o => o.measures.accuracy)),
    };
  });
  return {
    rule: `among random sub-networks at 90 %, the rank correlation of the loss before and the accuracy after training is below ${critical} in magnitude (the 5 % critical value for 20 pairs)`,
    holds: values.every(v => Math.abs(v.rho) < critical),
    found: problems
      .map((p, i) => `${p.name}: ${values[i].rho.toFixed(2)} (accuracy ${format(values[i].spread)})`)
      .join('; '),
  };
}

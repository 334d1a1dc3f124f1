import { sparsityAt, tokenCurve } from '../methods/sparse-training/pretraining-schedule.ts';
import type { Run } from '../methods/sparse-training/run-size.ts';
import { accumulatedLoss, bootstrapLaw, compareSizes, predict } from '../methods/sparse-training/scaling-law.ts';
import { lineChart } from '../plot.ts';
import { statistics } from '../statistics.ts';
import {
  type Check,
  type Condition,
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
import { LEARNING_RATE, PretrainingBench } from './pretraining-bench.ts';
import { type Texts, texts } from './texts.ts';

export const experiment: Experiment = {
  slug: 'sparse-pretraining-scaling',
  title: 'Sparse pre-training and its scaling law',
  claim:
    'Pruning between 25 % and 75 % of the compute is near the best schedule; a sparse run has the loss of a dense run of its average size, so one law in the average size predicts both.',
  version: 1,
  seeds: 2,
  run,
};

const dense = 'dense';
const sparse = 'sparse pre-training';
const baselines = {
  average: 'dense at N̄',
  final: 'dense at the final size',
  post: 'post-training magnitude',
  static: 'static sparse',
  oneShot: 'one-shot at 50 %',
  random: 'random gradual',
};

/** Shares of the compute between which the grid prunes; the first is the paper's choice, the next two are early and late. */
const cells = [
  [0.25, 0.75],
  [0, 0.25],
  [0.75, 1],
  [0, 0.5],
  [0, 0.75],
  [0, 1],
  [0.25, 0.5],
  [0.25, 1],
  [0.5, 0.75],
  [0.5, 1],
] as const;
const cellName = ([a, b]: readonly [number, number]) => `${100 * a}–${100 * b} %`;
const gridSparsity = 0.8;

interface Scale {
  readonly layers: number;
  readonly context: number;
  readonly batchSize: number;
  /** Widths and steps of the dense runs of the law. */
  readonly widths: readonly number[];
  readonly steps: readonly number[];
  /** Widths of sparse runs and of the dense ones of their average size. */
  readonly pairs: readonly (readonly [sparse: number, dense: number])[];
  /** Widths of further sparse runs, with 40 % sparsity. */
  readonly mild: readonly number[];
  readonly gridWidth: number;
  /** Steps of the cell 25–75 %; the others have what the same compute buys. */
  readonly gridSteps: number;
  readonly cells: number;
}

const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: {
    layers: 1,
    context: 16,
    batchSize: 4,
    widths: [4, 8],
    steps: [10, 20, 30],
    pairs: [[14, 8]],
    mild: [],
    gridWidth: 14,
    gridSteps: 16,
    cells: 3,
  },
  standard: {
    layers: 2,
    context: 32,
    batchSize: 8,
    widths: [16, 22, 28, 36, 48],
    steps: [350, 650, 1200],
    pairs: [
      [40, 22],
      [48, 28],
      [64, 36],
    ],
    mild: [48, 64],
    gridWidth: 48,
    gridSteps: 700,
    cells: cells.length,
  },
  full: {
    layers: 2,
    context: 64,
    batchSize: 16,
    widths: [32, 48, 74, 96, 110, 128],
    steps: [300, 1000, 3000],
    pairs: [
      [84, 48],
      [128, 74],
      [192, 110],
    ],
    mild: [96, 128],
    gridWidth: 96,
    gridSteps: 2000,
    cells: cells.length,
  },
};

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const text = await texts(smoke ? 'sonnet' : 'tiny-shakespeare', scale.context);
  const bench = new PretrainingBench({ ...scale, text });
  const jobs: Job[] = [];
  const add = (arm: string, condition: Condition, measured: () => Promise<Measures>) =>
    jobs.push({ arm, condition, run: measured });
  for (const seed of seeds) {
    addGrid(bench, scale, seed, add);
    addLaw(bench, scale, seed, add);
  }
  const outcomes = await execute(jobs);
  const law = lawOf(outcomes);
  return {
    tables: [
      gridTable(scale, outcomes),
      baselineTable(outcomes),
      pairTable(bench, scale, outcomes),
      ...lawTables(law),
      theoryTable(bench, scale, outcomes, law),
    ],
    checks: [claimGrid(scale, outcomes), claimPairs(bench, scale, outcomes), claimLaw(law)],
    figures: [gridFigure(scale, outcomes), lawFigure(law)],
    notes: notes(bench, scale, text, outcomes, law, full),
  };
}

type Add = (arm: string, condition: Condition, measured: () => Promise<Measures>) => void;

// ---- (A) the schedule at one compute, and the baselines

/** Steps that the compute of the cell 25–75 % buys at an average size. */
const stepsFor = ({ gridSteps }: Scale, average: number): number =>
  Math.round((gridSteps * tokenCurve({ sparsity: gridSparsity }, { prunable: 1 }).average) / average);

function addGrid(bench: PretrainingBench, scale: Scale, seed: number, add: Add): void {
  const { gridWidth: width, gridSteps } = scale;
  const final = 1 - gridSparsity;
  const at = { part: 'grid', seed };
  for (const [start, end] of cells.slice(0, scale.cells)) {
    const curve = { sparsity: gridSparsity, start, end };
    const steps = stepsFor(scale, tokenCurve(curve, { prunable: 1 }).average);
    add(sparse, { ...at, cell: cellName([start, end]) }, () => bench.gradual(width, steps, seed, curve));
  }
  const average = tokenCurve({ sparsity: gridSparsity }, { prunable: 1 }).average;
  const even = (share: number) => 2 * Math.round((width * Math.sqrt(share)) / 2);
  add(baselines.average, at, () => bench.dense(even(average), gridSteps, seed));
  const small = even(final);
  const smallSteps = stepsFor(scale, bench.prunable(small) / bench.prunable(width));
  add(baselines.final, at, () => bench.dense(small, smallSteps, seed));
  const plan = { dense: Math.round(0.8 * stepsFor(scale, 1)), tune: Math.round(0.2 * stepsFor(scale, final)) };
  add(baselines.post, at, () => bench.postTraining(width, plan, seed, gridSparsity));
  add(baselines.static, at, () => bench.staticSparse(width, stepsFor(scale, final), seed, gridSparsity));
  // Half of the compute before, half behind the cut.
  const [before, after] = [stepsFor(scale, 1) / 2, stepsFor(scale, final) / 2].map(Math.round);
  add(baselines.oneShot, at, () => bench.oneShot(width, before + after, seed, gridSparsity, before));
  const random = { sparsity: gridSparsity, score: 'random' } as const;
  add(baselines.random, at, () => bench.gradual(width, gridSteps, seed, random));
}

// ---- (B) runs for the law, (C) with matched pairs among them

/** The final sparsity whose average size is a share of the first one. */
function sparsityFor(share: number): number {
  let [low, high] = [0, 0.999];
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (tokenCurve({ sparsity: middle }, { prunable: 1 }).average > share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

const pairSparsity = ([wide, narrow]: readonly [number, number]): number => sparsityFor((narrow / wide) ** 2);
const mildSparsity = 0.4;

function addLaw(bench: PretrainingBench, scale: Scale, seed: number, add: Add): void {
  const { widths, steps, pairs, mild } = scale;
  for (const count of steps) {
    const at = { part: 'law', steps: count, seed };
    for (const width of new Set([...widths, ...pairs.map(p => p[1])])) {
      add(dense, { ...at, width }, () => bench.dense(width, count, seed));
    }
    for (const pair of pairs) {
      const sparsity = pairSparsity(pair);
      add(sparse, { ...at, width: pair[0], pair: pair[1] }, () => bench.gradual(pair[0], count, seed, { sparsity }));
    }
  }
  for (const count of [steps[0], steps.at(-1)!]) {
    for (const width of mild) {
      const at = { part: 'law', steps: count, width, mild: true, seed };
      add(sparse, at, () => bench.gradual(width, count, seed, { sparsity: mildSparsity }));
    }
  }
}

/** A run with the initial, average and final size of an outcome; where the change lies does not matter to the law. */
function asRun({ arm, condition, measures }: Outcome): Run & { readonly sparse: boolean } {
  const { tokens, loss, initial, average, final } = measures;
  const at = initial === final ? tokens : (tokens * (average - final)) / (initial - final);
  const active = initial === final ? [[0, initial] as const] : [[0, initial] as const, [at, final] as const];
  const { seed: _, part: __, ...rest } = condition;
  return { name: `${arm} ${Object.values(rest).join(' ')}`, tokens, loss, active, sparse: arm === sparse };
}

interface LawFindings {
  readonly runs: readonly (Run & { readonly sparse: boolean; readonly held: boolean })[];
  readonly compared: ReturnType<typeof compareSizes>;
  readonly bootstrap: ReturnType<typeof bootstrapLaw>;
}

/** Every fifth configuration, with all its seeds, is held out. */
function lawOf(outcomes: readonly Outcome[]): LawFindings {
  const all = outcomes.filter(o => o.condition.part === 'law').map(asRun);
  const kinds = [...new Set(all.map(r => r.name))];
  const runs = all.map(r => ({ ...r, held: kinds.indexOf(r.name) % 5 === 2 }));
  const fitted = runs.filter(r => !r.held);
  const compared = compareSizes(
    fitted,
    runs.filter(r => r.held),
  );
  return { runs, compared, bootstrap: bootstrapLaw(fitted, { samples: 100 }) };
}

const averageLaw = ({ compared }: LawFindings) => compared.find(c => c.size === 'average')!;

// ---- tables and figures

const gridCell = (cell: readonly [number, number]) => ({ part: 'grid', cell: cellName(cell) });

function gridTable({ cells: count }: Scale, outcomes: readonly Outcome[]): Table {
  return {
    title: `(A) Held-out loss, nats per character, by the shares of the compute between which ${100 * gridSparsity} % are pruned; the same compute for all`,
    columns: ['loss', 'N̄ / N₀', 'thousand tokens'],
    rows: cells.slice(0, count).map(cell => {
      const of = (measure: string) => summarize(outcomes, sparse, gridCell(cell), measure);
      const share = of('average').mean / of('initial').mean;
      return {
        name: cellName(cell),
        cells: [format(of('loss'), 3), share.toFixed(2), (of('tokens').mean / 1000).toFixed(0)],
      };
    }),
  };
}

function baselineTable(outcomes: readonly Outcome[]): Table {
  const rows = [{ name: `${sparse}, 25–75 %`, arm: sparse, where: gridCell(cells[0]) as Condition }].concat(
    Object.values(baselines).map(arm => ({ name: arm, arm, where: { part: 'grid' } })),
  );
  return {
    title: '(A) The same compute spent in other ways',
    columns: ['loss', 'final parameters', 'N̄', 'compute, TFLOP'],
    rows: rows.map(({ name, arm, where }) => {
      const of = (measure: string) => summarize(outcomes, arm, where, measure);
      const compute = (6 * of('average').mean * of('tokens').mean) / 1e12;
      const sizes = ['final', 'average'].map(m => of(m).mean.toFixed(0));
      return { name, cells: [format(of('loss'), 3), ...sizes, compute.toFixed(3)] };
    }),
  };
}

/** Sparse runs and the dense ones of their average size, on the same tokens. */
function pairsOf(bench: PretrainingBench, { pairs, steps }: Scale, outcomes: readonly Outcome[]) {
  return pairs.flatMap(([wide, narrow]) =>
    steps.map(count => {
      const at = { part: 'law', steps: count };
      const of = (measure: string) => summarize(outcomes, sparse, { ...at, width: wide, pair: narrow }, measure);
      const [ours, theirs] = [of('loss'), summarize(outcomes, dense, { ...at, width: narrow }, 'loss')];
      const tokens = count * bench.tokensPerStep;
      const share = of('final').mean / of('average').mean;
      return { wide, narrow, tokens, ours, theirs, difference: ours.mean - theirs.mean, share };
    }),
  );
}

function pairTable(bench: PretrainingBench, scale: Scale, outcomes: readonly Outcome[]): Table {
  return {
    title: '(C) Sparse runs and dense runs of their average size, same tokens: held-out loss',
    columns: ['sparse', 'dense at N̄', 'difference', 'final / N̄'],
    rows: pairsOf(bench, scale, outcomes).map(p => ({
      name: `width ${p.wide} to N̄ of width ${p.narrow}, ${(p.tokens / 1000).toFixed(0)} k tokens`,
      cells: [format(p.ours, 3), format(p.theirs, 3), p.difference.toFixed(3), p.share.toFixed(2)],
    })),
  };
}

const percent = (v: number) => `${(100 * v).toFixed(2)} %`;

function lawTables({ compared, bootstrap, runs }: LawFindings): Table[] {
  const held = runs.filter(r => r.held).length;
  return [
    {
      title: `(B) One law for dense and sparse runs: mean relative error on ${runs.length - held} fitted and ${held} held-out runs, by what stands for N`,
      columns: ['fitted', 'held out'],
      rows: compared.map(c => ({ name: `${c.size} count`, cells: [percent(c.fitted), percent(c.held)] })),
    },
    {
      title: '(B) Coefficients of L = E + A/N̄^α + B/D^β, and 90 % bootstrap intervals',
      columns: ['value', 'interval'],
      rows: (['E', 'A', 'alpha', 'B', 'beta'] as const).map(key => {
        const { low, high } = bootstrap.intervals[key];
        const value = compared.find(c => c.size === 'average')!.law[key];
        return { name: key, cells: [value.toPrecision(3), `${low.toPrecision(3)} … ${high.toPrecision(3)}`] };
      }),
    },
  ];
}

/** The paper's theory in numbers: progress summed over the changing size, against the law at the average size. */
function theoryTable(bench: PretrainingBench, scale: Scale, outcomes: readonly Outcome[], law: LawFindings): Table {
  const fitted = averageLaw(law).law;
  const rows = pairsOf(bench, scale, outcomes).map(({ wide, narrow, tokens, ours }) => {
    const curve = { sparsity: pairSparsity([wide, narrow]) };
    const { at, average } = tokenCurve(curve, { prunable: 1 });
    const n = bench.prunable(wide);
    const parts = 400;
    const size = (share: number) => n * (1 - sparsityAt(at(share), curve));
    const active = Array.from({ length: parts }, (_, i) => [(tokens * i) / parts, size((i + 0.5) / parts)] as const);
    const summed = accumulatedLoss(fitted, { tokens, active });
    return {
      name: `width ${wide}, ${(tokens / 1000).toFixed(0)} k tokens`,
      cells: [summed, predict(fitted, average * n, tokens), ours.mean].map(v => v.toFixed(3)),
    };
  });
  return {
    title: 'Theory: loss from the progress at every moment’s size, from the law at N̄, and measured',
    columns: ['summed progress', 'law at N̄', 'measured'],
    rows,
  };
}

function gridFigure({ cells: count }: Scale, outcomes: readonly Outcome[]): Figure {
  const starts = [...new Set(cells.slice(0, count).map(([a]) => a))].sort((a, b) => a - b);
  const points = (start: number) =>
    cells
      .slice(0, count)
      .filter(([a]) => a === start)
      .sort((p, q) => p[1] - q[1])
      .map(cell => {
        const { mean, std } = summarize(outcomes, sparse, gridCell(cell), 'loss');
        return { x: 100 * cell[1], mean, std };
      });
  const svg = lineChart({
    title: 'When to prune',
    subtitle: 'Held-out loss at the same compute and final size, mean ± standard deviation over seeds',
    x: { label: 'end of the pruning, % of the compute', ticks: [25, 50, 75, 100] },
    y: { label: 'loss, nats per character' },
    series: starts.map(start => ({ name: `start at ${100 * start} %`, points: points(start) })),
  });
  return { name: 'schedule', svg };
}

function lawFigure({ runs, compared }: LawFindings): Figure {
  const { law } = compared.find(c => c.size === 'average')!;
  const size = (r: Run) => {
    const [[, n], [at, final] = [r.tokens, n]] = r.active;
    return (n * at + final * (r.tokens - at)) / r.tokens;
  };
  const lengths = [...new Set(runs.map(r => r.tokens))].sort((a, b) => a - b);
  const measured = (isSparse: boolean, tokens: number) => {
    const chosen = runs.filter(r => r.sparse === isSparse && r.tokens === tokens);
    const sizes = [...new Set(chosen.map(size).map(Math.round))].sort((a, b) => a - b);
    return sizes.map(n => {
      const { mean, std } = statistics(chosen.filter(r => Math.round(size(r)) === n).map(r => r.loss));
      return { x: n, mean, std };
    });
  };
  const series = lengths.flatMap(tokens => {
    const label = `${(tokens / 1000).toFixed(0)} k tokens`;
    return [
      { name: `dense, ${label}`, points: measured(false, tokens) },
      { name: `sparse, ${label}`, points: measured(true, tokens) },
    ];
  });
  const svg = lineChart({
    title: 'Loss by the average number of parameters',
    subtitle: `Dense and sparse runs; the law found is ${law.E.toFixed(2)} + ${law.A.toPrecision(3)}/N̄^${law.alpha.toFixed(2)} + ${law.B.toPrecision(3)}/D^${law.beta.toFixed(2)}`,
    x: { label: 'average prunable parameters', scale: 'log' },
    y: { label: 'loss, nats per character' },
    series: series.filter(s => s.points.length > 0),
  });
  return { name: 'law', svg };
}

// ---- the rules

function claimGrid({ cells: count }: Scale, outcomes: readonly Outcome[]): Check {
  const losses = cells.slice(0, count).map(cell => summarize(outcomes, sparse, gridCell(cell), 'loss').mean);
  const [chosen, early, late] = losses;
  const best = losses.indexOf(Math.min(...losses));
  return {
    rule: 'the loss with pruning at 25–75 % of the compute is within 0.01 nats of the best cell, and that of early (0–25 %) or late (75–100 %) pruning at least 0.01 nats worse',
    holds: chosen - losses[best] <= 0.01 && Math.max(early, late) - chosen >= 0.01,
    found: `25–75 %: ${chosen.toFixed(3)}; best ${cellName(cells[best])}: ${losses[best].toFixed(3)}; early ${early.toFixed(3)}, late ${late.toFixed(3)}`,
  };
}

function claimPairs(bench: PretrainingBench, scale: Scale, outcomes: readonly Outcome[]): Check {
  const pairs = pairsOf(bench, scale, outcomes);
  const largest = Math.max(...pairs.map(p => Math.abs(p.difference)));
  const share = Math.max(...pairs.map(p => p.share));
  return {
    rule: 'in each matched pair the losses of the sparse run and of the dense run of its average size differ by at most 0.02 nats in the mean over seeds, while the final size is at most 60 % of the average',
    holds: largest <= 0.02 && share <= 0.6,
    found: `${pairs.length} pairs: largest difference ${largest.toFixed(3)}, mean ${statistics(pairs.map(p => p.difference)).mean.toFixed(3)}; largest final size ${(100 * share).toFixed(0)} % of the average`,
  };
}

function claimLaw({ compared }: LawFindings): Check {
  const held = (size: string) => compared.find(c => c.size === size)!.held;
  const [average, final, initial] = ['average', 'final', 'initial'].map(held);
  return {
    rule: 'the law in the average count has a held-out mean relative error of at most 1 %, at least 2 times smaller than that in the final count and smaller than that in the initial count',
    holds: average <= 0.01 && 2 * average <= final && average < initial,
    found: `average ${percent(average)}, final ${percent(final)}, initial ${percent(initial)}`,
  };
}

function notes(
  bench: PretrainingBench,
  scale: Scale,
  text: Texts,
  outcomes: readonly Outcome[],
  { bootstrap }: LawFindings,
  full: boolean,
): string[] {
  const ours = summarize(outcomes, sparse, gridCell(cells[0]), 'loss').mean;
  const small = summarize(outcomes, baselines.final, { part: 'grid' }, 'loss').mean;
  const most = Math.max(...outcomes.map(o => o.measures.tokens));
  return [
    `Characters of ${text.name}, ${scale.layers} blocks of width ${Math.min(...scale.widths)} to ${Math.max(...scale.pairs.map(p => p[0]))}, contexts of ${scale.context}, ${bench.tokensPerStep} tokens a step, AdamW at ${LEARNING_RATE} with warm-up over 5 % and a cosine over the whole run for all. At most ${(most / text.characters).toFixed(1)} passes over the ${(text.characters / 1e6).toFixed(1)} million characters; losses are those of the validation part.`,
    'Parameters are the linear weights of the blocks; embeddings, which are tied to the output, and norms are not counted. Masks follow magnitudes and are updated every fortieth of a run while it prunes.',
    `At equal compute, sparse pre-training (25–75 %) is ${Math.abs(ours - small).toFixed(3)} nats ${ours < small ? 'below' : 'above'} the dense model of its final size, which sees more tokens; no direction was asked for at this scale.`,
    `Post-training pruning spends 80 % of the compute dense, the rest on fine-tuning at a third of the learning rate. One-shot pruning cuts when half of the compute is spent. The dense networks of grid baselines have the nearest even width, so their compute differs by a few per cent; final sparsities of matched pairs follow from their widths (${scale.pairs.map(p => `${(100 * pairSparsity(p)).toFixed(0)} %`).join(', ')}); masks follow the curve in steps, a little late, so the sparse runs’ average size is 3 to 4 % above that of their dense partners.`,
    bootstrap.undetermined.length > 0
      ? `The runs hardly determine ${bootstrap.undetermined.join(' and ')} (90 % interval over a factor of 3), so coefficients are no constants of nature; predictions inside the range are what was tested.`
      : 'Bootstrap intervals of both exponents lie within a factor of 3.',
    ...(full
      ? []
      : [
          'The paper has 58 to 468 million parameters and up to 20 times the optimal tokens; these models have thousands.',
        ]),
  ];
}

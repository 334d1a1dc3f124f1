import { Random, type Spec } from '@gossamer/tensor';
import type { Dataset } from '../data/dataset.ts';
import { NMGradientFlow, type Recipe } from '../methods/nm/nm-gradient-flow.ts';
import { GPT } from '../models/gpt.ts';
import { ViT } from '../models/vit.ts';
import type { Module } from '../nn/module.ts';
import { Adam, cosineSchedule, warmUp } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { GradientNoise, type GroupNoise, StaticMask, trainingFlops } from '../sparsity/index.ts';
import { modelLayers } from '../sparsity/model.ts';
import { keepLargest } from '../sparsity/remasked.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import { classification, languageModelling, type Task } from '../train/task.ts';
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
  tableOf,
} from './experiment.ts';
import { fit, measure } from './fit.ts';
import { images } from './images.ts';
import { texts } from './texts.ts';

export const experiment: Experiment = {
  slug: 'nm-gradient-flow',
  title: 'N:M progressive gradient flow',
  claim:
    'At high N:M sparsity, letting pruned weights fade out or the pattern tighten in stages beats SR-STE, whose gradients are noisier; at 2:4 they are equal.',
  version: 1,
  seeds: 3,
  run,
};

const decays = ['mdgf-linear', 'mdgf-exponential', 'sdgf-stepwise', 'sdgf-geometric'] as const;
const names: Readonly<Record<string, string>> = {
  dense: 'dense',
  ste: 'STE',
  'sr-ste': 'SR-STE',
  'mdgf-linear': 'MDGF-Linear',
  'mdgf-exponential': 'MDGF-Exponential',
  'sdgf-stepwise': 'SDGF-Stepwise',
  'sdgf-geometric': 'SDGF-Geometric',
};
const decayNames = decays.map(d => names[d]);
const naive = 'one-shot + fine-tune';
const equal = ', equal FLOPs';
const arms = [names.dense, names.ste, names['sr-ste'], naive, ...decayNames];

/** A network, its data, and the training that every arm gets. */
interface Problem {
  readonly name: string;
  /** What is measured, and what a point of it is worth: higher accuracy is better, lower loss is. */
  readonly metric: 'accuracy' | 'loss';
  readonly model: (random: Random) => Module;
  readonly input: Spec;
  readonly task: Task;
  readonly train: Dataset;
  /** Chooses the best recipe. */
  readonly validation: Dataset;
  readonly test: Dataset;
  readonly batchSize: number;
  /** Of every arm, a multiple of 10. */
  readonly steps: number;
  readonly learningRate: number;
}

/** Patterns from mild to sparse; `all` are those that every arm runs on, the others show the course. */
interface Scale {
  readonly patterns: readonly string[];
  readonly all: readonly string[];
}

const few: readonly Recipe[] = ['sr-ste', 'mdgf-linear', 'mdgf-exponential', 'sdgf-stepwise'];

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const problems = await problemsOf(smoke, full);
  const scale: Scale = smoke
    ? { patterns: ['1:16'], all: ['1:16'] }
    : full
      ? { patterns: ['2:4', '1:8', '1:16', '1:32'], all: ['2:4', '1:8', '1:16', '1:32'] }
      : { patterns: ['2:4', '1:8', '1:16'], all: ['1:16'] };
  const benches = problems.map(p => new Bench(p));
  const jobs: Job[] = [];
  for (const seed of seeds) {
    for (const bench of benches) {
      const { problem } = bench;
      const job = (arm: string, pattern: string, measured: () => Promise<Measures>) =>
        jobs.push({ arm, condition: { problem: problem.name, pattern, seed }, run: measured });
      job(names.dense, 'dense', () => bench.dense(seed));
      for (const pattern of scale.patterns) {
        const everything = scale.all.includes(pattern);
        for (const recipe of everything ? (['ste', 'sr-ste', ...decays] as const) : few) {
          job(names[recipe], pattern, () => bench.recipe(recipe, pattern, seed));
        }
        if (everything) job(naive, pattern, () => bench.naive(pattern, seed));
      }
      for (const recipe of ['mdgf-exponential', 'sdgf-stepwise'] as const) {
        job(`${names[recipe]}${equal}`, '1:16', () => bench.equalFlops(recipe, '1:16', seed));
      }
    }
  }
  const outcomes = await execute(jobs);
  return {
    tables: problems.flatMap(p => tables(p, scale, outcomes)),
    checks: [
      claimBetter(problems, scale, outcomes),
      claimGrows(problems, scale, outcomes),
      claimMoments(problems, outcomes),
    ],
    figures: problems.flatMap(p => figures(p, scale, outcomes)),
    notes: [
      `Only feed-forward weights are sparse. Every arm takes the same steps (${problems.map(p => `${p.steps} of ${p.batchSize} on ${p.name}`).join(', ')}) with Adam, no weight decay, gradients clipped at norm 1, warm-up over 5 % and a cosine; decay recipes are dense for 1.25 % and binary for the last 10 % of them. λ_W of SR-STE is 2e-4. “${naive}” trains dense for half of the steps, prunes once and fine-tunes for the other half.`,
      'The best recipe is chosen on validation data, all tables show test data.',
      'Training FLOPs count the products with weights, forward at the density of the step and backward dense; the arms with equal FLOPs take fewer steps, so that they cost what SR-STE does.',
      ...(full
        ? []
        : [
            'The networks are far smaller than those of the paper (ViT-Base, T5X-Base) and see few samples; `--full` trains two layers of width 128 on longer contexts, three layers at 28×28 pixels, and every arm at 2:4 … 1:32. Here STE, MDGF and SDGF of all kinds and one-shot pruning meet at 1:16 only; at 2:4 and 1:8 the best recipe is one of three, without SDGF-Geometric.',
          ]),
    ],
  };
}

async function problemsOf(smoke: boolean, full: boolean): Promise<Problem[]> {
  const length = smoke ? 16 : full ? 64 : 32;
  const text = await texts(smoke ? 'sonnet' : 'tiny-shakespeare', length);
  const [layers, dim] = smoke ? [1, 16] : full ? [2, 128] : [1, 64];
  const size = full ? 28 : 14;
  const [count, kept] = smoke ? [200, 50] : full ? [20_000, 5000] : [10_000, 2000];
  const { train, test } = await images(smoke ? 'digits' : 'fashion-mnist', count + kept, smoke ? 50 : 5000, size);
  const [depth, width] = smoke ? [1, 16] : [full ? 3 : 2, 64];
  const samples = (from: number, to: number) =>
    train.subset(Int32Array.from({ length: to - from }, (_, i) => from + i));
  return [
    {
      name: `ViT, ${smoke ? 'digits' : 'Fashion-MNIST'}`,
      metric: 'accuracy',
      model: random =>
        new ViT({ imageSize: size, patchSize: 7, channels: 1, classes: 10, dim: width, depth, heads: 2, random }),
      input: { dtype: 'float32', shape: [1, 1, size, size] },
      task: classification(),
      train: samples(0, count),
      validation: samples(count, count + kept),
      test,
      batchSize: smoke ? 20 : full ? 64 : 32,
      steps: smoke ? 40 : full ? 2000 : 400,
      learningRate: 2e-3,
    },
    {
      name: `language model, ${smoke ? 'a sonnet' : 'tiny-shakespeare'}`,
      metric: 'loss',
      model: random => new GPT({ vocab: text.vocab, context: length, layers, heads: 2, dim, random }),
      input: { dtype: 'int32', shape: [1, length] },
      task: languageModelling(),
      train: text.train,
      validation: text.valid,
      test: text.test,
      batchSize: smoke ? 4 : full ? 32 : 16,
      steps: smoke ? 40 : full ? 3000 : 600,
      learningRate: full ? 2e-3 : 3e-3,
    },
  ];
}

/** Trains the arms on one problem. */
class Bench {
  readonly problem: Problem;
  readonly #halves = new Map<number, Promise<Snapshot>>();

  constructor(problem: Problem) {
    this.problem = problem;
  }

  async dense(seed: number): Promise<Measures> {
    const model = this.#fresh(seed);
    await this.#train(model, seed, this.problem.steps, []);
    return { ...(await this.#scores(model)), flops: 100 };
  }

  async recipe(recipe: Recipe, pattern: string, seed: number, steps = this.problem.steps): Promise<Measures> {
    const model = this.#fresh(seed);
    const flow = new NMGradientFlow({ recipe, granularity: pattern });
    const window = Math.round(steps / 10);
    const noise = new GradientNoise(flow, { window });
    await this.#train(model, seed, steps, [flow, noise]);
    // The last window that ends before the fine-tuning, when the decay is over.
    const { to } = flow.phases.to > 0 ? flow.phases : { to: 0.9 * steps };
    const end = Math.floor(to / window) * window;
    const records = noise.log.filter(r => r.step === end);
    const mean = (which: 'kept' | 'pruned', key: 'noise' | 'variance' | 'secondMoment') =>
      weighted(
        records.map(r => r[which]),
        key,
      );
    return {
      ...(await this.#scores(model)),
      flops: 100 * (await this.#flops(flow, steps)),
      steps,
      keptMoment: mean('kept', 'secondMoment'),
      prunedMoment: mean('pruned', 'secondMoment'),
      keptVariance: mean('kept', 'variance'),
      prunedVariance: mean('pruned', 'variance'),
      keptNoise: mean('kept', 'noise'),
      prunedNoise: mean('pruned', 'noise'),
    };
  }

  /** With as many steps as cost what SR-STE does. */
  async equalFlops(recipe: Recipe, pattern: string, seed: number): Promise<Measures> {
    const { steps } = this.problem;
    const cost = (r: Recipe) => this.#flops(new NMGradientFlow({ recipe: r, granularity: pattern }), steps, true);
    const share = (await cost('sr-ste')) / (await cost(recipe));
    return this.recipe(recipe, pattern, seed, 10 * Math.floor((share * steps) / 10));
  }

  /** Dense for half of the steps, pruned once, and trained under the mask. */
  async naive(pattern: string, seed: number): Promise<Measures> {
    const model = this.#fresh(seed);
    const half = this.problem.steps / 2;
    if (!this.#halves.has(seed)) {
      this.#halves.set(
        seed,
        this.#train(model, seed, half, []).then(() => snapshot(model)),
      );
    }
    restore(model, await this.#halves.get(seed)!);
    const { layers } = await modelLayers(model, [this.problem.input]);
    const chosen = layers.filter(l => l.name.includes('.mlp.'));
    const mask = keepLargest(chosen, { granularity: pattern });
    await this.#train(model, seed + 1000, half, [new StaticMask(mask)]);
    const density = (name: string, step: number) => (step >= half && mask.has(name) ? mask.density(name) : 1);
    const plan = { steps: 2 * half, samples: 1 };
    const sparse = trainingFlops(layers, plan, (l, step) => density(l.name, step));
    return { ...(await this.#scores(model)), flops: (100 * sparse) / trainingFlops(layers, plan, () => 1) };
  }

  #fresh(seed: number): Module {
    return this.problem.model(new Random(seed).fork('weights'));
  }

  async #train(model: Module, seed: number, steps: number, sparsifiers: readonly Sparsifier[]): Promise<void> {
    const { train, batchSize, task, learningRate } = this.problem;
    const rise = Math.round(0.05 * steps);
    await fit(model, {
      train,
      task,
      steps,
      batchSize,
      seed,
      sparsifiers,
      clip: 1,
      optimizer: m => new Adam(m.parameters(), { learningRate }),
      schedule: n => warmUp(rise, cosineSchedule({ steps: n - rise })),
    });
  }

  async #scores(model: Module): Promise<Measures> {
    const { metric, task, validation, test } = this.problem;
    const factor = metric === 'accuracy' ? 100 : 1;
    const on = async (data: Dataset) => factor * (await measure(model, data, { task, batchSize: 250 }))[metric];
    return { score: await on(test), validation: await on(validation) };
  }

  /** Training FLOPs relative to dense training for the same steps. */
  async #flops(flow: NMGradientFlow, steps: number, prepare = false): Promise<number> {
    const model = this.#fresh(0);
    const found = await modelLayers(model, [this.problem.input]);
    if (prepare) await flow.prepare({ layers: found, steps } as never);
    const density = (name: string, step: number) => (flow.frames.has(name) ? flow.densityAt(name, step) : 1);
    const sparse = trainingFlops(found.layers, { steps, samples: 1 }, (l, step) => density(l.name, step));
    const dense = trainingFlops(found.layers, { steps: this.problem.steps, samples: 1 }, () => 1);
    return sparse / dense;
  }
}

function weighted(groups: readonly GroupNoise[], key: 'noise' | 'variance' | 'secondMoment'): number {
  const count = groups.reduce((n, g) => n + g.count, 0);
  return groups.reduce((sum, g) => sum + g.count * (g[key] ?? 0), 0) / count;
}

// ---- tables and figures

const unit = ({ metric }: Problem) => (metric === 'accuracy' ? 'test accuracy, %' : 'test loss, nats per character');
const digits = ({ metric }: Problem) => (metric === 'accuracy' ? 2 : 3);

function tables(problem: Problem, { patterns }: Scale, outcomes: readonly Outcome[]): Table[] {
  const where = { problem: problem.name };
  const dense = format(summarize(outcomes, names.dense, where, 'score'), digits(problem));
  const sparse = arms.filter(a => a !== names.dense);
  const common = { vary: 'pattern', values: patterns, where };
  const noisy = ['prunedMoment', 'keptMoment', 'prunedVariance', 'keptVariance', 'prunedNoise', 'keptNoise'];
  const highest = patterns.at(-1)!;
  return [
    tableOf(`${problem.name}: ${unit(problem)} (dense ${dense})`, outcomes, {
      ...common,
      arms: sparse,
      measure: 'score',
      digits: digits(problem),
    }),
    {
      title: `${problem.name}: against training FLOPs, 1:16`,
      columns: ['steps', 'training FLOPs, % of dense', unit(problem)],
      rows: [
        names['sr-ste'],
        ...decayNames,
        `${names['mdgf-exponential']}${equal}`,
        `${names['sdgf-stepwise']}${equal}`,
      ]
        .filter(arm => summarize(outcomes, arm, { ...where, pattern: '1:16' }, 'score').n > 0)
        .map(name => {
          const at = (measure: string) => summarize(outcomes, name, { ...where, pattern: '1:16' }, measure);
          return {
            name,
            cells: [at('steps').mean.toFixed(0), at('flops').mean.toFixed(1), format(at('score'), digits(problem))],
          };
        }),
    },
    {
      title: `${problem.name}: gradients of feed-forward weights at the end of the decay, ${highest}`,
      columns: [
        "Adam's v, pruned",
        "Adam's v, kept",
        'variance, pruned',
        'variance, kept',
        'noise, pruned',
        'noise, kept',
      ],
      rows: [names.ste, names['sr-ste'], ...decayNames]
        .filter(arm => summarize(outcomes, arm, { ...where, pattern: highest }, 'score').n > 0)
        .map(name => ({
          name,
          cells: noisy.map(key => {
            const { mean } = summarize(outcomes, name, { ...where, pattern: highest }, key);
            return key.endsWith('Noise') ? mean.toFixed(2) : mean.toExponential(1);
          }),
        })),
    },
  ];
}

/** Share of the weights that a pattern leaves, in percent. */
function left(pattern: string): number {
  const [n, m] = pattern.split(':').map(Number);
  return (100 * n) / m;
}

function figures(problem: Problem, { patterns }: Scale, outcomes: readonly Outcome[]): Figure[] {
  const where = { problem: problem.name };
  const name = problem.metric === 'accuracy' ? 'vit' : 'language-model';
  const sparse = arms.filter(a => a !== names.dense);
  const byPattern = lineChart({
    title: problem.name,
    subtitle: 'Sparse feed-forward weights, the same steps for all; mean ± standard deviation over seeds',
    x: {
      label: 'feed-forward weights left',
      scale: 'log',
      reverse: true,
      ticks: patterns.map(left),
      format: v => patterns.find(p => Math.abs(left(p) - v) < 1e-6) ?? String(v),
    },
    y: { label: unit(problem) },
    series: sparse.map(arm => ({
      name: arm,
      points: patterns.flatMap(pattern => {
        const { mean, std, n } = summarize(outcomes, arm, { ...where, pattern }, 'score');
        return n > 0 ? [{ x: left(pattern), mean, std }] : [];
      }),
    })),
  });
  const point = (arm: string) => {
    const at = { ...where, pattern: '1:16' };
    const { mean, std, n } = summarize(outcomes, arm, at, 'score');
    return n > 0 ? [{ x: summarize(outcomes, arm, at, 'flops').mean, mean, std }] : [];
  };
  const byFlops = lineChart({
    title: `${problem.name}, 1:16`,
    subtitle: 'Against the training FLOPs; a line joins a recipe with equal FLOPs and with equal steps',
    x: { label: 'training FLOPs, % of dense' },
    y: { label: unit(problem) },
    series: sparse
      .map(arm => ({ name: arm, points: [...point(`${arm}${equal}`), ...point(arm)] }))
      .filter(s => s.points.length > 0),
  });
  return [
    { name: `${name}-sparsity`, svg: byPattern },
    { name: `${name}-flops`, svg: byFlops },
  ];
}

// ---- the rules

/** By how much the decay recipe that is best on validation data is better than SR-STE, on test data. */
function gap({ name: problem, metric }: Problem, pattern: string, outcomes: readonly Outcome[]) {
  const where = { problem, pattern };
  const sign = metric === 'accuracy' ? 1 : -1;
  const at = (arm: string, measure: string) => sign * summarize(outcomes, arm, where, measure).mean;
  const [best] = decayNames
    .filter(arm => summarize(outcomes, arm, where, 'score').n > 0)
    .sort((a, b) => at(b, 'validation') - at(a, 'validation'));
  return { best, gap: at(best, 'score') - at(names['sr-ste'], 'score') };
}

const enough = ({ metric }: Problem): number => (metric === 'accuracy' ? 0.5 : 0.01);

function claimBetter(problems: readonly Problem[], { patterns }: Scale, outcomes: readonly Outcome[]): Check {
  const high = patterns.filter(p => left(p) <= 100 / 16);
  const found = problems.flatMap(problem =>
    high.map(pattern => {
      const { best, gap: by } = gap(problem, pattern, outcomes);
      const text = `${problem.name} ${pattern}: ${best} by ${by.toFixed(digits(problem))}`;
      return { holds: by >= enough(problem), text };
    }),
  );
  return {
    rule: 'at 1:16 and sparser, the best decay recipe beats SR-STE by at least 0.5 points (ViT) or 0.01 nats (language model), in the mean over seeds, in each pattern of at least one of the two problems',
    holds: problems.some((_, i) => found.slice(i * high.length, (i + 1) * high.length).every(f => f.holds)),
    found: found.map(f => f.text).join('; '),
  };
}

function claimGrows(problems: readonly Problem[], { patterns }: Scale, outcomes: readonly Outcome[]): Check {
  const [mild, high] = [patterns[0], patterns.at(-1)!];
  const found = problems.map(problem => {
    const [at, then] = [mild, high].map(p => gap(problem, p, outcomes).gap);
    const even = problem.metric === 'accuracy' ? 0.3 : 0.01;
    return {
      holds: Math.abs(at) <= even && then > at,
      text: `${problem.name}: ${at.toFixed(digits(problem))} at ${mild}, ${then.toFixed(digits(problem))} at ${high}`,
    };
  });
  return {
    rule: 'in at least one of the two problems the gap between the best decay recipe and SR-STE is within ±0.3 points (ViT) or ±0.01 nats (language model) at 2:4, and larger at the highest sparsity',
    holds: found.some(f => f.holds),
    found: found.map(f => f.text).join('; '),
  };
}

function claimMoments(problems: readonly Problem[], outcomes: readonly Outcome[]): Check {
  const found = problems.map(({ name: problem }) => {
    const at = (arm: string) => summarize(outcomes, arm, { problem, pattern: '1:16' }, 'prunedMoment').mean;
    const [flow, ste] = [at(names['mdgf-exponential']), at(names['sr-ste'])];
    return { holds: flow < ste, text: `${problem}: ${flow.toExponential(2)} against ${ste.toExponential(2)}` };
  });
  return {
    rule: "at 1:16, Adam's mean second moment on pruned weights is lower at the end of the decay with MDGF-Exponential than with SR-STE, in both problems",
    holds: found.every(f => f.holds),
    found: found.map(f => f.text).join('; '),
  };
}

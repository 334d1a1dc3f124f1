import { Random } from '@gossamer/tensor';
import { DataLoader } from '../data/loader.ts';
import { EdgePopup } from '../methods/pruning/edge-popup.ts';
import { type Criterion, criteriaOverlap } from '../methods/pruning/jackpot-diagnostics.ts';
import { LotteryJackpots, type LotteryJackpotsOptions } from '../methods/pruning/lottery-jackpots.ts';
import { oneShotMagnitude } from '../methods/pruning/one-shot-magnitude.ts';
import { RigL } from '../methods/sparse-training/rigl.ts';
import type { Module } from '../nn/module.ts';
import { cosineSchedule, SGD } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import type { Mask } from '../sparsity/mask.ts';
import { StaticMask } from '../sparsity/masked.ts';
import { statistics } from '../statistics.ts';
import type { Progress } from '../train/progress.ts';
import { recalibrateBatchNorm } from '../train/recalibrate.ts';
import { restore } from '../train/snapshot.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
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
  percent,
  summarize,
  tableOf,
} from './experiment.ts';
import { images } from './images.ts';
import { MaskSearchBench, processorTime } from './mask-search-bench.ts';
import { ConvNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'lottery-jackpots',
  title: 'Lottery jackpots in pretrained networks',
  claim:
    'A pretrained network contains accurate sparse networks that mask search alone finds, without changing a weight; starting from the magnitude mask makes the search several times shorter, and restricting the swaps makes it smoother.',
  version: 1,
  seeds: 3,
  run,
};

const task = classification();
const jackpots = 'jackpots';
const third = 'jackpots, a third of the epochs';
const free = 'jackpots, no restriction';
const randomInit = 'jackpots, random init';
const naive = 'magnitude, no search';
const tuned = 'magnitude + fine-tuning';
const popup = 'edge-popup, random mask';
const popupRandom = 'edge-popup, random weights';
const rigl = 'RigL';
const names = [jackpots, naive, tuned, third, free, randomInit, popup, popupRandom, rigl] as const;
type Arm = (typeof names)[number];
/** Arms with diagnostics of their search. */
const searches = [jackpots, free, randomInit] as const;
const criteria: readonly Criterion[] = ['magnitude', 'SNIP', 'Taylor', 'GraSP', 'random'];
/** Where the rules look. */
const main = 0.9;

interface Plan {
  readonly sparsities: Readonly<Record<Arm, readonly number[]>>;
  readonly train: number;
  readonly test: number;
  readonly side: number;
  readonly widths: readonly number[];
  readonly epochs: number;
  readonly pretrainEpochs: number;
}

function planOf(smoke: boolean, full: boolean): Plan {
  const all = smoke ? [main] : [0.8, main, 0.95];
  const few = full ? all : [main];
  const sparsities: Plan['sparsities'] = {
    [jackpots]: all,
    [naive]: all,
    [tuned]: all,
    [third]: few,
    [free]: few,
    [randomInit]: few,
    [popup]: few,
    [popupRandom]: few,
    [rigl]: few,
  };
  if (smoke) {
    return { sparsities, train: 200, test: 100, side: 14, widths: [8, 16], epochs: 3, pretrainEpochs: 3 };
  }
  if (full) {
    const widths = [32, 64, 64, 128];
    return { sparsities, train: 20_000, test: 10_000, side: 28, widths, epochs: 30, pretrainEpochs: 20 };
  }
  return { sparsities, train: 3000, test: 3000, side: 14, widths: [16, 32, 64], epochs: 10, pretrainEpochs: 8 };
}

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const plan = planOf(smoke, full);
  const data = await images(smoke ? 'digits' : 'fashion-mnist', plan.train, plan.test, plan.side);
  const bench = new MaskSearchBench({
    name: 'conv net with batch norm',
    model: random => new ConvNet(1, plan.widths, random),
    data,
    pretrainEpochs: plan.pretrainEpochs,
    epochs: plan.epochs,
    batchSize: smoke ? 20 : 50,
    learningRate: 0.05,
  });
  const arms = armsOf(bench, smoke);
  const jobs: Job[] = seeds.flatMap(seed => [
    {
      arm: 'dense',
      condition: { seed },
      run: async () => ({ accuracy: await bench.accuracy(await bench.pretrained(seed)) }),
    },
    ...names.flatMap(arm =>
      plan.sparsities[arm].map(sparsity => ({
        arm,
        condition: { sparsity, seed },
        run: () => arms[arm](sparsity, seed),
      })),
    ),
  ]);
  const outcomes = await execute(jobs);
  const dense = format(summarize(outcomes, 'dense', {}, 'accuracy'));
  const values = plan.sparsities[jackpots];
  const common = { vary: 'sparsity', values, label: percent };
  const unadjusted = summarize(outcomes, naive, { sparsity: main }, 'unadjusted');
  return {
    tables: [
      tableOf(`Fashion-MNIST: test accuracy, % (dense ${dense}), by sparsity`, outcomes, {
        ...common,
        arms: names,
        measure: 'accuracy',
      }),
      {
        title: `Searched mask at ${percent(main)}: share of its weights that a criterion keeps, too`,
        columns: criteria,
        rows: searches.map(arm => ({
          name: arm,
          cells: criteria.map(c => format(summarize(outcomes, arm, { sparsity: main }, `overlap ${c}`), 3)),
        })),
      },
      {
        title: `The search at ${percent(main)}`,
        columns: [
          'swaps a step',
          'variance of the loss change',
          'swap effect, ×10⁻³',
          'predicted, ×10⁻³',
          'correlation',
        ],
        rows: searches.map(arm => ({
          name: arm,
          cells: [
            ['swaps', 1],
            ['roughness', 4],
            ['effect', 2],
            ['predicted', 2],
            ['correlation', 2],
          ].map(([measure, digits]) =>
            format(summarize(outcomes, arm, { sparsity: main }, String(measure)), Number(digits)),
          ),
        })),
      },
    ],
    checks: [strong(outcomes), fast(outcomes), smooth(outcomes), similar(outcomes)],
    figures: [figure(outcomes, plan)],
    notes: [
      `A conv net of ${plan.widths.join(', ')} filters with batch norm, pretrained for ${plan.pretrainEpochs} epochs on ${data.train.length} images of Fashion-MNIST at ${plan.side}×${plan.side} pixels, tested on ${data.test.length}. Searches and fine-tuning take ${plan.epochs} epochs; RigL and edge-popup on random weights, which have no pretraining, ${plan.pretrainEpochs + plan.epochs}.`,
      'The classifier is dense but in edge-popup on random weights and RigL. Biases and weights are frozen in all searches; scales and shifts of batch norms learn in all arms. The magnitude mask without search has its batch statistics measured again on the training data under the mask' +
        ` (without that: ${format(unadjusted)} % at ${percent(main)}).`,
      'The loss change is that of the training loss from one step to the next, whose mini-batches differ. The swap effect is the change of one mini-batch’s loss by one mask update, at every tenth step, beside its first-order prediction; the correlation is over those steps.',
      'SNIP is |g·w| of 128 samples in training mode, Taylor the same of 512 in evaluation mode, GraSP the product with the Hessian of 512; all of the pretrained dense network. They keep as many weights in each layer as the searched mask.',
    ],
  };
}

// ---- arms

type RunArm = (sparsity: number, seed: number) => Promise<Measures>;

function armsOf(bench: MaskSearchBench, smoke: boolean): Record<Arm, RunArm> {
  const { epochs, pretrainEpochs } = bench.problem;
  const magnitudeMask = async (model: Module, sparsity: number): Promise<Mask> => {
    const { layers } = await bench.layers(model);
    return oneShotMagnitude(layers, { sparsity, allocation: 'global', exclude: ['last'] });
  };
  // A smoke run trains too little to show.
  const untrained = smoke;
  const searched =
    (options: Partial<LotteryJackpotsOptions> = {}): RunArm =>
    (sparsity, seed) =>
      search(bench, seed, new LotteryJackpots({ sparsity, probe: 10, untrained, ...options }), epochs);
  return {
    [jackpots]: searched(),
    [free]: searched({ restriction: 'none' }),
    [randomInit]: searched({ init: 'random' }),
    [third]: (sparsity, seed) =>
      bench.sparsified(seed, new LotteryJackpots({ sparsity, untrained }), {
        epochs: Math.max(1, Math.floor(epochs / 3)),
      }),
    [naive]: async (sparsity, seed) => {
      const model = await bench.pretrained(seed);
      const mask = await magnitudeMask(model, sparsity);
      const { parameters } = await bench.layers(model);
      for (const name of mask.names) {
        const values = (await parameters.get(name)!.data()).slice();
        mask.apply(name, values);
        parameters.get(name)!.set(values);
      }
      const unadjusted = await bench.accuracy(model);
      const loader = new DataLoader(bench.problem.data.train, { batchSize: 100, shuffle: true, seed });
      await recalibrateBatchNorm(model, loader);
      return { accuracy: await bench.accuracy(model), unadjusted };
    },
    [tuned]: (sparsity, seed) =>
      bench.fromPretrained(seed, async model => {
        const mask = await magnitudeMask(model, sparsity);
        await bench.fit(model, seed, { phase: 1, sparsifiers: [new StaticMask(mask)] });
      }),
    [popup]: (sparsity, seed) =>
      bench.sparsified(seed, new EdgePopup({ sparsity, exclude: ['last'], norms: 'trained' })),
    [popupRandom]: async (sparsity, seed) => {
      const model = bench.fresh(seed);
      const sparsifier = new EdgePopup({ sparsity, weights: 'signed-constant', norms: 'trained' });
      const train = () => bench.fit(model, seed, { epochs: pretrainEpochs + epochs, sparsifiers: [sparsifier] });
      const seconds = await processorTime(train);
      return { accuracy: await bench.accuracy(model), seconds };
    },
    [rigl]: async (sparsity, seed) => {
      const model = bench.fresh(seed);
      const steps = Math.floor(bench.problem.data.train.length / bench.problem.batchSize) * (pretrainEpochs + epochs);
      const sparsifier = new RigL({ sparsity, interval: Math.max(1, Math.round(steps / 40)) });
      const train = () => bench.fit(model, seed, { epochs: pretrainEpochs + epochs, sparsifiers: [sparsifier] });
      const seconds = await processorTime(train);
      return { accuracy: await bench.accuracy(model), seconds };
    },
  };
}

/** A search on the pretrained network with everything that is worth knowing about it. */
async function search(
  bench: MaskSearchBench,
  seed: number,
  sparsifier: LotteryJackpots,
  epochs: number,
): Promise<Measures> {
  const { data, batchSize, learningRate } = bench.problem;
  const model = await bench.pretrained(seed);
  const train = new DataLoader(data.train, { batchSize, shuffle: true, dropLast: true, seed: 1000 + seed });
  const losses: number[] = [];
  const seconds = await processorTime(() =>
    new Trainer({
      model,
      task,
      train,
      optimizer: new SGD(model.parameters(), { learningRate, momentum: 0.9, weightDecay: 5e-4 }),
      epochs,
      schedule: cosineSchedule({ steps: epochs * train.length }),
      sparsifiers: [sparsifier],
      seed,
      progress: recordLosses(losses),
    }).run(),
  );
  const accuracy = await bench.accuracy(model);
  const changes = losses.slice(1).map((l, i) => l - losses[i]);
  const { effects, log } = sparsifier;
  const overlap = await overlapsOf(bench, seed, sparsifier.mask!);
  return {
    accuracy,
    seconds,
    swaps: statistics(log.map(l => l.made)).mean,
    roughness: statistics(changes).std ** 2,
    effect: 1e3 * statistics(effects.map(e => e.actual)).mean,
    predicted: 1e3 * statistics(effects.map(e => e.predicted)).mean,
    correlation: correlation(
      effects.map(e => e.predicted),
      effects.map(e => e.actual),
    ),
    ...Object.fromEntries(criteria.map(c => [`overlap ${c}`, overlap[c]])),
  };
}

async function overlapsOf(bench: MaskSearchBench, seed: number, mask: Mask): Promise<Record<Criterion, number>> {
  const model = bench.fresh(seed);
  restore(model, await bench.trained(seed));
  const layers = await bench.layers(model);
  const loader = new DataLoader(bench.problem.data.train, { batchSize: 128, shuffle: true, seed });
  const batches = await Promise.all(Array.from({ length: Math.min(4, loader.length) }, (_, i) => loader.batchAt(0, i)));
  return criteriaOverlap(mask, { model, task, batches, layers }, new Random(seed).fork('overlap'));
}

/** A display that only keeps each step's loss. */
function recordLosses(losses: number[]): Progress {
  return {
    start: () => ({
      update: (_, values) => {
        losses.push(Number(values?.loss));
      },
      stop: () => {},
      [Symbol.dispose]: () => {},
    }),
    log: () => {},
    stop: () => {},
    [Symbol.dispose]: () => {},
  };
}

/** Pearson's; 0 where one side does not vary. */
function correlation(x: readonly number[], y: readonly number[]): number {
  const [a, b] = [statistics(x), statistics(y)];
  if (a.std === 0 || b.std === 0) return 0;
  const sum = x.reduce((s, v, i) => s + (v - a.mean) * (y[i] - b.mean), 0);
  return sum / ((x.length - 1) * a.std * b.std);
}

// ---- the rules

const at = (outcomes: readonly Outcome[], arm: Arm, measure = 'accuracy') =>
  summarize(outcomes, arm, { sparsity: main }, measure).mean;

function strong(outcomes: readonly Outcome[]): Check {
  const [found, plain, upper] = ([jackpots, naive, tuned] as const).map(arm => at(outcomes, arm));
  return {
    rule: 'at 90 %, jackpots are at least 10 points above the magnitude mask without search and at most 2 points below the same mask fine-tuned',
    holds: found - plain >= 10 && upper - found <= 2,
    found: `${found.toFixed(2)} %, against ${plain.toFixed(2)} % without search and ${upper.toFixed(2)} % fine-tuned`,
  };
}

function fast(outcomes: readonly Outcome[]): Check {
  const [short, long] = [at(outcomes, third), at(outcomes, randomInit)];
  return {
    rule: 'at 90 %, jackpots searched for a third of the epochs are at least as accurate as a search from a random mask with all of them',
    holds: short >= long,
    found: `${short.toFixed(2)} % after a third, ${long.toFixed(2)} % from a random mask`,
  };
}

function smooth(outcomes: readonly Outcome[]): Check {
  const arms = [jackpots, free] as const;
  const [with_, without] = arms.map(arm => at(outcomes, arm));
  const [calm, rough] = arms.map(arm => at(outcomes, arm, 'roughness'));
  return {
    rule: 'at 90 %, with the restriction accuracy is at least that without, and the variance of the loss change from step to step is lower',
    holds: with_ >= without && calm < rough,
    found: `${with_.toFixed(2)} % against ${without.toFixed(2)} %; variance ${calm.toFixed(4)} against ${rough.toFixed(4)}`,
  };
}

function similar(outcomes: readonly Outcome[]): Check {
  const found = criteria.map(c => ({ c, share: at(outcomes, jackpots, `overlap ${c}`) }));
  const [magnitude, ...others] = found;
  return {
    rule: 'at 90 %, of all criteria the magnitude mask overlaps most with the searched one, by at least 0.8 of its weights',
    holds: magnitude.share >= 0.8 && others.every(o => o.share <= magnitude.share),
    found: found.map(({ c, share }) => `${c} ${share.toFixed(3)}`).join(', '),
  };
}

// ---- figure

function figure(outcomes: readonly Outcome[], { sparsities }: Plan): Figure {
  const drawn: readonly Arm[] = [jackpots, tuned, naive, randomInit, popup, popupRandom, rigl];
  const svg = lineChart({
    title: 'Mask search on a frozen pretrained network: conv net, Fashion-MNIST',
    subtitle: 'Test accuracy, mean ± standard deviation over seeds',
    x: {
      label: 'weights left',
      scale: 'log',
      reverse: true,
      ticks: sparsities[jackpots].map(s => 100 * (1 - s)),
      format: v => `${+v.toFixed(1)} %`,
    },
    y: { label: 'test accuracy, %' },
    series: drawn.map(arm => ({
      name: arm,
      points: sparsities[arm].map(s => {
        const { mean, std } = summarize(outcomes, arm, { sparsity: s }, 'accuracy');
        return { x: 100 * (1 - s), mean, std };
      }),
    })),
  });
  return { name: 'accuracy', svg };
}

import { Random, type Spec } from '@gossamer/tensor';
import type { ArrayDataset, Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { type ImpState, imp } from '../methods/pruning/imp.ts';
import { ensemble, interpolate, spreadOf } from '../methods/pruning/soup-diagnostics.ts';
import { initialRate, type Retraining, retraining } from '../methods/pruning/soup-retraining.ts';
import { recalibrate, sparseModelSoups } from '../methods/pruning/sparse-model-soups.ts';
import type { Module } from '../nn/module.ts';
import { linearSchedule } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { applyMask, type Mask, magnitude, modelLayers, prune } from '../sparsity/index.ts';
import { type Statistics, statistics } from '../statistics.ts';
import { averageSnapshots } from '../train/average.ts';
import { accuracy } from '../train/calibration.ts';
import { predict } from '../train/predict.ts';
import { restore, type Snapshot, snapshot } from '../train/snapshot.ts';
import { corruptedImages } from './corrupted.ts';
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
  tableOf,
} from './experiment.ts';
import { accuracyOf, fit } from './fit.ts';
import { images } from './images.ts';
import { ConvNet } from './small-models.ts';

export const experiment: Experiment = {
  slug: 'sparse-model-soups',
  title: 'Sparse Model Soups',
  claim:
    'Averaging copies that were retrained under one mask, in every phase of iterative pruning, beats the copies, retraining for as long, and averaging networks with different masks, on corrupted images, too.',
  version: 1,
  seeds: 3,
  run,
};

interface Scale {
  readonly train: number;
  readonly test: number;
  /** Test images at each of nine corruptions. */
  readonly corrupted: number;
  readonly side: number;
  readonly widths: readonly number[];
  readonly pretrain: number;
  readonly epochs: number;
}

const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: { train: 300, test: 100, corrupted: 30, side: 14, widths: [4, 8], pretrain: 2, epochs: 1 },
  standard: { train: 7000, test: 4000, corrupted: 600, side: 16, widths: [16, 32, 64], pretrain: 10, epochs: 2 },
  full: { train: 20_000, test: 4000, corrupted: 4000, side: 32, widths: [16, 32, 64], pretrain: 10, epochs: 3 },
};

const target = 0.98;
const phases = 3;
const copies = 3;
const ladder = Array.from({ length: phases }, (_, i) => 1 - (1 - target) ** ((i + 1) / phases));

/** Of the retraining and of the pretraining, as the paper has it for CIFAR-10. */
const rates = { learningRate: 0.1, weightDecay: 5e-4 };

const arms = ['SMS', 'IMP, mean', 'IMP, best', 'IMP+', 'IMP-RePrune', 'copies, mean', 'copies, best', 'ensemble'];

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const bench = await SoupBench.open(smoke, scale);
  const jobs: Job[] = seeds.flatMap(seed => [
    { arm: 'dense', condition: { seed }, run: () => bench.dense(seed) },
    { arm: 'SMS', condition: { seed }, run: () => bench.soup(seed) },
    { arm: 'IMP', condition: { seed }, run: () => bench.imp(seed) },
    { arm: 'IMP+', condition: { seed }, run: () => bench.impPlus(seed) },
  ]);
  const all = await execute(jobs);
  const outcomes = all.flatMap(byPhase);
  const dense = (measure: string) =>
    format(statistics(all.filter(o => o.arm === 'dense').map(o => o.measures[measure])));
  const common = { vary: 'phase', values: ladder.map((_, i) => i + 1), label: sparsityOf, arms };
  return {
    tables: [
      tableOf(`test accuracy, % (dense ${dense('accuracy')}), by sparsity`, outcomes, {
        ...common,
        measure: 'accuracy',
      }),
      tableOf(`accuracy on corrupted test images, % (dense ${dense('corrupted')}), by sparsity`, outcomes, {
        ...common,
        measure: 'corrupted',
      }),
      diagnostics(outcomes),
    ],
    checks: [claimCandidates(outcomes), claimPlus(outcomes), claimReprune(outcomes), claimCorrupted(outcomes)],
    figures: [figure('accuracy', outcomes), figure('corrupted', outcomes)],
    notes: [
      `A convolutional network with batch norm of ${scale.widths.join('-')} filters, ${scale.train} training images of ${scale.side}×${scale.side} pixels, ${scale.pretrain} epochs of pretraining, ${scale.epochs} of each retraining (${copies * scale.epochs} of IMP+), linear decay from 0.1 in all. Tested on ${scale.test} images; corrupted are ${scale.corrupted} of them by noise, blur and less contrast at three levels each.`,
      `IMP are ${copies} chains that each prune their own network; IMP-RePrune averages those of a phase, prunes the average again and recalibrates it. Copies are the networks that a soup is the average of; from the second phase on they have the soup before to start from, so that the chains of IMP are the fairer candidates. The ensemble averages the predictions of the copies and costs ${copies} passes.`,
      'The best chain of IMP is the best on the test images, for each measure anew, which favours that baseline.',
      'What varies between copies is the order of the batches; other factors, greedy soups and the other retraining schedules are implemented and not compared here.',
    ],
  };
}

/** A phase's measures are kept under `phase arm measure`. */
const key = (phase: number, arm: string, measure: string): string => `${phase} | ${arm} | ${measure}`;

const byPhase = ({ condition, measures, seconds }: Outcome): Outcome[] => {
  const found = new Map<string, Outcome & { measures: Record<string, number> }>();
  for (const [name, value] of Object.entries(measures)) {
    const [phase, arm, measure] = name.split(' | ');
    if (measure === undefined) continue;
    const id = `${phase} | ${arm}`;
    const row = found.get(id) ?? { arm, condition: { ...condition, phase: Number(phase) }, measures: {}, seconds };
    row.measures[measure] = value;
    found.set(id, row);
  }
  return [...found.values()];
};

class SoupBench {
  readonly #train: ArrayDataset;
  readonly #test: Dataset;
  readonly #corrupted: ReadonlyMap<string, Dataset>;
  readonly #scale: Scale;
  readonly #input: Spec;
  readonly #pretrained = new Map<number, Promise<Snapshot>>();

  static async open(smoke: boolean, scale: Scale): Promise<SoupBench> {
    const name = smoke ? 'digits' : 'cifar-10';
    const { train, test } = await images(name, scale.train, scale.test, scale.side);
    return new SoupBench(scale, train, test, await corruptedImages(name, scale.corrupted, scale.side));
  }

  private constructor(scale: Scale, train: ArrayDataset, test: Dataset, corrupted: ReadonlyMap<string, Dataset>) {
    this.#scale = scale;
    this.#train = train;
    this.#test = test;
    this.#corrupted = corrupted;
    const { dtype, shape } = train.fields.inputs;
    this.#input = { dtype, shape: [1, ...shape.slice(1)] };
  }

  async dense(seed: number): Promise<Measures> {
    return this.#measure(await this.#pretrainedModel(seed));
  }

  async soup(seed: number): Promise<Measures> {
    const model = await this.#pretrainedModel(seed);
    const measures: Record<string, number> = {};
    const soups = sparseModelSoups({
      ...this.#options(seed),
      model,
      inputs: [this.#input],
      sparsity: target,
      phases,
      copies,
      train: r => this.#retrain(model, r),
    });
    const names = model.parameters().map(p => p.name);
    for await (const { phase, candidates, soup, mask } of soups) {
      const note = (arm: string, found: Measures) => put(measures, phase, arm, found);
      note('SMS', { ...(await this.#measure(model)), nonzeros: nonzeros(soup.weights, mask), kept: mask.kept() });
      const each: Measures[] = [];
      for (const { weights } of candidates) each.push(await this.#measure(model, weights));
      note('copies, mean', mean(each));
      note('copies, best', best(each));
      const [a, b] = candidates.map(c => c.weights);
      await this.#load(model, interpolate(a, b), seed);
      const halfway = await accuracyOf(model, this.#test);
      const { distances, angles, barycentre } = spreadOf(
        candidates.map(c => c.weights),
        names,
      );
      note('diagnostics', {
        halfway,
        barrier: (each[0].accuracy + each[1].accuracy) / 2 - halfway,
        distance: statistics(distances).mean,
        angle: statistics(angles).mean,
        barycentre,
      });
      const together = { accuracy: 0, corrupted: 0 };
      together.accuracy = await this.#ensemble(model, candidates, this.#test);
      for (const data of this.#corrupted.values()) {
        together.corrupted += (await this.#ensemble(model, candidates, data)) / this.#corrupted.size;
      }
      note('ensemble', together);
      restore(model, soup.weights);
    }
    return measures;
  }

  /** Chains of their own, and what averaging them makes. */
  async imp(seed: number): Promise<Measures> {
    const measures: Record<string, number> = {};
    const chains: { found: Measures; state: ImpState }[][] = [];
    for (let copy = 0; copy < copies; copy++) chains.push(await this.#chain(seed, copy, this.#scale.epochs));
    const model = await this.#pretrainedModel(seed);
    const found = await modelLayers(model, [this.#input]);
    for (let phase = 1; phase <= phases; phase++) {
      const each = chains.map(chain => chain[phase - 1]);
      put(measures, phase, 'IMP, mean', mean(each.map(e => e.found)));
      put(measures, phase, 'IMP, best', best(each.map(e => e.found)));
      await this.#load(model, averageSnapshots(each.map(e => e.state.weights)), seed);
      const { layers } = await modelLayers(model, [this.#input]);
      const sparsity = each[0].state.mask!.sparsity();
      const mask = prune(layers, l => magnitude(l.values), { sparsity, allocation: 'global' });
      await applyMask(found, mask);
      await recalibrate(model, this.#options(seed));
      const reached = { nonzeros: nonzeros(await snapshot(model), mask), kept: mask.kept() };
      put(measures, phase, 'IMP-RePrune', { ...(await this.#measure(model)), ...reached });
    }
    return measures;
  }

  async impPlus(seed: number): Promise<Measures> {
    const measures: Record<string, number> = {};
    const chain = await this.#chain(seed, 0, copies * this.#scale.epochs);
    chain.forEach(({ found }, i) => {
      put(measures, i + 1, 'IMP+', found);
    });
    return measures;
  }

  async #chain(seed: number, copy: number, epochs: number): Promise<{ found: Measures; state: ImpState }[]> {
    const model = await this.#pretrainedModel(seed);
    const options = { ...this.#options(seed), epochs };
    const rounds = imp({
      model,
      inputs: [this.#input],
      sparsity: target,
      rounds: phases,
      rewind: 'none',
      from: { round: 0, mask: undefined, weights: await this.#pretrain(seed), rewind: undefined },
      train: ({ round, mask, sparsifiers }) => {
        const plan = retraining(options, { phase: round, copy, copies, rate: initialRate(options, 0) });
        return this.#retrain(model, { ...plan, mask: mask!, sparsifiers });
      },
    });
    const done: { found: Measures; state: ImpState }[] = [];
    for await (const { state } of rounds) done.push({ found: await this.#measure(model), state });
    return done;
  }

  #options(seed: number) {
    const { epochs, pretrain: pretrainEpochs } = this.#scale;
    return { ...rates, epochs, pretrainEpochs, seed, recalibration: { data: this.#train } };
  }

  async #retrain(model: Module, { seed, epochs, learningRate, schedule, sparsifiers }: Retraining): Promise<void> {
    await fit(model, { train: this.#train, epochs, seed, learningRate, schedule, sparsifiers });
  }

  async #pretrainedModel(seed: number): Promise<Module> {
    const model = this.#fresh(seed);
    restore(model, await this.#pretrain(seed));
    return model;
  }

  #fresh(seed: number): Module {
    return new ConvNet(this.#input.shape[1], this.#scale.widths, new Random(seed).fork('model'));
  }

  #pretrain(seed: number): Promise<Snapshot> {
    let state = this.#pretrained.get(seed);
    if (!state) {
      state = (async () => {
        const model = this.#fresh(seed);
        const { learningRate } = rates;
        const schedule = (steps: number) => linearSchedule({ steps });
        await fit(model, { train: this.#train, epochs: this.#scale.pretrain, seed, learningRate, schedule });
        return snapshot(model);
      })();
      this.#pretrained.set(seed, state);
    }
    return state;
  }

  async #load(model: Module, weights: Snapshot, seed: number): Promise<void> {
    restore(model, weights);
    await recalibrate(model, this.#options(seed));
  }

  /** Accuracies in percent, of the model or of it with other weights. */
  async #measure(model: Module, weights?: Snapshot): Promise<Measures> {
    if (weights) restore(model, weights);
    const found: Record<string, number> = { accuracy: await accuracyOf(model, this.#test), corrupted: 0 };
    for (const [kind, data] of this.#corrupted) {
      found[kind] = await accuracyOf(model, data);
      found.corrupted += found[kind] / this.#corrupted.size;
    }
    return found;
  }

  async #ensemble(model: Module, candidates: readonly { weights: Snapshot }[], data: Dataset): Promise<number> {
    const logits = [];
    let labels = new Int32Array();
    for (const { weights } of candidates) {
      restore(model, weights);
      const found = await predict(model, new DataLoader(data, { batchSize: Math.min(500, data.length) }));
      logits.push(found.logits);
      labels = new Int32Array(found.labels);
    }
    return 100 * accuracy(ensemble(logits), labels);
  }
}

function put(measures: Record<string, number>, phase: number, arm: string, found: Measures): void {
  for (const [measure, value] of Object.entries(found)) measures[key(phase, arm, measure)] = value;
}

const over = (each: readonly Measures[], pick: (values: number[]) => number): Measures =>
  Object.fromEntries(Object.keys(each[0]).map(name => [name, pick(each.map(m => m[name]))]));
const mean = (each: readonly Measures[]) => over(each, values => statistics(values).mean);
const best = (each: readonly Measures[]) => over(each, values => Math.max(...values));

const nonzeros = (weights: Snapshot, mask: Mask): number =>
  mask.names.reduce((n, name) => n + weights.get(name)!.filter(w => w !== 0).length, 0);

// ---- tables and figures

const sparsityOf = (phase: string | number): string => `${(100 * ladder[Number(phase) - 1]).toFixed(1)} %`;

function diagnostics(outcomes: readonly Outcome[]) {
  const rows: [name: string, measure: string][] = [
    ['accuracy halfway between two copies, %', 'halfway'],
    ['loss of accuracy there, points', 'barrier'],
    ['mean distance of two copies', 'distance'],
    ['mean angle of two copies, degrees', 'angle'],
    ['largest distance from the mean', 'barycentre'],
  ];
  return {
    title: 'how far apart the copies of a soup lie, by sparsity',
    columns: ladder.map((_, i) => sparsityOf(i + 1)),
    rows: rows.map(([name, measure]) => ({
      name,
      cells: ladder.map((_, i) => format(at(outcomes, 'diagnostics', i + 1, measure))),
    })),
  };
}

const subtitles = {
  accuracy: 'Test accuracy after each phase of pruning',
  corrupted: 'Accuracy on corrupted test images after each phase',
} as const;

function figure(measure: keyof typeof subtitles, outcomes: readonly Outcome[]): Figure {
  const svg = lineChart({
    title: 'Sparse Model Soups, CIFAR-10',
    subtitle: `${subtitles[measure]}, mean ± standard deviation over seeds`,
    x: {
      label: 'weights left',
      scale: 'log',
      reverse: true,
      ticks: ladder.map(s => 100 * (1 - s)),
      format: v => `${+v.toFixed(1)} %`,
    },
    y: { label: 'accuracy, %' },
    series: arms
      .filter(arm => !arm.startsWith('copies'))
      .map(arm => ({
        name: arm,
        points: ladder.map((s, i) => ({ x: 100 * (1 - s), ...at(outcomes, arm, i + 1, measure) })),
      })),
  });
  return { name: measure, svg };
}

// ---- the rules

function at(outcomes: readonly Outcome[], arm: string, phase: number, measure = 'accuracy'): Statistics {
  return statistics(outcomes.filter(o => o.arm === arm && o.condition.phase === phase).map(o => o.measures[measure]));
}

const points = (x: number): string => `${x >= 0 ? '+' : ''}${x.toFixed(2)}`;
const each = (values: readonly number[]): string => values.map(points).join(', ');

/** How far the soup lies above an arm at each phase, in points. */
const gains = (outcomes: readonly Outcome[], arm: string, measure = 'accuracy'): number[] =>
  ladder.map((_, i) => at(outcomes, 'SMS', i + 1, measure).mean - at(outcomes, arm, i + 1, measure).mean);

function claimCandidates(outcomes: readonly Outcome[]): Check {
  const [overMean, overBest] = [gains(outcomes, 'IMP, mean'), gains(outcomes, 'IMP, best')];
  return {
    rule: 'the soup is at least 0.3 points above the mean candidate (IMP) at every phase, and at least as good as the best candidate at 2 of 3 phases',
    holds: overMean.every(g => g >= 0.3) && overBest.filter(g => g >= 0).length >= 2,
    found: `above the mean ${each(overMean)}; above the best ${each(overBest)}; above the mean of its own copies ${each(gains(outcomes, 'copies, mean'))}`,
  };
}

function claimPlus(outcomes: readonly Outcome[]): Check {
  const all = gains(outcomes, 'IMP+');
  return {
    rule: 'at the final phase the soup is at least 0.2 points above IMP+ in the mean over seeds',
    holds: all[phases - 1] >= 0.2,
    found: `above IMP+ ${each(all)}`,
  };
}

function claimReprune(outcomes: readonly Outcome[]): Check {
  const all = gains(outcomes, 'IMP-RePrune');
  return {
    rule: 'at 98 %, IMP-RePrune is at least 1 point below the soup',
    holds: all[phases - 1] >= 1,
    found: `soup above IMP-RePrune ${each(all)}`,
  };
}

function claimCorrupted(outcomes: readonly Outcome[]): Check {
  const average = (measure: string) => statistics(gains(outcomes, 'IMP, mean', measure)).mean;
  const [inside, outside] = [average('accuracy'), average('corrupted')];
  return {
    rule: "over all phases, the soup's gain over the mean candidate on corrupted images is at least that on clean ones minus 0.2 points",
    holds: outside >= inside - 0.2,
    found: `corrupted ${points(outside)}, clean ${points(inside)}`,
  };
}

import { check, concat, Random, type Spec, type Tensor, tensor } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { load } from '../data/registry.ts';
import { horizontalFlip, normalize, resize } from '../data/transforms.ts';
import {
  denseLayers,
  rearrangeChannels,
  SparseByteNN,
  type SparseByteOptions,
} from '../methods/runtime/sparse-byte-nn.ts';
import { MobileNetV1 } from '../models/mobilenet.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import { Sequential } from '../nn/container.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { cosineSchedule, SGD } from '../optim/index.ts';
import { lineChart } from '../plot.ts';
import { type Granularity, outputBlock } from '../sparsity/granularity.ts';
import { maskable } from '../sparsity/layer.ts';
import { modelLayers } from '../sparsity/model.ts';
import { type OrderGain, rearrangeRows } from '../sparsity/rearrange.ts';
import { ScheduledPruning } from '../sparsity/scheduled.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { statistics } from '../statistics.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
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
  tableOf,
} from './experiment.ts';
import { meanSpeedup, mobileNetShapes, speedJobs, speedTable } from './layer-speed.ts';

export const experiment: Experiment = {
  slug: 'sparse-byte-nn',
  title: 'SparseByteNN',
  claim:
    'Pruning kernels in groups of output channels keeps nearly the accuracy of unstructured pruning and far more than pruning channels, and rearranging the channels of the whole network first makes it better at no cost.',
  version: 1,
  seeds: 3,
  run,
};

/** Networks and how long they train: images, epochs before pruning, epochs of pruning and recovery. */
interface Scale {
  readonly train: number;
  readonly test: number;
  readonly size: number;
  readonly dense: number;
  readonly tune: number;
  readonly sparsities: readonly number[];
}

const scales: Record<'smoke' | 'standard' | 'full', Scale> = {
  smoke: { train: 128, test: 64, size: 16, dense: 1, tune: 1, sparsities: [0.5] },
  standard: { train: 4000, test: 4000, size: 16, dense: 10, tune: 2, sparsities: [0.3, 0.5, 0.7] },
  full: { train: 20000, test: 4000, size: 32, dense: 20, tune: 6, sparsities: [0.3, 0.5, 0.7] },
};

/** The first seven of MobileNetV1's thirteen blocks, at half the width: images of 16×16 pixels are 2×2 after them. */
class ShortMobileNet extends Module {
  readonly body: Sequential;
  readonly fc: Linear;

  constructor(random: Random) {
    super();
    const { model } = new MobileNetV1({ width: 0.5, stride: 1, random });
    this.body = new Sequential(...[...model].slice(0, 8));
    this.fc = new Linear(256, 10, { random: random.fork('classifier') });
  }

  override forward(x: Tensor): Tensor {
    return this.fc.forward(this.body.forward(x).mean([2, 3]));
  }
}

const networks: Readonly<Record<string, (random: Random) => Module>> = {
  'MobileNetV1 0.5, 7 blocks': random => new ShortMobileNet(random),
  'ResNet-8': random => new CifarResNet({ depth: 8, random }),
};

const dense = 'dense';
const unstructured = 'unstructured';
const channels = 'channels, ℓ1 of filters';
const groups = 'kernel groups';
const randomOrder = 'kernel groups, random order';
const gathered = 'kernel groups, each layer ordered alone';
const rearranged = 'kernel groups, rearranged';
const arms = [unstructured, rearranged, gathered, groups, randomOrder, channels];
/** The control, and what a run-time gather could give: one sparsity shows them. */
const atHalf = [gathered, randomOrder];

/** Output channels of a group. */
const group = 4;
/** First and last layer stay dense in all arms: the classes cannot be pruned as channels. */
const exclude = denseLayers({ first: true, last: true });

async function run({ smoke, full, seeds, run: execute }: Context): Promise<Findings> {
  const scale = scales[smoke ? 'smoke' : full ? 'full' : 'standard'];
  const data = await images(scale, smoke);
  const jobs: Job[] = [];
  for (const [network, build] of Object.entries(networks)) {
    const bench = new Bench(build, data, scale);
    for (const seed of seeds) {
      jobs.push({ arm: dense, condition: { network, seed }, run: () => bench.run(dense, 0, seed) });
      for (const sparsity of scale.sparsities) {
        for (const arm of arms) {
          if (atHalf.includes(arm) && sparsity !== 0.5) continue;
          jobs.push({ arm, condition: { network, sparsity, seed }, run: () => bench.run(arm, sparsity, seed) });
        }
      }
    }
  }
  jobs.push(...timings(smoke));
  const outcomes = await execute(jobs);
  const { sparsities } = scale;
  return {
    tables: [
      ...Object.keys(networks).flatMap(network => tables(network, sparsities, outcomes)),
      speedTable(outcomes, Object.keys(speedArms), speedSparsities),
    ],
    checks: [
      inOrder(sparsities, outcomes, unstructured, rearranged, { slack: 0.3 }),
      inOrder(sparsities, outcomes, rearranged, groups),
      inOrder([0.5], outcomes, rearranged, randomOrder),
      inOrder(sparsities, outcomes, groups, channels),
      smallDrop(sparsities, outcomes),
      keepsMore(outcomes),
      ...fast(outcomes),
    ],
    figures: Object.keys(networks).map(network => figure(network, outcomes)),
    notes: [
      `${scale.train} training and ${scale.test} test images of CIFAR-10 at ${scale.size}×${scale.size} pixels; ${scale.dense} epochs dense, then ${scale.tune} in which the sparsity rises along a cubic curve for the first half. All arms start from the same trained network of a seed and see the same batches; 'dense' trains as long without pruning. Accuracies compare only with each other.`,
      `Groups of ${group} output channels. First layer, classifier and depthwise convolutions are dense in all arms, and sparsity counts the rest. 'Channels' sets whole filters to zero, as many weights as the others; removed for real, their consumers would shrink as well, so its network would be faster at the same sparsity than the number says.`,
      'Units are scored by the ℓ1 norm of their weights as they stand, with batch normalisation not folded in, whose scales differ from channel to channel.',
      'The ResNet hands its channels on through shortcuts without parameters, so one order of 16 channels serves the second convolutions of all stages: what rearrangement can choose there is little.',
      'The rules on order compare means over both networks and all seeds. The learning rate of the dense training was chosen on short runs of the dense network with the same test images; that of the tuning was never varied.',
    ],
  };
}

interface Data {
  readonly train: Dataset;
  readonly test: Dataset;
}

/** CIFAR-10; a smoke run reads the digits that come with the package, in three equal colours. */
async function images({ train, test, size }: Scale, smoke: boolean): Promise<Data> {
  const set = await load(smoke ? 'digits' : 'cifar-10');
  const prepare = async (part: Dataset, count: number) => {
    const context = { indices: [], epoch: 0, random: new Random(0) };
    const batch = await part.take(Math.min(count, part.length)).all();
    const small = batch.inputs.shape[2] === size ? batch : await resize(size)(batch, context);
    const { inputs, ...rest } = await normalize(set.mean, set.std)(small, context);
    const grey = tensor(inputs);
    const coloured = inputs.shape[1] === 1 ? await concat([grey, grey, grey], 1).array() : inputs;
    return new ArrayDataset({ inputs: coloured, ...rest });
  };
  return { train: await prepare(set.train, train), test: await prepare(set.test, test) };
}

const task = classification();
const batchSize = 64;

/** Trains a network densely once for each seed and prunes copies of it. */
class Bench {
  readonly #build: (random: Random) => Module;
  readonly #data: Data;
  readonly #scale: Scale;
  readonly #trained = new Map<number, Promise<Map<string, Float32Array>>>();

  constructor(build: (random: Random) => Module, data: Data, scale: Scale) {
    this.#build = build;
    this.#data = data;
    this.#scale = scale;
  }

  /** Test accuracy in percent, and what orders of channels keep of the norms before the training, by layer. */
  async run(arm: string, sparsity: number, seed: number): Promise<Measures> {
    const { tune, size } = this.#scale;
    const model = await this.#copy(seed);
    const input: Spec = { dtype: 'float32', shape: [1, 3, size, size] };
    const { sparsifiers, gains } = await prepared(arm, { model, input, sparsity, seed, steps: this.#steps(tune) });
    const accuracy = await this.#train(model, seed, { epochs: tune, rate: 0.02, phase: 1, sparsifiers });
    const orders = gains.flatMap(({ name, before, after }) => [
      [`before ${name}`, before] as const,
      [`after ${name}`, after] as const,
    ]);
    const mask = sparsifiers[0]?.mask;
    return { accuracy, ...(mask && { sparsity: mask.sparsity() }), ...Object.fromEntries(orders) };
  }

  #steps(epochs: number): number {
    return epochs * Math.floor(this.#data.train.length / batchSize);
  }

  async #copy(seed: number): Promise<Module> {
    let state = this.#trained.get(seed);
    if (!state) {
      state = (async () => {
        const model = this.#build(new Random(seed).fork('model'));
        await this.#train(model, seed, { epochs: this.#scale.dense, rate: 0.1, phase: 0, sparsifiers: [] });
        const entries = [...model.stateDict()].map(async ([name, p]) => [name, (await p.data()).slice()] as const);
        return new Map(await Promise.all(entries)) as Map<string, Float32Array>;
      })();
      this.#trained.set(seed, state);
    }
    const model = this.#build(new Random(seed).fork('model'));
    for (const [name, values] of await state) model.stateDict().get(name)!.set(values.slice());
    return model;
  }

  async #train(
    model: Module,
    seed: number,
    o: { epochs: number; rate: number; phase: number; sparsifiers: readonly Sparsifier[] },
  ): Promise<number> {
    const { train, test } = this.#data;
    const loader = new DataLoader(train, {
      batchSize,
      shuffle: true,
      dropLast: true,
      seed: 1000 * o.phase + seed,
      transforms: [horizontalFlip()],
    });
    const { metrics } = await new Trainer({
      model,
      task,
      train: loader,
      epochs: o.epochs,
      optimizer: new SGD(model.parameters(), { learningRate: o.rate, momentum: 0.9, weightDecay: 5e-4 }),
      schedule: cosineSchedule({ steps: o.epochs * loader.length }),
      sparsifiers: o.sparsifiers,
      validation: new DataLoader(test, { batchSize: Math.min(500, test.length) }),
      evaluateEvery: o.epochs,
      seed,
    }).run();
    return 100 * metrics.accuracy;
  }
}

/** What an arm does to a trained network before it is tuned, and while. */
async function prepared(
  arm: string,
  o: { model: Module; input: Spec; sparsity: number; seed: number; steps: number },
): Promise<{ sparsifiers: Sparsifier[]; gains: readonly OrderGain[] }> {
  const { model, input, sparsity } = o;
  if (arm === dense) return { sparsifiers: [], gains: [] };
  const window = { start: 0, end: Math.max(1, Math.round(o.steps / 2)) };
  const every = Math.max(1, Math.round(window.end / 20));
  if (arm === unstructured || arm === channels) {
    const granularity = arm === channels ? 'filter' : 'element';
    const options = { sparsity, ...window, every, exclude, granularity, norm: 'l1' } as const;
    return { sparsifiers: [new ScheduledPruning(options)], gains: [] };
  }
  const options: SparseByteOptions = { sparsity, group, exclude, ...window, interval: every };
  if (arm === gathered) {
    const { layers } = await modelLayers(model, [input]);
    const { orders, gains } = rearrangeRows(maskable(layers, exclude(layers)).layers, { sparsity, group });
    return { sparsifiers: [new SparseByteNN({ ...options, orders })], gains };
  }
  const sparsifiers = [new SparseByteNN(options)];
  if (arm === groups) return { sparsifiers, gains: [] };
  check(arm === rearranged || arm === randomOrder, () => `no arm '${arm}'`);
  const random = new Random(o.seed).fork('order');
  const places = await rearrangeChannels(model, [input], options, arm === randomOrder ? { random } : {});
  await places.apply();
  return { sparsifiers, gains: places.gains };
}

// ---- tables and figures

const percent = (s: string | number) => `${Math.round(100 * Number(s))} %`;
const accuracyOf = (outcomes: readonly Outcome[], arm: string, condition: Condition) =>
  summarize(outcomes, arm, condition, 'accuracy');

function tables(network: string, sparsities: readonly number[], outcomes: readonly Outcome[]): Table[] {
  return [
    tableOf(`${network}: test accuracy, % (dense ${format(accuracyOf(outcomes, dense, { network }))})`, outcomes, {
      arms,
      vary: 'sparsity',
      values: sparsities,
      where: { network },
      measure: 'accuracy',
      label: percent,
    }),
    {
      title: `${network}: share of all kernels' norms that is kept, in percent, as the network comes → rearranged`,
      columns: sparsities.map(percent),
      rows: layersOf(network, outcomes).map(name => ({
        name,
        cells: sparsities.map(sparsity => {
          const { before, after } = keptOf(outcomes, { network, sparsity }, name);
          return `${(100 * before).toFixed(1)} → ${(100 * after).toFixed(1)}`;
        }),
      })),
    },
  ];
}

/** The pruned layers of a network, in order. */
function layersOf(network: string, outcomes: readonly Outcome[]): string[] {
  const one = outcomes.find(o => o.arm === rearranged && o.condition.network === network)!;
  return Object.keys(one.measures).flatMap(key => (key.startsWith('after ') ? [key.slice('after '.length)] : []));
}

function keptOf(outcomes: readonly Outcome[], condition: Condition, layer: string) {
  const of = (when: string) => summarize(outcomes, rearranged, condition, `${when} ${layer}`).mean;
  return { before: of('before'), after: of('after') };
}

function figure(network: string, outcomes: readonly Outcome[]): Figure {
  const points = (arm: string) => {
    const own = outcomes.filter(o => o.arm === arm && o.condition.network === network);
    const at = [...new Set(own.map(o => Number(o.condition.sparsity)))].sort((a, b) => a - b);
    return at.map(sparsity => ({ x: 100 * sparsity, ...accuracyOf(own, arm, { sparsity }) }));
  };
  return {
    name: network.toLowerCase().replace(/[^a-z0-9]+/g, '-'),
    svg: lineChart({
      title: network,
      subtitle: `Dense ${format(accuracyOf(outcomes, dense, { network }))} %; mean ± standard deviation over seeds`,
      x: { label: 'weights pruned, %' },
      y: { label: 'test accuracy, %' },
      series: arms.filter(a => !atHalf.includes(a)).map(name => ({ name, points: points(name) })),
    }),
  };
}

// ---- the rules

/** How far one arm is ahead of another, in points, mean over networks and seeds. */
function lead(outcomes: readonly Outcome[], a: string, b: string, sparsity: number): number {
  const names = Object.keys(networks);
  const leads = names.map(network => {
    const at = { network, sparsity };
    return accuracyOf(outcomes, a, at).mean - accuracyOf(outcomes, b, at).mean;
  });
  return statistics(leads).mean;
}

const signed = (points: number) => `${points < 0 ? '−' : '+'}${Math.abs(points).toFixed(2)}`;

function inOrder(
  sparsities: readonly number[],
  outcomes: readonly Outcome[],
  a: string,
  b: string,
  { slack = 0 }: { slack?: number } = {},
): Check {
  const leads = sparsities.map(s => lead(outcomes, a, b, s));
  const than = slack > 0 ? `is at least as accurate as '${b}', up to ${slack} points,` : `is more accurate than '${b}'`;
  return {
    rule: `'${a}' ${than} at ${sparsities.map(percent).join(', ')}`,
    holds: leads.every(l => (slack > 0 ? l >= -slack : l > 0)),
    found: sparsities.map((s, i) => `${signed(leads[i])} at ${percent(s)}`).join(', '),
  };
}

function smallDrop(sparsities: readonly number[], outcomes: readonly Outcome[]): Check {
  const [lowest] = sparsities;
  const drops = Object.keys(networks).map(network => {
    const pruned = accuracyOf(outcomes, rearranged, { network, sparsity: lowest }).mean;
    return { network, drop: accuracyOf(outcomes, dense, { network }).mean - pruned };
  });
  return {
    rule: `at ${percent(lowest)}, '${rearranged}' loses at most 0.5 points against the dense network, on each network`,
    holds: drops.every(d => d.drop <= 0.5),
    found: drops.map(d => `${signed(-d.drop)} on ${d.network}`).join(', '),
  };
}

function keepsMore(outcomes: readonly Outcome[]): Check {
  const margins = outcomes
    .filter(o => o.arm === rearranged)
    .flatMap(({ measures, condition }) =>
      layersOf(String(condition.network), outcomes).map(name => measures[`after ${name}`] - measures[`before ${name}`]),
    );
  const { mean } = statistics(margins);
  const least = Math.min(...margins);
  return {
    rule: 'rearrangement keeps more of the norms than the order of the trained network, in every pruned layer, at every sparsity, with every seed',
    holds: least > 0,
    found: `${signed(100 * mean)} percent of the norms on average, ${signed(100 * least)} at least, over ${margins.length} cases`,
  };
}

// ---- speed

/** The same weights' zeros in groups, and one by one. */
const speedArms: Readonly<Record<string, Granularity>> = {
  'speed, kernel groups': outputBlock(group),
  'speed, unstructured': { kind: 'element' },
};
const speedSparsities = [0.3, 0.5, 0.7, 0.9];

/** Layers of MobileNetV1 1.0 at their real sizes, and a 3×3 one. */
const timings = (smoke: boolean): Job[] =>
  smoke
    ? speedJobs([{ channels: 16, filters: 16, size: 7 }], speedSparsities, speedArms, 1)
    : speedJobs(
        [...mobileNetShapes, { channels: 128, filters: 128, size: 28, kernel: 3 }],
        speedSparsities,
        speedArms,
        60,
      );

function fast(outcomes: readonly Outcome[]): Check[] {
  const [grouped, single] = Object.keys(speedArms);
  const at = (arm: string, sparsity: number) => meanSpeedup(outcomes, arm, { sparsity });
  const times = (x: number) => `${x.toFixed(2)}×`;
  const shown = [0.3, 0.5, 0.7];
  return [
    {
      rule: "at 30 %, kernel groups run at least 1.15 times as fast as this project's dense kernel, mean over the layers",
      holds: at(grouped, 0.3) >= 1.15,
      found: times(at(grouped, 0.3)),
    },
    {
      rule: 'kernel groups are faster than unstructured zeros at 30, 50 and 70 %, mean over the layers',
      holds: shown.every(s => at(grouped, s) > at(single, s)),
      found: shown.map(s => `${times(at(grouped, s))} against ${times(at(single, s))}`).join(', '),
    },
  ];
}

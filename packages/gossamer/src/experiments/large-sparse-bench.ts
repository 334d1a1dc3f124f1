import { Random, type Spec } from '@gossamer/tensor';
import { ArrayDataset, type Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { load } from '../data/registry.ts';
import { tokenWindows } from '../data/sequences.ts';
import { CharTokenizer } from '../data/tokenizers.ts';
import { normalize } from '../data/transforms.ts';
import { modelSize, widthFor } from '../methods/pruning/equal-size.ts';
import { GradualMagnitudePruning } from '../methods/pruning/gradual-magnitude-pruning.ts';
import { CharLSTM } from '../models/char-lstm.ts';
import { MLP } from '../nn/container.ts';
import { Lambda, Module } from '../nn/module.ts';
import { Adam, cosineSchedule, type Optimizer, SGD } from '../optim/index.ts';
import { magnitude, prune, ScheduledPruning } from '../sparsity/index.ts';
import { modelLayers } from '../sparsity/model.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { classification, languageModelling, type Task } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import type { Measures } from './experiment.ts';

// Large sparse and small dense networks of one family, trained alike.

/** A family of networks by width, its data, and the training that all of them get. */
export interface Family {
  readonly name: string;
  build(width: number, random: Random): Module;
  /** The width that is pruned, and narrower ones for the dense curve. */
  readonly widths: readonly [large: number, ...narrower: number[]];
  /** One sample. */
  readonly input: Spec;
  readonly train: Dataset;
  readonly test: Dataset;
  readonly task: Task;
  /** What is measured on the test data, and the factor on it: 100 for per cent. */
  readonly metric: { readonly name: string; readonly factor: number };
  readonly batchSize: number;
  readonly epochs: number;
  readonly optimizer: (model: Module) => Optimizer;
  readonly clip?: number;
  /**
   * Where pruning begins and ends, as shares of the training: after the weights have got a meaning, and early enough to
   * recover while the learning rate is high.
   */
  readonly window: readonly [start: number, end: number];
  /** Steps between mask updates: the usual number, and the larger one that should make no difference. */
  readonly intervals: readonly [usual: number, rare: number];
}

/** The pruning window in steps. */
const windowOf = ({ window: [start, end] }: Family, steps: number) => ({
  start: Math.round(start * steps),
  end: Math.round(end * steps),
});

/** What is pruned while it trains, by name. All have the same steps; one-shot pruning fine-tunes as long as the others. */
export const pruners = {
  'gradual, cubic': (f, sparsity, steps) =>
    new GradualMagnitudePruning({ sparsity, ...windowOf(f, steps), interval: f.intervals[0] }),
  'gradual, linear': (f, sparsity, steps) =>
    new GradualMagnitudePruning({ sparsity, ...windowOf(f, steps), interval: f.intervals[0], exponent: 1 }),
  'gradual, rare updates': (f, sparsity, steps) =>
    new GradualMagnitudePruning({ sparsity, ...windowOf(f, steps), interval: f.intervals[1] }),
  'gradual, random': (f, sparsity, steps) =>
    new GradualMagnitudePruning({ sparsity, ...windowOf(f, steps), interval: f.intervals[0], score: 'random' }),
  'one-shot': (f, sparsity, steps) =>
    new ScheduledPruning({ sparsity, kind: 'one-shot', start: windowOf(f, steps).end }),
} satisfies Record<string, (family: Family, sparsity: number, steps: number) => Sparsifier>;

export type Pruner = keyof typeof pruners;

/** Width of the dense network that has as many parameters as the sparse one has non-zeros, or bytes with a bit mask. */
export async function denseWidth(f: Family, sparsity: number, equal: 'nonzeros' | 'bytes'): Promise<number> {
  const [large] = f.widths;
  const model = f.build(large, new Random(0));
  const found = await modelLayers(model, [f.input]);
  const mask = prune(found.layers, l => magnitude(l.values), { sparsity });
  const { nonzeros, bytes } = await modelSize(model, found, mask);
  const parametersAt = (width: number) =>
    f
      .build(width, new Random(0))
      .parameters()
      .reduce((n, p) => n + p.size, 0);
  return widthFor(parametersAt, equal === 'nonzeros' ? nonzeros : bytes.bitmask / 4, large);
}

export interface Setting {
  readonly seed: number;
  readonly width: number;
  /** Default: dense. */
  readonly pruner?: Pruner;
  readonly sparsity?: number;
}

/** Trains one network and measures it: quality on the test data, and what it takes. */
export async function trainOne(f: Family, { seed, width, pruner, sparsity = 0 }: Setting): Promise<Measures> {
  const model = f.build(width, new Random(seed).fork('model'));
  const train = new DataLoader(f.train, { batchSize: f.batchSize, shuffle: true, seed, dropLast: true });
  const steps = train.length * f.epochs;
  const sparsifier = pruner && pruners[pruner](f, sparsity, steps);
  const { metrics } = await new Trainer({
    model,
    task: f.task,
    train,
    validation: new DataLoader(f.test, { batchSize: Math.min(f.test.length, 100), dropLast: true }),
    evaluateEvery: f.epochs,
    optimizer: f.optimizer(model),
    schedule: cosineSchedule({ steps }),
    steps,
    seed,
    ...(f.clip !== undefined && { clip: f.clip }),
    ...(sparsifier && { sparsifiers: [sparsifier] }),
  }).run();
  const size = await modelSize(model, await modelLayers(model, [f.input]), sparsifier?.mask);
  const { bitmask, csr, relative } = size.bytes;
  return {
    quality: metrics[f.metric.name] * f.metric.factor,
    width,
    nonzeros: size.nonzeros,
    bitmask,
    csr,
    relative,
  };
}

// ---- the two families

export type Scale = 'smoke' | 'standard' | 'full';

/** Two hidden layers of equal width on images of 28 × 28. */
class Perceptron extends Module {
  readonly flat = new Lambda(x => x.flatten());
  readonly body: MLP;
  constructor(width: number, random: Random) {
    super();
    this.body = new MLP([784, width, width, 10], { random });
  }
  override forward(x: Parameters<MLP['forward']>[0]) {
    return this.body.forward(this.flat.forward(x));
  }
}

export async function clothes(scale: Scale): Promise<Family> {
  const smoke = scale === 'smoke';
  const set = await load(smoke ? 'digits' : 'fashion-mnist');
  const context = { indices: [], epoch: 0, random: new Random(0) };
  const prepare = async (data: Dataset, count: number) =>
    new ArrayDataset(await normalize(set.mean, set.std)(await data.take(count).all(), context));
  return {
    name: `perceptron, ${smoke ? 'digits' : 'Fashion-MNIST'}`,
    build: (width, random) => new Perceptron(width, random),
    widths: smoke ? [16, 8, 4, 2] : [100, 50, 25, 13],
    input: { dtype: 'float32', shape: [1, 1, 28, 28] },
    train: await prepare(set.train, { smoke: 320, standard: 40_000, full: 50_000 }[scale]),
    test: await prepare(set.test, smoke ? 200 : 10_000),
    task: classification(),
    metric: { name: 'accuracy', factor: 100 },
    batchSize: 32,
    window: [0.1, 2 / 3],
    epochs: { smoke: 2, standard: 4, full: 20 }[scale],
    optimizer: model => new SGD(model.parameters(), { learningRate: 0.03, momentum: 0.9 }),
    intervals: smoke ? [1, 3] : [100, 500],
  };
}

/** What a smoke run reads. */
const shortText = 'the quick brown fox jumps over the lazy dog; the dog sleeps, the fox runs home. '.repeat(12);

export async function characters(scale: Scale): Promise<Family> {
  const smoke = scale === 'smoke';
  const { train, test } = smoke ? { train: shortText, test: shortText } : await load('tiny-shakespeare');
  const tokenizer = CharTokenizer.of(train + test);
  const length = smoke ? 6 : 50;
  const windows = (text: string) => tokenWindows(tokenizer.encode(text), length);
  return {
    name: `LSTM, ${smoke ? 'a short text' : 'tiny-shakespeare'}`,
    build: (hidden, random) => new CharLSTM({ vocab: tokenizer.size, hidden, layers: 1, random }),
    widths: smoke ? [16, 8, 4] : [256, 128, 64],
    input: { dtype: 'int32', shape: [1, length] },
    train: windows(train),
    test: windows(test),
    task: languageModelling(),
    metric: { name: 'loss', factor: 1 },
    batchSize: 16,
    window: [0.05, 0.35],
    epochs: { smoke: 2, standard: 2, full: 8 }[scale],
    // Better than half of it for the small dense networks, too.
    optimizer: model => new Adam(model.parameters(), { learningRate: 8e-3 }),
    clip: 1,
    intervals: smoke ? [1, 2] : [100, 500],
  };
}

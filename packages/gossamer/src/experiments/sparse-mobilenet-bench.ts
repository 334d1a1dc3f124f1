import { Random, type Spec, type Tensor } from '@gossamer/tensor';
import { ArrayDataset, type Batch, type Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { load } from '../data/registry.ts';
import { normalize, resize } from '../data/transforms.ts';
import { type BlockSize, FastSparseConvNet, pointwiseBlocks } from '../methods/runtime/fast-sparse-convnets.ts';
import { multiplyAdds, widthOfEqualCost } from '../methods/runtime/width-multiplier.ts';
import { MobileNetV1 } from '../models/mobilenet.ts';
import { Linear, Module, Sequential } from '../nn/index.ts';
import { cosineSchedule, SGD } from '../optim/index.ts';
import { type Layer, prune, randomScore, ScheduledPruning, type Sparsifier } from '../sparsity/index.ts';
import { StaticMask } from '../sparsity/masked.ts';
import { modelLayers } from '../sparsity/model.ts';
import { classification } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import type { Measures } from './experiment.ts';

// MobileNetV1 on small photographs, trained dense and sparse with the same steps.

/** The data, the wide network, and the training that every network gets. */
export interface Bench {
  readonly train: Dataset;
  readonly test: Dataset;
  /** One sample. */
  readonly input: Spec;
  /** Depthwise separable blocks, the first of the 13 of MobileNetV1. */
  readonly blocks: number;
  /** Width multiplier of the networks that are pruned. */
  readonly width: number;
  readonly batchSize: number;
  readonly epochs: number;
  readonly learningRate: number;
  /** Where gradual pruning begins and ends, as shares of the training. One-shot pruning happens where it ends. */
  readonly window: readonly [start: number, end: number];
  /** Steps between mask updates. */
  readonly interval: number;
}

export interface Setting {
  readonly sparsity: number;
  readonly seed: number;
}

type Start = Setting & { readonly bench: Bench; readonly layers: readonly Layer[]; readonly steps: number };

const gradual =
  (block: BlockSize) =>
  ({ bench: { window, interval }, sparsity }: Start): Sparsifier =>
    new FastSparseConvNet({ sparsity, block, window, interval });

/** Ways to a sparse network, by name. All of them prune the 1×1 convolutions and nothing else. */
export const arms = {
  'gradual, M = 1': gradual(1),
  'gradual, M = 2': gradual(2),
  'gradual, M = 4': gradual(4),
  'one-shot': ({ bench: { window }, sparsity, steps }) =>
    new ScheduledPruning({
      sparsity,
      kind: 'one-shot',
      start: Math.round(window[1] * steps),
      exclude: layers => {
        const pointwise = pointwiseBlocks(layers);
        return layers.filter(l => !pointwise.has(l.name)).map(l => l.name);
      },
    }),
  'random mask': ({ layers, sparsity, seed }) => {
    const pointwise = pointwiseBlocks(layers);
    const random = new Random(seed).fork('random mask');
    const score = (l: Layer) => randomScore(l.values.length, random.fork(l.name));
    return new StaticMask(
      prune(
        layers.filter(l => pointwise.has(l.name)),
        score,
        { sparsity },
      ),
    );
  },
} satisfies Record<string, (start: Start) => Sparsifier>;

export type Arm = keyof typeof arms;

/** The first blocks of a MobileNetV1 under its global average and classifier. */
class FirstBlocks extends Module {
  readonly body: Sequential;
  readonly fc: Linear;

  constructor(blocks: number, width: number, random: Random) {
    super();
    const { model } = new MobileNetV1({ width, random });
    this.body = new Sequential(...[...model].slice(0, 1 + blocks));
    const last = this.body.parameters().at(-1)!;
    this.fc = new Linear(last.shape[0], 10, { random: random.fork('classifier') });
  }

  override forward(x: Tensor): Tensor {
    return this.fc.forward(this.body.forward(x).mean([2, 3]));
  }
}

const build = (bench: Bench, width: number, random = new Random(0)): Module =>
  new FirstBlocks(bench.blocks, width, random);

/** Test accuracy in percent and multiply-adds of a network that was trained dense, or by an arm at a sparsity. */
export async function trainMobileNet(
  bench: Bench,
  { seed, width = bench.width, sparse }: { seed: number; width?: number; sparse?: { arm: Arm; sparsity: number } },
): Promise<Measures> {
  const model = build(bench, width, new Random(seed).fork('model'));
  const train = new DataLoader(bench.train, { batchSize: bench.batchSize, shuffle: true, dropLast: true, seed });
  const steps = bench.epochs * train.length;
  const { layers } = await modelLayers(model, [bench.input]);
  const sparsifier = sparse && arms[sparse.arm]({ bench, seed, sparsity: sparse.sparsity, layers, steps });
  const { metrics } = await new Trainer({
    model,
    task: classification(),
    train,
    validation: new DataLoader(bench.test, { batchSize: 200 }),
    evaluateEvery: bench.epochs,
    optimizer: new SGD(model.parameters(), { learningRate: bench.learningRate, momentum: 0.9, weightDecay: 5e-4 }),
    schedule: cosineSchedule({ steps }),
    steps,
    seed,
    ...(sparsifier && { sparsifiers: [sparsifier] }),
  }).run();
  return { accuracy: 100 * metrics.accuracy, width, multiplyAdds: multiplyAdds(layers, sparsifier?.mask) };
}

/** Width multiplier, in steps of 1/128, of the dense network with no fewer multiply-adds than the sparse one. */
export async function denseWidth(bench: Bench, sparsity: number): Promise<number> {
  const { input, width } = bench;
  const { layers } = await modelLayers(build(bench, width), [input]);
  const pointwise = pointwiseBlocks(layers);
  const mask = prune(
    layers.filter(l => pointwise.has(l.name)),
    l => l.values.map(Math.abs),
    { sparsity },
  );
  const widths = Array.from({ length: Math.round(128 * width) }, (_, i) => (i + 1) / 128);
  return widthOfEqualCost(w => build(bench, w), input, multiplyAdds(layers, mask), widths);
}

export type Scale = 'smoke' | 'standard' | 'full';

/** CIFAR-10 at three lengths; the smoke run reads the digits that come with the package, in three equal colours. */
export async function photographs(scale: Scale): Promise<Bench> {
  const smoke = scale === 'smoke';
  const set = await load(smoke ? 'digits' : 'cifar-10');
  const side = smoke ? 16 : 32;
  const context = { indices: [], epoch: 0, random: new Random(0) };
  const prepare = async (data: Dataset, count: number) => {
    const batch = await data.take(count).all();
    const sized = batch.inputs.shape[2] === side ? batch : await resize(side)(batch, context);
    return new ArrayDataset(coloured(await normalize(set.mean, set.std)(sized, context)));
  };
  return {
    train: await prepare(set.train, { smoke: 40, standard: 20_000, full: 50_000 }[scale]),
    test: await prepare(set.test, { smoke: 40, standard: 4000, full: 10_000 }[scale]),
    input: { dtype: 'float32', shape: [1, 3, side, side] },
    blocks: { smoke: 2, standard: 6, full: 13 }[scale],
    width: smoke ? 0.25 : 1,
    batchSize: { smoke: 20, standard: 32, full: 64 }[scale],
    epochs: { smoke: 2, standard: 3, full: 30 }[scale],
    learningRate: 0.05,
    // Training is short: what is pruned early has the time to recover.
    window: [0.1, 0.5],
    interval: { smoke: 1, standard: 50, full: 100 }[scale],
  };
}

/** Grey images as images of three equal channels. */
function coloured(batch: Batch): Batch {
  const { inputs } = batch;
  const [count, channels, height, width] = inputs.shape;
  if (channels === 3) return batch;
  const grey = inputs.data as Float32Array;
  const plane = height * width;
  const data = new Float32Array(3 * grey.length);
  for (let i = 0; i < 3 * count; i++) {
    const image = Math.floor(i / 3);
    data.set(grey.subarray(image * plane, (image + 1) * plane), i * plane);
  }
  return { ...batch, inputs: { dtype: 'float32', shape: [count, 3, height, width], data } };
}

import { Random, type Spec, tensor } from '@gossamer/tensor';
import { DataLoader } from '../data/loader.ts';
import { load } from '../data/registry.ts';
import {
  degrade,
  extend,
  type Image,
  luma,
  type Pair,
  PatchDataset,
  psnr,
  resizeBicubic,
  ssim,
  toUnit,
} from '../data/super-resolution.ts';
import { modelSize, widthFor } from '../methods/pruning/equal-size.ts';
import { type Shrinkage, SoftShrinkage, type SoftShrinkageOptions } from '../methods/pruning/iss-p.ts';
import { EDSR, WindowTransformer } from '../models/super-resolution.ts';
import { l1 } from '../nn/loss.ts';
import type { Module } from '../nn/module.ts';
import { Adam, type RateSchedule } from '../optim/index.ts';
import { PruneAtStart, prune, randomScore, type Sparsifier } from '../sparsity/index.ts';
import { modelLayers } from '../sparsity/model.ts';
import type { Task } from '../train/task.ts';
import { Trainer } from '../train/trainer.ts';
import type { Measures } from './experiment.ts';

// Super-resolution networks, trained dense and sparse with the same steps, and measured on whole photographs.

export interface SuperResolutionBench {
  readonly train: readonly Pair[];
  readonly test: readonly Pair[];
  readonly steps: number;
  /** Side of a low-resolution patch, and patches of a batch. */
  readonly patch: number;
  readonly batchSize: number;
  readonly learningRate: number;
  /** Share of the steps before the mask stands. */
  readonly until: number;
  readonly networks: Readonly<Record<string, (random: Random, width?: number) => Module>>;
  readonly width: number;
}

export interface Setting {
  readonly network: string;
  readonly sparsity: number;
  readonly seed: number;
}

const task: Task = (model, { inputs, targets }) => ({ loss: l1(model.forward(inputs), targets) });

/** A random mask, in each layer as many weights as the others keep. */
class RandomMask extends PruneAtStart {
  readonly name = 'random-mask';
  constructor(sparsity: number, seed: number) {
    const random = new Random(seed).fork('random mask');
    super(async ({ layers: { layers } }) =>
      prune(layers, l => randomScore(l.values.length, random.fork(l.name)), { sparsity: countsOf(layers, sparsity) }),
    );
  }
}

/** ⌊p·n⌋ go, but every output channel can keep a weight: what soft shrinkage does. */
const countsOf = (layers: Parameters<typeof prune>[0], sparsity: number): Record<string, number> =>
  Object.fromEntries(
    layers.map(l => {
      const n = l.values.length;
      return [l.name, Math.min(Math.floor(sparsity * n + 1e-9), n - Math.min(n, l.shape[l.outAxis])) / n];
    }),
  );

const shrinkage =
  (options: Omit<SoftShrinkageOptions, 'sparsity'>) =>
  (bench: SuperResolutionBench, { sparsity }: Setting): Sparsifier =>
    new SoftShrinkage({
      sparsity,
      until: bench.until,
      diagnose: Math.max(1, Math.round(bench.steps / 20)),
      ...options,
    });

/** Sparse networks by name. All see the same number of steps, and their masks stand for the same part of them. */
export const arms = {
  'ISS-P': shrinkage({}),
  IHT: shrinkage({ alpha: 0 }),
  'ISS-R': shrinkage({ form: 'regularize' }),
  GReg: shrinkage({ form: 'fixed' }),
  'L1-norm, one-shot': shrinkage({ alpha: 1 }),
  'random mask': (_, { sparsity, seed }) => new RandomMask(sparsity, seed),
} satisfies Record<string, (bench: SuperResolutionBench, setting: Setting) => Sparsifier>;

export type Arm = keyof typeof arms;

/** Constant until the mask stands, then halved twice. */
const halving =
  (steps: number, until: number): RateSchedule =>
  step => {
    const left = (step / steps - until) / (1 - until);
    return left < 0.5 ? 1 : left < 0.75 ? 0.5 : 0.25;
  };

/** Mean PSNR (dB) and SSIM on the luma of the test images, with the border of `scale` pixels cut. */
async function quality(
  bench: SuperResolutionBench,
  enlarge: (low: Image, high: Image) => Promise<Image>,
): Promise<Measures> {
  let [db, similarity] = [0, 0];
  for (const { low, high } of bench.test) {
    const scale = high.shape[1] / low.shape[1];
    const [a, b] = [luma(clipped(await enlarge(low, high))), luma(high)];
    db += psnr(a, b, scale) / bench.test.length;
    similarity += ssim(a, b, scale) / bench.test.length;
  }
  return { psnr: db, ssim: similarity };
}

const clipped = (image: Image): Image => ({ ...image, data: image.data.map(v => Math.min(1, Math.max(0, v))) });

export const bicubic = (bench: SuperResolutionBench): Promise<Measures> =>
  quality(bench, async (low, { shape: [, h, w] }) => resizeBicubic(low, [h, w]));

/** Trains one network; without an arm it is dense, and `equal` makes it as small as what `sparsity` leaves. */
export async function trainOne(
  bench: SuperResolutionBench,
  { network, sparsity, seed, arm, equal = false }: Setting & { arm?: Arm; equal?: boolean },
): Promise<Measures> {
  const make = bench.networks[network];
  const width = equal ? await widthOfEqualSize(bench, network, sparsity) : bench.width;
  const model = make(new Random(seed).fork('model'), width);
  const { patch, batchSize, steps, learningRate, until } = bench;
  const data = new PatchDataset(bench.train, { patch, count: steps * batchSize, seed });
  const sparsifier = arm && arms[arm](bench, { network, sparsity, seed });
  await new Trainer({
    model,
    task,
    train: new DataLoader(data, { batchSize, seed }),
    optimizer: new Adam(model.parameters(), { learningRate }),
    schedule: halving(steps, until),
    steps,
    seed,
    ...(sparsifier && { sparsifiers: [sparsifier] }),
  }).run();
  const { nonzeros } = await modelSize(model, await modelLayers(model, [inputOf(patch)]), sparsifier?.mask);
  const window = network === 'windows' ? 8 : 1;
  const measures = await quality(bench, async (low, high) => {
    const [, h, w] = low.shape;
    const padded = extend(low, [Math.ceil(h / window) * window, Math.ceil(w / window) * window]);
    const [, ph, pw] = padded.shape;
    const output = model.forward(tensor(padded.data, [1, 3, ph, pw]));
    const scale = high.shape[1] / h;
    const y = output.slice(2, 0, h * scale).slice(3, 0, w * scale);
    return { dtype: 'float32', shape: high.shape, data: (await y.data()) as Float32Array };
  });
  return { ...measures, nonzeros, width, ...(sparsifier instanceof SoftShrinkage && throughput(sparsifier.log)) };
}

/**
 * How evenly gradients reach the layers while the structure is found: the standard deviation over layers of log₁₀‖∂L/∂W‖,
 * its mean, and the overlap of the unimportant set from look to look.
 */
function throughput(log: readonly Shrinkage[]): Measures {
  const looks = log.map(({ gradients, overlap }) => {
    const norms = Object.values(gradients).map(g => Math.log10(Math.max(g.norm, 1e-30)));
    const mean = norms.reduce((a, b) => a + b) / norms.length;
    const std = Math.sqrt(norms.reduce((a, v) => a + (v - mean) ** 2, 0) / norms.length);
    return { mean, std, overlap };
  });
  const average = (key: 'mean' | 'std' | 'overlap') => looks.reduce((a, l) => a + l[key], 0) / looks.length;
  return { logGradient: average('mean'), logGradientSpread: average('std'), overlap: average('overlap') };
}

const inputOf = (size: number): Spec => ({ dtype: 'float32', shape: [1, 3, size, size] });

async function widthOfEqualSize(bench: SuperResolutionBench, network: string, sparsity: number): Promise<number> {
  const make = (width: number) => bench.networks[network](new Random(0), width);
  const model = make(bench.width);
  const found = await modelLayers(model, [inputOf(bench.patch)]);
  const mask = prune(found.layers, l => l.values.map(Math.abs), { sparsity: countsOf(found.layers, sparsity) });
  const { nonzeros } = await modelSize(model, found, mask);
  const parametersAt = (width: number) =>
    make(width)
      .parameters()
      .reduce((n, p) => n + p.size, 0);
  return widthFor(parametersAt, nonzeros, bench.width);
}

/** Learns from Set14 and BSD100 images, tests on Set5, ×2; a smoke run learns from noise. */
export async function photographs(size: 'smoke' | 'standard' | 'full'): Promise<SuperResolutionBench> {
  const smoke = size === 'smoke';
  const images = async (name: 'set5' | 'set14' | 'bsd100') => (await load(name)).images.map(i => degrade(toUnit(i), 2));
  const noise = (seed: number): Pair => {
    const image = { dtype: 'float32', shape: [3, 40, 32], data: new Random(seed).uniform(3 * 40 * 32) } as const;
    return degrade(image, 2);
  };
  return {
    train: smoke ? [noise(1), noise(2)] : [...(await images('set14')), ...(await images('bsd100'))],
    test: smoke ? [noise(3)] : await images('set5'),
    steps: { smoke: 6, standard: 1000, full: 5000 }[size],
    patch: smoke ? 8 : size === 'full' ? 24 : 16,
    batchSize: smoke ? 2 : 8,
    learningRate: size === 'full' ? 2e-4 : 1e-3,
    until: 0.6,
    width: smoke ? 8 : 16,
    networks: {
      edsr: (random, width) => new EDSR({ width, blocks: smoke ? 1 : 4, random }),
      windows: (random, width = 16) =>
        new WindowTransformer({ width: 2 * Math.ceil(width / 2), heads: 2, blocks: 2, random }),
    },
  };
}

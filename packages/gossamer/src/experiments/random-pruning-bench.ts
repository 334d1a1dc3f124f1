import { type NDArray, Random, type Spec } from '@gossamer/tensor';
import { ArrayDataset, type Batch, type Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { widthFor } from '../methods/pruning/equal-size.ts';
import { grasp } from '../methods/pruning/grasp.ts';
import { oneShotMagnitude } from '../methods/pruning/one-shot-magnitude.ts';
import { snip } from '../methods/pruning/snip.ts';
import { RandomPruning, type RandomPruningOptions } from '../methods/sparse-training/random-pruning.ts';
import { RigL } from '../methods/sparse-training/rigl.ts';
import { CifarResNet } from '../models/resnet-cifar.ts';
import type { Module } from '../nn/module.ts';
import { type ModelLayers, modelLayers, type Sparsifier, StaticMask } from '../sparsity/index.ts';
import { auroc, expectedCalibrationError, negativeLogLikelihood, softmaxRows } from '../train/calibration.ts';
import { predict } from '../train/predict.ts';
import { adversarialAccuracy, gradientFlow } from '../train/robustness.ts';
import { classification } from '../train/task.ts';
import type { Measures } from './experiment.ts';
import { fit } from './fit.ts';
import type { Images } from './images.ts';
import { ConvNet } from './small-models.ts';

export interface Scale {
  readonly train: number;
  readonly test: number;
  readonly side: number;
  readonly epochs: number;
  /** Filters at first of the narrowest network, and by what they are multiplied. */
  readonly base: number;
  readonly factors: readonly number[];
  readonly deeper: boolean;
  readonly sparsities: readonly number[];
  /** Standard deviation of the pixels, 0…1, before normalisation. */
  readonly deviation: number;
}

export interface Network {
  readonly depth: 'shallow' | 'deep';
  /** Of the width. */
  readonly factor: number;
  readonly seed: number;
}
type Setting = Network & { readonly sparsity: number };

interface Start {
  readonly bench: RandomPruningBench;
  readonly model: Module;
  readonly layers: ModelLayers;
  readonly sparsity: number;
  readonly seed: number;
}

const task = classification();
export const ERK = 'random, ERK';
export const SNIPRatio = 'random, SNIP densities';
export const uniform = 'random, uniform';
export const SNIP = 'SNIP';
export const GraSP = 'GraSP';
export const magnitudeArm = 'magnitude at initialisation';
const random =
  (allocation: NonNullable<RandomPruningOptions['allocation']>) =>
  ({ sparsity }: Start) =>
    new RandomPruning({ sparsity, allocation });

/** All that prunes before training, and RigL, by name. */
export const arms: Readonly<Record<string, (start: Start) => Promise<Sparsifier> | Sparsifier>> = {
  [ERK]: random('erk'),
  [SNIPRatio]: random('snip-ratio'),
  'random, GraSP densities': random('grasp-ratio'),
  [uniform]: random('uniform'),
  [SNIP]: async ({ bench, model, layers, sparsity, seed }) =>
    new StaticMask(await snip({ model, task, layers, batches: [await bench.samples(seed, 100)] }, { sparsity })),
  [GraSP]: async ({ bench, model, layers, sparsity, seed }) =>
    new StaticMask(await grasp({ model, task, layers, batches: [await bench.samples(seed, 100)] }, { sparsity })),
  [magnitudeArm]: ({ layers, sparsity }) =>
    new StaticMask(oneShotMagnitude(layers.layers, { sparsity, allocation: 'global' })),
  RigL: ({ bench, sparsity }) => new RigL({ sparsity, interval: bench.interval }),
};

/** Trains the family of networks and looks at each in all the paper's ways. */
export class RandomPruningBench {
  readonly #scale: Scale;
  readonly #data: Images;
  readonly #strange: Dataset;

  /** @param strange images of another kind, which the network should not be sure about */
  constructor(scale: Scale, data: Images, strange: ArrayDataset) {
    this.#scale = scale;
    this.#data = data;
    const [, channels] = data.train.fields.inputs.shape;
    this.#strange = inColours(strange, channels);
  }

  get interval(): number {
    return Math.max(1, Math.round((this.#scale.epochs * Math.floor(this.#scale.train / 100)) / 40));
  }

  /** ε of attacks: 8/255 of the range of pixels, in units of the normalised inputs. */
  get #epsilon(): number {
    return 8 / 255 / this.#scale.deviation;
  }

  get attack(): string {
    return `8/255 of the range of pixels, ${this.#epsilon.toFixed(3)} in normalised units`;
  }

  describe(): string {
    const { base, factors, side } = this.#scale;
    const widths = `${factors.map(f => `×${f}`).join(', ')} (${base} filters at first)`;
    return side >= 32
      ? `ResNets of 8 and 14 layers at widths ${widths}.`
      : `Networks of 3 and 6 convolutions with batch normalisation, whose filters double twice, at widths ${widths}.`;
  }

  async samples(seed: number, count: number): Promise<Batch> {
    const { train } = this.#data;
    const order = new Random(seed).fork('calibration').permutation(train.length);
    return train.batch(order.subarray(0, Math.min(count, train.length)));
  }

  async dense(network: Network): Promise<Measures> {
    return this.#measure(this.#model(network), network.seed, []);
  }

  async sparse(arm: string, setting: Setting): Promise<Measures> {
    const model = this.#model(setting);
    const layers = await modelLayers(model, [this.#input]);
    const { sparsity, seed } = setting;
    const sparsifier = await arms[arm]({ bench: this, model, layers, sparsity, seed });
    return this.#measure(model, seed, [sparsifier]);
  }

  /** A dense network with at least as many parameters as the sparse one has non-zeros. */
  async small(setting: Setting): Promise<Measures> {
    const size = (m: Module) => m.parameters().reduce((n, p) => n + p.size, 0);
    const large = this.#model(setting);
    const masked = (await modelLayers(large, [this.#input])).layers.reduce((n, l) => n + l.values.length, 0);
    const budget = size(large) - Math.round(setting.sparsity * masked);
    const widest = this.#scale.base * setting.factor;
    const width = widthFor(w => size(this.#model(setting, w)), budget, widest);
    return this.#measure(this.#model(setting, width), setting.seed, []);
  }

  get #input(): Spec {
    const { inputs } = this.#data.train.fields;
    return { dtype: inputs.dtype, shape: [1, ...inputs.shape.slice(1)] };
  }

  #model({ depth, factor, seed }: Network, width = this.#scale.base * factor): Module {
    const random = new Random(seed).fork('model');
    const [, channels] = this.#input.shape;
    if (this.#scale.side >= 32) return new CifarResNet({ depth: depth === 'deep' ? 14 : 8, width, channels, random });
    const widths = depth === 'deep' ? [1, 1, 2, 2, 4, 4] : [1, 2, 4];
    return new ConvNet(
      channels,
      widths.map(w => w * width),
      random,
    );
  }

  async #measure(model: Module, seed: number, sparsifiers: readonly Sparsifier[]): Promise<Measures> {
    const { train, test } = this.#data;
    const { epochs } = this.#scale;
    const layers = await modelLayers(model, [this.#input]);
    const batch = await this.samples(seed, 100);
    const mask = () => sparsifiers[0]?.mask;
    let flowBefore = 0;
    // Looks at the network when the training begins, its mask applied.
    const look: Sparsifier = {
      name: 'gradient flow',
      mask: undefined,
      prepare: ({ calibrate }) =>
        calibrate(async seen => {
          flowBefore = await gradientFlow(model, seen.layers, batch, { mask: mask() });
        }),
      state: () => ({ arrays: {}, json: null }),
      restore: () => {},
    };
    await fit(model, { train, epochs, seed, sparsifiers: [...sparsifiers, look] });
    const { logits, labels } = await predict(model, new DataLoader(test, { batchSize: 500 }));
    const probabilities = softmaxRows(logits);
    const foreign = softmaxRows((await predict(model, new DataLoader(this.#strange, { batchSize: 500 }))).logits);
    const [own, others] = [probabilities, foreign].map(mostLikely);
    const right = own.reduce((n, { label }, i) => n + Number(label === labels[i]), 0);
    return {
      accuracy: (100 * right) / labels.length,
      ece: 100 * expectedCalibrationError(probabilities, labels),
      nll: negativeLogLikelihood(probabilities, labels),
      auroc: auroc(
        [...own, ...others].map(p => p.probability),
        [...own, ...others].map((_, i) => i < own.length),
      ),
      adversarial: 100 * (await adversarialAccuracy(model, test, { epsilon: this.#epsilon })),
      flowBefore,
      flowAfter: await gradientFlow(model, layers, batch, { mask: mask() }),
    };
  }
}

/** The most likely class of each row of probabilities. */
function mostLikely({ shape: [rows, classes], data }: NDArray<Float32Array>): { label: number; probability: number }[] {
  return Array.from({ length: rows }, (_, r) => {
    const row = data.subarray(r * classes, (r + 1) * classes);
    const probability = row.reduce((a, b) => Math.max(a, b));
    return { label: row.indexOf(probability), probability };
  });
}

/** Grey images as coloured ones of equal channels. */
function inColours(data: ArrayDataset, channels: number): Dataset {
  const { inputs, labels } = data.fields;
  const [n, own, height, width] = inputs.shape;
  if (own === channels) return data;
  const size = height * width;
  const copies = new Float32Array(n * channels * size);
  for (let i = 0; i < n; i++) {
    const image = (inputs.data as Float32Array).subarray(i * size, (i + 1) * size);
    for (let c = 0; c < channels; c++) copies.set(image, (i * channels + c) * size);
  }
  return new ArrayDataset({ labels, inputs: { dtype: 'float32', shape: [n, channels, height, width], data: copies } });
}

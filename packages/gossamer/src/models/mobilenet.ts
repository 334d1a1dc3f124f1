import { Random, type Tensor } from '@gossamer/tensor';
import { ReLU, ReLU6 } from '../nn/activation.ts';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import { Sequential } from '../nn/container.ts';
import { Conv2d } from '../nn/conv.ts';
import { Dropout } from '../nn/dropout.ts';
import { kaimingNormal, normalOf, zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { initialize, loadPretrained } from './weights.ts';

export interface MobileNetOptions {
  /** Width multiplier of all layers (α of the paper); default 1. */
  readonly width?: number;
  /** Default 1000. */
  readonly classes?: number;
  /** Stride of the first convolution: 2 (default) for 224×224 images, 1 for 32×32. */
  readonly stride?: 1 | 2;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

interface ConvOptions {
  readonly stride?: number;
  readonly groups?: number;
  readonly random: Random;
}

/** Convolution without bias that keeps the size up to its stride, and batch normalisation. */
const convNorm = (inputs: number, outputs: number, kernel: number, options: ConvOptions): [Module, Module] => [
  new Conv2d(inputs, outputs, kernel, { ...options, padding: (kernel - 1) / 2, bias: false }),
  new BatchNorm2d(outputs),
];

/** Filters of the depthwise separable blocks before width multiplication, with their strides (table 1). */
const separable = [
  [64, 1],
  [128, 2],
  [128, 1],
  [256, 2],
  [256, 1],
  [512, 2],
  ...new Array<[number, number]>(5).fill([512, 1]),
  [1024, 2],
  [1024, 1],
] as const;

/**
 * MobileNetV1 (Howard et al. 2017, arXiv:1704.04861): 3×3 depthwise and 1×1 convolutions; 4,231,976 parameters at width
 * 1. Names as in the usual PyTorch port: `model.0.0.weight`, `model.1.3.weight`, …, `fc.weight`.
 */
export class MobileNetV1 extends Module {
  readonly model: Sequential;
  readonly fc: Linear;

  constructor({ width = 1, classes = 1000, stride = 2, random = new Random(0) }: MobileNetOptions = {}) {
    super();
    const scaled = (filters: number): number => Math.max(8, Math.floor(filters * width));
    let inputs = scaled(32);
    const stem = new Sequential(...convNorm(3, inputs, 3, { stride, random: random.fork(0) }), new ReLU());
    const blocks = separable.map(([filters, step], i) => {
      const outputs = scaled(filters);
      const r = random.fork(i + 1);
      const block = new Sequential(
        ...convNorm(inputs, inputs, 3, { stride: step, groups: inputs, random: r.fork('depthwise') }),
        new ReLU(),
        ...convNorm(inputs, outputs, 1, { random: r.fork('pointwise') }),
        new ReLU(),
      );
      inputs = outputs;
      return block;
    });
    this.model = new Sequential(stem, ...blocks);
    this.fc = new Linear(inputs, classes, { random: random.fork('fc') });
    initialize(this, random, initialValues);
  }

  /** @param x images [batch, 3, height, width]; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    return this.fc.forward(this.model.forward(x).mean([2, 3]));
  }
}

/** Rounds to a multiple of 8 that is no more than 10 % below, as in the reference implementations. */
function roundChannels(channels: number): number {
  const rounded = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return rounded < 0.9 * channels ? rounded + 8 : rounded;
}

/** Expansion by 1×1, depthwise 3×3, projection by 1×1 without activation; a shortcut where the shapes agree. */
class InvertedResidual extends Module {
  readonly conv: Sequential;
  readonly shortcut: boolean;

  constructor(inputs: number, outputs: number, stride: number, expansion: number, random: Random) {
    super();
    const hidden = inputs * expansion;
    const depthwise = { stride, groups: hidden, random: random.fork('depthwise') };
    const layers = [
      new Sequential(...convNorm(hidden, hidden, 3, depthwise), new ReLU6()),
      ...convNorm(hidden, outputs, 1, { random: random.fork('project') }),
    ];
    if (expansion !== 1) {
      layers.unshift(new Sequential(...convNorm(inputs, hidden, 1, { random: random.fork('expand') }), new ReLU6()));
    }
    this.conv = new Sequential(...layers);
    this.shortcut = stride === 1 && inputs === outputs;
  }

  override forward(x: Tensor): Tensor {
    const y = this.conv.forward(x);
    return this.shortcut ? x.add(y) : y;
  }
}

/** Expansion t, filters c, repeats n and stride s of the first of them (table 2). */
const bottlenecks = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

/**
 * MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381): inverted residuals with linear bottlenecks; 3,504,872 parameters
 * at width 1. torchvision's names, so its weights load.
 */
export class MobileNetV2 extends Module {
  readonly features: Sequential;
  readonly classifier: Sequential;

  constructor({ width = 1, classes = 1000, stride = 2, random = new Random(0) }: MobileNetOptions = {}) {
    super();
    let inputs = roundChannels(32 * width);
    const layers: Module[] = [
      new Sequential(...convNorm(3, inputs, 3, { stride, random: random.fork(0) }), new ReLU6()),
    ];
    for (const [t, c, n, s] of bottlenecks) {
      const outputs = roundChannels(c * width);
      for (let i = 0; i < n; i++) {
        layers.push(new InvertedResidual(inputs, outputs, i === 0 ? s : 1, t, random.fork(layers.length)));
        inputs = outputs;
      }
    }
    const last = roundChannels(1280 * Math.max(1, width));
    layers.push(new Sequential(...convNorm(inputs, last, 1, { random: random.fork(layers.length) }), new ReLU6()));
    this.features = new Sequential(...layers);
    this.classifier = new Sequential(
      new Dropout(0.2, { random: random.fork('dropout') }),
      new Linear(last, classes, { random: random.fork('classifier') }),
    );
    initialize(this, random, initialValues);
  }

  /** Loads torchvision's weights from a safetensors file; `options` must describe them. */
  static fromPretrained(path: string | URL, options: MobileNetOptions = {}): Promise<MobileNetV2> {
    return loadPretrained(new MobileNetV2(options), path);
  }

  /** @param x images [batch, 3, height, width]; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    return this.classifier.forward(this.features.forward(x).mean([2, 3]));
  }
}

/** torchvision's: convolutions by fan-out, the classifier normal with standard deviation 0.01. */
function initialValues(name: string, shape: readonly number[], random: Random) {
  if (shape.length === 4) return kaimingNormal(random, shape, { mode: 'fanOut' });
  if (shape.length === 2) return normalOf(random, shape, 0, 0.01);
  return /^(fc|classifier\.\d+)\.bias$/.test(name) ? zerosOf(shape) : undefined;
}

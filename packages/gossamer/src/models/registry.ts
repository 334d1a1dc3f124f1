import { check, type DType, Random } from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';
import { CharLSTM } from './char-lstm.ts';
import { DoodleNet } from './doodlenet.ts';
import { GPT } from './gpt.ts';
import { LeNet5, LeNet300 } from './lenet.ts';
import { Llama } from './llama.ts';
import { MobileNetV1, MobileNetV2 } from './mobilenet.ts';
import { ResNet } from './resnet.ts';
import { CifarResNet } from './resnet-cifar.ts';
import { SqueezeNet } from './squeezenet.ts';
import { StyleTransfer } from './style-transfer.ts';
import { EDSR } from './super-resolution.ts';
import { TinyDarknet } from './tiny-darknet.ts';
import { VGG } from './vgg.ts';
import { ViT } from './vit.ts';

export interface CreateOptions {
  /** Default: the model's own number. */
  readonly classes?: number;
  /** Factor of the number of filters or units, for models that have one; default 1. */
  readonly width?: number;
  /** Decides the initial weights; default 0. */
  readonly seed?: number;
}

/** A model by name, with what it takes and gives. */
export interface ModelEntry {
  /** One line. */
  readonly description: string;
  /** One input without its batch axis. */
  readonly input: { readonly dtype: DType; readonly shape: readonly number[] };
  /** Default number of classes (or tokens); null where the output is no classification and has no such option. */
  readonly classes: number | null;
  /** False where the width cannot be chosen. Default true. */
  readonly scalable?: false;
  create(options: { classes?: number; width?: number; random: Random }): Module;
}

const image = (channels: number, size: number) => ({ dtype: 'float32', shape: [channels, size, size] }) as const;
const text = (tokens: number) => ({ dtype: 'int32', shape: [tokens] }) as const;
const scale = (base: number, factor = 1): number => Math.max(1, Math.round(base * factor));

const cifarResNet = (depth: number): ModelEntry => ({
  description: `ResNet-${depth} for 32×32 images, shortcuts of option A`,
  input: image(3, 32),
  classes: 10,
  create: ({ width, ...options }) => new CifarResNet({ depth, width: scale(16, width), ...options }),
});

const resNet = (depth: 18 | 34 | 50): ModelEntry => ({
  description: `ResNet-${depth}, torchvision's names`,
  input: image(3, 224),
  classes: 1000,
  create: ({ width, ...options }) => new ResNet({ depth, width: scale(64, width), ...options }),
});

const vgg = (depth: 11 | 13 | 16 | 19, base: number, what: string): ModelEntry => ({
  description: `VGG-${depth} with batch normalisation for 32×32 images${what}`,
  input: image(3, 32),
  classes: 10,
  create: ({ width, ...options }) => new VGG({ depth, width: scale(base, width), ...options }),
});

/** Models by name. Those of graphs, which need sizes of the data, are made by their classes. */
export const models: Readonly<Record<string, ModelEntry>> = {
  'lenet-300-100': {
    description: 'Multi-layer perceptron 784-300-100-10',
    input: image(1, 28),
    classes: 10,
    create: ({ width, ...options }) => new LeNet300({ hidden: [scale(300, width), scale(100, width)], ...options }),
  },
  'lenet-5': {
    description: "LeNet-5 in Caffe's form: convolutions of 20 and 50 filters, 500 hidden units",
    input: image(1, 28),
    classes: 10,
    create: ({ width, ...options }) => {
      return new LeNet5({ widths: [scale(20, width), scale(50, width), scale(500, width)], ...options });
    },
  },
  'vgg-small': vgg(16, 16, ', a quarter of the width'),
  vgg11: vgg(11, 64, ''),
  vgg16: vgg(16, 64, ''),
  vgg19: vgg(19, 64, ''),
  resnet8: cifarResNet(8),
  resnet20: cifarResNet(20),
  resnet32: cifarResNet(32),
  resnet56: cifarResNet(56),
  resnet18: resNet(18),
  resnet34: resNet(34),
  resnet50: resNet(50),
  'resnet18-cifar': {
    description: 'ResNet-18 with a 3×3 stem for 32×32 images',
    input: image(3, 32),
    classes: 10,
    create: ({ width, classes = 10, random }) =>
      new ResNet({ stem: 'cifar', width: scale(64, width), classes, random }),
  },
  'mobilenet-v1': {
    description: 'MobileNetV1: depthwise separable convolutions',
    input: image(3, 224),
    classes: 1000,
    create: options => new MobileNetV1(options),
  },
  'mobilenet-v2': {
    description: "MobileNetV2: inverted residuals, torchvision's names",
    input: image(3, 224),
    classes: 1000,
    create: options => new MobileNetV2(options),
  },
  'vit-tiny': {
    description: "Vision transformer ViT-Ti/16, timm's names",
    input: image(3, 224),
    classes: 1000,
    // Heads stay 64 wide.
    create: ({ width, ...options }) => new ViT({ heads: scale(3, width), dim: 64 * scale(3, width), ...options }),
  },
  gpt2: {
    description: "GPT-2 small, nanoGPT's names",
    input: text(1024),
    classes: 50257,
    create: ({ classes: vocab, width, random }) =>
      new GPT({ vocab, heads: scale(12, width), dim: 64 * scale(12, width), random }),
  },
  llama: {
    description: 'LLaMA of 6 layers, 288 wide, 256 tokens',
    input: text(256),
    classes: 512,
    create: ({ classes: vocab, width, random }) =>
      new Llama({ vocab, heads: scale(6, width), dim: 48 * scale(6, width), random }),
  },
  'char-lstm': {
    description: 'Characters by two LSTM layers of 128 units',
    input: text(64),
    classes: 65,
    create: ({ classes: vocab, width, random }) => new CharLSTM({ vocab, hidden: scale(128, width), random }),
  },
  edsr: {
    description: 'EDSR baseline: twice the resolution, 16 residual blocks of 64 filters',
    input: image(3, 24),
    classes: null,
    create: ({ width, random }) => new EDSR({ width: scale(64, width), random }),
  },
  squeezenet: {
    description: 'SqueezeNet v1.0, loads Caffe names',
    input: image(3, 227),
    classes: 1000,
    scalable: false,
    create: ({ classes, random }) => new SqueezeNet({ classes, random }),
  },
  'tiny-darknet': {
    description: 'Tiny Darknet, loads Keras names',
    input: image(3, 224),
    classes: 1000,
    scalable: false,
    create: ({ classes, random }) => new TinyDarknet({ classes, random }),
  },
  doodlenet: {
    description: 'DoodleNet for 28×28 drawings, loads Keras names',
    input: image(1, 28),
    classes: 345,
    scalable: false,
    create: ({ classes, random }) => new DoodleNet({ classes, random }),
  },
  'style-transfer': {
    description: 'Fast style transfer, loads TensorFlow names',
    input: image(3, 256),
    classes: null,
    create: ({ width, random }) => new StyleTransfer({ width: scale(32, width), random }),
  },
};

/**
 * A model by its name in {@link models}, newly initialised.
 *
 * @throws a GossamerError that lists the names if there is no such model, or if it has no option that is given
 */
export function createModel(name: string, { classes, width, seed = 0 }: CreateOptions = {}): Module {
  check(
    Object.hasOwn(models, name),
    () => `createModel: no model '${name}'; there are ${Object.keys(models).join(', ')}`,
  );
  const entry = models[name];
  check(classes === undefined || entry.classes !== null, () => `createModel: ${name} has no classes to choose`);
  check(width === undefined || entry.scalable !== false, () => `createModel: the width of ${name} cannot be chosen`);
  return entry.create({ classes, width, random: new Random(seed) });
}

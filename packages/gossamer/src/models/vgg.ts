import { check, Random, type Tensor } from '@gossamer/tensor';
import { ReLU } from '../nn/activation.ts';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import { Sequential } from '../nn/container.ts';
import { Conv2d } from '../nn/conv.ts';
import { kaimingNormal } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { MaxPool2d } from '../nn/pool.ts';
import { initialize } from './weights.ts';

/** Convolutions of each stage, by depth (Simonyan & Zisserman 2015, table 1: A, B, D, E). */
const stages = { 11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4] } as const;

export interface VGGOptions {
  /** Layers with weights in the original network; default 16. */
  readonly depth?: keyof typeof stages;
  /** Filters of the first stage, doubled by each of the next three; default 64. */
  readonly width?: number;
  /** Input channels; default 3. */
  readonly channels?: number;
  /** Default 10. */
  readonly classes?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/**
 * VGG for 32×32 images: the convolutions of Simonyan & Zisserman (2015, arXiv:1409.1556) with batch normalisation and one
 * linear layer behind them, as Liu et al. 2017 ("Network slimming") and most pruning papers use it. VGG-16 has 14,728,266
 * parameters (names `features.0.weight`, …, `classifier.weight`); `width: 16` is a small VGG of 0.9 M.
 */
export class VGG extends Module {
  readonly features: Sequential;
  readonly classifier: Linear;

  constructor({ depth = 16, width = 64, channels = 3, classes = 10, random = new Random(0) }: VGGOptions = {}) {
    super();
    check(depth in stages, () => `VGG: depth ${depth}: expected one of ${Object.keys(stages).join(', ')}`);
    const layers: Module[] = [];
    let inputs = channels;
    stages[depth].forEach((convolutions, stage) => {
      const filters = width * 2 ** Math.min(stage, 3);
      for (let i = 0; i < convolutions; i++) {
        const conv = new Conv2d(inputs, filters, 3, { padding: 1, random: random.fork(`conv ${layers.length}`) });
        layers.push(conv, new BatchNorm2d(filters), new ReLU());
        inputs = filters;
      }
      layers.push(new MaxPool2d(2));
    });
    this.features = new Sequential(...layers);
    this.classifier = new Linear(inputs, classes, { random: random.fork('classifier') });
    initialize(this, random, (_, shape, r) =>
      shape.length === 4 ? kaimingNormal(r, shape, { mode: 'fanOut' }) : undefined,
    );
  }

  /** @param x images [batch, channels, 32, 32]; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    return this.classifier.forward(this.features.forward(x).flatten());
  }
}

import { check, maxPool, Random, type Tensor } from '@gossamer/tensor';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import { Sequential } from '../nn/container.ts';
import { Conv2d } from '../nn/conv.ts';
import { kaimingNormal } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { initialize, loadPretrained } from './weights.ts';

/** A 1×1 projection where a block changes the shape. */
const projection = (inputs: number, outputs: number, stride: number, random: Random): Sequential | undefined =>
  stride === 1 && inputs === outputs
    ? undefined
    : new Sequential(
        new Conv2d(inputs, outputs, 1, { stride, bias: false, random: random.fork('downsample') }),
        new BatchNorm2d(outputs),
      );

/** Two 3×3 convolutions. */
class BasicBlock extends Module {
  static readonly expansion = 1;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly downsample: Sequential | undefined;

  constructor(inputs: number, width: number, stride: number, random: Random) {
    super();
    const options = { padding: 1, bias: false };
    this.conv1 = new Conv2d(inputs, width, 3, { ...options, stride, random: random.fork('conv1') });
    this.bn1 = new BatchNorm2d(width);
    this.conv2 = new Conv2d(width, width, 3, { ...options, random: random.fork('conv2') });
    this.bn2 = new BatchNorm2d(width);
    this.downsample = projection(inputs, width, stride, random);
  }

  override forward(x: Tensor): Tensor {
    const h = this.bn1.forward(this.conv1.forward(x)).relu();
    return this.bn2
      .forward(this.conv2.forward(h))
      .add(this.downsample?.forward(x) ?? x)
      .relu();
  }
}

/** 1×1, 3×3 (which carries the stride, as in torchvision) and 1×1 convolutions, the last four times as wide. */
class Bottleneck extends Module {
  static readonly expansion = 4;
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly conv3: Conv2d;
  readonly bn3: BatchNorm2d;
  readonly downsample: Sequential | undefined;

  constructor(inputs: number, width: number, stride: number, random: Random) {
    super();
    const outputs = width * Bottleneck.expansion;
    this.conv1 = new Conv2d(inputs, width, 1, { bias: false, random: random.fork('conv1') });
    this.bn1 = new BatchNorm2d(width);
    this.conv2 = new Conv2d(width, width, 3, { stride, padding: 1, bias: false, random: random.fork('conv2') });
    this.bn2 = new BatchNorm2d(width);
    this.conv3 = new Conv2d(width, outputs, 1, { bias: false, random: random.fork('conv3') });
    this.bn3 = new BatchNorm2d(outputs);
    this.downsample = projection(inputs, outputs, stride, random);
  }

  override forward(x: Tensor): Tensor {
    let h = this.bn1.forward(this.conv1.forward(x)).relu();
    h = this.bn2.forward(this.conv2.forward(h)).relu();
    return this.bn3
      .forward(this.conv3.forward(h))
      .add(this.downsample?.forward(x) ?? x)
      .relu();
  }
}

const configurations = {
  18: { block: BasicBlock, counts: [2, 2, 2, 2] },
  34: { block: BasicBlock, counts: [3, 4, 6, 3] },
  50: { block: Bottleneck, counts: [3, 4, 6, 3] },
} as const;

export interface ResNetOptions {
  /** Default 18. */
  readonly depth?: keyof typeof configurations;
  /** Filters of the first stage, doubled by each of the next three; default 64. */
  readonly width?: number;
  /**
   * `imagenet` (default): 7×7 convolution of stride 2 and 3×3 max-pooling of stride 2; `cifar`: one 3×3 convolution, for
   * 32×32 and 64×64 images.
   */
  readonly stem?: 'imagenet' | 'cifar';
  /** Input channels; default 3. */
  readonly channels?: number;
  /** Default 1000. */
  readonly classes?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/**
 * ResNet-18, -34 and -50 (He et al. 2016, arXiv:1512.03385, table 1) with torchvision's names: 11,689,512, 21,797,672
 * and 25,557,032 parameters.
 */
export class ResNet extends Module {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly layer1: Sequential;
  readonly layer2: Sequential;
  readonly layer3: Sequential;
  readonly layer4: Sequential;
  readonly fc: Linear;
  readonly stem: 'imagenet' | 'cifar';

  constructor(options: ResNetOptions = {}) {
    super();
    const { depth = 18, width = 64, stem = 'imagenet', channels = 3, classes = 1000, random = new Random(0) } = options;
    check(depth in configurations, () => `ResNet: depth ${depth}: expected one of ${Object.keys(configurations)}`);
    const { block: Block, counts } = configurations[depth];
    let inputs = width;
    const layer = (index: number): Sequential => {
      const blocks: Module[] = [];
      for (let i = 0; i < counts[index]; i++) {
        const filters = width * 2 ** index;
        const stride = i === 0 && index > 0 ? 2 : 1;
        blocks.push(new Block(inputs, filters, stride, random.fork(`layer${index + 1}.${i}`)));
        inputs = filters * Block.expansion;
      }
      return new Sequential(...blocks);
    };
    const [kernel, stride, padding] = stem === 'imagenet' ? [7, 2, 3] : [3, 1, 1];
    this.conv1 = new Conv2d(channels, width, kernel, { stride, padding, bias: false, random: random.fork('conv1') });
    this.bn1 = new BatchNorm2d(width);
    this.layer1 = layer(0);
    this.layer2 = layer(1);
    this.layer3 = layer(2);
    this.layer4 = layer(3);
    this.fc = new Linear(inputs, classes, { random: random.fork('fc') });
    this.stem = stem;
    initialize(this, random, (_, shape, r) =>
      shape.length === 4 ? kaimingNormal(r, shape, { mode: 'fanOut' }) : undefined,
    );
  }

  /** Loads torchvision's weights from a safetensors file; `options` must describe them. */
  static fromPretrained(path: string | URL, options: ResNetOptions = {}): Promise<ResNet> {
    return loadPretrained(new ResNet(options), path);
  }

  /** @param x images [batch, channels, height, width] (224×224 on ImageNet); returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    let h = this.bn1.forward(this.conv1.forward(x)).relu();
    if (this.stem === 'imagenet') h = maxPool(h, 3, { stride: 2, padding: 1 });
    for (const layer of [this.layer1, this.layer2, this.layer3, this.layer4]) h = layer.forward(h);
    return this.fc.forward(h.mean([2, 3]));
  }
}

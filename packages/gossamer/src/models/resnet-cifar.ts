import { check, Random, type Tensor } from '@gossamer/tensor';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import { Sequential } from '../nn/container.ts';
import { Conv2d } from '../nn/conv.ts';
import { kaimingNormal } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { initialize, loadPretrained, storedShapes } from './weights.ts';

/** Two 3×3 convolutions and a shortcut without parameters (option A: every second pixel, zeros for new channels). */
class BasicBlock extends Module {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly conv2: Conv2d;
  readonly bn2: BatchNorm2d;
  readonly stride: number;

  constructor(inputs: number, filters: number, stride: number, random: Random) {
    super();
    const options = { padding: 1, bias: false };
    this.conv1 = new Conv2d(inputs, filters, 3, { ...options, stride, random: random.fork('conv1') });
    this.bn1 = new BatchNorm2d(filters);
    this.conv2 = new Conv2d(filters, filters, 3, { ...options, random: random.fork('conv2') });
    this.bn2 = new BatchNorm2d(filters);
    this.stride = stride;
  }

  override forward(x: Tensor): Tensor {
    const h = this.bn1.forward(this.conv1.forward(x)).relu();
    return this.bn2.forward(this.conv2.forward(h)).add(this.#shortcut(x)).relu();
  }

  #shortcut(x: Tensor): Tensor {
    const fresh = this.conv2.outChannels - x.shape[1];
    const strided = this.stride === 1 ? x : x.slice(2, 0, undefined, this.stride).slice(3, 0, undefined, this.stride);
    return strided.pad([[1, Math.floor(fresh / 2), Math.ceil(fresh / 2)]]);
  }
}

export interface CifarResNetOptions {
  /** Layers with weights, 6n + 2: 20 (default), 32, 44, 56, 110. */
  readonly depth?: number;
  /** Filters of the first stage, doubled by each of the next two; default 16. */
  readonly width?: number;
  /** Input channels; default 3. */
  readonly channels?: number;
  /** Default 10. */
  readonly classes?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/**
 * The ResNets for 32×32 images (He et al. 2016, arXiv:1512.03385, section 4.2), with shortcuts of option A: ResNet-20
 * has 269,722 parameters, ResNet-32 464,154, ResNet-56 853,018. Names as in akamaster/pytorch_resnet_cifar10; that
 * repository's weights expect RGB in [0, 1] less (0.485, 0.456, 0.406) over (0.229, 0.224, 0.225).
 */
export class CifarResNet extends Module {
  readonly conv1: Conv2d;
  readonly bn1: BatchNorm2d;
  readonly layer1: Sequential;
  readonly layer2: Sequential;
  readonly layer3: Sequential;
  readonly linear: Linear;

  constructor({ depth = 20, width = 16, channels = 3, classes = 10, random = new Random(0) }: CifarResNetOptions = {}) {
    super();
    const blocks = (depth - 2) / 6;
    check(
      Number.isInteger(blocks) && blocks > 0,
      () => `CifarResNet: depth ${depth}: expected 6n + 2, e.g. 20, 32, 56`,
    );
    const stage = (name: string, inputs: number, filters: number, stride: number): Sequential => {
      const forks = Array.from({ length: blocks }, (_, i) => random.fork(`${name}.${i}`));
      return new Sequential(
        ...forks.map((r, i) =>
          i === 0 ? new BasicBlock(inputs, filters, stride, r) : new BasicBlock(filters, filters, 1, r),
        ),
      );
    };
    this.conv1 = new Conv2d(channels, width, 3, { padding: 1, bias: false, random: random.fork('conv1') });
    this.bn1 = new BatchNorm2d(width);
    this.layer1 = stage('layer1', width, width, 1);
    this.layer2 = stage('layer2', width, 2 * width, 2);
    this.layer3 = stage('layer3', 2 * width, 4 * width, 2);
    this.linear = new Linear(4 * width, classes, { random: random.fork('linear') });
    initialize(this, random, (_, shape, r) => (shape.length > 1 ? kaimingNormal(r, shape) : undefined));
  }

  /** Loads a safetensors file with this model's names; depth and width are read off its tensors. */
  static async fromPretrained(path: string | URL): Promise<CifarResNet> {
    const shapes = await storedShapes(path);
    const blocks = [...shapes.keys()].filter(name => /^layer1\.\d+\.conv1\.weight$/.test(name)).length;
    const conv1 = shapes.get('conv1.weight');
    const linear = shapes.get('linear.weight');
    check(
      blocks > 0 && conv1?.length === 4 && linear?.length === 2,
      () => `${path}: no CIFAR ResNet: expected conv1.weight, layer1.0.conv1.weight, …, linear.weight`,
    );
    const [width, channels] = conv1;
    return loadPretrained(new CifarResNet({ depth: 6 * blocks + 2, width, channels, classes: linear[0] }), path);
  }

  /** @param x images [batch, channels, 32, 32]; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    let h = this.bn1.forward(this.conv1.forward(x)).relu();
    for (const layer of [this.layer1, this.layer2, this.layer3]) h = layer.forward(h);
    return this.linear.forward(h.mean([2, 3]));
  }
}

import { maxPool, Random, type Tensor } from '@gossamer/tensor';
import { Conv2d } from '../nn/conv.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';

export interface LeNetOptions {
  /** Default 10. */
  readonly classes?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

export interface LeNet300Options extends LeNetOptions {
  /** Pixels of an image; default 784. */
  readonly inputs?: number;
  /** Units of the hidden layers; default [300, 100]. */
  readonly hidden?: readonly [number, number];
}

/**
 * LeNet-300-100 (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.C.4): two
 * hidden layers, with ReLU as in the pruning literature; 266,610 parameters.
 */
export class LeNet300 extends Module {
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly fc3: Linear;

  constructor({
    inputs = 784,
    hidden: [a, b] = [300, 100],
    classes = 10,
    random = new Random(0),
  }: LeNet300Options = {}) {
    super();
    this.fc1 = new Linear(inputs, a, { random: random.fork('fc1') });
    this.fc2 = new Linear(a, b, { random: random.fork('fc2') });
    this.fc3 = new Linear(b, classes, { random: random.fork('fc3') });
  }

  /** @param x images [batch, …], flattened here; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    const h = this.fc2.forward(this.fc1.forward(x.flatten()).relu()).relu();
    return this.fc3.forward(h);
  }
}

export interface LeNet5Options extends LeNetOptions {
  /** Input channels; default 1. */
  readonly channels?: number;
  /** Height and width of the images; default 28. */
  readonly size?: number;
  /** Filters of the two convolutions and units of the hidden layer; default [20, 50, 500]. */
  readonly widths?: readonly [number, number, number];
}

/**
 * LeNet-5 in the form that pruning papers compress (Caffe's `lenet.prototxt`; Han et al. 2015): two 5×5 convolutions
 * without padding of 20 and 50 filters, each followed by 2×2 max-pooling, then 500 hidden units with ReLU; 431,080
 * parameters.
 */
export class LeNet5 extends Module {
  readonly conv1: Conv2d;
  readonly conv2: Conv2d;
  readonly fc1: Linear;
  readonly fc2: Linear;

  constructor(options: LeNet5Options = {}) {
    super();
    const { channels = 1, size = 28, widths = [20, 50, 500], classes = 10, random = new Random(0) } = options;
    const [a, b, hidden] = widths;
    const side = Math.floor((Math.floor((size - 4) / 2) - 4) / 2);
    this.conv1 = new Conv2d(channels, a, 5, { random: random.fork('conv1') });
    this.conv2 = new Conv2d(a, b, 5, { random: random.fork('conv2') });
    this.fc1 = new Linear(b * side * side, hidden, { random: random.fork('fc1') });
    this.fc2 = new Linear(hidden, classes, { random: random.fork('fc2') });
  }

  /** @param x images [batch, channels, size, size]; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    const h = maxPool(this.conv2.forward(maxPool(this.conv1.forward(x), 2)), 2);
    return this.fc2.forward(this.fc1.forward(h.flatten()).relu());
  }
}

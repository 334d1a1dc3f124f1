import { maxPool, type Random, type Tensor } from '@gossamer/tensor';
import { BatchNorm2d, Conv2d, type ConvOptions, GRU, Linear, Module, ReLU, Sequential } from '../nn/index.ts';

// Networks of the experiments that are too small to be models of the package: what trains in seconds on two cores.

/** The LeNet-5 of pruning papers for small images: 5×5 convolutions that keep the size, 2×2 pooling, one hidden layer. */
export class SmallLeNet extends Module {
  readonly conv1: Conv2d;
  readonly conv2: Conv2d;
  readonly fc1: Linear;
  readonly fc2: Linear;

  /** @param size height and width of the images, a multiple of 4 (or 2 more) */
  constructor(size: number, random: Random, [a, b, hidden]: readonly [number, number, number] = [8, 16, 128]) {
    super();
    const side = Math.floor(Math.floor(size / 2) / 2);
    this.conv1 = new Conv2d(1, a, 5, { padding: 2, random: random.fork('conv1') });
    this.conv2 = new Conv2d(a, b, 5, { padding: 2, random: random.fork('conv2') });
    this.fc1 = new Linear(b * side * side, hidden, { random: random.fork('fc1') });
    this.fc2 = new Linear(hidden, 10, { random: random.fork('fc2') });
  }

  override forward(x: Tensor): Tensor {
    const h = maxPool(this.conv2.forward(maxPool(this.conv1.forward(x), 2).relu()), 2).relu();
    return this.fc2.forward(this.fc1.forward(h.flatten()).relu());
  }
}

/** A gated recurrent unit that reads an image from top to bottom, some rows at a time, and names it at the end. */
export class RowReader extends Module {
  readonly gru: GRU;
  readonly head: Linear;
  readonly #rows: number;

  constructor(size: number, rows: number, hidden: number, random: Random) {
    super();
    this.#rows = rows;
    this.gru = new GRU(size * rows, hidden, { random: random.fork('gru') });
    this.head = new Linear(hidden, 10, { random: random.fork('head') });
  }

  override forward(x: Tensor): Tensor {
    const [batch, , height, width] = x.shape;
    const sequence = x.reshape([batch, height / this.#rows, this.#rows * width]).transpose([1, 0, 2]);
    const [, last] = this.gru.forward(sequence);
    return this.head.forward(last.squeeze(0));
  }
}

/**
 * 3×3 convolutions with batch normalisation and ReLU; a stage whose width differs from the one before halves the image
 * (but the first). Global average pooling and one linear layer at the end.
 */
export class ConvNet extends Module {
  readonly body: Sequential;
  readonly head: Linear;

  /**
   * @param channels colours of the images
   * @param widths filters of each convolution
   */
  constructor(channels: number, widths: readonly number[], random: Random, classes = 10) {
    super();
    const stages = widths.map((filters, i) => {
      const inputs = i === 0 ? channels : widths[i - 1];
      const stride = i > 0 && filters !== inputs ? 2 : 1;
      return new Sequential(
        new Conv2d(inputs, filters, 3, { padding: 1, stride, bias: false, random: random.fork(i) }),
        new BatchNorm2d(filters),
        new ReLU(),
      );
    });
    this.body = new Sequential(...stages);
    this.head = new Linear(widths.at(-1)!, classes, { random: random.fork('head') });
  }

  /** Pooled features [batch, last width]. */
  features(x: Tensor): Tensor {
    return this.body.forward(x).mean([2, 3]);
  }

  override forward(x: Tensor): Tensor {
    return this.head.forward(this.features(x));
  }
}

/** Narrow depthwise separable blocks as in MobileNetV1 (Howard et al. 2017), under a hidden layer with most of the weights. */
export class NarrowMobileNet extends Module {
  readonly blocks: Sequential;
  readonly fc1: Linear;
  readonly fc2: Linear;

  /**
   * @param size height and width of the images
   * @param widths filters of the first convolution and of each block; a block halves the image where they double
   */
  constructor(size: number, widths: readonly number[], hidden: number, random: Random) {
    super();
    const stage = (inputs: number, filters: number, kernel: number, options: ConvOptions) =>
      new Sequential(
        new Conv2d(inputs, filters, kernel, { ...options, bias: false }),
        new BatchNorm2d(filters),
        new ReLU(),
      );
    const stages = [stage(1, widths[0], 3, { padding: 1, random: random.fork(0) })];
    widths.slice(1).forEach((filters, i) => {
      const inputs = widths[i];
      const stride = filters > inputs ? 2 : 1;
      const r = random.fork(i + 1);
      size = Math.ceil(size / stride);
      stages.push(
        stage(inputs, inputs, 3, { padding: 1, groups: inputs, stride, random: r.fork('depthwise') }),
        stage(inputs, filters, 1, { random: r.fork('pointwise') }),
      );
    });
    this.blocks = new Sequential(...stages);
    this.fc1 = new Linear(widths.at(-1)! * size * size, hidden, { random: random.fork('fc1') });
    this.fc2 = new Linear(hidden, 10, { random: random.fork('fc2') });
  }

  override forward(x: Tensor): Tensor {
    return this.fc2.forward(this.fc1.forward(this.blocks.forward(x).flatten()).relu());
  }
}

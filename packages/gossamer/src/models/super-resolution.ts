import { check, concat, Random, resize, type Tensor } from '@gossamer/tensor';
import { Conv2d } from '../nn/conv.ts';
import { GELU, LayerNorm, Linear, MultiheadAttention, ReLU, Sequential } from '../nn/index.ts';
import { Module } from '../nn/module.ts';

/**
 * [n, channels·scale², h, w] → [n, channels, h·scale, w·scale]: the scale² values of a channel become a square of pixels
 * (Shi et al. 2016, sub-pixel convolution). A bijection.
 */
export function pixelShuffle(x: Tensor, scale: number): Tensor {
  const [n, deep, h, w] = x.shape;
  const channels = deep / scale ** 2;
  check(
    Number.isInteger(channels),
    () => `pixelShuffle: ${deep} channels are no multiple of ${scale}² = ${scale ** 2}`,
  );
  return x
    .reshape([n, channels, scale, scale, h, w])
    .transpose([0, 1, 4, 2, 5, 3])
    .reshape([n, channels, h * scale, w * scale]);
}

export interface SuperResolutionOptions {
  /** How many times larger each side becomes: 2 (default), 3 or 4. */
  readonly scale?: 2 | 3 | 4;
  /** Features of every layer; default 64 in EDSR, 32 in the window transformer. */
  readonly width?: number;
  /** Residual blocks; default 16 in EDSR (its baseline form), 2 in the window transformer. */
  readonly blocks?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/** conv → blocks → conv, features → pixels; both networks below learn what bicubic interpolation lacks. */
abstract class SuperResolution extends Module {
  readonly scale: number;
  readonly head: Conv2d;
  readonly body: Sequential;
  readonly fuse: Conv2d;
  readonly tail: Conv2d;

  constructor(scale: number, width: number, blocks: readonly Module[], random: Random) {
    super();
    check([2, 3, 4].includes(scale), () => `super-resolution: scale ${scale}; expected 2, 3 or 4`);
    this.scale = scale;
    const conv = (name: string, inputs: number, outputs: number) =>
      new Conv2d(inputs, outputs, 3, { padding: 1, random: random.fork(name) });
    this.head = conv('head', 3, width);
    this.body = new Sequential(...blocks);
    this.fuse = conv('fuse', width, width);
    this.tail = conv('tail', width, 3 * scale ** 2);
  }

  /** @param x [n, 3, h, w] in 0…1 @returns [n, 3, h·scale, w·scale] */
  override forward(x: Tensor): Tensor {
    const shallow = this.head.forward(x);
    const deep = this.fuse.forward(this.body.forward(shallow)).add(shallow);
    const enlarged = resize(x, { scale: this.scale, mode: 'cubic', cubicCoefficient: -0.5 });
    return pixelShuffle(this.tail.forward(deep), this.scale).add(enlarged);
  }
}

/** conv → ReLU → conv with a shortcut, without normalisation. */
class ResidualBlock extends Module {
  readonly conv1: Conv2d;
  readonly conv2: Conv2d;
  readonly relu = new ReLU();

  constructor(width: number, random: Random) {
    super();
    this.conv1 = new Conv2d(width, width, 3, { padding: 1, random: random.fork('conv1') });
    this.conv2 = new Conv2d(width, width, 3, { padding: 1, random: random.fork('conv2') });
  }

  override forward(x: Tensor): Tensor {
    return this.conv2.forward(this.relu.forward(this.conv1.forward(x))).add(x);
  }
}

/**
 * EDSR (Lim et al. 2017): residual blocks without normalisation and a pixel shuffle, for RGB images in 0…1. Unlike there,
 * the network adds to the bicubic enlargement (as VDSR does), which it is at least as good as after a short training.
 */
export class EDSR extends SuperResolution {
  constructor({ scale = 2, width = 64, blocks = 16, random = new Random(0) }: SuperResolutionOptions = {}) {
    const body = Array.from({ length: blocks }, (_, i) => new ResidualBlock(width, random.fork(`block.${i}`)));
    super(scale, width, body, random);
  }
}

/** Attention among the pixels of each window, then two linear layers, each with normalisation before and a shortcut. */
class WindowBlock extends Module {
  readonly window: number;
  readonly shift: number;
  readonly norm1: LayerNorm;
  readonly attention: MultiheadAttention;
  readonly norm2: LayerNorm;
  readonly mlp: Sequential;

  constructor(width: number, heads: number, window: number, shift: number, random: Random) {
    super();
    this.window = window;
    this.shift = shift;
    this.norm1 = new LayerNorm(width);
    this.attention = new MultiheadAttention(width, heads, { random: random.fork('attention') });
    this.norm2 = new LayerNorm(width);
    this.mlp = new Sequential(
      new Linear(width, 2 * width, { random: random.fork('up') }),
      new GELU(),
      new Linear(2 * width, width, { random: random.fork('down') }),
    );
  }

  override forward(x: Tensor): Tensor {
    const { window: m, shift } = this;
    const [n, c, h, w] = x.shape;
    check(
      h % m === 0 && w % m === 0,
      () => `window attention: an image of ${h} × ${w} is no multiple of the window ${m}; pad it`,
    );
    // Rolled images give every second block windows across the borders of the former (Liu et al. 2021, without masks).
    const rolled = (y: Tensor, by: number) => roll(roll(y, by, 2), by, 3);
    const windows = rolled(x, shift)
      .reshape([n, c, h / m, m, w / m, m])
      .transpose([0, 2, 4, 3, 5, 1])
      .reshape([(n * h * w) / m ** 2, m * m, c]);
    const attended = windows.add(this.attention.forward(this.norm1.forward(windows)));
    const mixed = attended.add(this.mlp.forward(this.norm2.forward(attended)));
    const image = mixed
      .reshape([n, h / m, w / m, m, m, c])
      .transpose([0, 5, 1, 3, 2, 4])
      .reshape([n, c, h, w]);
    return rolled(image, -shift);
  }
}

/** Moves positions along an axis; what leaves at one end enters at the other. */
function roll(x: Tensor, by: number, axis: number): Tensor {
  if (by === 0) return x;
  const length = x.shape[axis];
  const at = ((by % length) + length) % length;
  return concat([x.slice(axis, at, length), x.slice(axis, 0, at)], axis);
}

export interface WindowTransformerOptions extends SuperResolutionOptions {
  /** Pixels of a window's side, which must divide the image's; default 8. */
  readonly window?: number;
  /** Default 4. */
  readonly heads?: number;
}

/** A small SwinIR (Liang et al. 2021): blocks of window attention, every second one on windows that are shifted by half. */
export class WindowTransformer extends SuperResolution {
  constructor(options: WindowTransformerOptions = {}) {
    const { scale = 2, width = 32, blocks = 2, window = 8, heads = 4, random = new Random(0) } = options;
    const body = Array.from(
      { length: blocks },
      (_, i) => new WindowBlock(width, heads, window, i % 2 === 0 ? 0 : window / 2, random.fork(`block.${i}`)),
    );
    super(scale, width, body, random);
  }
}

import { concat, maxPool, Random, type Tensor } from '@gossamer/tensor';
import { Conv2d } from '../nn/conv.ts';
import { kaimingUniform, normalOf, zerosOf } from '../nn/init.ts';
import { Module } from '../nn/module.ts';
import { initialize, loadPretrained } from './weights.ts';

/** A narrow 1×1 convolution and, side by side behind it, wide 1×1 and 3×3 ones. */
class Fire extends Module {
  readonly squeeze: Conv2d;
  readonly expand1x1: Conv2d;
  readonly expand3x3: Conv2d;

  constructor(inputs: number, squeezed: number, expanded: number, random: Random) {
    super();
    this.squeeze = new Conv2d(inputs, squeezed, 1, { random: random.fork('squeeze') });
    this.expand1x1 = new Conv2d(squeezed, expanded, 1, { random: random.fork('expand1x1') });
    this.expand3x3 = new Conv2d(squeezed, expanded, 3, { padding: 1, random: random.fork('expand3x3') });
  }

  override forward(x: Tensor): Tensor {
    const h = this.squeeze.forward(x).relu();
    return concat([this.expand1x1.forward(h), this.expand3x3.forward(h)], 1).relu();
  }
}

export interface SqueezeNetOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

const caffeNames = { squeeze: 'conv1x1_1', expand1x1: 'conv1x1_2', expand3x3: 'conv3x3_2' } as const;

/** `fire2.squeeze.weight` → `fire2/conv1x1_1.weight`. */
const caffeName = (name: string): string =>
  name.replace(
    /^(fire\d)\.(squeeze|expand\dx\d)\./,
    (_, fire, conv: keyof typeof caffeNames) => `${fire}/${caffeNames[conv]}.`,
  );

/**
 * SqueezeNet v1.0 (Iandola et al. 2016, arXiv:1602.07360): 1,248,424 parameters. Its Caffe weights, and those that Deep
 * Compression made of them (Han et al. 2016), want 227×227 BGR images in 0 … 255 less (104, 117, 123), and number the
 * classes by sorted WordNet id.
 */
export class SqueezeNet extends Module {
  readonly conv1: Conv2d;
  readonly fire2: Fire;
  readonly fire3: Fire;
  readonly fire4: Fire;
  readonly fire5: Fire;
  readonly fire6: Fire;
  readonly fire7: Fire;
  readonly fire8: Fire;
  readonly fire9: Fire;
  readonly convFinal: Conv2d;

  constructor({ classes = 1000, random = new Random(0) }: SqueezeNetOptions = {}) {
    super();
    const fire = (index: number, inputs: number, squeezed: number, expanded: number): Fire =>
      new Fire(inputs, squeezed, expanded, random.fork(`fire${index}`));
    this.conv1 = new Conv2d(3, 96, 7, { stride: 2, random: random.fork('conv1') });
    this.fire2 = fire(2, 96, 16, 64);
    this.fire3 = fire(3, 128, 16, 64);
    this.fire4 = fire(4, 128, 32, 128);
    this.fire5 = fire(5, 256, 32, 128);
    this.fire6 = fire(6, 256, 48, 192);
    this.fire7 = fire(7, 384, 48, 192);
    this.fire8 = fire(8, 384, 64, 256);
    this.fire9 = fire(9, 512, 64, 256);
    // The padding, which only adds a border of biases, is the original's.
    this.convFinal = new Conv2d(512, classes, 1, { padding: 1, random: random.fork('conv_final') });
    initialize(this, random, (name, shape, r) => {
      if (name === 'conv_final.weight') return normalOf(r, shape, 0, 0.01);
      return shape.length === 4 ? kaimingUniform(r, shape) : zerosOf(shape);
    });
  }

  /** Loads a safetensors file with the names of the Caffe layers. */
  static fromPretrained(path: string | URL): Promise<SqueezeNet> {
    return loadPretrained(new SqueezeNet(), path, { stored: caffeName });
  }

  /** @param x images [batch, 3, height, width]; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    const pool = (h: Tensor): Tensor => maxPool(h, 3, { stride: 2, ceilMode: true });
    let h = pool(this.conv1.forward(x).relu());
    h = pool([this.fire2, this.fire3, this.fire4].reduce((t, fire) => fire.forward(t), h));
    h = pool([this.fire5, this.fire6, this.fire7, this.fire8].reduce((t, fire) => fire.forward(t), h));
    return this.convFinal.forward(this.fire9.forward(h)).relu().mean([2, 3]);
  }
}

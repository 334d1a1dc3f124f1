import { maxPool, Random, type Tensor } from '@gossamer/tensor';
import { Conv2d } from '../nn/conv.ts';
import { Dropout } from '../nn/dropout.ts';
import { xavierUniform, zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { fromHWIO, fromInOut, initialize, loadPretrained, type Stored } from './weights.ts';

const filters = [16, 16, 32, 32, 64, 64];

export interface DoodleNetOptions {
  /** Default 345. */
  readonly classes?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/** `convs.1.weight` → `conv2d_1/kernel`, `dense.weight` → `dense/kernel`; Keras leaves the number 0 out. */
function kerasName(name: string): Stored {
  const [kind, ...rest] = name.split('.');
  const field = rest.at(-1) === 'bias' ? 'bias' : 'kernel';
  if (kind === 'convs') {
    const layer = rest[0] === '0' ? 'conv2d' : `conv2d_${rest[0]}`;
    return field === 'bias' ? { name: `${layer}/bias` } : { name: `${layer}/kernel`, convert: fromHWIO };
  }
  if (field === 'bias') return { name: `${kind}/bias` };
  return { name: `${kind}/kernel`, convert: kind === 'dense' ? fromChannelsLast : fromInOut };
}

/** Rows of the first dense layer count [height, width, channels] of the 3×3 maps; ours [channels, height, width]. */
const fromChannelsLast = (x: Tensor): Tensor => {
  const units = x.shape[1];
  return x.reshape([3, 3, 64, units]).transpose([3, 2, 0, 1]).reshape([units, 576]);
};

/**
 * DoodleNet (Shi 2019, https://github.com/yining1023/doodleNet): classifies 28×28 drawings of the Quick, Draw! data into
 * 345 kinds; 544,201 parameters.
 */
export class DoodleNet extends Module {
  readonly convs: Conv2d[];
  readonly dropout: Dropout;
  readonly dense: Linear;
  readonly dense_1: Linear;

  constructor({ classes = 345, random = new Random(0) }: DoodleNetOptions = {}) {
    super();
    this.convs = filters.map(
      (n, i) => new Conv2d(i === 0 ? 1 : filters[i - 1], n, 3, { padding: 1, random: random.fork(`convs.${i}`) }),
    );
    this.dropout = new Dropout(0.1, { random: random.fork('dropout') });
    this.dense = new Linear(576, 512, { random: random.fork('dense') });
    this.dense_1 = new Linear(512, classes, { random: random.fork('dense_1') });
    initialize(this, random, (_, shape, r) => (shape.length > 1 ? xavierUniform(r, shape) : zerosOf(shape)));
  }

  /** Loads a safetensors file with the names and layouts of Keras. */
  static fromPretrained(path: string | URL): Promise<DoodleNet> {
    return loadPretrained(new DoodleNet(), path, { stored: kerasName });
  }

  /** @param x drawings [batch, 1, 28, 28], ink 1 on 0; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    let h = x;
    this.convs.forEach((conv, i) => {
      h = conv.forward(h).relu();
      if (i % 2 === 1) h = maxPool(h, 2);
    });
    return this.dense_1.forward(this.dense.forward(this.dropout.forward(h).flatten()).tanh());
  }
}

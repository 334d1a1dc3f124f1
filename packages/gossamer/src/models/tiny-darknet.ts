import { check, maxPool, Random, type Tensor } from '@gossamer/tensor';
import { BatchNorm2d } from '../nn/batch-norm.ts';
import { Conv2d } from '../nn/conv.ts';
import { kaimingNormal } from '../nn/init.ts';
import { Module } from '../nn/module.ts';
import { fromHWIO, initialize, loadPretrained, type Stored } from './weights.ts';

/** Filters and kernel of each convolution but the last; `pool` halves the size behind it. */
const layers = [
  { filters: 16, kernel: 3, pool: true },
  { filters: 32, kernel: 3, pool: true },
  { filters: 16, kernel: 1 },
  { filters: 128, kernel: 3 },
  { filters: 16, kernel: 1 },
  { filters: 128, kernel: 3, pool: true },
  { filters: 32, kernel: 1 },
  { filters: 256, kernel: 3 },
  { filters: 32, kernel: 1 },
  { filters: 256, kernel: 3, pool: true },
  { filters: 64, kernel: 1 },
  { filters: 512, kernel: 3 },
  { filters: 64, kernel: 1 },
  { filters: 512, kernel: 3 },
  { filters: 128, kernel: 1 },
];

export interface TinyDarknetOptions {
  /** Default 1000. */
  readonly classes?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

const statistics: Readonly<Record<string, string>> = {
  weight: 'gamma',
  bias: 'beta',
  running_mean: 'moving_mean',
  running_var: 'moving_variance',
};

/** `convs.0.weight` → `conv2d_1/kernel`, `norms.0.weight` → `batch_normalization_1/gamma`. */
function kerasName(name: string): Stored {
  const [kind, index, field] = name.split('.');
  if (kind === 'norms') return { name: `batch_normalization_${Number(index) + 1}/${statistics[field]}` };
  const layer = `conv2d_${Number(index) + 1}`;
  return field === 'bias' ? { name: `${layer}/bias` } : { name: `${layer}/kernel`, convert: fromHWIO };
}

/**
 * Tiny Darknet (Redmon, https://pjreddie.com/darknet/tiny-darknet/): 1,042,104 parameters, SqueezeNet's accuracy on
 * ImageNet with plain convolutions. Wants 224×224 RGB images in [0, 1]; its classes are in Darknet's order.
 */
export class TinyDarknet extends Module {
  /** All convolutions; the last has a bias and no normalisation. */
  readonly convs: Conv2d[];
  readonly norms: BatchNorm2d[];

  constructor({ classes = 1000, random = new Random(0) }: TinyDarknetOptions = {}) {
    super();
    const conv = (i: number, filters: number, kernel: number, bias: boolean): Conv2d => {
      const inputs = i === 0 ? 3 : layers[i - 1].filters;
      return new Conv2d(inputs, filters, kernel, {
        padding: (kernel - 1) / 2,
        bias,
        random: random.fork(`convs.${i}`),
      });
    };
    this.convs = [
      ...layers.map(({ filters, kernel }, i) => conv(i, filters, kernel, false)),
      conv(layers.length, classes, 1, true),
    ];
    this.norms = layers.map(({ filters }) => new BatchNorm2d(filters, { eps: 1e-3 }));
    initialize(this, random, (_, shape, r) =>
      shape.length === 4 ? kaimingNormal(r, shape, { nonlinearity: 'leakyRelu', slope: 0.1 }) : undefined,
    );
  }

  /** Loads a safetensors file with the names and layouts of Keras. */
  static fromPretrained(path: string | URL): Promise<TinyDarknet> {
    return loadPretrained(new TinyDarknet(), path, { stored: kerasName });
  }

  /** @param x images [batch, 3, height, width], sides divisible by 16; returns logits [batch, classes] */
  override forward(x: Tensor): Tensor {
    const [height, width] = x.shape.slice(2);
    check(
      height % 16 === 0 && width % 16 === 0,
      () => `TinyDarknet: ${height}×${width} images: expected multiples of 16`,
    );
    let h = x;
    layers.forEach(({ pool }, i) => {
      h = this.norms[i].forward(this.convs[i].forward(h)).leakyRelu(0.1);
      if (pool) h = maxPool(h, 2);
    });
    return this.convs[layers.length].forward(h).mean([2, 3]);
  }
}

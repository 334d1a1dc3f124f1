import { conv, convTranspose, instanceNorm, Parameter, Random, type Tensor } from '@gossamer/tensor';
import { onesOf, truncatedNormalOf, zerosOf } from '../nn/init.ts';
import { Module } from '../nn/module.ts';
import { fromHWIO, loadPretrained, type Stored } from './weights.ts';

/** A weight without bias and the instance normalisation behind it. */
abstract class StyleLayer extends Module {
  readonly weight: Parameter;
  readonly shift: Parameter;
  readonly scale: Parameter;

  constructor(shape: readonly number[], outputs: number, random: Random) {
    super();
    this.weight = new Parameter(truncatedNormalOf(random, shape, 0, 0.1));
    this.shift = new Parameter(zerosOf([outputs]));
    this.scale = new Parameter(onesOf([outputs]));
  }

  protected normalize(x: Tensor): Tensor {
    return instanceNorm(x, { weight: this.scale, bias: this.shift, eps: 1e-3 });
  }
}

/** Convolution with 'same' padding; weight [outputs, inputs, kernel, kernel]. */
class StyleConv extends StyleLayer {
  readonly stride: number;

  constructor(inputs: number, outputs: number, kernel: number, stride: number, random: Random) {
    super([outputs, inputs, kernel, kernel], outputs, random);
    this.stride = stride;
  }

  override forward(x: Tensor): Tensor {
    return this.normalize(conv(x, this.weight, { stride: this.stride, padding: 'same' }));
  }
}

/** Transposed 3×3 convolution that doubles the size; weight [inputs, outputs, 3, 3]. */
class StyleUpConv extends StyleLayer {
  constructor(inputs: number, outputs: number, random: Random) {
    super([inputs, outputs, 3, 3], outputs, random);
  }

  override forward(x: Tensor): Tensor {
    // The adjoint of 'same' padding, which puts the odd row and column at the end.
    const padding = [0, 1] as const;
    return this.normalize(convTranspose(x, this.weight, { stride: 2, padding: [padding, padding] }));
  }
}

class StyleResidual extends Module {
  readonly conv1: StyleConv;
  readonly conv2: StyleConv;

  constructor(channels: number, random: Random) {
    super();
    this.conv1 = new StyleConv(channels, channels, 3, 1, random.fork('conv1'));
    this.conv2 = new StyleConv(channels, channels, 3, 1, random.fork('conv2'));
  }

  override forward(x: Tensor): Tensor {
    return x.add(this.conv2.forward(this.conv1.forward(x).relu()));
  }
}

export interface StyleTransferOptions {
  /** Filters of the first convolution, doubled by the next two; default 32. */
  readonly width?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/** TensorFlow numbered its variables in the order of their creation: a layer's weight, shift and scale in a row. */
function variableName(name: string): Stored {
  const [, layer, i, conv, field] = /^(encoder|residuals|decoder|output)\.?(\d*)\.?(conv\d)?\.(\w+)$/.exec(name)!;
  const first = { encoder: 0, residuals: 9, decoder: 39, output: 45 }[layer as 'encoder'];
  const base = first + Number(i) * (layer === 'residuals' ? 6 : 3) + (conv === 'conv2' ? 3 : 0);
  const index = base + ['weight', 'shift', 'scale'].indexOf(field);
  // [height, width, out, in] of the transposed convolutions becomes [in, out, height, width] by the same permutation.
  return { name: index === 0 ? 'Variable' : `Variable_${index}`, ...(field === 'weight' && { convert: fromHWIO }) };
}

/**
 * Fast style transfer (Johnson et al. 2016, arXiv:1603.08155, with the instance normalisation of Ulyanov et al. 2016) as
 * in lengstrom/fast-style-transfer, whose weights load by their names `Variable_0` …; 1,677,638 parameters.
 */
export class StyleTransfer extends Module {
  readonly encoder: StyleConv[];
  readonly residuals: StyleResidual[];
  readonly decoder: StyleUpConv[];
  readonly output: StyleConv;

  constructor({ width = 32, random = new Random(0) }: StyleTransferOptions = {}) {
    super();
    const fork = (name: string): Random => random.fork(name);
    this.encoder = [
      new StyleConv(3, width, 9, 1, fork('encoder.0')),
      new StyleConv(width, 2 * width, 3, 2, fork('encoder.1')),
      new StyleConv(2 * width, 4 * width, 3, 2, fork('encoder.2')),
    ];
    this.residuals = Array.from({ length: 5 }, (_, i) => new StyleResidual(4 * width, fork(`residuals.${i}`)));
    this.decoder = [
      new StyleUpConv(4 * width, 2 * width, fork('decoder.0')),
      new StyleUpConv(2 * width, width, fork('decoder.1')),
    ];
    this.output = new StyleConv(width, 3, 9, 1, fork('output'));
  }

  /** Loads a safetensors file with TensorFlow's names and layouts. */
  static fromPretrained(path: string | URL): Promise<StyleTransfer> {
    return loadPretrained(new StyleTransfer(), path, { stored: variableName });
  }

  /** @param x RGB images [batch, 3, height, width] in 0 … 255, sides divisible by 4; returns the same of the stylised ones */
  override forward(x: Tensor): Tensor {
    let h = x;
    for (const layer of this.encoder) h = layer.forward(h).relu();
    for (const block of this.residuals) h = block.forward(h);
    for (const layer of this.decoder) h = layer.forward(h).relu();
    return this.output.forward(h).tanh().mul(150).add(127.5).clamp(0, 255);
  }
}

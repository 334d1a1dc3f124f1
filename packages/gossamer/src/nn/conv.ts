import {
  type ConvOptions as ConvOperatorOptions,
  type ConvTransposeOptions as ConvTransposeOperatorOptions,
  check,
  conv,
  convTranspose,
  formatShape,
  Parameter,
  Random,
  type Tensor,
} from '@gossamer/tensor';
import { fans, fanUniform } from './init.ts';
import type { LayerOptions } from './linear.ts';
import { Module } from './module.ts';

/** Stride, padding (numbers, `[begin, end]` pairs or 'same'), dilation and groups are the operator's. */
export type ConvOptions = LayerOptions & Omit<ConvOperatorOptions, 'bias'>;
export type ConvTransposeOptions = LayerOptions & Omit<ConvTransposeOperatorOptions, 'bias'>;

type Kernel = number | readonly number[];

/** What all convolutions share: parameters drawn like PyTorch's, uniform in ±1/√fan in. */
abstract class Convolution<Options extends { readonly groups?: number }> extends Module {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: readonly number[];
  /** Stride, padding, dilation, groups, as given. */
  readonly options: Options;
  weight: Parameter;
  bias: Parameter | undefined;

  constructor(
    spaceAxes: number,
    channels: { in: number; out: number; transposed: boolean },
    kernel: Kernel,
    { bias = true, random = new Random(0), ...options }: LayerOptions & Options,
  ) {
    super();
    const name = this.constructor.name;
    const { in: inChannels, out: outChannels, transposed } = channels;
    const groups = options.groups ?? 1;
    this.kernel = typeof kernel === 'number' ? new Array<number>(spaceAxes).fill(kernel) : [...kernel];
    check(
      this.kernel.length === spaceAxes,
      () => `${name}: kernel ${formatShape(this.kernel)}: expected ${spaceAxes} lengths`,
    );
    check(
      [inChannels, outChannels, groups, ...this.kernel].every(n => Number.isInteger(n) && n > 0) &&
        inChannels % groups === 0 &&
        outChannels % groups === 0,
      () =>
        `${name}: ${inChannels} → ${outChannels} channels in ${groups} groups: expected positive multiples of the groups`,
    );
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.options = options as unknown as Options;
    const [first, second] = transposed ? [inChannels, outChannels] : [outChannels, inChannels];
    const shape = [first, second / groups, ...this.kernel];
    const { fanIn } = fans(shape);
    this.weight = new Parameter(fanUniform(random.fork('weight'), shape, fanIn));
    this.bias = bias ? new Parameter(fanUniform(random.fork('bias'), [outChannels], fanIn)) : undefined;
  }

  protected checkRank(x: Tensor): void {
    check(
      x.rank === this.kernel.length + 2,
      () =>
        `${this.constructor.name}: input ${formatShape(x.shape)}: expected rank ${this.kernel.length + 2}, [batch, channels, ...space]`,
    );
  }
}

abstract class Conv extends Convolution<Omit<ConvOptions, keyof LayerOptions>> {
  override forward(x: Tensor): Tensor {
    this.checkRank(x);
    return conv(x, this.weight, { ...this.options, bias: this.bias });
  }
}

/** Convolution over [batch, channels, length]; weight [out, in / groups, k]. */
export class Conv1d extends Conv {
  constructor(inChannels: number, outChannels: number, kernel: Kernel, options: ConvOptions = {}) {
    super(1, { in: inChannels, out: outChannels, transposed: false }, kernel, options);
  }
}

/** Convolution over [batch, channels, height, width]; weight [out, in / groups, kh, kw]. Depthwise: groups = in. */
export class Conv2d extends Conv {
  constructor(inChannels: number, outChannels: number, kernel: Kernel, options: ConvOptions = {}) {
    super(2, { in: inChannels, out: outChannels, transposed: false }, kernel, options);
  }
}

/** Convolution over [batch, channels, depth, height, width]; weight [out, in / groups, kd, kh, kw]. */
export class Conv3d extends Conv {
  constructor(inChannels: number, outChannels: number, kernel: Kernel, options: ConvOptions = {}) {
    super(3, { in: inChannels, out: outChannels, transposed: false }, kernel, options);
  }
}

abstract class ConvTranspose extends Convolution<Omit<ConvTransposeOptions, keyof LayerOptions>> {
  override forward(x: Tensor): Tensor {
    this.checkRank(x);
    return convTranspose(x, this.weight, { ...this.options, bias: this.bias });
  }
}

/** The adjoint of {@link Conv1d}'s map; weight [in, out / groups, k]. */
export class ConvTranspose1d extends ConvTranspose {
  constructor(inChannels: number, outChannels: number, kernel: Kernel, options: ConvTransposeOptions = {}) {
    super(1, { in: inChannels, out: outChannels, transposed: true }, kernel, options);
  }
}

/** The adjoint of {@link Conv2d}'s map; weight [in, out / groups, kh, kw]. */
export class ConvTranspose2d extends ConvTranspose {
  constructor(inChannels: number, outChannels: number, kernel: Kernel, options: ConvTransposeOptions = {}) {
    super(2, { in: inChannels, out: outChannels, transposed: true }, kernel, options);
  }
}

/** The adjoint of {@link Conv3d}'s map; weight [in, out / groups, kd, kh, kw]. */
export class ConvTranspose3d extends ConvTranspose {
  constructor(inChannels: number, outChannels: number, kernel: Kernel, options: ConvTransposeOptions = {}) {
    super(3, { in: inChannels, out: outChannels, transposed: true }, kernel, options);
  }
}

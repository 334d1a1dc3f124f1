export { BatchNorm1d, BatchNorm2d, BatchNorm3d, type BatchNormOptions } from './batch-norm.ts';

import { check, formatShape, groupNorm, layerNorm, Parameter, rmsNorm, sizeOf, type Tensor } from '@gossamer/tensor';
import { onesOf, zerosOf } from './init.ts';
import { Module } from './module.ts';

export interface NormOptions {
  /** Added to the variance; default 1e-5. */
  readonly eps?: number;
  /** Whether there is a scale (`weight`, 1 at first) and a shift (`bias`, 0 at first); default true. */
  readonly affine?: boolean;
  /** Whether there is a shift beside the scale; default true. */
  readonly bias?: boolean;
}

/** Scale and shift, as far as the options want them. */
function affineOf(shape: readonly number[], { affine = true, bias = true }: NormOptions) {
  return {
    weight: affine ? new Parameter(onesOf(shape)) : undefined,
    bias: affine && bias ? new Parameter(zerosOf(shape)) : undefined,
  };
}

/** (x − mean) / √(var + ε) · weight + bias over the last axes, of the given shape (Ba et al. 2016). */
export class LayerNorm extends Module {
  readonly shape: readonly number[];
  readonly eps: number;
  weight: Parameter | undefined;
  bias: Parameter | undefined;

  constructor(shape: number | readonly number[], options: NormOptions = {}) {
    super();
    this.shape = typeof shape === 'number' ? [shape] : shape;
    this.eps = options.eps ?? 1e-5;
    ({ weight: this.weight, bias: this.bias } = affineOf(this.shape, options));
  }

  override forward(x: Tensor): Tensor {
    const { weight, bias, eps } = this;
    return layerNorm(x, { axis: trailing('LayerNorm', x, this.shape), weight, bias, eps });
  }
}

/** x / √(mean x² + ε) · weight over the last axes, of the given shape (Zhang & Sennrich 2019). */
export class RMSNorm extends Module {
  readonly shape: readonly number[];
  readonly eps: number;
  weight: Parameter | undefined;

  constructor(shape: number | readonly number[], { eps = 1e-5, affine }: Omit<NormOptions, 'bias'> = {}) {
    super();
    this.shape = typeof shape === 'number' ? [shape] : shape;
    this.eps = eps;
    this.weight = affineOf(this.shape, { affine, bias: false }).weight;
  }

  override forward(x: Tensor): Tensor {
    const { weight, eps } = this;
    return rmsNorm(x, { axis: trailing('RMSNorm', x, this.shape), weight, eps });
  }
}

/** Normalises x [n, c, …] over groups of channels and all positions (Wu & He 2018). */
export class GroupNorm extends Module {
  readonly groups: number;
  readonly channels: number;
  readonly eps: number;
  weight: Parameter | undefined;
  bias: Parameter | undefined;

  constructor(groups: number, channels: number, options: NormOptions = {}) {
    super();
    check(channels % groups === 0, () => `GroupNorm: ${channels} channels do not form ${groups} equal groups`);
    this.groups = groups;
    this.channels = channels;
    this.eps = options.eps ?? 1e-5;
    ({ weight: this.weight, bias: this.bias } = affineOf([channels], options));
  }

  override forward(x: Tensor): Tensor {
    checkChannels('GroupNorm', x, this.channels);
    const { weight, bias, eps } = this;
    return groupNorm(x, this.groups, { weight, bias, eps });
  }
}

/**
 * Normalises every channel of every sample of x [n, c, …] over its positions (Ulyanov et al. 2016). Scale and shift are
 * off by default, as in PyTorch.
 */
export class InstanceNorm extends GroupNorm {
  constructor(channels: number, { affine = false, ...options }: NormOptions = {}) {
    super(channels, channels, { affine, ...options });
  }
}

/** The axis where the normalised shape begins. */
function trailing(name: string, x: Tensor, shape: readonly number[]): number {
  check(
    sizeOf(shape) > 0 && formatShape(x.shape.slice(-shape.length)) === formatShape(shape),
    () => `${name}: input ${formatShape(x.shape)} does not end in ${formatShape(shape)}`,
  );
  return x.rank - shape.length;
}

function checkChannels(name: string, x: Tensor, channels: number): void {
  check(
    x.rank >= 2 && x.shape[1] === channels,
    () => `${name}: input ${formatShape(x.shape)}: expected ${channels} channels in axis 1`,
  );
}

import {
  type AveragePoolOptions,
  adaptiveAveragePool,
  adaptiveMaxPool,
  averagePool,
  maxPool,
  type PoolOptions,
  type Tensor,
} from '@gossamer/tensor';
import { Module } from './module.ts';

type Size = number | readonly number[];

/** Largest value of each window of [batch, channels, height, width]; the stride is the kernel unless given. */
export class MaxPool2d extends Module {
  readonly kernel: Size;
  readonly options: PoolOptions;
  constructor(kernel: Size, options: PoolOptions = {}) {
    super();
    this.kernel = kernel;
    this.options = options;
  }
  override forward(x: Tensor): Tensor {
    return maxPool(x, this.kernel, this.options);
  }
}

/** Mean of each window of [batch, channels, height, width]; the stride is the kernel unless given. */
export class AvgPool2d extends Module {
  readonly kernel: Size;
  readonly options: AveragePoolOptions;
  constructor(kernel: Size, options: AveragePoolOptions = {}) {
    super();
    this.kernel = kernel;
    this.options = options;
  }
  override forward(x: Tensor): Tensor {
    return averagePool(x, this.kernel, this.options);
  }
}

/** Means over a grid of `size` windows (default 1: the whole image) that cover any height and width. */
export class AdaptiveAvgPool2d extends Module {
  readonly size: Size;
  constructor(size: Size = 1) {
    super();
    this.size = size;
  }
  override forward(x: Tensor): Tensor {
    return adaptiveAveragePool(x, this.size);
  }
}

/** Maxima over a grid of `size` windows (default 1: the whole image) that cover any height and width. */
export class AdaptiveMaxPool2d extends Module {
  readonly size: Size;
  constructor(size: Size = 1) {
    super();
    this.size = size;
  }
  override forward(x: Tensor): Tensor {
    return adaptiveMaxPool(x, this.size);
  }
}

/** Merges axes `from` (default 1) … `to` (default the last) into one. */
export class Flatten extends Module {
  readonly from: number;
  readonly to: number;
  constructor(from = 1, to = -1) {
    super();
    this.from = from;
    this.to = to;
  }
  override forward(x: Tensor): Tensor {
    return x.flatten(this.from, this.to);
  }
}

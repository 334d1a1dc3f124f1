import {
  batchNorm,
  batchNormInference,
  check,
  formatShape,
  ones,
  Parameter,
  type Tensor,
  zeros,
} from '@gossamer/tensor';
import { onesOf, zerosOf } from './init.ts';
import { Module } from './module.ts';

export interface BatchNormOptions {
  /** Added to the variance; default 1e-5. */
  readonly eps?: number;
  /** Share of each batch in the running statistics, default 0.1; 'cumulative': all batches count alike. */
  readonly momentum?: number | 'cumulative';
  /** Whether there are a scale (`weight`, 1 at first) and a shift (`bias`, 0 at first); default true. */
  readonly affine?: boolean;
  /** Whether running statistics are kept, for evaluation; default true. Without them every batch is its own measure. */
  readonly track?: boolean;
}

/**
 * Batch normalisation (Ioffe & Szegedy 2015). In training, each channel of x [batch, channels, …] gets mean 0 and
 * variance 1 over the batch, and the running statistics (variance unbiased, as in PyTorch) are assigned; in evaluation
 * those are used.
 */
abstract class BatchNorm extends Module {
  readonly channels: number;
  readonly eps: number;
  readonly momentum: number | 'cumulative';
  weight: Parameter | undefined;
  bias: Parameter | undefined;
  runningMean: Parameter | undefined;
  runningVar: Parameter | undefined;
  /** Batches seen, where all count alike. */
  numBatchesTracked: Parameter | undefined;
  readonly #ranks: readonly number[];

  constructor(channels: number, ranks: readonly number[], options: BatchNormOptions) {
    super();
    const { eps = 1e-5, momentum = 0.1, affine = true, track = true } = options;
    check(Number.isInteger(channels) && channels > 0, () => `${this.constructor.name}: ${channels} channels`);
    this.channels = channels;
    this.eps = eps;
    this.momentum = momentum;
    this.#ranks = ranks;
    this.weight = affine ? new Parameter(onesOf([channels])) : undefined;
    this.bias = affine ? new Parameter(zerosOf([channels])) : undefined;
    const kept = { trainable: false };
    this.runningMean = track ? new Parameter(zerosOf([channels]), kept) : undefined;
    this.runningVar = track ? new Parameter(onesOf([channels]), kept) : undefined;
    this.numBatchesTracked = track && momentum === 'cumulative' ? new Parameter(zerosOf([]), kept) : undefined;
  }

  override forward(x: Tensor): Tensor {
    const { channels, eps, runningMean, runningVar } = this;
    check(
      this.#ranks.includes(x.rank) && x.shape[1] === channels,
      () =>
        `${this.constructor.name}: input ${formatShape(x.shape)}: expected rank ${this.#ranks.join(' or ')} and ${channels} channels in axis 1`,
    );
    const scale = this.weight ?? ones([channels]);
    const shift = this.bias ?? zeros([channels]);
    if (!this.training && runningMean && runningVar) {
      return batchNormInference(x, scale, shift, runningMean, runningVar, { eps });
    }
    const { y, mean, variance } = batchNorm(x, scale, shift, { eps });
    if (this.training && runningMean && runningVar) {
      const n = x.size / channels;
      check(
        n > 1,
        () => `${this.constructor.name}: input ${formatShape(x.shape)} has one value a channel: no variance`,
      );
      const share = this.#share();
      runningMean.assign(runningMean.add(mean.sub(runningMean).mul(share)));
      runningVar.assign(
        runningVar.add(
          variance
            .mul(n / (n - 1))
            .sub(runningVar)
            .mul(share),
        ),
      );
    }
    return y;
  }

  #share(): Tensor | number {
    if (this.momentum !== 'cumulative') return this.momentum;
    const count = this.numBatchesTracked!.add(1);
    this.numBatchesTracked!.assign(count);
    return count.reciprocal();
  }
}

/** Batch norm of [batch, channels] or [batch, channels, length]. */
export class BatchNorm1d extends BatchNorm {
  constructor(channels: number, options: BatchNormOptions = {}) {
    super(channels, [2, 3], options);
  }
}

/** Batch norm of [batch, channels, height, width]. */
export class BatchNorm2d extends BatchNorm {
  constructor(channels: number, options: BatchNormOptions = {}) {
    super(channels, [4], options);
  }
}

/** Batch norm of [batch, channels, depth, height, width]. */
export class BatchNorm3d extends BatchNorm {
  constructor(channels: number, options: BatchNormOptions = {}) {
    super(channels, [5], options);
  }
}

import { bernoulli, check, Random, type Tensor } from '@gossamer/tensor';
import { Module } from './module.ts';

export interface DropoutOptions {
  /** Source of the masks; default `new Random(0)`. A checkpoint keeps it. Two layers need two forks. */
  readonly random?: Random;
}

/**
 * In training, zeroes each element with probability `p` and scales the rest by 1 / (1 − p); else the identity.
 * Srivastava et al. 2014.
 */
export class Dropout extends Module {
  readonly p: number;
  readonly random: Random;

  constructor(p = 0.5, { random = new Random(0) }: DropoutOptions = {}) {
    super();
    check(p >= 0 && p < 1, () => `Dropout: probability ${p}: expected [0, 1)`);
    this.p = p;
    this.random = random;
  }

  override forward(x: Tensor): Tensor {
    return this.drop(x, x.shape);
  }

  /** One random decision for each element of `shape`, which broadcasts to x. */
  protected drop(x: Tensor, shape: readonly number[]): Tensor {
    if (!this.training || this.p === 0) return x;
    return x.mul(bernoulli(this.random, shape, 1 - this.p).mul(1 / (1 - this.p)));
  }
}

/** Drops whole channels of x [n, c, …] (Tompson et al. 2015): Dropout1d, 2d and 3d in one. */
export class ChannelDropout extends Dropout {
  override forward(x: Tensor): Tensor {
    return this.drop(
      x,
      x.shape.map((d, i) => (i < 2 ? d : 1)),
    );
  }
}

/** Drops whole samples of a residual branch x [n, …]: stochastic depth (Huang et al. 2016). */
export class DropPath extends Dropout {
  override forward(x: Tensor): Tensor {
    return this.drop(
      x,
      x.shape.map((d, i) => (i < 1 ? d : 1)),
    );
  }
}

import { check, type Parameter, type Random, type Tensor } from '@gossamer/tensor';
import { BatchNorm1d, BatchNorm2d } from '../../nn/batch-norm.ts';
import { Conv2d } from '../../nn/conv.ts';
import { kaimingNormal, normalOf } from '../../nn/init.ts';
import { Linear } from '../../nn/linear.ts';
import { Module } from '../../nn/module.ts';

// What takes the place of a dense layer in Sparse-IFT. Which of their weights are masked is decided elsewhere.

/** A layer that can be replaced: one product, y = W x + b. */
export type Dense = Linear | Conv2d;

/** Between the two factors of a {@link SparseFactorized} layer. */
export type Between = 'linear' | 'bn' | 'bn+relu';

/** Two factors whose product V·U takes part in a layer. */
export interface FoldedPair {
  readonly u: Parameter;
  readonly v: Parameter;
}

/** Carries on the sizes that a model may ask its layers for. */
abstract class Replacement extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly inChannels: number;
  readonly outChannels: number;

  constructor(dense: Dense) {
    super();
    [this.outChannels, this.inChannels] = dense.weight.shape;
    [this.outFeatures, this.inFeatures] = dense.weight.shape;
  }
}

/** y = Σ_j BN_j(W_j x): branches of the dense layer's shape, each with its own batch norm in place of a bias. */
export class SparseParallel extends Replacement {
  readonly branches: Dense[];
  readonly norms: Module[];

  /** The branches' weights are normal, with the deviation of the dense layer's. */
  constructor(dense: Dense, deviation: number, branches: number, random: Random) {
    super(dense);
    const { shape } = dense.weight;
    this.branches = Array.from({ length: branches }, (_, j) => {
      const branch = alike(dense, shape[1], shape[0]);
      branch.weight.set(normalOf(random.fork(j), shape, 0, deviation).data);
      return branch;
    });
    this.norms = this.branches.map(() => normOf(dense, shape[0]));
  }

  override forward(x: Tensor): Tensor {
    return this.branches.map((b, j) => this.norms[j].forward(b.forward(x)) as Tensor).reduce((a, b) => a.add(b));
  }
}

/** y = V σ(U x), σ the identity, a batch norm, or one with ReLU. U keeps kernel and stride, V is 1×1. */
export class SparseFactorized extends Replacement {
  readonly u: Dense;
  readonly v: Dense;
  readonly norm: Module | undefined;
  readonly between: Between;

  constructor(dense: Dense, rank: number, between: Between, random: Random) {
    super(dense);
    ({ u: this.u, v: this.v } = factors(dense, rank, dense.bias !== undefined, random));
    this.norm = between === 'linear' ? undefined : normOf(dense, rank);
    this.between = between;
  }

  override forward(x: Tensor): Tensor {
    const h = this.u.forward(x);
    const normed = this.norm ? (this.norm.forward(h) as Tensor) : h;
    return this.v.forward(this.between === 'bn+relu' ? normed.relu() : normed);
  }

  /** V·U as a weight of the dense layer's shape; only for `linear`, where it is the same map. */
  folded(): Tensor {
    check(this.between === 'linear', () => `SparseFactorized: ${this.between} between the factors cannot be folded`);
    return fold(this.u.weight, this.v.weight);
  }
}

/** y = W_s x + V U x: the dense layer itself, to be masked, and a low-rank pair without bias. */
export class SparseDoped extends Replacement {
  readonly sparse: Dense;
  readonly u: Dense;
  readonly v: Dense;

  constructor(dense: Dense, rank: number, random: Random) {
    super(dense);
    this.sparse = dense;
    ({ u: this.u, v: this.v } = factors(dense, rank, false, random));
  }

  override forward(x: Tensor): Tensor {
    return this.sparse.forward(x).add(this.v.forward(this.u.forward(x)));
  }

  /** W_s + V·U, the same map as one weight. */
  folded(): Tensor {
    return this.sparse.weight.add(fold(this.u.weight, this.v.weight));
  }
}

/** V·U with the shape of the weight that it stands for: V [out, d, …1], U [d, in, …kernel]. */
export const fold = (u: Tensor, v: Tensor): Tensor =>
  v
    .reshape([v.shape[0], v.shape[1]])
    .matmul(u.reshape([u.shape[0], -1]))
    .reshape([v.shape[0], ...u.shape.slice(1)]);

/** U and V, He normal by fan-out. */
function factors(dense: Dense, rank: number, bias: boolean, random: Random): { u: Dense; v: Dense } {
  const [outputs, inputs] = dense.weight.shape;
  const u = alike(dense, inputs, rank);
  const v = dense instanceof Linear ? new Linear(rank, outputs, { bias }) : new Conv2d(rank, outputs, 1, { bias });
  for (const [name, { weight }] of Object.entries({ u, v })) {
    weight.set(kaimingNormal(random.fork(name), weight.shape, { mode: 'fanOut' }).data);
  }
  if (v.bias) v.bias.set(new Float32Array(v.bias.size));
  return { u, v };
}

/** A layer of the same kind, kernel and stride, without bias. */
const alike = (dense: Dense, inputs: number, outputs: number): Dense =>
  dense instanceof Linear
    ? new Linear(inputs, outputs, { bias: false })
    : new Conv2d(inputs, outputs, dense.kernel, { ...dense.options, bias: false });

const normOf = (dense: Dense, channels: number): Module =>
  dense instanceof Linear ? new BatchNorm1d(channels) : new BatchNorm2d(channels);

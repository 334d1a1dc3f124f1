import { check, Parameter, Random, type Tensor } from '@gossamer/tensor';
import { Dropout } from '../nn/dropout.ts';
import { xavierUniform, zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { type Adjacency, propagate } from './graph.ts';
import { initialize } from './weights.ts';

/** Â X Wᵀ + b; weight `lin.weight` [outputs, inputs]. */
export class GCNConv extends Module {
  readonly lin: Linear;
  readonly bias: Parameter;

  constructor(inputs: number, outputs: number, random: Random = new Random(0)) {
    super();
    this.lin = new Linear(inputs, outputs, { bias: false, random: random.fork('lin') });
    this.bias = new Parameter(zerosOf([outputs]));
    initialize(this, random, (_, shape, r) => (shape.length === 2 ? xavierUniform(r, shape) : undefined));
  }

  override forward(x: Tensor, adjacency: Adjacency): Tensor {
    return propagate(adjacency, this.lin.forward(x)).add(this.bias);
  }
}

export interface GCNOptions {
  /** Features of the input, of each hidden layer, and classes, e.g. [1433, 16, 7]. */
  readonly sizes: readonly number[];
  /** Dropout on the input of every layer; default 0.5. */
  readonly dropout?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/** Graph convolutional network (Kipf & Welling 2017, arXiv:1609.02907), with the names of PyTorch Geometric. */
export class GCN extends Module {
  readonly convs: GCNConv[];
  readonly dropouts: Dropout[];

  constructor({ sizes, dropout = 0.5, random = new Random(0) }: GCNOptions) {
    super();
    check(sizes.length >= 2, () => `GCN: sizes [${sizes}]: expected at least features and classes`);
    this.convs = sizes.slice(1).map((n, i) => new GCNConv(sizes[i], n, random.fork(`convs.${i}`)));
    this.dropouts = this.convs.map((_, i) => new Dropout(dropout, { random: random.fork(`dropout ${i}`) }));
  }

  /**
   * @param x features [nodes, features]
   * @param adjacency the normalised graph Â (see `normalizedEdges`)
   * @returns logits [nodes, classes]
   */
  override forward(x: Tensor, adjacency: Adjacency): Tensor {
    return this.convs.reduce((h, conv, i) => {
      const y = conv.forward(this.dropouts[i].forward(h), adjacency);
      return i < this.convs.length - 1 ? y.relu() : y;
    }, x);
  }
}

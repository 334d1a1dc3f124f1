import { Parameter, Random, scatterAdd, type Tensor } from '@gossamer/tensor';
import { BatchNorm1d } from '../nn/batch-norm.ts';
import { Dropout } from '../nn/dropout.ts';
import { zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { type Adjacency, propagate } from './graph.ts';

/** Two linear layers with normalisation and ReLU between them. */
class GINMLP extends Module {
  readonly linears: Linear[];
  readonly batchNorms: BatchNorm1d[];

  constructor(inputs: number, hidden: number, random: Random) {
    super();
    this.linears = [
      new Linear(inputs, hidden, { random: random.fork('linears.0') }),
      new Linear(hidden, hidden, { random: random.fork('linears.1') }),
    ];
    this.batchNorms = [new BatchNorm1d(hidden)];
  }

  override forward(x: Tensor): Tensor {
    return this.linears[1].forward(this.batchNorms[0].forward(this.linears[0].forward(x)).relu());
  }
}

export interface GINOptions {
  /** Features of a node. */
  readonly inputs: number;
  readonly classes: number;
  /** Default 64. */
  readonly hidden?: number;
  /** Rounds of messages; default 4. */
  readonly layers?: number;
  /** Before each prediction; default 0.5. */
  readonly dropout?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/**
 * Graph isomorphism network (Xu et al. 2019, arXiv:1810.00826), which classifies whole graphs: a prediction from the sum of
 * the node features after every round, all predictions added. Names as in weihua916/powerful-gnns.
 */
export class GIN extends Module {
  /** ε of each round, how much more a node counts than a neighbour (equation 4.1). */
  readonly eps: Parameter;
  readonly mlps: GINMLP[];
  readonly batchNorms: BatchNorm1d[];
  readonly linearsPrediction: Linear[];
  readonly dropouts: Dropout[];

  constructor({ inputs, classes, hidden = 64, layers = 4, dropout = 0.5, random = new Random(0) }: GINOptions) {
    super();
    const rounds = Array.from({ length: layers }, (_, i) => i);
    const width = (i: number): number => (i === 0 ? inputs : hidden);
    this.eps = new Parameter(zerosOf([layers]));
    this.mlps = rounds.map(i => new GINMLP(width(i), hidden, random.fork(`mlps.${i}`)));
    this.batchNorms = rounds.map(() => new BatchNorm1d(hidden));
    this.linearsPrediction = [...rounds, layers].map(
      i => new Linear(width(i), classes, { random: random.fork(`linears_prediction.${i}`) }),
    );
    this.dropouts = this.linearsPrediction.map((_, i) => new Dropout(dropout, { random: random.fork(`dropout ${i}`) }));
  }

  /**
   * @param x features [nodes, inputs] of the nodes of all graphs
   * @param adjacency their edges, without self loops
   * @param graphOf int32 [nodes]: the graph each node belongs to, 0 … graphs − 1
   * @returns logits [graphs, classes]
   */
  override forward(x: Tensor, adjacency: Adjacency, graphOf: Tensor, graphs: number): Tensor {
    const layers = [x];
    this.mlps.forEach((mlp, i) => {
      const h = layers[i];
      const sum = propagate(adjacency, h).add(h.mul(this.eps.slice(0, i, i + 1).add(1)));
      layers.push(this.batchNorms[i].forward(mlp.forward(sum)).relu());
    });
    return layers
      .map((h, i) => {
        const readout = scatterAdd([graphs, h.shape[1]], graphOf, h);
        return this.dropouts[i].forward(this.linearsPrediction[i].forward(readout));
      })
      .reduce((a, b) => a.add(b));
  }
}

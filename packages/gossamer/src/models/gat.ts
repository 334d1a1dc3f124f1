import { check, gather, Parameter, Random, scatterAdd, type Tensor, where } from '@gossamer/tensor';
import { Dropout } from '../nn/dropout.ts';
import { xavierUniform, zerosOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { Module } from '../nn/module.ts';
import { type Adjacency, type Edges, isEdges, largestOfEdges } from './graph.ts';
import { initialize } from './weights.ts';

export interface GATConvOptions {
  /** Default 1. */
  readonly heads?: number;
  /** Heads side by side in the output (default), or their mean. */
  readonly merge?: 'concat' | 'mean';
  /** Of attention weights; default 0. */
  readonly dropout?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/**
 * Attention over a node's neighbours (equations 1 to 6): e = LeakyReLU(a_srcᵀ W h_source + a_dstᵀ W h_target) with slope
 * 0.2, softmax over the edges into a target, weighted sum of W h_source.
 */
export class GATConv extends Module {
  readonly attSrc: Parameter;
  readonly attDst: Parameter;
  readonly bias: Parameter;
  readonly lin: Linear;
  readonly dropout: Dropout;
  readonly heads: number;
  readonly outputs: number;
  readonly merge: 'concat' | 'mean';

  constructor(inputs: number, outputs: number, options: GATConvOptions = {}) {
    super();
    const { heads = 1, merge = 'concat', dropout = 0, random = new Random(0) } = options;
    this.attSrc = new Parameter(zerosOf([1, heads, outputs]));
    this.attDst = new Parameter(zerosOf([1, heads, outputs]));
    this.bias = new Parameter(zerosOf([merge === 'concat' ? heads * outputs : outputs]));
    this.lin = new Linear(inputs, heads * outputs, { bias: false, random: random.fork('lin') });
    this.dropout = new Dropout(dropout, { random: random.fork('dropout') });
    this.heads = heads;
    this.outputs = outputs;
    this.merge = merge;
    initialize(this, random, (_, shape, r) => (shape.length > 1 ? xavierUniform(r, shape) : undefined));
  }

  /** @param adjacency which nodes attend to which (itself included, see `withSelfLoops`); weights scale the attention */
  override forward(x: Tensor, adjacency: Adjacency): Tensor {
    const nodes = x.shape[0];
    const h = this.lin.forward(x).reshape([nodes, this.heads, this.outputs]);
    const source = h.mul(this.attSrc).sum([2]);
    const target = h.mul(this.attDst).sum([2]);
    const mixed = isEdges(adjacency)
      ? this.#sparse(h, source, target, adjacency)
      : this.#dense(h, source, target, adjacency);
    const merged = this.merge === 'concat' ? mixed.reshape([nodes, this.heads * this.outputs]) : mixed.mean([1]);
    return merged.add(this.bias);
  }

  /** Messages along edges: [edges, heads, outputs]. */
  #sparse(h: Tensor, source: Tensor, target: Tensor, { sources, targets, weights }: Edges): Tensor {
    const scores = gather(source, sources).add(gather(target, targets)).leakyRelu(0.2);
    const highest = largestOfEdges(scores, targets, h.shape[0]);
    const exponentials = scores.sub(gather(highest, targets)).exp();
    const sums = scatterAdd([h.shape[0], this.heads], targets, exponentials);
    let attention = exponentials.div(gather(sums, targets));
    if (weights) attention = attention.mul(weights.unsqueeze(1));
    const messages = gather(h, sources).mul(this.dropout.forward(attention).unsqueeze(2));
    return scatterAdd(h.shape, targets, messages);
  }

  /** All pairs at once: [heads, targets, sources]. */
  #dense(h: Tensor, source: Tensor, target: Tensor, adjacency: Tensor): Tensor {
    const column = target.transpose().unsqueeze(2);
    const scores = column.add(source.transpose().unsqueeze(1)).leakyRelu(0.2);
    const attention = where(adjacency.ne(0), scores, -1e30).softmax().mul(adjacency);
    return this.dropout
      .forward(attention)
      .matmul(h.transpose([1, 0, 2]))
      .transpose([1, 0, 2]);
  }
}

export interface GATOptions {
  /** Features of a node. */
  readonly inputs: number;
  readonly classes: number;
  /** Units of each head of the hidden layers; default 8. */
  readonly hidden?: number;
  /** Heads of the hidden layers; default 8. */
  readonly heads?: number;
  /** Heads of the last layer, which are averaged; default 1. */
  readonly outputHeads?: number;
  /** Default 2. */
  readonly layers?: number;
  /** Of features and attention weights; default 0.6. */
  readonly dropout?: number;
  /** Default `new Random(0)`. */
  readonly random?: Random;
}

/** Graph attention network (Veličković et al. 2018, arXiv:1710.10903), with the names of PyTorch Geometric. */
export class GAT extends Module {
  readonly convs: GATConv[];
  readonly dropouts: Dropout[];

  constructor({ inputs, classes, random = new Random(0), ...options }: GATOptions) {
    super();
    const { hidden = 8, heads = 8, outputHeads = 1, layers = 2, dropout = 0.6 } = options;
    check(layers > 0, () => `GAT: ${layers} layers: expected at least one`);
    this.convs = Array.from({ length: layers }, (_, i) => {
      const width = i === 0 ? inputs : heads * hidden;
      const common = { dropout, random: random.fork(`convs.${i}`) };
      return i < layers - 1
        ? new GATConv(width, hidden, { ...common, heads })
        : new GATConv(width, classes, { ...common, heads: outputHeads, merge: 'mean' });
    });
    this.dropouts = this.convs.map((_, i) => new Dropout(dropout, { random: random.fork(`dropout ${i}`) }));
  }

  /**
   * @param x features [nodes, inputs]
   * @param adjacency the graph with self loops
   * @returns logits [nodes, classes]
   */
  override forward(x: Tensor, adjacency: Adjacency): Tensor {
    return this.convs.reduce((h, conv, i) => {
      const y = conv.forward(this.dropouts[i].forward(h), adjacency);
      return i < this.convs.length - 1 ? y.elu() : y;
    }, x);
  }
}

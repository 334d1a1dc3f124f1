import { check, Random, type Tensor } from '@gossamer/tensor';
import { ReLU } from './activation.ts';
import { Dropout } from './dropout.ts';
import { Linear } from './linear.ts';
import { Module } from './module.ts';

/**
 * Modules applied one after the other. They are its fields `0`, `1`, …, so that names read `0.weight` as in PyTorch, and
 * one is replaced by assigning to its index.
 */
export class Sequential extends Module implements Iterable<Module> {
  [index: number]: Module;
  readonly length: number;

  constructor(...modules: readonly Module[]) {
    super();
    this.length = modules.length;
    modules.forEach((m, i) => {
      this[i] = m;
    });
  }

  *[Symbol.iterator](): Generator<Module> {
    for (let i = 0; i < this.length; i++) yield this[i];
  }

  override forward(x: Tensor): Tensor {
    for (const module of this) x = module.forward(x);
    return x;
  }
}

export interface MLPOptions {
  /** Makes the non-linearity after every layer but the last; default ReLU. */
  readonly activation?: () => Module;
  /** Dropout after every activation; default 0, none. */
  readonly dropout?: number;
  readonly bias?: boolean;
  readonly random?: Random;
}

/** A multi-layer perceptron over the last axis: `new MLP([784, 300, 100, 10])`. */
export class MLP extends Module {
  readonly layers: Linear[];
  readonly activations: Module[];
  readonly dropouts: Dropout[];

  constructor(
    sizes: readonly number[],
    { activation = () => new ReLU(), dropout = 0, bias = true, random = new Random(0) }: MLPOptions = {},
  ) {
    super();
    check(sizes.length >= 2, () => `MLP: sizes [${sizes}]: expected at least inputs and outputs`);
    this.layers = sizes.slice(1).map((n, i) => new Linear(sizes[i], n, { bias, random: random.fork(i) }));
    const hidden = sizes.slice(2);
    this.activations = hidden.map(() => activation());
    this.dropouts =
      dropout > 0 ? hidden.map((_, i) => new Dropout(dropout, { random: random.fork(`dropout ${i}`) })) : [];
  }

  override forward(x: Tensor): Tensor {
    this.layers.forEach((layer, i) => {
      x = layer.forward(x);
      if (i < this.activations.length) x = this.activations[i].forward(x);
      if (i < this.dropouts.length) x = this.dropouts[i].forward(x);
    });
    return x;
  }
}

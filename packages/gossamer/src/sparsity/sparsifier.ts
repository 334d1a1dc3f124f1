import type { NDArray, Parameter, Random, Tensor } from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';
import type { Optimizer } from '../optim/index.ts';
import type { Selection } from './layer.ts';
import type { Mask } from './mask.ts';
import type { ModelLayers } from './model.ts';

/** What a sparsifier sees of the training it takes part in. */
export interface Training {
  readonly model: Module;
  readonly layers: ModelLayers;
  readonly optimizer: Optimizer;
  /** Optimiser steps done so far; `update` is called at 0, 1, …, `steps`. */
  readonly step: number;
  /** Optimiser steps of the whole training. */
  readonly steps: number;
  /** Learning-rate factor of the coming step, 0…1, relative to the optimiser's base rate. */
  readonly rate: number;
  readonly random: Random;
  /**
   * ∂loss/∂(effective weight) on the coming mini-batch, at every position, masked ones too (a gradient with respect to
   * the stored weight would be zero exactly where growth looks).
   */
  denseGradients(): Promise<ReadonlyMap<string, Float32Array>>;
}

/** Plain state of a sparsifier, for checkpoints. */
export interface SparsifierState {
  readonly arrays: Readonly<Record<string, NDArray>>;
  readonly json: unknown;
}

/**
 * A method that takes part in training. `effective`, `gradient`, `penalty` and `settle` are traced into the compiled
 * step once; `update` runs between steps and changes what they read through parameters (masks).
 */
export interface Sparsifier {
  readonly name: string;
  /** What is alive now, if the method has masks. */
  readonly mask: Mask | undefined;
  /** After `prepare`: which layers the method acts on and which it leaves dense; the trainer prints the latter. */
  readonly selection?: Selection | undefined;
  /** Called once before training (also before a resume): looks at the layers, makes masks. */
  prepare(training: Training): Promise<void>;
  /** The weight that the model computes with in place of the stored one. */
  effective?(parameter: Parameter, value: Tensor): Tensor;
  /** Added to the loss. */
  penalty?(): Tensor;
  /** Changes a stored weight's gradient before clipping and the optimiser's step. */
  gradient?(parameter: Parameter, gradient: Tensor): Tensor;
  /** After the optimiser's step; `before` is the weight's value of before it. Assigns weights and optimiser state. */
  settle?(parameter: Parameter, before: Tensor, optimizer: Optimizer): void;
  /** Before step `training.step` and once after the last: mask updates. */
  update?(training: Training): Promise<void>;
  state(): SparsifierState;
  restore(state: SparsifierState): void;
}

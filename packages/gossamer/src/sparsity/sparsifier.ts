import type { NDArray, Parameter, Random, Tensor } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import type { DataLoader } from '../data/loader.ts';
import type { Module } from '../nn/module.ts';
import type { Optimizer } from '../optim/index.ts';
import type { Selection } from './layer.ts';
import type { Mask } from './mask.ts';
import type { ModelLayers } from './model.ts';
import type { Calibration } from './score-data.ts';

/** What a sparsifier sees of the training it takes part in. */
export interface Training {
  readonly model: Module;
  readonly layers: ModelLayers;
  readonly optimizer: Optimizer;
  /** Where the mini-batches come from. */
  readonly data: DataLoader;
  /** Optimiser steps done so far; `update` is called at 0, 1, …, `steps`. */
  readonly step: number;
  /** Optimiser steps of the whole training. */
  readonly steps: number;
  /** Learning-rate factor of the coming step, 0…1, relative to the optimiser's base rate. */
  readonly rate: number;
  readonly random: Random;
  /**
   * ∂loss/∂(effective weight) on the coming mini-batch, at every position, masked ones too (a gradient with respect to
   * the stored weight would be zero exactly where growth looks). With `batch`: on that one.
   */
  denseGradients(batch?: Batch): Promise<ReadonlyMap<string, Float32Array>>;
  /**
   * Looks at the network as it computes now — the effective weights stand in the parameters while `look` runs — on the
   * coming mini-batch: for scores from data (`score-data.ts`).
   */
  calibrate<T>(look: (calibration: TrainingCalibration) => Promise<T>): Promise<T>;
  /** Tells the user something, once; absent where nobody listens. */
  log?(line: string): void;
}

/** The coming mini-batch, in training mode; `layers` hold the effective weights. */
export interface TrainingCalibration extends Calibration {
  readonly batches: readonly Batch[];
  readonly layers: ModelLayers;
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
  /**
   * After `prepare`: steps parameters of the method's own (scores, gates) by the gradient of the same loss, into which
   * they come through `effective` or `penalty`. The method sets its learning rate.
   */
  readonly optimizer?: Optimizer | undefined;
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
  /**
   * On the host, right after the optimiser's step that makes `training.step` steps, before anything is logged, evaluated or
   * saved: changes of the weights that are no operators of the graph.
   */
  stepped?(training: Training): Promise<void>;
  /** Before step `training.step` and once after the last: mask updates. */
  update?(training: Training): Promise<void>;
  state(): SparsifierState;
  restore(state: SparsifierState): void;
}

import { type NDArray, type Tensor, tensor } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { crossEntropy, mse } from '../nn/loss.ts';
import type { Module } from '../nn/module.ts';

/** A batch's fields as tensors. */
export type TensorBatch = Readonly<Record<string, Tensor>>;

/** What a model is trained for: the loss (a scalar) of a batch, and metrics (scalars, means over the batch) beside it. */
export type Task = (model: Module, batch: TensorBatch) => { readonly loss: Tensor } & Readonly<Record<string, Tensor>>;

/** Cross entropy of `forward(inputs)` against `labels` (class indices), and `accuracy` in 0…1. */
export const classification =
  ({ labelSmoothing = 0 }: { labelSmoothing?: number } = {}): Task =>
  (model, { inputs, labels }) => {
    const logits: Tensor = model.forward(inputs);
    const target = labels.cast('int32');
    return {
      loss: crossEntropy(logits, target, { labelSmoothing }),
      accuracy: logits.argmax(-1).eq(target).cast('float32').mean(),
    };
  };

/** Mean squared error of `forward(inputs)` against `targets`. */
export const regression =
  (): Task =>
  (model, { inputs, targets }) => ({ loss: mse(model.forward(inputs), targets) });

/** Next-token cross entropy (nats) of `forward(inputs)`, logits [.., vocabulary], against `targets` [..]. */
export const languageModelling =
  (): Task =>
  (model, { inputs, targets }) => {
    const logits: Tensor = model.forward(inputs.cast('int32'));
    return { loss: crossEntropy(logits.reshape([-1, logits.shape.at(-1)!]), targets.cast('int32').reshape([-1])) };
  };

/** Leaves around a batch's arrays; nothing is copied. */
export const toTensors = (batch: Batch): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(batch).map(([name, array]: [string, NDArray]) => [name, tensor(array)]));

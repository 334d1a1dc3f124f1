import { check, compile, type Tensor } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { inEvalMode } from '../nn/export.ts';
import { crossEntropy } from '../nn/loss.ts';
import type { Module } from '../nn/module.ts';
import { type TensorBatch, toTensors } from './task.ts';

/** A number for each sample of a batch, [n]. */
export type SampleMeasure = (model: Module, batch: TensorBatch) => Tensor;

/** 1 where `forward(inputs)` is highest at the label, else 0. */
export const isRight: SampleMeasure = (model, { inputs, labels }) =>
  (model.forward(inputs) as Tensor).argmax(-1).eq(labels.cast('int32')).cast('float32');

/** Mean next-token cross entropy (nats) of each window of tokens. */
export const windowLoss: SampleMeasure = (model, { inputs, targets }) => {
  const logits: Tensor = model.forward(inputs.cast('int32'));
  const [windows, tokens, vocab] = logits.shape;
  const losses = crossEntropy(logits.reshape([-1, vocab]), targets.cast('int32').reshape([-1]), { reduction: 'none' });
  return losses.reshape([windows, tokens]).mean(1);
};

/** A measure of every sample that the loader gives, in its order, in evaluation mode: what a bootstrap draws from. */
export async function perSample(
  model: Module,
  measure: SampleMeasure,
  loader: AsyncIterable<Batch>,
): Promise<Float64Array> {
  let names: readonly string[] = [];
  const compiled = compile((...values: Tensor[]) =>
    measure(model, Object.fromEntries(names.map((n, i) => [n, values[i]]))),
  );
  const found: number[] = [];
  try {
    await inEvalMode(model, async () => {
      for await (const batch of loader) {
        const tensors = toTensors(batch);
        names = Object.keys(tensors);
        const values = await (await compiled(...names.map(n => tensors[n]))).data();
        const count = tensors[names[0]].shape[0];
        check(values.length === count, () => `perSample: ${values.length} values for ${count} samples`);
        found.push(...values);
      }
    });
  } finally {
    await compiled.dispose();
  }
  return Float64Array.from(found);
}

export const meanOf = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((a, b) => a + b, 0) / values.length;

import { compile, type NDArray, type Tensor, tensor } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { inEvalMode } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';

/** What a classifier says about a data set, in its order. */
export interface Predictions {
  /** [samples, classes] */
  readonly logits: NDArray<Float32Array>;
  readonly labels: Int32Array;
}

/** The logits of a classifier for all samples that the loader gives (fields `inputs` and `labels`), in eval mode. */
export async function predict(model: Module, loader: AsyncIterable<Batch>): Promise<Predictions> {
  const forward = compile((x: Tensor): Tensor => model.forward(x));
  const rows: Float32Array[] = [];
  const labels: number[] = [];
  let classes = 0;
  try {
    await inEvalMode(model, async () => {
      for await (const batch of loader) {
        const logits = await forward(tensor(batch.inputs));
        classes = logits.shape[1];
        rows.push(await logits.data());
        for (const label of batch.labels.data) labels.push(Number(label));
      }
    });
  } finally {
    await forward.dispose();
  }
  const data = new Float32Array(labels.length * classes);
  let at = 0;
  for (const row of rows) {
    data.set(row, at);
    at += row.length;
  }
  return { logits: { dtype: 'float32', shape: [labels.length, classes], data }, labels: Int32Array.from(labels) };
}

import { check, compile, type Parameter, type Tensor, zeros } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { BatchNorm1d, BatchNorm2d, BatchNorm3d } from '../nn/batch-norm.ts';
import { inEvalMode } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';
import { type TensorBatch, toTensors } from './task.ts';

type BatchNorm = BatchNorm1d | BatchNorm2d | BatchNorm3d;
const isBatchNorm = (m: Module): m is BatchNorm =>
  m instanceof BatchNorm1d || m instanceof BatchNorm2d || m instanceof BatchNorm3d;

/**
 * Forgets the running statistics of all batch norms and measures them anew: means of the batches' means and variances,
 * weighted by samples (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima", §3.2). To be done after weights
 * were averaged or pruned and before they are judged. Weights stay as they are; dropout is off. Does nothing to a model
 * without batch norms.
 *
 * @param batches some of the training data; shuffled batches of the size of the training serve best
 * @param forward how the model is used; default `model.forward(inputs)`
 */
export async function recalibrateBatchNorm(
  model: Module,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  forward: (model: Module, batch: TensorBatch) => unknown = (m, { inputs }) => m.forward(inputs),
): Promise<void> {
  const norms = [...model.namedModules()]
    .map(([, m]) => m)
    .filter(isBatchNorm)
    .filter(m => m.runningMean);
  if (norms.length === 0) return;
  let fields: readonly string[] = [];
  const pass = compile((...values: Tensor[]) => {
    for (const { runningMean, runningVar, numBatchesTracked } of norms) {
      for (const p of [runningMean!, runningVar!, numBatchesTracked]) p?.assign(zeros(p.shape));
    }
    forward(model, Object.fromEntries(fields.map((name, i) => [name, values[i]])));
  });
  const sums = new Map<Parameter, Float64Array>();
  for (const { runningMean, runningVar } of norms) {
    for (const p of [runningMean!, runningVar!]) sums.set(p, new Float64Array(p.size));
  }
  let [samples, count] = [0, 0];
  try {
    await inEvalMode(model, async () => {
      for (const norm of norms) norm.training = true;
      for await (const batch of batches) {
        const tensors = toTensors(batch);
        fields = Object.keys(tensors);
        await pass(...fields.map(f => tensors[f]));
        const n = tensors[fields[0]].shape[0];
        for (const { momentum, runningMean, runningVar } of norms) {
          // From zero, the running statistics are this batch's times the share that it has in them.
          const share = momentum === 'cumulative' ? 1 : momentum;
          for (const p of [runningMean!, runningVar!]) {
            const sum = sums.get(p)!;
            const values = await p.data();
            for (let c = 0; c < sum.length; c++) sum[c] += (n * values[c]) / share;
          }
        }
        samples += n;
        count++;
      }
    });
    check(samples > 0, 'recalibrateBatchNorm: no batches to measure statistics on');
  } finally {
    await pass.dispose();
  }
  for (const [p, sum] of sums) p.set(Float32Array.from(sum, v => v / samples));
  for (const { numBatchesTracked } of norms) numBatchesTracked?.set(Float32Array.of(count));
}

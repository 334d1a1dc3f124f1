import { compile, type Parameter, substitute, type Tensor } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { inEvalMode } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { type Task, type TensorBatch, toTensors } from './task.ts';

/** Means over a data set, by name: `loss` and the task's metrics. */
export type Metrics = Record<string, number>;

/** What the model computes with in place of each parameter, after all sparsifiers. */
export function effectiveWeights(model: Module, sparsifiers: readonly Sparsifier[]): Map<Parameter, Tensor> {
  const effective = new Map<Parameter, Tensor>();
  for (const p of model.parameters()) {
    let value: Tensor = p;
    for (const s of sparsifiers) value = s.effective?.(p, value) ?? value;
    if (value !== p) effective.set(p, value);
  }
  return effective;
}

export interface Evaluator {
  run(loader: AsyncIterable<Batch>): Promise<Metrics>;
  /** Frees what was compiled. */
  dispose(): Promise<void>;
}

/**
 * Evaluates a model in eval mode: the task's loss and metrics, averaged over all samples that
 * the loader gives. It compiles once and can be run again after every epoch.
 */
export function evaluator(model: Module, task: Task, sparsifiers: readonly Sparsifier[] = []): Evaluator {
  let fields: readonly string[] | undefined;
  const compiled = compile((...values: Tensor[]) => {
    const batch: TensorBatch = Object.fromEntries(fields!.map((name, i) => [name, values[i]]));
    return substitute(effectiveWeights(model, sparsifiers), () => task(model, batch));
  });
  const run = (loader: AsyncIterable<Batch>): Promise<Metrics> =>
    inEvalMode(model, async () => {
      const sums: Metrics = {};
      let samples = 0;
      for await (const batch of loader) {
        const tensors = toTensors(batch);
        fields ??= Object.keys(tensors);
        const result = await compiled(...fields.map(f => tensors[f]));
        const n = tensors[fields[0]].shape[0];
        samples += n;
        for (const [name, value] of Object.entries(result)) sums[name] = (sums[name] ?? 0) + (await value.item()) * n;
      }
      return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / samples]));
    });
  return { run, dispose: () => compiled.dispose() };
}

/** Evaluates once; see {@link evaluator}. */
export async function evaluate(model: Module, task: Task, loader: AsyncIterable<Batch>): Promise<Metrics> {
  const once = evaluator(model, task);
  try {
    return await once.run(loader);
  } finally {
    await once.dispose();
  }
}

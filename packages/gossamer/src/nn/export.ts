import { type ExportOptions, exportOnnx, type OnnxModel, type Outputs, type Spec } from '@gossamer/tensor';
import type { Module } from './module.ts';

/** Runs `fn` with the model in eval mode, and puts every part back into the mode it was in. */
export async function inEvalMode<T>(model: Module, fn: () => T | Promise<T>): Promise<T> {
  const modes = [...model.namedModules()].map(([, m]) => [m, m.training] as const);
  model.eval();
  try {
    return await fn();
  } finally {
    for (const [m, training] of modes) m.training = training;
  }
}

/**
 * A module as an ONNX model, in eval mode, its parameters under their `stateDict` names. By default axis 0 of the
 * inputs is a dynamic batch (see {@link exportOnnx}). Write it with `writeOnnx(path, model, { sparse: … })`.
 *
 * ```ts
 * const onnx = await exportModel(model, { image: { shape: [1, 1, 28, 28], dtype: 'float32' } });
 * await writeOnnx('model.onnx', onnx, { sparse: 1 / 3 });
 * ```
 */
export function exportModel(
  model: Module,
  inputs: Readonly<Record<string, Spec>>,
  options: ExportOptions = {},
): Promise<OnnxModel> {
  // Walking the model gives the parameters their names.
  for (const _ of model.namedParameters());
  return inEvalMode(model, () => exportOnnx((...xs) => model.forward(...xs) as Outputs, inputs, options));
}

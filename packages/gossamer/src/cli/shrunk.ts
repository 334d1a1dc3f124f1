import { type Spec, writeOnnx } from '@gossamer/tensor';
import { timeModels } from '../experiments/model-speed.ts';
import { exportModel } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';
import type { ModelCost } from '../sparsity/groups.ts';
import type { Shrunk } from '../sparsity/shrink.ts';
import { percent, quantity } from '../text.ts';

// What commands that make a network smaller say about it in the end.

/** Sizes, and milliseconds of one sample on one thread. */
export interface Sizes {
  readonly before: ModelCost & { readonly milliseconds: number };
  readonly after: ModelCost & { readonly milliseconds: number };
}

const ROUNDS = 25;

/** Measures both networks side by side on this machine. */
export async function sizesOf(model: Module, { before, after, model: small }: Shrunk, input: Spec): Promise<Sizes> {
  const [slow, fast] = await timeModels([model, small], input, ROUNDS);
  return { before: { ...before, milliseconds: slow }, after: { ...after, milliseconds: fast } };
}

export function formatSizes({ before, after }: Sizes): string[] {
  const row = (name: string, a: string, b: string, share: number): string =>
    `${name.padEnd(12)}${a.padStart(10)} → ${b.padStart(10)}  ${percent(share, 1).padStart(7)}`;
  return [
    row('parameters', quantity(before.parameters), quantity(after.parameters), after.parameters / before.parameters),
    row('FLOPs', quantity(before.flops), quantity(after.flops), after.flops / before.flops),
    row(
      'ms a sample',
      before.milliseconds.toFixed(3),
      after.milliseconds.toFixed(3),
      after.milliseconds / before.milliseconds,
    ),
  ];
}

/** Writes a network as an ONNX file, whole or not at all. */
export async function writeNetwork(path: string, model: Module, input: Spec): Promise<void> {
  await writeOnnx(path, await exportModel(model, { inputs: input }));
}

import { check, compile, gradients, type Tensor } from '@gossamer/tensor';
import type { Batch, Dataset } from '../data/dataset.ts';
import { DataLoader } from '../data/loader.ts';
import { inEvalMode } from '../nn/export.ts';
import type { Module } from '../nn/module.ts';
import type { Mask } from '../sparsity/mask.ts';
import type { ModelLayers } from '../sparsity/model.ts';
import { lossGradients } from '../sparsity/score-data.ts';
import { classification, type Task, toTensors } from './task.ts';

export interface AttackOptions {
  /** Size ε of the step in the units of the inputs: after normalisation 8/255 is 8/255/std. */
  readonly epsilon: number;
  /** Smallest and largest legal input; default no limit. */
  readonly range?: readonly [low: number, high: number];
  /** Default 500. */
  readonly batchSize?: number;
}

/**
 * Share of right answers, 0…1, on x + ε·sign(∇ₓL) (Goodfellow, Shlens & Szegedy 2015, fast gradient sign method), in eval
 * mode. Data have the fields `inputs` and `labels`.
 */
export async function adversarialAccuracy(
  model: Module,
  data: Dataset,
  { epsilon, range: [low, high] = [-Infinity, Infinity], batchSize = 500 }: AttackOptions,
): Promise<number> {
  check(epsilon >= 0, () => `adversarialAccuracy: epsilon ${epsilon}; expected a number ≥ 0`);
  const task = classification();
  const attack = compile((inputs: Tensor, labels: Tensor) => {
    const [g] = gradients(task(model, { inputs, labels }).loss, [inputs]);
    return task(model, { inputs: inputs.add(g.sign().mul(epsilon)).clamp(low, high), labels }).accuracy;
  });
  let [right, samples] = [0, 0];
  try {
    await inEvalMode(model, async () => {
      for await (const batch of new DataLoader(data, { batchSize: Math.min(batchSize, data.length) })) {
        const { inputs, labels } = toTensors(batch);
        right += (await (await attack(inputs, labels)).item()) * inputs.shape[0];
        samples += inputs.shape[0];
      }
    });
  } finally {
    await attack.dispose();
  }
  return right / samples;
}

/** ‖∇L‖₂ over the weights that live (all weights without a mask), on one batch in training mode: the gradient flow. */
export async function gradientFlow(
  model: Module,
  layers: ModelLayers,
  batch: Batch,
  { mask, task = classification() }: { readonly mask?: Mask | undefined; readonly task?: Task } = {},
): Promise<number> {
  const found = await lossGradients({ model, task, layers, batches: [batch], mode: 'train' });
  let sum = 0;
  for (const [name, g] of found) {
    const keep = mask?.has(name) ? mask.get(name) : undefined;
    for (let i = 0; i < g.length; i++) if (!keep || keep[i] === 1) sum += g[i] * g[i];
  }
  return Math.sqrt(sum);
}

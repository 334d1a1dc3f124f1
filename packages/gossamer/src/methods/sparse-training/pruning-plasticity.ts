// How well a network that is pruned in the course of its training recovers, by when and how much is pruned.
// Liu et al. 2021, "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration" (GraNet), §3.

import { check, type Spec } from '@gossamer/tensor';
import type { Batch } from '../../data/dataset.ts';
import type { Module } from '../../nn/module.ts';
import { exchangeLayer } from '../../sparsity/exchange.ts';
import { type Layer, lossGradients, Mask, magnitude, maskable, prune, StaticMask } from '../../sparsity/index.ts';
import { modelLayers } from '../../sparsity/model.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { restore, type Snapshot, snapshot } from '../../train/snapshot.ts';
import type { Task } from '../../train/task.ts';

/** Steps of a training. */
export interface TrainingPart {
  readonly from: number;
  readonly to: number;
  /** Whether these are the steps after pruning, of pruned networks and of their controls, which may keep one rate. */
  readonly further?: boolean;
}

/** A training that can be entered at any step: the network and what is done to it. */
export interface PlasticityStudy {
  readonly model: Module;
  /** One sample, batch axis included. */
  readonly input: Spec;
  readonly task: Task;
  /** Data whose gradient decides what is regenerated, the same for all cells. */
  readonly batches: readonly Batch[];
  /** Steps of the whole training: nothing goes on longer. */
  readonly steps: number;
  /**
   * Trains `model` from step `from` to step `to` of the schedule of learning rates, which need not begin at 0, or goes on
   * at the rate of step `from` where the part is `further`; with a new optimiser state every time, so that pruned networks
   * and their unpruned controls start alike.
   */
  train(part: TrainingPart, sparsifiers: readonly Sparsifier[]): Promise<void>;
  /** Accuracy of `model` as it is, in percent. */
  evaluate(): Promise<number>;
}

export interface PlasticityCell {
  /** Step t at which the network is pruned. */
  readonly step: number;
  /** Share of the weights that goes; 0 is the control that only trains on. */
  readonly sparsity: number;
  /** Steps Δ of continued training. */
  readonly delta: number;
  /** Share of the live weights that is removed and regrown by gradient right after pruning; default 0, none. */
  readonly regenerate?: number;
  /** Default `global`: one ranking of all |w|. */
  readonly allocation?: 'global' | 'uniform';
  /** Layers left dense. */
  readonly exclude?: readonly string[];
}

/** Accuracies in percent: at t, right after pruning (before any regeneration), and after Δ more steps. */
export interface Recovery {
  readonly before: number;
  readonly pruned: number;
  readonly after: number;
}

/** Prunes the state of step t and trains on for Δ steps under that mask. */
export async function recovery(study: PlasticityStudy, state: Snapshot, cell: PlasticityCell): Promise<Recovery> {
  const { model } = study;
  const { step, delta, sparsity, regenerate = 0, allocation = 'global', exclude } = cell;
  check(
    step >= 0 && delta > 0 && step + delta <= study.steps,
    () => `plasticity: ${delta} steps from step ${step} end beyond the ${study.steps} of the training`,
  );
  check(regenerate >= 0 && regenerate <= 1, () => `plasticity: regenerate ${regenerate} is outside 0…1`);
  restore(model, state);
  const before = await study.evaluate();
  const range = { from: step, to: step + delta, further: true };
  if (sparsity === 0) {
    await study.train(range, []);
    return { before, pruned: before, after: await study.evaluate() };
  }
  const found = await modelLayers(model, [study.input]);
  const layers = maskable(found.layers, exclude).layers;
  let mask = prune(layers, l => magnitude(l.values), { sparsity, allocation });
  for (const l of layers) {
    const values = l.values.slice();
    mask.apply(l.name, values);
    found.parameters.get(l.name)!.set(values);
  }
  const pruned = await study.evaluate();
  if (regenerate > 0) {
    const gradients = await lossGradients({ ...study, layers: found, mode: 'train' });
    mask = regenerated(layers, mask, gradients, regenerate);
  }
  await study.train(range, [new StaticMask(mask)]);
  return { before, pruned, after: await study.evaluate() };
}

/** One round of removal by |w| and regrowth by |∂L/∂w|, ⌈r·K⌉ weights in each layer; the counts stay. */
export const regenerated = (
  layers: readonly Layer[],
  mask: Mask,
  gradients: ReadonlyMap<string, Float32Array>,
  share: number,
): Mask =>
  new Mask(
    layers.map(l => {
      const grow = magnitude(gradients.get(l.name)!);
      const { keep } = exchangeLayer(l, mask.get(l.name), share, magnitude(l.values), grow, { rounding: 'ceil' });
      return [l.name, { shape: l.shape, keep }] as const;
    }),
  );

export interface PlasticityOptions extends Omit<PlasticityCell, 'step' | 'sparsity'> {
  /** Steps t at which the network is pruned, rising. */
  readonly at: readonly number[];
  readonly sparsities: readonly number[];
}

/** One point of a plasticity curve; percent points. */
export interface Plasticity {
  readonly step: number;
  readonly sparsity: number;
  /** A(pruned at t) − A(t): what pruning costs at once. */
  readonly drop: number;
  /** A(pruned at t, then trained to t + Δ) − A(unpruned at t + Δ). */
  readonly plasticity: number;
}

/**
 * Plasticity at all steps and sparsities, from one dense training in whose course the states are taken. Pruned networks
 * and the unpruned one they are compared with train on from the same state for the same Δ steps.
 *
 * ```ts
 * await pruningPlasticity(study, { at: [300, 900], delta: 300, sparsities: [0.9, 0.95], regenerate: 0.5 });
 * ```
 */
export async function pruningPlasticity(
  study: PlasticityStudy,
  { at, sparsities, ...options }: PlasticityOptions,
): Promise<Plasticity[]> {
  check(at.length > 0 && sparsities.length > 0, 'plasticity: give steps to prune at, and sparsities');
  check(
    at.every((t, i) => t > (at[i - 1] ?? -1)),
    () => `plasticity: steps ${at.join(', ')}; expected rising ones`,
  );
  const points: Plasticity[] = [];
  const { model } = study;
  let state = await snapshot(model);
  let reached = 0;
  for (const step of at) {
    restore(model, state);
    if (step > reached) await study.train({ from: reached, to: step }, []);
    state = await snapshot(model);
    reached = step;
    const control = await recovery(study, state, { ...options, step, sparsity: 0 });
    for (const sparsity of sparsities) {
      const { before, pruned, after } = await recovery(study, state, { ...options, step, sparsity });
      points.push({ step, sparsity, drop: pruned - before, plasticity: after - control.after });
    }
  }
  return points;
}

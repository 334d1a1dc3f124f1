// Sparsity-trains only the channels that will be pruned, so that the others keep their full strength.
// Jiang, Li, Qian, Liu & Liu, "Pruning-aware Sparse Regularization for Network Pruning" (MaskSparsity), arXiv:2201.06776.

import { check, type Spec } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import { type ScaleMask, ScalePenalty, type ScalePenaltyKind } from '../../sparsity/scale-penalty.ts';
import { type Shrunk, shrink } from '../../sparsity/shrink.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { restore, snapshot } from '../../train/snapshot.ts';
import type { MethodInfo } from '../method.ts';
import {
  channelsOfMask,
  chooseMask,
  type MaskRule,
  type MaskSource,
  penaltyMask,
  type Scene,
  type SceneOptions,
  sceneOf,
} from './masksparsity-mask.ts';

export * from './masksparsity-mask.ts';
export { MaskSparsity, type MaskSparsityOptions } from './masksparsity-training.ts';

export const method: MethodInfo = {
  slug: 'masksparsity',
  name: 'MaskSparsity',
  summary: 'Decides which channels go, trains only those towards zero, and removes them.',
  paper: 'Pruning-aware Sparse Regularization for Network Pruning (Jiang et al. 2022)',
  kind: 'procedure',
};

export type Phase = 'slimming' | 'masked' | 'fine-tuning';

export interface MaskSparsityPlan extends SceneOptions {
  /** How much goes. */
  readonly rule: MaskRule;
  /** Default `global-l1`; or a mask of one's own, 1 for each channel of a scale that goes. */
  readonly source?: MaskSource | ScaleMask;
  /** Strength of both penalties; default 5e-4, for trainings of some 60,000 steps at 0.1: the shorter, the stronger. */
  readonly lambda?: number;
  /** Default `l1`. */
  readonly penalty?: ScalePenaltyKind;
  /** Whether the shifts of the masked channels are penalised as well; default true. */
  readonly shifts?: boolean;
  /**
   * Which channels go after stage 2: those of the `mask` (default), or those whose |γ| is below a threshold by then (the
   * paper's scripts: 0.01) or within the energy share δ.
   */
  readonly remove?: 'mask' | { readonly threshold: number } | { readonly energy: number };
  /** What a removed channel still gives, act(β): `drop` (default), or `fold` it into the next layer's bias. */
  readonly constant?: 'drop' | 'fold';
  /** Trains a model for one phase: `slimming` and `masked` as long as the baseline, `fine-tuning` with a small rate. */
  train(model: Module, phase: Phase, sparsifiers: readonly Sparsifier[]): Promise<unknown>;
}

/** A model as it is after a part of the procedure. */
export interface MaskSparsityStep {
  readonly stage: 'slimmed' | 'masked' | 'pruned' | 'fine-tuned';
  readonly model: Module;
  /** What can be pruned and what not. */
  readonly scene: Scene;
  /** Channels that are to go, or have gone, by id. */
  readonly removed: readonly number[];
  /** Since `pruned`. */
  readonly shrunk?: Shrunk;
}

/**
 * The whole procedure from a trained network W₀ on, stage by stage, as a generator that is asked for the next stage when the
 * last one has been looked at:
 *
 * 1. a mask P; the default source trains with λ·Σ|γ| on all channels first (`slimmed`)
 * 2. back to W₀, trained with λ·Σ_{P = 1} R(γ) (`masked`)
 * 3. the masked channels leave the network (`pruned`)
 * 4. fine-tuning without a penalty (`fine-tuned`)
 *
 * Trains the optimiser's own way: leave scales out of weight decay (`decayVectors: false`), which is a penalty on all of them.
 *
 * @param model trained; it is changed, and holds the weights of stage 2 in the end
 * @param inputs shape and dtype of one sample
 */
export async function* maskSparsity(
  model: Module,
  inputs: readonly Spec[],
  plan: MaskSparsityPlan,
): AsyncGenerator<MaskSparsityStep> {
  const { rule, source = 'global-l1', lambda = 5e-4, penalty: kind = 'l1', shifts = true, remove = 'mask' } = plan;
  check(lambda > 0, () => `masksparsity: λ ${lambda}; expected a number above 0`);
  const scene = await sceneOf(model, inputs, plan);
  const baseline = await snapshot(model);
  let removed: number[];
  if (typeof source !== 'string') removed = channelsOfMask(scene, source);
  else if (source !== 'global-l1') removed = await chooseMask(scene, source, rule);
  else {
    await plan.train(model, 'slimming', [new ScalePenalty({ lambda, kind })]);
    removed = await chooseMask(scene, source, rule);
    yield { stage: 'slimmed', model, scene, removed };
    restore(model, baseline);
  }
  await plan.train(model, 'masked', [new ScalePenalty({ lambda, kind, only: penaltyMask(scene, removed, shifts) })]);
  if (remove !== 'mask') removed = await chooseMask(scene, 'global-l1', remove);
  yield { stage: 'masked', model, scene, removed };
  const shrunk = await shrink(model, inputs, { remove: removed }, { constant: plan.constant ?? 'drop' });
  yield { stage: 'pruned', model: shrunk.model, scene, removed, shrunk };
  await plan.train(shrunk.model, 'fine-tuning', []);
  yield { stage: 'fine-tuned', model: shrunk.model, scene, removed, shrunk };
}

// Prunes before training and without any data, in many small rounds that keep flow through every layer.
// Tanaka, Kunin, Yamins & Ganguli 2020, "Pruning neural networks without any data by iteratively conserving synaptic
// flow".

import { check, type Spec } from '@gossamer/tensor';
import { Mask, maskable, PruneAtStart, prune, sampleOf, type TrainingCalibration } from '../../sparsity/index.ts';
import type { Model, ModelLayers } from '../../sparsity/model.ts';
import { synapticFlow } from '../../sparsity/synaptic-flow.ts';
import type { MethodInfo } from '../method.ts';
import type { SensitivityOptions } from './snip.ts';

export const method: MethodInfo = {
  slug: 'synflow',
  name: 'SynFlow',
  summary:
    'Finds a sparse network at initialisation without data, and without collapse of a layer up to extreme sparsity.',
  paper: 'Pruning neural networks without any data by iteratively conserving synaptic flow (Tanaka et al. 2020)',
  kind: 'one-shot pruner',
};

export interface SynFlowOptions extends SensitivityOptions {
  /** Rounds n; default 100. One round collapses layers. */
  readonly rounds?: number;
}

/**
 * For k = 1 … n: R = 1ᵀ(Π|m ⊙ W|)1, S = ∂R/∂W ⊙ W, and the weights of highest S of all layers together stay, as many as
 * the density ρ^(k/n) leaves (algorithm 1).
 *
 * @param inputs shape and dtype of each input, for one sample
 */
export async function synflow(
  model: Model,
  inputs: readonly Spec[],
  found: ModelLayers,
  { sparsity, exclude, rounds = 100, ...options }: SynFlowOptions,
): Promise<Mask> {
  check(Number.isInteger(rounds) && rounds >= 1, () => `synflow: ${rounds} rounds; expected a whole number from 1`);
  check(sparsity >= 0 && sparsity < 1, () => `synflow: sparsity ${sparsity} is outside 0 ≤ s < 1`);
  const layers = maskable(found.layers, exclude).layers;
  const flow = await synapticFlow(model, inputs, found);
  let mask = Mask.ones(layers);
  for (let k = 1; k <= rounds; k++) {
    const shares = await flow(mask);
    check(shares, () => `synflow: no path from input to output is left at sparsity ${mask.sparsity()}`);
    const reached = k === rounds ? sparsity : 1 - (1 - sparsity) ** (k / rounds);
    mask = prune(layers, l => shares.get(l.name)!, {
      allocation: 'global',
      ...options,
      sparsity: reached,
      within: mask,
    });
  }
  return mask;
}

/** {@link synflow} at the start of a training, which then goes on under that mask. */
export class SynFlow extends PruneAtStart {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'granularity',
    'norm',
    'allocation',
    'rounds',
  ] satisfies readonly (keyof SynFlowOptions)[];
  readonly name = method.slug;
  constructor(options: SynFlowOptions) {
    super((c: TrainingCalibration) => synflow(c.model, [sampleOf(c.batches[0])], c.layers, options), options);
  }
}

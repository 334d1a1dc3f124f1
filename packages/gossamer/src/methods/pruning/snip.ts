// Prunes before training by how much each connection matters to the loss of one mini-batch.
// Lee, Ajanthan & Torr 2019, "SNIP: Single-shot Network Pruning based on Connection Sensitivity".

import {
  type Layer,
  type Mask,
  maskable,
  PruneAtStart,
  type PruneOptions,
  prune,
  snip as sensitivity,
} from '../../sparsity/index.ts';
import type { ModelLayers } from '../../sparsity/model.ts';
import { type Calibration, lossGradients } from '../../sparsity/score-data.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'snip',
  name: 'SNIP',
  summary: 'Finds a sparse network at initialisation from one mini-batch, by gradient times weight; then train it.',
  paper: 'SNIP: Single-shot Network Pruning based on Connection Sensitivity (Lee, Ajanthan & Torr 2019)',
  kind: 'one-shot pruner',
};

export interface SensitivityOptions extends Pick<PruneOptions, 'granularity' | 'norm' | 'allocation'> {
  /** Share of all weights that go, 0 ≤ s < 1. */
  readonly sparsity: number;
  /** Layers left dense: names, kinds, `first`, `last`, wildcards. Default none. */
  readonly exclude?: readonly string[];
}

/** Data and layers of a network at its (variance-preserving) initialisation; `mode` is `train` by default. */
export type Initialised = Calibration & { readonly layers: ModelLayers };

/**
 * Connection sensitivity s_j = |g_j w_j| / Σ_k |g_k w_k| with g = ∂L/∂c ⊙ 1/w, the gradient by the weight, on the batches
 * given (eq. 4, 5; the paper takes one of 100 for MNIST, 128 for CIFAR-10); the κ highest of all layers together
 * stay (algorithm 1).
 */
export async function snip(at: Initialised, { exclude, ...options }: SensitivityOptions): Promise<Mask> {
  const layers = maskable(at.layers.layers, exclude).layers;
  const gradients = await lossGradients({ mode: 'train', ...at });
  const scores = sensitivity(layers.map(l => ({ w: l.values, g: gradients.get(l.name)! })));
  const byName = new Map(layers.map((l, i) => [l.name, scores[i]]));
  return prune(layers, (l: Layer) => byName.get(l.name)!, { allocation: 'global', ...options });
}

/** {@link snip} on the first mini-batch of a training, which then goes on under that mask. */
export class SNIP extends PruneAtStart {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'granularity',
    'norm',
    'allocation',
  ] satisfies readonly (keyof SensitivityOptions)[];
  readonly name = method.slug;
  constructor(options: SensitivityOptions) {
    super((calibration: Initialised) => snip(calibration, options), options);
  }
}

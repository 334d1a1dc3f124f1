// Train, remove the smallest weights, fine-tune: magnitude pruning with any division of the sparsity among layers.
// Han, Pool, Tran & Dally 2015, "Learning both Weights and Connections for Efficient Neural Networks" (by layer);
// Evci et al. 2020, "Rigging the Lottery" (ERK); Gale, Elsen & Hooker 2019 (uniform+).

import {
  type Layer,
  type Mask,
  magnitude,
  maskable,
  PruneAtStart,
  type PruneOptions,
  prune,
  type TrainingCalibration,
} from '../../sparsity/index.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'one-shot-magnitude',
  name: 'One-shot magnitude pruning',
  summary: 'Removes the smallest weights of each layer at once; needs no data. Fine-tune afterwards.',
  paper: 'Learning both Weights and Connections for Efficient Neural Networks (Han et al. 2015)',
  kind: 'one-shot pruner',
};

export interface OneShotMagnitudeOptions
  extends Pick<PruneOptions, 'granularity' | 'norm' | 'allocation' | 'fixed' | 'minimum'> {
  /** Share of the weights that go, 0 ≤ s < 1; the sparsity of each layer by name; N:M patterns need none. */
  readonly sparsity?: PruneOptions['sparsity'];
  /** Layers left dense: names, kinds, `first`, `last`, wildcards. Default none. */
  readonly exclude?: readonly string[];
}

/**
 * Keeps the weights of largest |w|: m = 1 where |w| is among the n − round(s·n) largest of its layer (`uniform`, the
 * default), or as many in each layer as another `allocation` says.
 */
export const oneShotMagnitude = (layers: readonly Layer[], { exclude, ...options }: OneShotMagnitudeOptions): Mask =>
  prune(maskable(layers, exclude).layers, l => magnitude(l.values), options);

/** {@link oneShotMagnitude} of the weights that a training starts from, which it then fine-tunes under that mask. */
export class OneShotMagnitude extends PruneAtStart {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'granularity',
    'norm',
    'allocation',
    'minimum',
  ] satisfies readonly (keyof OneShotMagnitudeOptions)[];
  readonly name = method.slug;
  constructor(options: OneShotMagnitudeOptions) {
    super(async ({ layers }: TrainingCalibration) => oneShotMagnitude(layers.layers, options), options);
  }
}

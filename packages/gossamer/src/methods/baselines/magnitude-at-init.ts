// Keeps the largest initial weights and trains them: what pruning before training has to beat.
// Frankle, Dziugaite, Roy & Carbin 2021, "Pruning Neural Networks at Initialization: Why Are We Missing the Mark?".

import { type Mask, PruneAtStart } from '../../sparsity/index.ts';
import type { ModelLayers } from '../../sparsity/model.ts';
import type { MethodInfo } from '../method.ts';
import { type OneShotMagnitudeOptions, oneShotMagnitude } from '../pruning/one-shot-magnitude.ts';

export const method: MethodInfo = {
  slug: 'magnitude-at-init',
  name: 'Magnitude at initialisation',
  summary: 'Keeps the largest weights of an untrained network and trains them; needs no data. A baseline.',
  paper: 'Pruning Neural Networks at Initialization: Why Are We Missing the Mark? (Frankle et al. 2021)',
  kind: 'sparsifier',
};

export type MagnitudeAtInitOptions = OneShotMagnitudeOptions;

/** One ranking of all initial |w| by default; `allocation` divides the sparsity among the layers otherwise. */
export class MagnitudeAtInit extends PruneAtStart {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'granularity',
    'norm',
    'allocation',
    'minimum',
  ] satisfies readonly (keyof MagnitudeAtInitOptions)[];
  readonly name = method.slug;

  constructor(options: MagnitudeAtInitOptions) {
    const find = async ({ layers }: { layers: ModelLayers }): Promise<Mask> =>
      oneShotMagnitude(layers.layers, { allocation: 'global', ...options });
    super(find, options);
  }
}

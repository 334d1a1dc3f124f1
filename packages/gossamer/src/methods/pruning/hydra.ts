// Learns the mask by scores while the pretrained weights are frozen, then fine-tunes the weights under it.
// Sehwag, Wang, Mittal & Jana 2020, "HYDRA: Pruning Adversarially Robust Neural Networks".

import type { Layer } from '../../sparsity/layer.ts';
import {
  LearnedMask,
  type LearnedMaskOptions,
  type LearnedMaskStart,
  learnedMaskOptions,
} from '../../sparsity/learned-mask.ts';
import { checkPretrained } from '../../sparsity/pretrained.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';
import { fanIn } from './edge-popup.ts';

export const method: MethodInfo = {
  slug: 'hydra',
  name: 'Hydra',
  summary: 'Chooses the mask by its effect on the loss, with the pretrained weights frozen, then fine-tunes them.',
  paper: 'HYDRA: Pruning Adversarially Robust Neural Networks (Sehwag et al. 2020)',
  kind: 'sparsifier',
};

export interface HydraOptions extends LearnedMaskOptions {
  /** Whether the network may be one that was never trained. Default false. */
  readonly untrained?: boolean;
}

/**
 * 1. Scores s_l = √(6/n_in)·θ_l / max|θ_l| (eq. 5, "scaled initialisation"), so that the search starts at the magnitude mask.
 * 2. With θ frozen: s ← SGD(∂L/∂(θ⊙m)⊙θ·sign(s)), m = 1 at the k highest |s| of each layer (eq. 3, 4).
 * 3. From `until` on the mask stays and θ⊙m is fine-tuned by the training's own optimiser.
 *
 * Whatever loss the training has decides what the mask serves: the paper's are robust ones. Defaults of the paper: the
 * search takes 20 of 120 epochs (`until` 1/6), score rate 0.1 falling along a cosine, momentum 0.9, score decay 1e-4.
 */
export class Hydra extends LearnedMask {
  static readonly options: readonly string[] = [...learnedMaskOptions, 'untrained'];
  readonly name = method.slug;
  readonly #untrained: boolean;

  constructor({ untrained = false, ...options }: HydraOptions) {
    super({ scoreDecay: 1e-4, until: 1 / 6, ...options }, { rank: 'magnitude', frozen: true, gradient: 'step' });
    this.#untrained = untrained;
  }

  protected override async inspect(training: Training): Promise<void> {
    if (!this.#untrained) await checkPretrained(this.name, training);
  }

  protected start(layers: readonly Layer[]): LearnedMaskStart {
    const scaled = (l: Layer) => {
      const largest = l.values.reduce((max, w) => Math.max(max, Math.abs(w)), 0) || 1;
      const factor = Math.sqrt(6 / fanIn(l)) / largest;
      return l.values.map(w => w * factor);
    };
    return { scores: new Map(layers.map(l => [l.name, scaled(l)])) };
  }
}

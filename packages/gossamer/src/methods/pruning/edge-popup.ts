// Finds a sub-network of a network whose weights never change, random ones included, by learning a score for each weight.
// Ramanujan, Wortsman, Kembhavi, Farhadi & Rastegari 2020, "What's Hidden in a Randomly Weighted Neural Network?".

import { check } from '@gossamer/tensor';
import { type Layer, layoutOf } from '../../sparsity/layer.ts';
import {
  LearnedMask,
  type LearnedMaskOptions,
  type LearnedMaskStart,
  learnedMaskOptions,
} from '../../sparsity/learned-mask.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'edge-popup',
  name: 'Edge-popup',
  summary: 'Learns which weights of a frozen network to keep; the weights may be random and never change.',
  paper: "What's Hidden in a Randomly Weighted Neural Network? (Ramanujan et al. 2020)",
  kind: 'sparsifier',
};

export interface EdgePopupOptions extends LearnedMaskOptions {
  /**
   * The weights that stay: those of the model (default), or of each only the sign, times √(2/(n_in·k)) with the share k
   * that is kept (the paper's signed constants with scaled initialisation, §3.3), for networks that were never trained.
   */
  readonly weights?: 'given' | 'signed-constant';
}

/**
 * Each weight has a score s, uniform in ±1/√n_in at first; the forward pass uses the weights with the k highest |s| of
 * each layer, and s ← s − α·∂L/∂(w⊙m)·w·sign(s): the gradient goes straight through the selection (§3.1). Weights and
 * biases never change; scales and shifts of norms neither, unless `norms` is `trained`.
 * Defaults of the paper: score rate 0.1 falling along a cosine, momentum 0.9, score decay 1e-4, the same share in each
 * layer.
 */
export class EdgePopup extends LearnedMask {
  static readonly options: readonly string[] = [...learnedMaskOptions, 'weights'];
  readonly name = method.slug;
  readonly #weights: 'given' | 'signed-constant';
  readonly #density: number;

  constructor({ weights = 'given', ...options }: EdgePopupOptions) {
    const defaults = { scoreDecay: 1e-4, norms: 'frozen' } as const;
    super({ ...defaults, ...options }, { rank: 'magnitude', frozen: true, gradient: 'step' });
    check(
      weights === 'given' || weights === 'signed-constant',
      () => `edge-popup: weights '${weights}'; expected given or signed-constant`,
    );
    this.#weights = weights;
    this.#density = 1 - options.sparsity;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    if (this.#weights === 'given') return;
    for (const l of this.selection!.layers) {
      const size = Math.sqrt(2 / (fanIn(l) * this.#density));
      training.layers.parameters.get(l.name)!.set(l.values.map(w => (w < 0 ? -size : size)));
    }
  }

  protected start(layers: readonly Layer[], { random }: Training): LearnedMaskStart {
    const draw = (l: Layer) => {
      const bound = 1 / Math.sqrt(fanIn(l));
      return random.fork('scores').fork(l.name).uniform(l.values.length, -bound, bound);
    };
    return { scores: new Map(layers.map(l => [l.name, draw(l)])) };
  }
}

/** Inputs of one output: channels × window. */
export const fanIn = (l: Layer): number => {
  const { in: inputs, kernel } = layoutOf(l);
  return inputs * kernel;
};

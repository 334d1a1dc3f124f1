// Prunes before training so that the gradient keeps flowing: it removes what matters least to ‖∇L‖².
// Wang, Zhang & Grosse 2020, "Picking Winning Tickets Before Training by Preserving Gradient Flow".

import type { Tensor } from '@gossamer/tensor';
import { Lambda } from '../../nn/module.ts';
import { type Mask, maskable, PruneAtStart, prune, grasp as score } from '../../sparsity/index.ts';
import { hessianGradients } from '../../sparsity/score-data.ts';
import type { Task } from '../../train/task.ts';
import type { MethodInfo } from '../method.ts';
import type { Initialised, SensitivityOptions } from './snip.ts';

export const method: MethodInfo = {
  slug: 'grasp',
  name: 'GraSP',
  summary: 'Finds a sparse network at initialisation that keeps the gradient norm, by a Hessian-gradient product.',
  paper: 'Picking Winning Tickets Before Training by Preserving Gradient Flow (Wang, Zhang & Grosse 2020)',
  kind: 'one-shot pruner',
};

export interface GraSPOptions extends SensitivityOptions {
  /** Divides the logits, so that the softmax at initialisation is smooth; default 200, as in the released code. */
  readonly temperature?: number;
}

/**
 * S(−θ) = −θ ⊙ Hg (eq. 8): the change of the gradient flow gᵀg, to first order, when a weight goes. The weights of highest
 * S, whose removal raises the flow or reduces it least, go: a global ranking (algorithm 1). The paper takes 10 samples
 * of each class.
 */
export async function grasp(at: Initialised, { exclude, temperature = 200, ...options }: GraSPOptions): Promise<Mask> {
  const layers = maskable(at.layers.layers, exclude).layers;
  const task: Task = (model, batch) =>
    at.task(new Lambda((x: Tensor) => (model.forward(x) as Tensor).div(temperature)), batch);
  const products = await hessianGradients({ mode: 'train', ...at, task });
  return prune(layers, l => score(l.values, products.get(l.name)!), { allocation: 'global', ...options });
}

/** {@link grasp} on the first mini-batch of a training, which then goes on under that mask. */
export class GraSP extends PruneAtStart {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'granularity',
    'norm',
    'allocation',
    'temperature',
  ] satisfies readonly (keyof GraSPOptions)[];
  readonly name = method.slug;
  constructor(options: GraSPOptions) {
    super((calibration: Initialised) => grasp(calibration, options), options);
  }
}

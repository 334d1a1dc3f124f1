import { check, constant, type Parameter, type Tensor } from '@gossamer/tensor';
import { prune } from '../../sparsity/prune.ts';
import { randomScore } from '../../sparsity/score.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import { RigL } from './rigl.ts';
import { type FoldedPair, fold } from './sparse-ift-layers.ts';

export interface IsoFlopOptions {
  /** Density of each masked weight by name, 0…1; all others stay dense. */
  readonly densities: ReadonlyMap<string, number>;
  /** How masks move: by gradient (default), at random, not at all. */
  readonly maskOptimizer?: 'rigl' | 'set' | 'static';
  /** Share of a layer's live weights that moves at the first update; anneals by a cosine. Default 0.3. */
  readonly fraction?: number;
  /** Steps between mask updates; default 100. */
  readonly interval?: number;
  /** Share of the training after which masks stay; default 0.8. */
  readonly until?: number;
  /** Pairs whose weight decay is taken on the product. */
  readonly folded?: readonly FoldedPair[];
  /** Weight decay of those, λ in λ/2·‖V·U‖²; the optimiser must not decay U and V. Default 0. */
  readonly weightDecay?: number;
}

/**
 * Trains a transformed network at constant density: unstructured masks with random initial positions, each layer at its
 * own density, moved by RigL, by SET's random growth (new weights at zero), or not at all (§2.3; step 5).
 */
export class IsoFlopTraining extends RigL {
  override readonly name = 'sparse-ift';
  readonly #densities: ReadonlyMap<string, number>;
  readonly #folded: readonly FoldedPair[];
  readonly #weightDecay: number;

  constructor(options: IsoFlopOptions) {
    const { densities, maskOptimizer = 'rigl', fraction = 0.3, interval = 100, until = 0.8 } = options;
    check(
      ['rigl', 'set', 'static'].includes(maskOptimizer),
      () => `sparse-ift: maskOptimizer '${maskOptimizer}'; expected rigl, set or static`,
    );
    super({
      sparsity: 0,
      allocation: 'uniform',
      grow: maskOptimizer === 'set' ? 'random' : 'gradient',
      fraction: maskOptimizer === 'static' ? 0 : fraction,
      interval,
      until,
      exclude: layers => layers.map(l => l.name).filter(name => !densities.has(name)),
    });
    const { folded = [], weightDecay = 0 } = options;
    check(densities.size > 0, 'sparse-ift: no layer is masked; at sparsity 0 train the model without it');
    check(weightDecay >= 0, () => `sparse-ift: weight decay ${weightDecay}; expected 0 or more`);
    this.#densities = densities;
    this.#folded = folded;
    this.#weightDecay = weightDecay;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    const layers = await this.maskedLayers(training);
    const missing = [...this.#densities.keys()].filter(name => !layers.some(l => l.name === name));
    check(missing.length === 0, () => `sparse-ift: the model has no weight ${missing.join(', ')}`);
    const start = training.random.fork('start');
    const sparsity = Object.fromEntries(layers.map(l => [l.name, 1 - this.#densities.get(l.name)!]));
    this.setMask(prune(layers, l => randomScore(l.values.length, start.fork(l.name)), { sparsity }));
  }

  /** λ/2·Σ‖V·U‖²_F of the weights as they are masked. */
  penalty(): Tensor {
    let total: Tensor = constant(0);
    if (this.#weightDecay === 0) return total;
    const live = (p: Parameter): Tensor => this.effective(p, p);
    for (const { u, v } of this.#folded) total = total.add(fold(live(u), live(v)).square().sum());
    return total.mul(this.#weightDecay / 2);
  }
}

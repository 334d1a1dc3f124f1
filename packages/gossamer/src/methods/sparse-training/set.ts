// Trains sparse from the first step by evolution: the weights closest to zero make way for random ones.
// Mocanu, Mocanu, Stone, Nguyen, Gibescu & Liotta 2018, "Scalable training of artificial neural networks with adaptive
// sparse connectivity inspired by network science" (SET).

import { type DynamicOptions, DynamicSparseTraining, dynamicOptions } from '../../sparsity/dynamic.ts';
import type { Layer } from '../../sparsity/layer.ts';
import type { Mask } from '../../sparsity/mask.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'set',
  name: 'SET',
  summary: 'Sparse from start to end without ever computing a dense gradient: drops small weights, grows random ones.',
  paper: 'Scalable training of artificial neural networks with adaptive sparse connectivity (Mocanu et al. 2018)',
  kind: 'sparsifier',
};

export interface SETOptions extends Partial<Omit<DynamicOptions, 'sparsity' | 'score' | 'grow' | 'regrowDropped'>> {
  readonly sparsity: number;
  /**
   * Standard deviation of new weights; default that of the layer's initial weights, as in the paper's code. 0 starts them
   * at zero, as where others compare with SET: with a rate that decays, random weights that come late stay noise.
   */
  readonly spread?: number;
}

/**
 * After every epoch the fraction ζ of the smallest positive and the fraction ζ of the largest negative weights of a layer
 * is removed, and as many random connections are added with random values (algorithm 1). Defaults of the paper:
 * Erdős–Rényi start (density ∝ (n_in + n_out)/(n_in·n_out)), ζ 0.3 throughout, no exchange after the last epoch;
 * `interval` is in steps: give the steps of an epoch (default 100).
 */
export class SET extends DynamicSparseTraining {
  static readonly options: readonly string[] = [
    ...dynamicOptions.filter(name => name !== 'grow' && name !== 'score'),
    'spread',
  ];
  readonly name = method.slug;
  readonly #given: number | undefined;
  #spreads: ReadonlyMap<string, number> = new Map();

  constructor({ spread, ...options }: SETOptions) {
    super({
      allocation: 'er',
      fraction: 0.3,
      decay: 'constant',
      interval: 100,
      until: 1,
      ...options,
      grow: 'random',
      regrowDropped: false,
    });
    this.#given = spread;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    // The initial weights: a resumed training, too, comes by here before it loads its own.
    const layers = await this.maskedLayers(training);
    this.#spreads = new Map(layers.map(l => [l.name, this.#given ?? deviation(l.values)]));
  }

  protected override worth({ values }: Layer, keep: Uint8Array): Float32Array {
    return rankBySign(values, keep);
  }

  protected override async born({ layers, random, step }: Training, born: Mask): Promise<void> {
    for (const [name, { keep: fresh }] of born.entries()) {
      const parameter = layers.parameters.get(name)!;
      const values = (await parameter.data()).slice();
      const spread = this.#spreads.get(name)!;
      const drawn = random.fork('values').fork(step).fork(name).normal(values.length, 0, spread);
      for (let i = 0; i < values.length; i++) if (fresh[i] === 1) values[i] = drawn[i];
      parameter.set(values);
    }
  }
}

/**
 * Each live weight's place among those of its sign, from 0 at zero to 1 at the largest magnitude: the lowest of these
 * are the same share of the positive and of the negative weights.
 */
export function rankBySign(values: Float32Array, keep: Uint8Array): Float32Array {
  const ranks = new Float32Array(values.length);
  for (const sign of [1, -1]) {
    const own = Array.from(values.keys()).filter(i => keep[i] === 1 && (sign === 1 ? values[i] >= 0 : values[i] < 0));
    own.sort((a, b) => sign * (values[a] - values[b]) || a - b);
    own.forEach((i, rank) => {
      ranks[i] = (rank + 0.5) / own.length;
    });
  }
  return ranks;
}

/** Root mean square. */
const deviation = (values: Float32Array): number =>
  Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

// Finds a sparse network while it trains from scratch: at every step the weights of smallest magnitude lose one per cent.
// Wang, Zhang, Qin, Wang, Wang & Fu 2023, "Iterative Soft Shrinkage Learning for Efficient Image Super-Resolution".

import { check, type NDArray, Parameter, type Tensor } from '@gossamer/tensor';
import {
  type Layer,
  Mask,
  MaskedSparsifier,
  magnitude,
  type PruneOptions,
  parseGranularity,
  prune,
  type SparsifierState,
  type Training,
} from '../../sparsity/index.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'iss-p',
  name: 'Iterative soft shrinkage (ISS-P)',
  summary:
    'Trains a sparse network from a random start, without a dense one before: what is small shrinks, and may return.',
  paper: 'Iterative Soft Shrinkage Learning for Efficient Image Super-Resolution (Wang et al. 2023)',
  kind: 'sparsifier',
};

export interface SoftShrinkageOptions extends Pick<PruneOptions, 'granularity' | 'norm' | 'allocation'> {
  /** Share p of each layer's weights that goes, 0 ≤ p < 1; the paper's are 0.9, 0.95 and 0.99. N:M patterns need none. */
  readonly sparsity?: number;
  /** Layers left dense: names, kinds, `first`, `last`, wildcards. Default none. */
  readonly exclude?: readonly string[];
  /**
   * - `shrink` (default, ISS-P): unimportant weights are multiplied by α after each step
   * - `regularize` (ISS-R): each has a penalty factor ρ that grows while it is unimportant; ρ·w joins its gradient
   * - `fixed` (as GReg-1): the same with the unimportant weights of the first step for good
   */
  readonly form?: 'shrink' | 'regularize' | 'fixed';
  /** α, 0 ≤ α ≤ 1, of `shrink`; default 0.99. 0 is iterative hard thresholding, 1 dense training. */
  readonly alpha?: number;
  /** Steps between shrinks (default 1) or increases of ρ (default 5). */
  readonly every?: number;
  /** Increase of ρ, default 1e-4, and its largest value, default 1. */
  readonly increase?: number;
  readonly limit?: number;
  /** Share of the training that finds the structure, 0…1; default 0.6. Then the mask is made, and the rest fine-tunes. */
  readonly until?: number;
  /** Steps between looks at the gradients for {@link SoftShrinkage.log}; default never (each costs a backward pass). */
  readonly diagnose?: number;
}

/** What was seen at a step: how gradients reach the layers, and how the unimportant set moves. */
export interface Shrinkage {
  readonly step: number;
  /** Of |∂L/∂W| of each layer. */
  readonly gradients: Readonly<Record<string, { readonly mean: number; readonly std: number; readonly norm: number }>>;
  /** Jaccard overlap of the unimportant weights with those at the last look. */
  readonly overlap: number;
}

/** At the hard prune: the smallest magnitude that stays and the largest that goes, by layer. */
export type Gap = Readonly<Record<string, { readonly kept: number; readonly gone: number }>>;

/**
 * Stage 1, for a share `until` of the training: after every optimiser step on all weights, in each layer the ⌊p·n⌋ weights
 * of smallest |w| at that moment are unimportant and become α·w (algorithm 1). The set is chosen anew each time, so that
 * a weight whose gradient is strong comes back. Stage 2: those ⌊p·n⌋ are masked. Stage 3: the others are fine-tuned.
 *
 * A layer keeps at least one weight for each output channel on average; {@link relaxed} names the layers where that is
 * more than p leaves. Optimiser states are not shrunk.
 */
export class SoftShrinkage extends MaskedSparsifier {
  static readonly options: readonly string[] = [
    'sparsity',
    'exclude',
    'granularity',
    'norm',
    'allocation',
    'form',
    'alpha',
    'every',
    'increase',
    'limit',
    'until',
    'diagnose',
  ] satisfies readonly (keyof SoftShrinkageOptions)[];
  readonly name = method.slug;
  readonly #o: Required<Pick<SoftShrinkageOptions, 'form' | 'alpha' | 'every' | 'increase' | 'limit' | 'until'>>;
  readonly #options: SoftShrinkageOptions;
  /** ρ of each layer, and the graph's copy of it by the weight. */
  readonly #factors = new Map<string, Float32Array>();
  readonly #penalties = new Map<Parameter, Parameter>();
  #targets: Readonly<Record<string, number>> | undefined;
  #relaxed: readonly string[] = [];
  #important: Mask | undefined;
  #gap: Gap | undefined;
  #log: readonly Shrinkage[] = [];
  /** Unimportant weights at the last look. */
  #seen: Mask | undefined;

  constructor(options: SoftShrinkageOptions) {
    super({ stored: 'zero', ...(options.exclude && { exclude: options.exclude }) });
    const { form = 'shrink', alpha = 0.99, increase = 1e-4, limit = 1, until = 0.6 } = options;
    const { every = form === 'shrink' ? 1 : 5, sparsity, granularity } = options;
    const pattern = typeof granularity === 'string' ? parseGranularity(granularity) : granularity;
    check(
      sparsity !== undefined ? sparsity >= 0 && sparsity < 1 : typeof pattern === 'object' && pattern.kind === 'nm',
      () => `soft shrinkage: sparsity ${sparsity}; expected 0 ≤ p < 1`,
    );
    check(alpha >= 0 && alpha <= 1, () => `soft shrinkage: alpha ${alpha} is outside 0…1`);
    check(until > 0 && until <= 1, () => `soft shrinkage: until ${until}; expected a share of the training in 0…1`);
    check(increase > 0 && limit > 0, () => `soft shrinkage: increase ${increase}, limit ${limit}; expected above 0`);
    for (const [name, n] of Object.entries({ every, diagnose: options.diagnose ?? 1 })) {
      check(Number.isInteger(n) && n >= 1, () => `soft shrinkage: ${name} ${n}; expected a whole number of steps`);
    }
    this.#options = options;
    this.#o = { form, alpha, every, increase, limit, until };
  }

  /** Layers that keep more than p leaves, so that every output channel can have a weight. */
  get relaxed(): readonly string[] {
    return this.#relaxed;
  }

  /** Set by the hard prune. */
  get gap(): Gap | undefined {
    return this.#gap;
  }

  /** Looks at the gradients, every `diagnose` steps of both stages. */
  get log(): readonly Shrinkage[] {
    return this.#log;
  }

  /** First step under the final mask. */
  hardPruneAt(steps: number): number {
    return Math.round(this.#o.until * steps);
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    this.#gap = undefined;
    this.#log = [];
    const layers = await this.maskedLayers(training);
    this.#setTargets(layers);
    this.#important = undefined;
    this.#seen = undefined;
    this.#factors.clear();
    this.#penalties.clear();
    if (this.#o.form === 'shrink') return;
    for (const { name, shape, values } of layers) {
      const data = new Float32Array(values.length);
      const penalty = new Parameter({ dtype: 'float32', shape, data }, { name: `penalty.${name}`, trainable: false });
      this.#factors.set(name, data);
      this.#penalties.set(training.layers.parameters.get(name)!, penalty);
    }
  }

  /** Element-wise and by layer, ⌊p·n⌋ go as long as every output channel can keep one. */
  #setTargets(layers: readonly Layer[]): void {
    const { sparsity = 0, granularity = 'element', allocation = 'uniform' } = this.#options;
    this.#targets = undefined;
    this.#relaxed = [];
    if (granularity !== 'element' || allocation !== 'uniform') return;
    const gone = (l: Layer) => {
      const n = l.values.length;
      return Math.min(Math.floor(sparsity * n + 1e-9), n - Math.min(n, l.shape[l.outAxis]));
    };
    this.#relaxed = layers.filter(l => gone(l) < Math.floor(sparsity * l.values.length + 1e-9)).map(l => l.name);
    this.#targets = Object.fromEntries(layers.map(l => [l.name, gone(l) / l.values.length]));
  }

  /** What would stay now. */
  #choose(layers: readonly Layer[]): Mask {
    const { granularity, norm, allocation, sparsity } = this.#options;
    return prune(layers, l => magnitude(l.values), {
      ...(granularity && { granularity }),
      ...(norm && { norm }),
      ...(this.#targets
        ? { sparsity: this.#targets }
        : { ...(sparsity !== undefined && { sparsity }), ...(allocation && { allocation }), rounding: 'floor' }),
    });
  }

  gradient(parameter: Parameter, gradient: Tensor): Tensor {
    const penalty = this.#penalties.get(parameter);
    return penalty ? gradient.add(penalty.mul(parameter)) : gradient;
  }

  async update(training: Training): Promise<void> {
    const { step, steps } = training;
    const { form, every } = this.#o;
    const end = this.hardPruneAt(steps);
    if (step > 0 && step <= end && step % every === 0) {
      const layers = await this.maskedLayers(training);
      const important = form === 'fixed' && this.#important ? this.#important : this.#choose(layers);
      this.#important = important;
      if (form === 'shrink') this.#shrink(training, layers, important);
      else this.#penalize(training, important);
    }
    if (step === end) await this.#prune(training);
    const { diagnose } = this.#options;
    if (diagnose !== undefined && step > 0 && step < steps && step % diagnose === 0) await this.#look(training);
  }

  #shrink({ layers: { parameters } }: Training, layers: readonly Layer[], important: Mask): void {
    const { alpha } = this.#o;
    if (alpha === 1) return;
    for (const { name, values } of layers) {
      const keep = important.get(name);
      parameters.get(name)!.set(values.map((w, i) => (keep[i] === 1 ? w : alpha * w)));
    }
  }

  #penalize({ layers: { parameters } }: Training, important: Mask): void {
    const { increase, limit } = this.#o;
    for (const [name, factors] of this.#factors) {
      const keep = important.get(name);
      const raised = factors.map((f, i) => (keep[i] === 1 ? f : Math.min(limit, f + increase)));
      this.#setFactors(name, raised, parameters.get(name)!);
    }
  }

  #setFactors(name: string, factors: Float32Array, parameter: Parameter): void {
    this.#factors.set(name, factors);
    this.#penalties.get(parameter)!.set(factors);
  }

  async #prune(training: Training): Promise<void> {
    const layers = await this.maskedLayers(training);
    // Under a fixed set, the set decides; elsewhere it is chosen by magnitude once more.
    const mask = this.#o.form === 'fixed' && this.#important ? this.#important : this.#choose(layers);
    this.#gap = Object.fromEntries(
      layers.map(({ name, values }) => {
        const keep = mask.get(name);
        let [kept, gone] = [Infinity, 0];
        values.forEach((w, i) => {
          if (keep[i] === 1) kept = Math.min(kept, Math.abs(w));
          else gone = Math.max(gone, Math.abs(w));
        });
        return [name, { kept, gone }];
      }),
    );
    this.setMask(mask);
    for (const { name, values } of layers) {
      const kept = values.slice();
      mask.apply(name, kept);
      training.layers.parameters.get(name)!.set(kept);
    }
    for (const [name, factors] of this.#factors) {
      this.#setFactors(name, new Float32Array(factors.length), training.layers.parameters.get(name)!);
    }
  }

  async #look(training: Training): Promise<void> {
    const gradients = await training.denseGradients();
    const layers = await this.maskedLayers(training);
    const unimportant = Mask.ones(layers).minus(this.#choose(layers));
    const overlap = this.#seen ? unimportant.overlap(this.#seen) : 1;
    this.#seen = unimportant;
    const of = layers.map(({ name }) => [name, spread(gradients.get(name)!)] as const);
    this.#log = [...this.#log, { step: training.step, gradients: Object.fromEntries(of), overlap }];
  }

  override state(): SparsifierState {
    const factors = [...this.#factors].map(([name, data]) => {
      return [`penalty/${name}`, { dtype: 'float32', shape: [data.length], data }] as const;
    });
    const masks = Object.entries({ important: this.#important, seen: this.#seen }).flatMap(([kind, mask]) =>
      mask ? [...mask.toArrays()].map(([name, array]) => [`${kind}/${name}`, array] as const) : [],
    );
    const arrays: Record<string, NDArray> = Object.fromEntries([...factors, ...masks]);
    return {
      arrays: { ...super.state().arrays, ...arrays },
      json: { gap: this.#gap ?? null, log: this.#log },
    };
  }

  override restore({ arrays, json }: SparsifierState): void {
    const of = (kind: string) =>
      Object.entries(arrays).flatMap(([key, array]) =>
        key.startsWith(`${kind}/`) ? [[key.slice(kind.length + 1), array] as const] : [],
      );
    const mask = (kind: string) => (of(kind).length > 0 ? Mask.fromArrays(of(kind)) : undefined);
    const own = Object.entries(arrays).filter(([key]) => this.mask!.has(key));
    super.restore({ arrays: Object.fromEntries(own), json: null });
    this.#important = mask('important');
    this.#seen = mask('seen');
    const byName = new Map([...this.#penalties].map(([p, penalty]) => [penalty.name.slice('penalty.'.length), p]));
    for (const [name, { data }] of of('penalty')) this.#setFactors(name, data as Float32Array, byName.get(name)!);
    const saved = json as { gap: Gap | null; log: readonly Shrinkage[] };
    this.#gap = saved.gap ?? undefined;
    this.#log = saved.log;
  }
}

/** Mean, standard deviation and Euclidean norm of |g|. */
function spread(g: Float32Array): { mean: number; std: number; norm: number } {
  let [sum, squares] = [0, 0];
  for (const v of g) {
    sum += Math.abs(v);
    squares += v * v;
  }
  const mean = sum / g.length;
  return { mean, std: Math.sqrt(Math.max(0, squares / g.length - mean * mean)), norm: Math.sqrt(squares) };
}

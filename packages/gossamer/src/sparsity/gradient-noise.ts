import { check, type NDArray, Parameter, type Tensor } from '@gossamer/tensor';
import type { Sparsifier, SparsifierState, Training } from './sparsifier.ts';

/** Gradients of a group of weights over a window of steps. */
export interface GroupNoise {
  readonly count: number;
  /** Mean of |g| over weights and steps. */
  readonly magnitude: number;
  /** Mean over weights of the variance of g over the steps. */
  readonly variance: number;
  /** Variance over mean square, Σ Var_t(g) / Σ E_t(g²), 0…1: 0 for gradients that stay, 1 for those that cancel. */
  readonly noise: number;
  /** Mean second moment v of an Adam optimiser at the end of the window; absent for others. */
  readonly secondMoment?: number;
}

/** One layer over one window. */
export interface NoiseRecord {
  /** Steps done at the end of the window. */
  readonly step: number;
  readonly layer: string;
  /** Weights that live at the end of the window, and the others. */
  readonly kept: GroupNoise;
  readonly pruned: GroupNoise;
}

const accumulated = ['sum', 'square', 'absolute'] as const;
type Sums = Record<(typeof accumulated)[number], Parameter>;

/**
 * Watches what a sparsifier does to the gradients that the optimiser gets, for kept and pruned weights apart. It changes
 * nothing; give it to the trainer behind the one that it watches.
 *
 * ```ts
 * const training = new SRSTE({ granularity: '1:16' });
 * const noise = new GradientNoise(training, { window: 50 });
 * await new Trainer({ …, sparsifiers: [training, noise] }).run();
 * noise.log.at(-1); // { step, layer, kept, pruned }
 * ```
 */
export class GradientNoise implements Sparsifier {
  readonly name = 'gradient-noise';
  readonly mask = undefined;
  readonly #watched: Sparsifier;
  readonly #window: number;
  readonly #sums = new Map<Parameter, Sums>();
  #log: readonly NoiseRecord[] = [];

  /** @param window steps that are looked at together; default 50 */
  constructor(watched: Sparsifier, { window = 50 }: { readonly window?: number } = {}) {
    check(
      Number.isInteger(window) && window >= 2,
      () => `gradient noise: a window of ${window} steps; expected a whole number ≥ 2`,
    );
    this.#watched = watched;
    this.#window = window;
  }

  /** All windows so far, layer by layer. */
  get log(): readonly NoiseRecord[] {
    return this.#log;
  }

  async prepare({ layers }: Training): Promise<void> {
    const { mask } = this.#watched;
    check(mask, `gradient noise: ${this.#watched.name} has no mask; list it before its observer`);
    this.#log = [];
    this.#sums.clear();
    for (const { name, shape, values } of layers.layers.filter(l => mask.has(l.name))) {
      const zeros = (what: string) =>
        new Parameter(
          { dtype: 'float32', shape, data: new Float32Array(values.length) },
          { name: `${what}/${name}`, trainable: false },
        );
      const sums = { sum: zeros('sum'), square: zeros('square'), absolute: zeros('absolute') };
      this.#sums.set(layers.parameters.get(name)!, sums);
    }
  }

  gradient(parameter: Parameter, gradient: Tensor): Tensor {
    const sums = this.#sums.get(parameter);
    if (sums) {
      sums.sum.assign(sums.sum.add(gradient));
      sums.square.assign(sums.square.add(gradient.mul(gradient)));
      sums.absolute.assign(sums.absolute.add(gradient.abs()));
    }
    return gradient;
  }

  async update(training: Training): Promise<void> {
    const { step, layers, optimizer } = training;
    if (step === 0 || step % this.#window !== 0) return;
    const records: NoiseRecord[] = [];
    for (const [name, parameter] of layers.parameters) {
      const sums = this.#sums.get(parameter);
      if (!sums) continue;
      const [sum, square, absolute] = await Promise.all(accumulated.map(key => sums[key].data()));
      const second = await optimizer
        .stateOf(parameter)
        .find(s => s.name.endsWith('.exp_avg_sq'))
        ?.data();
      const keep = this.#watched.mask!.get(name);
      const group = (which: 0 | 1) => groupNoise({ sum, square, absolute, second }, keep, which, this.#window);
      records.push({ step, layer: name, kept: group(1), pruned: group(0) });
      for (const key of accumulated) sums[key].set(new Float32Array(keep.length));
    }
    this.#log = [...this.#log, ...records];
  }

  state(): SparsifierState {
    const arrays: Record<string, NDArray> = {};
    for (const sums of this.#sums.values()) {
      for (const key of accumulated) {
        const { name, shape, node } = sums[key];
        arrays[name] = { dtype: 'float32', shape, data: node.data! };
      }
    }
    return { arrays, json: this.#log };
  }

  restore({ arrays, json }: SparsifierState): void {
    for (const sums of this.#sums.values()) {
      for (const key of accumulated) sums[key].set(arrays[sums[key].name].data.slice());
    }
    this.#log = json as readonly NoiseRecord[];
  }
}

interface Gathered {
  readonly sum: Float32Array;
  readonly square: Float32Array;
  readonly absolute: Float32Array;
  readonly second: Float32Array | undefined;
}

function groupNoise(
  { sum, square, absolute, second }: Gathered,
  keep: Uint8Array,
  which: 0 | 1,
  steps: number,
): GroupNoise {
  let [count, magnitude, variance, meanSquare, moment] = [0, 0, 0, 0, 0];
  for (let i = 0; i < keep.length; i++) {
    if (keep[i] !== which) continue;
    const mean = sum[i] / steps;
    count++;
    magnitude += absolute[i] / steps;
    meanSquare += square[i] / steps;
    variance += Math.max(0, square[i] / steps - mean * mean);
    if (second) moment += second[i];
  }
  const of = Math.max(1, count);
  return {
    count,
    magnitude: magnitude / of,
    variance: variance / of,
    noise: meanSquare > 0 ? variance / meanSquare : 0,
    ...(second && { secondMoment: moment / of }),
  };
}

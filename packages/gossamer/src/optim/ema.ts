import { check, type NDArray, Parameter } from '@gossamer/tensor';
import { loadState } from './optimizer.ts';

export interface EMAOptions {
  /** Share of the old average that stays; default 0.999. */
  readonly decay?: number;
  /** Uses min(decay, (1 + t) / (10 + t)) at update t, so that early averages forget the start; default false. */
  readonly warmUp?: boolean;
}

/** Exponential moving average of parameters (Polyak & Juditsky 1992; decay warm-up as in TensorFlow). */
export class EMA {
  readonly parameters: readonly Parameter[];
  readonly decay: number;
  readonly warmUp: boolean;
  /** Scalar that counts the updates. */
  readonly count: Parameter;
  readonly #averages: readonly Parameter[];

  constructor(parameters: readonly Parameter[], { decay = 0.999, warmUp = false }: EMAOptions = {}) {
    check(decay >= 0 && decay < 1, () => `EMA: decay ${decay}: expected [0, 1)`);
    this.parameters = [...parameters];
    this.decay = decay;
    this.warmUp = warmUp;
    this.count = new Parameter({ dtype: 'float32', shape: [], data: new Float32Array(1) }, { trainable: false });
    // A copy each: two parameters must not share one leaf.
    this.#averages = parameters.map(p => new Parameter(p.add(0), { name: p.name, trainable: false }));
  }

  /** Moves the averages towards the parameters; call it after the optimiser's step, in the same compiled function. */
  update(): void {
    const count = this.count.add(1);
    const share = this.warmUp
      ? count
          .add(10)
          .reciprocal()
          .mul(9)
          .maximum(1 - this.decay)
      : 1 - this.decay;
    this.parameters.forEach((p, i) => {
      const average = this.#averages[i];
      average.assign(average.add(p.sub(average).mul(share)));
    });
    this.count.assign(count);
  }

  /** Exchanges averages and parameters. Not inside a compiled function. */
  swap(): void {
    this.parameters.forEach((p, i) => {
      const average = this.#averages[i];
      [p.node, average.node] = [average.node, p.node];
    });
  }

  /** Runs `fn`, an evaluation say, with the averages as parameters. */
  async averaged<T>(fn: () => T | Promise<T>): Promise<T> {
    this.swap();
    try {
      return await fn();
    } finally {
      this.swap();
    }
  }

  /** `count` and the averages by the parameters' names (or positions, where they have none). */
  stateDict(): Map<string, Parameter> {
    const named = this.#averages.map((a, i) => [this.parameters[i].name || String(i), a] as const);
    return new Map([['count', this.count], ...named]);
  }

  /** Restores what {@link stateDict} held. */
  loadStateDict(state: Iterable<readonly [string, NDArray]> | Readonly<Record<string, NDArray>>): this {
    loadState('EMA', this.stateDict(), state);
    return this;
  }
}

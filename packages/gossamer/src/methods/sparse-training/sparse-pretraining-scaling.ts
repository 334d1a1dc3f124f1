// Dense for the first quarter of the compute, pruned in the middle, sparse for the last quarter; and one scaling law for
// dense and sparse runs by their average size (scaling-law.ts).
// Jin, Humayun, Evci, Subramanian, Yazdanbakhsh, Alistarh & Dziugaite 2025, "The Journey Matters: Average Parameter Count
// over Pre-training Unifies Sparse and Dense Scaling Laws".

import { check } from '@gossamer/tensor';
import { blockLayers } from '../../sparsity/block-layers.ts';
import { maskable, type PruneOptions, prune, type Scorer, scorers } from '../../sparsity/index.ts';
import { MaskedSparsifier } from '../../sparsity/masked.ts';
import type { SparsifierState, Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';
import { checkedCurve, type PruningCurve, sparsityAt, type TokenCurve, tokenCurve } from './pretraining-schedule.ts';

export const method: MethodInfo = {
  slug: 'sparse-pretraining-scaling',
  name: 'Sparse pre-training',
  summary: 'Pre-trains language models that end sparse, and predicts the loss of dense and sparse runs by one law.',
  paper:
    'The Journey Matters: Average Parameter Count over Pre-training Unifies Sparse and Dense Scaling Laws (Jin et al. 2025)',
  kind: 'sparsifier',
};

export interface SparsePretrainingOptions extends PruningCurve, Pick<PruneOptions, 'granularity' | 'norm'> {
  /** Steps Δ between mask updates; default 100, or the whole window if that is shorter. */
  readonly interval?: number;
  /** What counts as active: the `prunable` weights (default), or `all` parameters of the model. */
  readonly count?: 'prunable' | 'all';
  /** Default magnitude; `random` is the control. */
  readonly score?: Scorer | keyof typeof scorers;
  /** Left dense beside embeddings, norms and the output layer, as in {@link maskable}. */
  readonly exclude?: readonly string[];
}

/** From `step` on, a forward pass computes with `active` weights. */
export interface ActiveCount {
  readonly step: number;
  readonly sparsity: number;
  readonly active: number;
}

/**
 * With x the share of the training's compute that is spent, sparsity is 0 up to x = a, S_f from x = b on, and
 * S_f·(1 − (1 − (x − a)/(b − a))³) between (§3; a = 0.25, b = 0.75 were near the best of 80 schedules). Every Δ steps
 * each linear weight of the blocks loses its smallest |w|; what is gone stays gone, in the optimiser's state, too.
 * x is converted to steps by the cost 6·n(t) of a token, so the window lies later in steps the sparser the end is.
 */
export class SparsePretraining extends MaskedSparsifier {
  static readonly options: readonly string[] = [
    'sparsity',
    'start',
    'end',
    'exponent',
    'of',
    'interval',
    'count',
    'score',
    'granularity',
    'norm',
    'exclude',
  ] satisfies readonly (keyof SparsePretrainingOptions)[];
  readonly name = method.slug;
  readonly #o: SparsePretrainingOptions;
  #tokens: TokenCurve | undefined;
  #window: readonly [start: number, end: number] = [0, 0];
  #dense = 0;
  #log: readonly ActiveCount[] = [];

  constructor(options: SparsePretrainingOptions) {
    const { exclude = [], interval = 100, score = 'magnitude' } = options;
    checkedCurve(options);
    check(
      Number.isInteger(interval) && interval >= 1,
      () => `sparse pre-training: interval ${interval}; expected a whole number of steps`,
    );
    check(typeof score !== 'string' || score in scorers, () => {
      return `sparse pre-training: score '${score}'; there are ${Object.keys(scorers).join(', ')}`;
    });
    super({
      stored: 'zero',
      exclude: layers => {
        const blocks = blockLayers(layers);
        check(blocks.length > 0, 'sparse pre-training: the model has only an output layer; nothing to prune');
        const dense = new Set(exclude.length > 0 ? maskable(layers, exclude).excluded : []);
        return layers.filter(l => !blocks.includes(l) || dense.has(l)).map(l => l.name);
      },
    });
    this.#o = options;
  }

  /** Active weights from step 0 on: one entry at the start and one for every mask update. */
  get log(): readonly ActiveCount[] {
    return this.#log;
  }

  /** After `prepare`: steps of the first and the last mask update. */
  get window(): readonly [start: number, end: number] {
    return this.#window;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    const { steps, model } = training;
    const { start, end } = checkedCurve(this.#o);
    const prunable = this.mask!.size();
    const all = [...model.parameters()].reduce((n, p) => n + p.size, 0);
    this.#dense = this.#o.count === 'all' ? all - prunable : 0;
    this.#tokens = tokenCurve(this.#o, { prunable, dense: this.#dense });
    const step = (x: number) => Math.round(steps * this.#tokens!.tokensAt(x));
    this.#window = [step(start), step(end)];
    this.#log = [{ step: 0, sparsity: 0, active: prunable + this.#dense }];
  }

  /** S before a step of a training of `steps`. */
  sparsityAt(step: number, steps: number): number {
    const [start, end] = this.#window;
    if (step <= start) return 0;
    return step >= end ? this.#o.sparsity : sparsityAt(this.#tokens!.at(step / steps), this.#o);
  }

  async update(training: Training): Promise<void> {
    const { step, steps } = training;
    const [start, end] = this.#window;
    const { interval = 100, score = 'magnitude', granularity, norm } = this.#o;
    const isUpdate = step === end || (step > start && step < end && (step - start) % interval === 0);
    if (!isUpdate || this.#o.sparsity === 0) return;
    const scores = await (typeof score === 'string' ? scorers[score] : score)(training);
    const layers = await this.maskedLayers(training);
    const sparsity = this.sparsityAt(step, steps);
    const options = { ...(granularity && { granularity }), ...(norm && { norm }) };
    const mask = prune(layers, scores, { sparsity, allocation: 'uniform', within: this.mask!, ...options });
    this.setMask(mask);
    this.#log = [...this.#log, { step, sparsity: mask.sparsity(), active: mask.kept() + this.#dense }];
  }

  override state(): SparsifierState {
    return { ...super.state(), json: this.#log };
  }

  override restore(state: SparsifierState): void {
    super.restore(state);
    this.#log = state.json as readonly ActiveCount[];
  }
}

import { check } from '@gossamer/tensor';
import { type Granularity, parseGranularity } from './granularity.ts';
import type { Layer } from './layer.ts';
import type { Mask } from './mask.ts';
import { type MaskedOptions, MaskedSparsifier } from './masked.ts';
import type { PruneOptions } from './prune.ts';
import type { SparsifierState, Training } from './sparsifier.ts';

/** One way in which a mask changes between two steps: prune by a schedule, exchange connections, … */
export interface MaskRule {
  /** Whether it acts before step `step`; `step === steps` is after the last. */
  isDue(step: number, steps: number): boolean;
  /** The mask after it, given the one before and the masked layers with their stored values of the moment. */
  apply(mask: Mask, layers: readonly Layer[], training: Training): Promise<Mask> | Mask;
}

/** What one mask update did. */
export interface MaskUpdate {
  readonly step: number;
  /** The sparsity that the method aims at in this step, s_t. */
  readonly target: number;
  /** Share of the masked layers' weights that is gone. */
  readonly sparsity: number;
  /** Live weights of each masked layer. */
  readonly nonzeros: Readonly<Record<string, number>>;
}

/**
 * Trains under a mask that rules change, one after the other: gradual pruning is one rule, dynamic sparse training
 * another, GraNet both.
 */
export abstract class RuledSparsifier extends MaskedSparsifier {
  readonly #maskState: boolean;
  #rules: readonly MaskRule[] = [];
  #log: readonly MaskUpdate[] = [];

  constructor(options: MaskedOptions = {}) {
    super(options);
    this.#maskState = options.maskState ?? true;
  }

  /** The rules of a training, in the order in which they act at a step. */
  protected abstract rules(training: Training): readonly MaskRule[];

  /** The sparsity aimed at, for the log. */
  protected abstract target(step: number): number;

  /** The first mask; default dense. */
  protected start?(training: Training, layers: readonly Layer[]): Promise<Mask> | Mask;

  /** After an update: gives the weights that were dead before it a value. */
  protected born?(training: Training, born: Mask): Promise<void>;

  /** All mask updates so far. */
  get log(): readonly MaskUpdate[] {
    return this.#log;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    this.#rules = this.rules(training);
    this.#log = [];
    if (this.start) this.setMask(await this.start(training, await this.maskedLayers(training)));
  }

  async update(training: Training): Promise<void> {
    const { step, steps } = training;
    const due = this.#rules.filter(rule => rule.isDue(step, steps));
    if (due.length === 0) return;
    const before = this.mask!;
    const layers = await this.maskedLayers(training);
    let mask = before;
    for (const rule of due) mask = await rule.apply(mask, layers, training);
    this.setMask(mask);
    await this.born?.(training, mask.minus(before));
    if (step === steps && this.#maskState) await clearState(mask, training);
    const nonzeros = Object.fromEntries(mask.names.map(name => [name, mask.kept(name)]));
    this.#log = [...this.#log, { step, target: this.target(step), sparsity: mask.sparsity(), nonzeros }];
  }

  override state(): SparsifierState {
    return { ...super.state(), json: this.#log };
  }

  override restore(state: SparsifierState): void {
    super.restore(state);
    this.#log = state.json as readonly MaskUpdate[];
  }
}

/** Zeroes the optimiser's state of masked weights: no further step does it for what the last update has masked. */
async function clearState(mask: Mask, { layers, optimizer }: Training): Promise<void> {
  for (const name of mask.names) {
    for (const state of optimizer.stateOf(layers.parameters.get(name)!)) {
      if (state.size !== mask.size(name)) continue;
      const values = (await state.data()).slice();
      mask.apply(name, values);
      state.set(values);
    }
  }
}

/** Refuses a final sparsity at which an N:M pattern would leave more than n of m weights. */
export function checkReachesPattern(granularity: PruneOptions['granularity'], sparsity: number): void {
  if (granularity === undefined || typeof granularity === 'function') return;
  const kind: Granularity = typeof granularity === 'string' ? parseGranularity(granularity) : granularity;
  if (kind.kind !== 'nm') return;
  const own = 1 - kind.n / kind.m;
  check(
    sparsity >= own - 1e-12,
    () =>
      `sparsity ${sparsity} leaves more than ${kind.n} of ${kind.m} weights; the pattern ${kind.n}:${kind.m} needs at least ${own}`,
  );
}

// Gradual pruning in which, at every update, small weights also make way for those of large gradient.
// Liu, Chen, Chen, Atashgahi, Yin, Kou, Shen, Pechenizkiy, Wang & Mocanu 2021, "Sparse Training via Boosting Pruning
// Plasticity with Neuroregeneration" (GraNet). The study of pruning plasticity is in `pruning-plasticity.ts`.

import { check } from '@gossamer/tensor';
import { type DynamicOptions, DynamicSparseTraining } from '../../sparsity/dynamic.ts';
import { parseGranularity, unitsOf } from '../../sparsity/granularity.ts';
import { type Allocation, type Layer, Mask, type PruneOptions, type SparsitySchedule } from '../../sparsity/index.ts';
import { countOnes } from '../../sparsity/mask.ts';
import { unitsAlive } from '../../sparsity/prune.ts';
import type { MaskRule } from '../../sparsity/rules.ts';
import { type ScheduleOptions, sparsitySchedule } from '../../sparsity/schedule.ts';
import { pruneRule } from '../../sparsity/scheduled.ts';
import { scorers } from '../../sparsity/scorers.ts';
import type { Training } from '../../sparsity/sparsifier.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'granet',
  name: 'GraNet',
  summary: 'Gradual pruning that regrows as it prunes, from a dense start or, at less cost, from a half-sparse one.',
  paper: 'Sparse Training via Boosting Pruning Plasticity with Neuroregeneration (Liu et al. 2021)',
  kind: 'sparsifier',
};

export interface GraNetOptions
  extends Pick<DynamicOptions, 'exclude' | 'granularity' | 'norm' | 'score'>,
    Pick<ScheduleOptions, 'kind' | 'exponent' | 'rate'> {
  /** Final sparsity 1 − ρ_f of all layers together; initial ≤ s < 1. */
  readonly sparsity: number;
  /** Initial sparsity 1 − ρ_i: 0 (default) is dense-to-sparse, 0.5 the paper's sparse-to-sparse. At s, nothing is pruned. */
  readonly initial?: number;
  /** How a random start is divided among the layers; default `erk`. */
  readonly distribution?: DynamicOptions['allocation'];
  /**
   * How layers share what gradual pruning leaves: `global` (default), one ranking of all |w|; `uniform`, a ranking in each
   * layer, where the last linear layer keeps 20 % from 80 % sparsity on and the others absorb the rest; or another rule.
   */
  readonly allocation?: Allocation;
  /** Steps ΔT between updates; default 100, or the pruning window if that is shorter. */
  readonly interval?: number;
  /** First and last step of gradual pruning; default those of `window`. Exchanges go on to the end of the training. */
  readonly start?: number;
  readonly end?: number;
  /** The same as shares of the training; default 0 to ½. */
  readonly window?: readonly [start: number, end: number];
  /** Share r of a layer's live weights that is regenerated: r₀, default 0.5; 0 is gradual magnitude pruning. */
  readonly fraction?: number;
  /** r at the end of the training, along a cosine; default 0.005, or r₀ if that is less. */
  readonly finalFraction?: number;
  /** What is regenerated: the dead weights of largest gradient (default) or momentum, or random ones. */
  readonly grow?: DynamicOptions['grow'];
}

/**
 * With density ρ from ρ_i to ρ_f, every ΔT steps:
 *
 * (a) in the pruning window: s(p) = (1 − ρ_i) + (ρ_i − ρ_f)·(1 − (1 − p)³), p the share of the window's updates done; of
 *     all n weights the ⌊(1 − s)·n⌋ of largest |w| stay, and what was dead stays dead;
 * (b) to the end of the training: each layer with K live weights drops the ⌈r_t·K⌉ of smallest |w| and grows as many, those
 *     of largest |∂L/∂w| — the gradient by the effective weight, on the coming mini-batch — from zero and without momentum;
 *     r_t falls along a cosine over all steps. A weight that is dropped and grown at once keeps its value, as in the
 *     released code: while a layer is dense, (b) changes nothing.
 *
 * Its relatives are choices of options: GMP is `fraction: 0`, RigL with these exchanges `initial: sparsity`, the paper's
 * uniform variants `allocation: 'uniform'`.
 *
 * ```ts
 * const granet = new GraNet({ sparsity: 0.95, initial: 0.5, interval: 200 });
 * await new Trainer({ model, task, train, optimizer, epochs: 160, sparsifiers: [granet] }).run();
 * ```
 *
 * Throws a GossamerError for ρ_f > ρ_i; when the training begins, for a window that ends after it and a ΔT that is longer
 * than the window.
 */
export class GraNet extends DynamicSparseTraining {
  static readonly options: readonly string[] = [
    'sparsity',
    'initial',
    'exclude',
    'granularity',
    'norm',
    'score',
    'allocation',
    'distribution',
    'interval',
    'start',
    'end',
    'window',
    'kind',
    'exponent',
    'rate',
    'fraction',
    'finalFraction',
    'grow',
  ] satisfies readonly (keyof GraNetOptions)[];
  readonly name = method.slug;
  readonly #o: GraNetOptions;
  #schedule: SparsitySchedule | undefined;
  #warned = new Set<string>();
  /** Share of units that the start removes: rounded by layer it can be a little more than what was asked for. */
  #gone = 0;

  constructor(options: GraNetOptions) {
    const { sparsity, exclude, granularity, norm, score, distribution = 'erk', interval = 100 } = options;
    const { fraction = 0.5, finalFraction = Math.min(0.005, fraction), grow = 'gradient' } = options;
    super({
      sparsity,
      ...(exclude && { exclude }),
      ...(granularity !== undefined && { granularity }),
      ...(norm && { norm }),
      ...(score && { score }),
      allocation: distribution,
      fraction,
      finalFraction,
      decay: 'cosine',
      interval,
      until: 1,
      grow,
      rounding: 'ceil',
    });
    this.#o = options;
    const { start = 0, end = start + interval, window: [from, to] = [0, 1] } = options;
    check(0 <= from && from < to && to <= 1, () => `granet: window ${from}…${to}; expected 0 ≤ start < end ≤ 1`);
    this.#scheduleOf(start, end, interval);
  }

  /** The sparsities of gradual pruning, once the training has begun. */
  get schedule(): SparsitySchedule | undefined {
    return this.#schedule;
  }

  protected override target(step: number): number {
    return this.#schedule!.at(step);
  }

  protected override start(training: Training, layers: readonly Layer[]): Mask {
    const { initial = 0, granularity = 'element' } = this.#o;
    this.#gone = 0;
    if (initial === 0) return Mask.ones(layers);
    const mask = this.randomMask(training, layers, initial);
    const kind = typeof granularity === 'string' ? parseGranularity(granularity) : granularity;
    const units = layers.map(l => unitsAlive(mask.get(l.name), unitsOf(l, kind)));
    const live = units.reduce((n, alive) => n + countOnes(alive), 0);
    this.#gone = 1 - live / units.reduce((n, alive) => n + alive.length, 0);
    return mask;
  }

  protected override rules({ steps }: Training): MaskRule[] {
    const { sparsity, initial = 0, window: [from, to] = [0, 0.5], score = scorers.magnitude } = this.#o;
    const { start = Math.round(from * steps), end = Math.max(start + 1, Math.round(to * steps)) } = this.#o;
    const { interval = Math.min(100, end - start) } = this.#o;
    this.#schedule = this.#scheduleOf(start, end, interval, steps);
    this.#warned.clear();
    const prune = pruneRule(this.#schedule, score, (s, mask) => this.#pruneOptions(Math.max(s, this.#gone), mask));
    return [...(initial < sparsity ? [prune] : []), this.exchangeRule(start, interval)];
  }

  override async update(training: Training): Promise<void> {
    const updates = this.log.length;
    await super.update(training);
    if (this.log.length > updates) this.#warn(training);
  }

  #scheduleOf(start: number, end: number, interval: number, trainingSteps?: number): SparsitySchedule {
    const { sparsity: final, initial = 0, kind = 'cubic' } = this.#o;
    // Progress is counted in updates, so that the last one in the window lands on the final sparsity.
    const last = end - start < interval ? end : end - ((end - start) % interval);
    const until = kind === 'iterative' ? {} : { end: last };
    const schedule = sparsitySchedule({ ...this.#o, final, initial, kind, start, ...until, every: interval });
    check(
      trainingSteps === undefined || Math.max(end, schedule.end) <= trainingSteps,
      () => `granet: pruning ends at step ${Math.max(end, schedule.end)}, beyond the ${trainingSteps} training steps`,
    );
    return schedule;
  }

  #pruneOptions(sparsity: number, mask: Mask): PruneOptions {
    const { granularity, norm, allocation = 'global' } = this.#o;
    const classifier = mask.names.at(-1)!;
    const relieved = allocation === 'uniform' && sparsity >= 0.8 && mask.names.length > 1;
    // Where the other layers have too few live weights to make up for it, the classifier keeps more than a fifth.
    const others = mask.kept() - mask.kept(classifier);
    const missing = Math.ceil((1 - sparsity) * mask.size() - others) / mask.size(classifier);
    return {
      sparsity,
      allocation,
      rounding: 'ceil',
      within: mask,
      ...(granularity !== undefined && { granularity }),
      ...(norm && { norm }),
      ...(relieved && { fixed: { [classifier]: Math.max(1 - Math.max(0.2, missing), mask.sparsity(classifier)) } }),
    };
  }

  /** A global ranking can empty early layers. */
  #warn({ layers, step, log }: Training): void {
    for (const { name, shape, outAxis } of layers.layers) {
      if (!this.mask!.has(name) || this.#warned.has(name)) continue;
      const [kept, outputs] = [this.mask!.kept(name), shape[outAxis]];
      if (kept >= outputs) continue;
      this.#warned.add(name);
      log?.(
        `granet: ${name} has ${kept} weights left for ${outputs} outputs at step ${step}; exclude it, or use allocation 'uniform' or 'erk'`,
      );
    }
  }
}

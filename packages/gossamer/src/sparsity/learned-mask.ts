import { check, constant, type NDArray, Parameter, straightThrough, type Tensor, zeros } from '@gossamer/tensor';
import { BatchNorm1d, BatchNorm2d, BatchNorm3d } from '../nn/batch-norm.ts';
import type { Module } from '../nn/module.ts';
import { GroupNorm, LayerNorm, RMSNorm } from '../nn/norm.ts';
import { type Optimizer, SGD } from '../optim/index.ts';
import type { Layer } from './layer.ts';
import type { Mask } from './mask.ts';
import { type MaskedOptions, MaskedSparsifier } from './masked.ts';
import { type PruneOptions, prune } from './prune.ts';
import { anneal } from './schedule.ts';
import { magnitude } from './score.ts';
import type { SparsifierState, Training } from './sparsifier.ts';

export interface LearnedMaskOptions
  extends Pick<MaskedOptions, 'exclude'>,
    Pick<PruneOptions, 'granularity' | 'norm' | 'allocation' | 'minimum'> {
  /** Share of the units that are masked: floor(s·n) of each layer, or of all together if `allocation` says so. */
  readonly sparsity: number;
  /** Learning rate of the scores at first; falls to 0 along a cosine while the mask is learned. Default 0.1. */
  readonly scoreRate?: number;
  /** Momentum of the scores. Default 0.9. */
  readonly scoreMomentum?: number;
  /** Weight decay of the scores. Default 0. */
  readonly scoreDecay?: number;
  /** Share of the training in which the mask is learned, 0 < u ≤ 1; afterwards it stays. Default 1. */
  readonly until?: number;
  /** Whether scales and shifts of norms learn, from the first step to the last. Default `trained`. */
  readonly norms?: 'trained' | 'frozen';
}

/** What a method decides about its scores. */
export interface LearnedMaskDesign {
  /** The highest of what: the scores as they are, or their magnitudes. */
  readonly rank: 'score' | 'magnitude';
  /** Whether weights and biases stay as they are, bit for bit, while the mask is learned. */
  readonly frozen: boolean;
  /**
   * Where the scores' gradient comes from: from the training step itself, straight through the selection,
   * ∂L/∂s = ∂L/∂(w⊙m) ⊙ w at masked positions too; or from what the method does in `learn`.
   */
  readonly gradient: 'step' | 'learn';
}

/** Where the search begins. */
export interface LearnedMaskStart {
  /** By layer. */
  readonly scores: ReadonlyMap<string, Float32Array>;
  /** Default that of the highest scores. */
  readonly mask?: Mask;
}

/** Names of {@link LearnedMaskOptions}, for the command line. */
export const learnedMaskOptions = [
  ...['sparsity', 'granularity', 'norm', 'allocation', 'minimum', 'exclude'],
  ...['scoreRate', 'scoreMomentum', 'scoreDecay', 'until', 'norms'],
] as const;

/**
 * A mask that is learned: every weight has a real-valued score, the network computes with the weights whose scores are
 * highest, and the scores descend the loss as if that selection were the identity (straight-through; Ramanujan et al.
 * 2020, edge-popup). After every step the mask is derived from the scores again.
 */
export abstract class LearnedMask extends MaskedSparsifier {
  readonly #o: LearnedMaskOptions;
  readonly #design: LearnedMaskDesign;
  readonly #scores = new Map<Parameter, Parameter>();
  readonly #names = new Map<string, Parameter>();
  /** Frozen weights as they were seen first; normally the parameters' own arrays. */
  readonly #stored = new Map<string, Float32Array>();
  #norms: ReadonlySet<Parameter> = new Set();
  #optimizer: Optimizer | undefined;
  /** 1 while the mask is learned, then 0. */
  #learning = flag(1);

  constructor(options: LearnedMaskOptions, design: LearnedMaskDesign) {
    super({ ...(options.exclude && { exclude: options.exclude }) });
    const { sparsity, scoreRate = 0.1, scoreMomentum = 0.9, scoreDecay = 0, until = 1, norms = 'trained' } = options;
    check(sparsity >= 0 && sparsity < 1, () => `learned mask: sparsity ${sparsity}; expected 0 ≤ s < 1`);
    check(until > 0 && until <= 1, () => `learned mask: until ${until} is outside 0 < u ≤ 1`);
    check(
      scoreRate >= 0 && scoreMomentum >= 0 && scoreMomentum < 1 && scoreDecay >= 0,
      () =>
        `learned mask: score rate ${scoreRate}, momentum ${scoreMomentum}, decay ${scoreDecay}; expected rate ≥ 0, 0 ≤ momentum < 1, decay ≥ 0`,
    );
    check(
      norms === 'trained' || norms === 'frozen',
      () => `learned mask: norms '${norms}'; expected trained or frozen`,
    );
    this.#o = options;
    this.#design = design;
  }

  protected abstract start(layers: readonly Layer[], training: Training): Promise<LearnedMaskStart> | LearnedMaskStart;

  /** With gradient `learn`: steps {@link scoreOptimizer} after a training step, before the mask is derived again. */
  protected learn?(training: Training): Promise<void>;

  /** Looks at the network before the first step; refuses what cannot be learned on. */
  protected inspect?(training: Training): Promise<void>;

  /** How the sparsity is divided, once the layers are known. */
  protected shares(_layers: readonly Layer[]): Pick<PruneOptions, 'sparsity' | 'allocation'> {
    return { sparsity: this.#o.sparsity, ...(this.#o.allocation && { allocation: this.#o.allocation }) };
  }

  /** The mask of the highest ranks. */
  protected project(layers: readonly Layer[], ranks: ReadonlyMap<string, Float32Array>, _training: Training): Mask {
    const { granularity, norm, minimum } = this.#o;
    return prune(layers, l => ranks.get(l.name)!, {
      ...(granularity && { granularity }),
      ...(norm && { norm }),
      ...(minimum !== undefined && { minimum }),
      ...this.shares(layers),
      rounding: 'floor',
    });
  }

  /** The scores as they are now, by layer. */
  async scores(): Promise<Map<string, Float32Array>> {
    const entries = Array.from(this.#names, async ([name, p]) => [name, await p.data()] as const);
    return new Map(await Promise.all(entries));
  }

  /** Scores as parameters, in the order in which {@link scoreOptimizer} has them. */
  protected get scoreParameters(): ReadonlyMap<string, Parameter> {
    return this.#names;
  }

  protected get scoreOptimizer(): Optimizer {
    return this.#optimizer!;
  }

  /** The optimiser that the training steps together with its own. */
  get optimizer(): Optimizer | undefined {
    return this.#design.gradient === 'step' ? this.#optimizer : undefined;
  }

  override async prepare(training: Training): Promise<void> {
    await super.prepare(training);
    const { model, layers } = training;
    const chosen = await this.maskedLayers(training);
    const { scores, mask } = await this.start(chosen, training);
    this.#scores.clear();
    this.#names.clear();
    for (const { name, shape } of chosen) {
      const data = scores.get(name)!.slice();
      const score = new Parameter({ dtype: 'float32', shape, data }, { name: `score.${name}`, trainable: false });
      this.#scores.set(layers.parameters.get(name)!, score);
      this.#names.set(name, score);
    }
    const { scoreRate = 0.1, scoreMomentum = 0.9, scoreDecay = 0 } = this.#o;
    this.#optimizer = new SGD([...this.#names.values()], {
      learningRate: scoreRate,
      momentum: scoreMomentum,
      weightDecay: scoreDecay,
    });
    this.#norms = normParameters(model);
    this.#learning = flag(1);
    this.#stored.clear();
    this.setMask(mask ?? this.project(chosen, this.#ranks(scores), training));
  }

  async update(training: Training): Promise<void> {
    const { step, steps } = training;
    const end = Math.round((this.#o.until ?? 1) * steps);
    if (step === 0) await this.inspect?.(training);
    if (this.#design.frozen && step <= end) await this.#checkFrozen(training);
    if (step > 0 && step <= end) {
      await this.learn?.(training);
      this.setMask(this.project(this.selection!.layers, this.#ranks(await this.scores()), training));
    }
    const { initialLearningRate: from } = this.scoreOptimizer;
    this.scoreOptimizer.setLearningRate(anneal({ from, to: 0, end, law: 'cosine' }, step));
    if (step === end) this.#learning.set(Float32Array.of(0));
  }

  override effective(parameter: Parameter, value: Tensor): Tensor {
    const score = this.#scores.get(parameter);
    if (!score || this.#design.gradient !== 'step') return super.effective(parameter, value);
    // What masking leaves of ones is the mask.
    const mask = super.effective(parameter, constant(1));
    return value.mul(straightThrough(this.#design.rank === 'magnitude' ? score.abs() : score, mask));
  }

  override settle(parameter: Parameter, before: Tensor, optimizer: Optimizer): void {
    super.settle(parameter, before, optimizer);
    const isNorm = this.#norms.has(parameter);
    const frozen = isNorm ? this.#o.norms === 'frozen' : this.#design.frozen;
    if (!frozen) return;
    const states = optimizer.stateOf(parameter);
    if (isNorm || (this.#o.until ?? 1) === 1) {
      // Assigned its own value, a parameter is not written at all.
      parameter.assign(before);
      for (const s of states) s.assign(zeros(s.shape));
      return;
    }
    const learning = this.#learning.gt(0);
    parameter.assign(learning.where(before, parameter));
    for (const s of states) s.assign(learning.where(0, s));
  }

  override state(): SparsifierState {
    const { arrays, json } = super.state();
    const own = Array.from(this.#own(), ([name, p]): [string, NDArray] => [
      name,
      { dtype: p.dtype, shape: p.shape, data: p.node.data! },
    ]);
    return { arrays: { ...arrays, ...Object.fromEntries(own) }, json };
  }

  override restore({ arrays, json }: SparsifierState): void {
    const own = this.#own();
    for (const [name, p] of own) {
      check(arrays[name], () => `${this.name}: the saved state has no ${name}`);
      p.set(arrays[name].data.slice());
    }
    super.restore({ arrays: Object.fromEntries(Object.entries(arrays).filter(([name]) => !own.has(name))), json });
  }

  /** Everything that changes besides the mask. */
  #own(): Map<string, Parameter> {
    const scores = Array.from(this.#names, ([name, p]) => [`score/${name}`, p] as const);
    const steps = Array.from(this.#optimizer?.stateDict() ?? [], ([name, p]) => [`optimizer/${name}`, p] as const);
    return new Map([...scores, ...steps, ['learning', this.#learning]]);
  }

  /** Refuses weights that something else changed. */
  async #checkFrozen({ layers }: Training): Promise<void> {
    for (const name of this.#names.keys()) {
      const now = await layers.parameters.get(name)!.data();
      const before = this.#stored.get(name) ?? now;
      check(
        now === before || now.every((w, i) => Object.is(w, before[i])),
        () =>
          `${this.name}: weights of ${name} changed while their mask is learned; train without what else changes them`,
      );
      this.#stored.set(name, now);
    }
  }

  #ranks(scores: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Float32Array> {
    if (this.#design.rank === 'score') return scores;
    return new Map(Array.from(scores, ([name, s]) => [name, magnitude(s)]));
  }
}

const flag = (value: number): Parameter =>
  new Parameter({ dtype: 'float32', shape: [], data: Float32Array.of(value) }, { trainable: false });

const normLayers = [BatchNorm1d, BatchNorm2d, BatchNorm3d, LayerNorm, RMSNorm, GroupNorm];

/** The scales and shifts of norms. */
const normParameters = (model: Module): Set<Parameter> =>
  new Set([...model.namedModules()].flatMap(([, m]) => (normLayers.some(N => m instanceof N) ? m.parameters() : [])));

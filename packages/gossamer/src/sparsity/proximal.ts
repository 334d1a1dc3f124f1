import { check, type Parameter } from '@gossamer/tensor';
import { type EnvelopeProxOptions, envelopeProx } from './envelope.ts';
import type { Mask } from './mask.ts';
import {
  channelsInTraining,
  groupProducts,
  liveGroups,
  type Partition,
  partitionMask,
  type Scope,
} from './partition.ts';
import { keepHighest } from './select.ts';
import type { Sparsifier, SparsifierState, Training } from './sparsifier.ts';

/** What an operator on groups knows after an optimiser's step from x to v. */
export interface GroupStep {
  /** ‖v_j‖ of each group. */
  readonly norms: Float64Array;
  /** ‖x_j‖ and ⟨v_j, x_j⟩. */
  before(): { readonly norms: Float64Array; readonly products: Float64Array };
  /** Learning rate × strength of the regulariser. */
  readonly t: number;
}

/** Where the groups go: w_j = scale_j·v_j + pull_j·x_j. A scale of 0 without pull gives exact zeros. */
export interface GroupMove {
  readonly scale: Float64Array;
  readonly pull?: Float64Array;
}

/**
 * A proximal, projection or subgradient step, written on norms of groups. With single weights as groups they are the steps
 * of L1, of the k-support norm, of unstructured hard thresholding.
 */
export type GroupOperator = (step: GroupStep) => GroupMove;

/** Proximal step of t·Σ d_j‖w_j‖ (group lasso, Yuan & Lin 2006): max(0, 1 − t·d_j/‖v_j‖). L1 for single weights. */
export const groupLasso =
  (weights?: ArrayLike<number>): GroupOperator =>
  ({ norms, t }) => ({
    scale: norms.map((n, j) => (n === 0 ? 0 : Math.max(0, 1 - (t * (weights?.[j] ?? 1)) / n))),
  });

/**
 * Gradient step of t·Σ d_j‖w_j‖, from where the optimiser's step began (Wen et al. 2016, "structured sparsity learning"):
 * groups hover about zero and are never exactly there.
 */
export const groupSubgradient =
  (weights?: ArrayLike<number>): GroupOperator =>
  ({ norms, before, t }) => ({
    scale: new Float64Array(norms.length).fill(1),
    pull: before().norms.map((n, j) => (n === 0 ? 0 : (-t * (weights?.[j] ?? 1)) / n)),
  });

/** Keeps the k groups of largest √d_j·‖v_j‖ as they are (iterative hard thresholding, Blumensath & Davies 2008). */
export const hardTopK =
  (k: number, weights?: ArrayLike<number>): GroupOperator =>
  ({ norms }) => ({ scale: Float64Array.from(largestGroups(norms, k, weights)) });

/** 1 for the k groups of largest √d_j·n_j, 0 for the others; of equal ones the first. */
export function largestGroups(norms: Float64Array, k: number, weights?: ArrayLike<number>): Uint8Array {
  const scores = Float32Array.from(norms, (n, j) => Math.sqrt(weights?.[j] ?? 1) * n);
  return keepHighest([{ name: 'groups', scores }], k)[0];
}

/**
 * Half-space step (Chen et al. 2020, "Half-Space Proximal Stochastic Gradient", HSPG, algorithm 3): after a gradient step
 * of t·Σ‖w_j‖ on the groups that live, a group becomes zero when its new value no longer lies in the half-space of the
 * old one, ⟨w_j, x_j⟩ < ε‖x_j‖². Zero groups stay zero.
 *
 * @param epsilon 0 ≤ ε < 1; default 0
 */
export function halfSpace({ epsilon = 0 }: { readonly epsilon?: number } = {}): GroupOperator {
  check(epsilon >= 0 && epsilon < 1, () => `halfSpace: ε ${epsilon}; expected 0 ≤ ε < 1`);
  return ({ before, t }) => {
    const { norms, products } = before();
    const inside = norms.map((n, j) => (n > 0 && products[j] - t * n >= epsilon * n * n ? 1 : 0));
    return { scale: inside, pull: norms.map((n, j) => (inside[j] === 0 ? 0 : -t / n)) };
  };
}

/** Proximal step of t·𝒲_k; see {@link envelopeProx}. */
export const envelope =
  (options: EnvelopeProxOptions): GroupOperator =>
  ({ norms, t }) => ({ scale: envelopeProx(norms, t, options) });

/** The operators of several scopes, each on its own groups. */
export function perScope(scopes: readonly Scope[], operators: readonly GroupOperator[]): GroupOperator {
  return ({ norms, before, t }) => {
    const scale = new Float64Array(norms.length);
    const pull = new Float64Array(norms.length);
    scopes.forEach(({ start, end }, i) => {
      const part = {
        norms: norms.subarray(start, end),
        before: () => {
          const { norms, products } = before();
          return { norms: norms.subarray(start, end), products: products.subarray(start, end) };
        },
        t,
      };
      const move = operators[i](part);
      scale.set(move.scale, start);
      if (move.pull) pull.set(move.pull, start);
    });
    return { scale, pull };
  };
}

/** How many groups may live at the end, and what decides which. */
export interface GroupBudget {
  /** One number for all groups, or one for each scope of the partition. */
  readonly k: number | readonly number[];
  /** d_j of each group; those of largest √d_j·‖w_j‖ stay. Default 1. */
  readonly weights?: Float64Array;
}

/** How exact a regulariser was: at most `k` groups live at the end, some of the others by force. */
export interface GroupOutcome {
  /** Groups m. */
  readonly groups: number;
  /** Over all scopes. */
  readonly k: number;
  /** Groups alive before the projection. */
  readonly live: number;
  /** Live groups that the projection set to zero. */
  readonly projected: number;
}

/** The operator that `make` gives for each k, over all groups or scope by scope. */
export function withBudget(
  { scopes }: Partition,
  { k, weights }: GroupBudget,
  make: (k: number, weights?: Float64Array) => GroupOperator,
): GroupOperator {
  if (typeof k === 'number') return make(k, weights);
  return perScope(
    scopes,
    scopes.map(({ start, end }, i) => make(k[i], weights?.subarray(start, end))),
  );
}

/**
 * Training with an operator on groups after each optimiser's step: (stochastic) proximal gradient descent. Zeros are exact,
 * in the model and in every file written from it. The learning rate is the optimiser's of that step; with adaptive
 * optimisers the step is still the Euclidean one, a single t for all elements of a group.
 *
 * Where there is a budget, the support is fixed after the share `until` of the training: if more groups live than the budget
 * allows, the largest stay. From then on dead groups stay dead and live ones take plain steps.
 */
export abstract class ProximalSparsifier implements Sparsifier {
  abstract readonly name: string;
  readonly #until: number;
  #partition: Partition | undefined;
  #before: Values | undefined;
  #alive: Uint8Array = new Uint8Array(0);
  #mask: Mask | undefined;
  #outcome: GroupOutcome | undefined;
  /** Whether the weights were changed from outside. */
  #stale = false;

  /** @param until share of the training after which the support is fixed, if there is a budget; default 0.9 */
  constructor(until = 0.9) {
    check(until >= 0 && until <= 1, () => `proximal: until ${until}; expected 0 ≤ until ≤ 1`);
    this.#until = until;
  }

  /** The groups; asked for once, before training. */
  protected abstract groups(training: Training): Promise<Partition>;
  /** What happens to them after `training.step` steps. `rate` is the learning rate of the last of them. */
  protected abstract operate(step: Omit<GroupStep, 't'>, rate: number, training: Training): GroupMove;
  /** What may live at the end; default anything. */
  protected abstract budget(): GroupBudget | undefined;

  get partition(): Partition {
    check(this.#partition, () => `${this.name}: no groups before training begins`);
    return this.#partition;
  }

  /** 1 for every group that is not zero. */
  get alive(): Uint8Array {
    return this.#alive;
  }

  /** Groups that are not zero. */
  get live(): number {
    return this.#alive.reduce((n, a) => n + a, 0);
  }

  /** Once the support is fixed: how many groups lived until then. */
  get outcome(): GroupOutcome | undefined {
    return this.#outcome;
  }

  get mask(): Mask | undefined {
    if (this.#partition) this.#mask ??= partitionMask(this.#partition, this.#alive);
    return this.#mask;
  }

  async prepare(training: Training): Promise<void> {
    // Gives parameters their names.
    for (const _ of training.model.namedParameters());
    this.#partition = await this.groups(training);
    this.#outcome = undefined;
    await this.#look();
  }

  /** Remembers where the step begins. */
  async update(_training: Training): Promise<void> {
    if (this.#stale) await this.#look();
    this.#before = await this.#values();
  }

  async stepped(training: Training): Promise<void> {
    const { partition } = this;
    const [v, x] = [await this.#values(), this.#before!];
    const { step: done, steps, optimizer } = training;
    let w: Values;
    if (this.#outcome) w = move(partition, v, x, { scale: Float64Array.from(this.#alive) });
    else {
      const before = () => ({
        norms: groupProducts(partition, x).map(Math.sqrt),
        products: groupProducts(partition, v, x),
      });
      const rate = await optimizer.learningRate.item();
      w = move(
        partition,
        v,
        x,
        this.operate({ norms: groupProducts(partition, v).map(Math.sqrt), before }, rate, training),
      );
      const budget = this.budget();
      if (budget && done >= Math.round(this.#until * steps)) w = this.#project(w, budget, training);
    }
    for (const [parameter, values] of w) parameter.set(values);
    await this.#look();
  }

  #project(w: Values, budget: GroupBudget, { log }: Training): Values {
    const { partition, name } = this;
    const norms = groupProducts(partition, w).map(Math.sqrt);
    const { scale } = withBudget(
      partition,
      budget,
      hardTopK,
    )({ norms, t: 0, before: () => ({ norms, products: norms }) });
    const live = norms.filter(n => n > 0).length;
    const projected = norms.filter((n, j) => n > 0 && scale[j] === 0).length;
    const k = [budget.k].flat().reduce((a, b) => a + b, 0);
    this.#outcome = { groups: partition.count, k, live, projected };
    if (projected > FORCED * partition.count) {
      log?.(
        `${name}: ${live} of ${partition.count} groups lived; ${projected} were set to zero to leave ${k}: raise λ or train longer`,
      );
    }
    return move(partition, w, w, { scale });
  }

  state(): SparsifierState {
    return { arrays: {}, json: this.#outcome ?? null };
  }

  restore({ json }: SparsifierState): void {
    this.#outcome = (json as GroupOutcome | null) ?? undefined;
    this.#stale = true;
  }

  async #values(): Promise<Values> {
    const entries = Array.from(this.partition.of.keys(), async p => [p, await p.data()] as const);
    return new Map(await Promise.all(entries));
  }

  async #look(): Promise<void> {
    this.#stale = false;
    const alive = liveGroups(this.partition, await this.#values());
    if (alive.length === this.#alive.length && alive.every((a, j) => a === this.#alive[j])) return;
    this.#alive = alive;
    this.#mask = undefined;
  }
}

/** Share of the groups that a projection may remove without a word. */
const FORCED = 0.02;

type Values = ReadonlyMap<Parameter, Float32Array>;

/** scale_j·v + pull_j·x in each group, v outside of groups. */
function move({ of }: Partition, v: Values, x: Values, { scale, pull }: GroupMove): Values {
  const moved = new Map<Parameter, Float32Array>();
  for (const [parameter, groups] of of) {
    const [next, old] = [v.get(parameter)!, x.get(parameter)!];
    const values = next.slice();
    for (let e = 0; e < values.length; e++) {
      const j = groups[e];
      // Adding 0 turns −0 into 0.
      if (j >= 0) values[e] = scale[j] * next[e] + (pull ? pull[j] * old[e] : 0);
    }
    moved.set(parameter, values);
  }
  return moved;
}

export interface GroupProximalOptions {
  /** Strength λ of the regulariser, ≥ 0. */
  readonly lambda: number;
  /** Default: whole channels, {@link channelsInTraining}. */
  readonly groups?: (training: Training) => Promise<Partition>;
  readonly operator: (partition: Partition) => GroupOperator;
  /** Groups that may live at the end; default any number. */
  readonly k?: number;
  /** Share of the training after which the support is fixed to at most `k` groups; default 0.9. */
  readonly until?: number;
}

/** Any operator on any groups: group lasso, half-space steps, hard thresholding. */
export class GroupProximal extends ProximalSparsifier {
  readonly name = 'group-proximal';
  readonly #o: GroupProximalOptions;
  #operator: GroupOperator | undefined;

  constructor(options: GroupProximalOptions) {
    super(options.until);
    check(options.lambda >= 0, () => `group-proximal: λ ${options.lambda}; expected a number ≥ 0`);
    this.#o = options;
  }

  protected async groups(training: Training): Promise<Partition> {
    const { groups = channelsInTraining, operator } = this.#o;
    const partition = await groups(training);
    this.#operator = operator(partition);
    return partition;
  }

  protected budget(): GroupBudget | undefined {
    return this.#o.k === undefined ? undefined : { k: this.#o.k };
  }

  protected operate(step: Omit<GroupStep, 't'>, rate: number): GroupMove {
    return this.#operator!({ ...step, t: rate * this.#o.lambda });
  }
}

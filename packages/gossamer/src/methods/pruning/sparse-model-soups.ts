// Averages sibling networks that share one mask, phase after phase of iterative magnitude pruning.
// Zimmer, Spiegel & Pokutta 2024, "Sparse Model Soups: A Recipe for Improved Pruning via Model Averaging".

import { check, Random, type Spec } from '@gossamer/tensor';
import type { Dataset } from '../../data/dataset.ts';
import { DataLoader } from '../../data/loader.ts';
import type { Transform } from '../../data/transforms.ts';
import type { Module } from '../../nn/module.ts';
import {
  applyMask,
  checkMasked,
  type Layer,
  lamp,
  type Mask,
  type ModelLayers,
  magnitude,
  maskable,
  modelLayers,
  type PruneOptions,
  prune,
  randomScore,
  refreshLayers,
  StaticMask,
} from '../../sparsity/index.ts';
import { averageSnapshots } from '../../train/average.ts';
import { recalibrateBatchNorm } from '../../train/recalibrate.ts';
import { restore, type Snapshot, snapshot } from '../../train/snapshot.ts';
import type { MethodInfo } from '../method.ts';
import { type ImpState, impLadder } from './imp.ts';
import { initialRate, type Retraining, type RetrainingOptions, relativeChange, retraining } from './soup-retraining.ts';

export const method: MethodInfo = {
  slug: 'sparse-model-soups',
  name: 'Sparse Model Soups',
  summary: 'Retrains several copies under one mask, averages them, prunes the average: better at the same size.',
  paper: 'Sparse Model Soups: A Recipe for Improved Pruning via Model Averaging (Zimmer et al. 2024)',
  kind: 'procedure',
};

/** What is pruned: smallest |w| of all layers, or of each; weights at random in each layer; smallest LAMP score of all. */
export type Selector = 'global' | 'uniform' | 'random' | 'LAMP';

const selectors: Record<
  Selector,
  { allocation: 'global' | 'uniform'; score: (random: Random) => (l: Layer) => Float32Array }
> = {
  global: { allocation: 'global', score: () => l => magnitude(l.values) },
  uniform: { allocation: 'uniform', score: () => l => magnitude(l.values) },
  random: { allocation: 'uniform', score: random => l => randomScore(l.values.length, random.fork(l.name)) },
  LAMP: { allocation: 'global', score: () => l => lamp(l.values) },
};

/** Some of the training data, to measure batch-norm statistics on. */
export interface Recalibration {
  readonly data: Dataset;
  /** How its batches become what the model takes; default not at all. */
  readonly transforms?: readonly Transform[];
  /** Share of the data that is looked at; default 0.2. */
  readonly fraction?: number;
  /** Default 100. */
  readonly batchSize?: number;
}

export interface CookingOptions extends RetrainingOptions {
  /** Trains the model in place, as it is told. */
  readonly train: (retraining: Retraining) => Promise<unknown>;
  readonly recalibration: Recalibration;
  /** Copies m; default 3. */
  readonly copies?: number;
  /**
   * `uniform` (default): the mean of all copies. `greedy`: from the best copy on, the next best is added if the accuracy
   * of the mean does not fall; needs `validate`.
   */
  readonly soup?: 'uniform' | 'greedy';
  /** Accuracy of the model as it is, on a validation split that is not the test set. */
  readonly validate?: () => Promise<number>;
}

export interface SoupOptions extends CookingOptions, Pick<PruneOptions, 'granularity' | 'norm' | 'fixed' | 'minimum'> {
  /** A pretrained network. */
  readonly model: Module;
  /** Shape and dtype of each of the model's inputs, for one sample. */
  readonly inputs: readonly Spec[];
  /** Target S, 0 < S < 1. */
  readonly sparsity: number;
  /** Phases C; default 3. Each removes the same share of what remains. 1 is the one-shot version. */
  readonly phases?: number;
  /** Default `global`. */
  readonly selector?: Selector;
  /** Layers left dense: names, kinds, `first`, `last`, wildcards. Default none. */
  readonly exclude?: readonly string[];
  /** Goes on after this phase. */
  readonly from?: ImpState;
}

/** A retrained copy, or an average of some. */
export interface Candidate {
  readonly weights: Snapshot;
  readonly mask: Mask;
}

/** Copies and their average. */
export interface Cooked {
  readonly candidates: readonly Candidate[];
  /** Copies that are in the average, in the order in which they came in. */
  readonly chosen: readonly number[];
  /** The average with its own batch-norm statistics: what the model holds. */
  readonly soup: Candidate;
}

export interface SoupPhase extends Cooked {
  /** 1 … phases. */
  readonly phase: number;
  readonly phases: number;
  readonly sparsity: number;
  readonly mask: Mask;
  readonly state: ImpState;
}

/**
 * In each of C phases: prune the network within its mask to s_c = 1 − (1 − S)^(c/C), retrain m copies that differ in one
 * factor, and go on with their average (algorithm 1). Gives every phase as it is ready; the model then holds the
 * average.
 *
 * ```ts
 * for await (const { phase, sparsity } of sparseModelSoups({ model, inputs, sparsity: 0.98, epochs: 2, train, recalibration }))
 *   console.log(phase, sparsity, await accuracy(model));
 * ```
 */
export async function* sparseModelSoups(options: SoupOptions): AsyncGenerator<SoupPhase, void, undefined> {
  const { model, inputs, sparsity: target, phases = 3, selector = 'global', exclude, from, seed = 0 } = options;
  check(
    Object.hasOwn(selectors, selector),
    () => `soup: selector '${selector}'; expected ${Object.keys(selectors).join(', ')}`,
  );
  const ladder = impLadder({ sparsity: target, rounds: phases });
  checkCooking(options);
  if (from) restore(model, from.weights);
  const found = await modelLayers(model, inputs);
  const names = new Set(maskable(found.layers, exclude).layers.map(l => l.name));
  const { allocation, score } = selectors[selector];
  let within = from?.mask;
  for (let phase = (from?.round ?? 0) + 1; phase <= phases; phase++) {
    const layers = (await refreshLayers(found)).filter(l => names.has(l.name));
    const mask = prune(layers, score(new Random(seed).fork('soup').fork(phase)), {
      ...options,
      allocation,
      sparsity: ladder[phase - 1],
      ...(within && { within }),
    });
    const cooked = await cook(model, found, mask, options, { phase, change: relativeChange(layers, mask) });
    const state: ImpState = { round: phase, mask, weights: cooked.soup.weights, rewind: undefined };
    yield { ...cooked, phase, phases, sparsity: mask.sparsity(), mask, state };
    within = mask;
    restore(model, cooked.soup.weights);
  }
}

/**
 * Retrains copies of the model as it is under a mask, and leaves their average in it: one phase. It is also how a sparse
 * training branches into a soup once its mask is final.
 *
 * @param at.change d₁ of ALLR; default 0, nothing was pruned just now
 */
export async function cook(
  model: Module,
  found: ModelLayers,
  mask: Mask,
  options: CookingOptions,
  { phase = 1, change = 0 }: { readonly phase?: number; readonly change?: number } = {},
): Promise<Cooked> {
  const { copies = 3, train, soup: kind = 'uniform', validate } = options;
  checkCooking(options);
  const rate = initialRate(options, change);
  await applyMask(found, mask);
  const start = await snapshot(model);
  const candidates: Candidate[] = [];
  for (let copy = 0; copy < copies; copy++) {
    restore(model, start);
    const plan = retraining(options, { phase, copy, copies, rate });
    await train({ ...plan, mask, sparsifiers: [new StaticMask(mask)] });
    candidates.push({ weights: await snapshot(model), mask });
  }
  const serve = async (chosen: readonly number[]): Promise<Candidate> => {
    const { weights } = soup(chosen.map(i => candidates[i]));
    restore(model, weights);
    await recalibrate(model, options);
    return { weights: await snapshot(model), mask };
  };
  if (kind === 'uniform') {
    const chosen = candidates.map((_, i) => i);
    return { candidates, chosen, soup: await serve(chosen) };
  }
  return { candidates, ...(await greedy(model, candidates, validate!, serve)) };
}

/** Adds copies in the order of their accuracy as long as the average does not lose any. */
async function greedy(
  model: Module,
  candidates: readonly Candidate[],
  validate: () => Promise<number>,
  serve: (chosen: readonly number[]) => Promise<Candidate>,
): Promise<{ chosen: readonly number[]; soup: Candidate }> {
  const scores: number[] = [];
  for (const { weights } of candidates) {
    restore(model, weights);
    scores.push(await validate());
  }
  const [first, ...rest] = candidates.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
  let chosen: readonly number[] = [first];
  let best = { soup: await serve(chosen), score: await validate() };
  for (const next of rest) {
    const tried = { soup: await serve([...chosen, next]), score: await validate() };
    if (tried.score < best.score) continue;
    best = tried;
    chosen = [...chosen, next];
  }
  restore(model, best.soup.weights);
  return { chosen, soup: best.soup };
}

/**
 * Σ λ_i θ_i of networks that share one mask; without it the average would fill in zeros, so that others are refused,
 * with the first tensor in which they differ.
 *
 * @param lambda up to a common factor; default equal ones
 */
export function soup(candidates: readonly Candidate[], lambda?: readonly number[]): Candidate {
  check(candidates.length > 0, 'soup: no candidates');
  const [{ mask }] = candidates;
  for (const [i, { weights, mask: own }] of candidates.entries()) {
    for (const name of new Set([...mask.names, ...own.names])) {
      const [a, b] = [mask, own].map(m => (m.has(name) ? m.get(name) : undefined));
      const differ = a && b && a.length === b.length ? a.reduce((n, k, e) => n + (k === b[e] ? 0 : 1), 0) : undefined;
      check(
        differ === 0,
        () =>
          `soup: candidate ${i} has another mask than candidate 0 in '${name}'${differ ? ` (${differ} positions)` : ''}; average networks that were retrained from one pruned network`,
      );
    }
    checkMasked(name => weights.get(name)!, own, {
      caller: `soup: candidate ${i}`,
      hint: 'give retraining.sparsifiers to the trainer',
    });
  }
  const states = candidates.map(c => c.weights);
  return { weights: lambda ? averageSnapshots(states, lambda) : averageSnapshots(states), mask };
}

/** Measures batch-norm statistics anew on a share of the training data. Needed before an average is judged. */
export async function recalibrate(
  model: Module,
  { recalibration, seed = 0 }: Pick<CookingOptions, 'recalibration' | 'seed'>,
): Promise<void> {
  const { data, transforms = [], fraction = 0.2, batchSize = 100 } = recalibration;
  check(fraction > 0 && fraction <= 1, () => `soup: recalibration fraction ${fraction}; expected more than 0, up to 1`);
  const order = new Random(seed).fork('recalibration').permutation(data.length);
  const some = data.subset(order.subarray(0, Math.max(1, Math.round(fraction * data.length))));
  const batch = Math.min(batchSize, some.length);
  await recalibrateBatchNorm(model, new DataLoader(some, { batchSize: batch, dropLast: true, transforms }));
}

function checkCooking({ copies = 3, soup: kind = 'uniform', validate }: CookingOptions): void {
  check(Number.isInteger(copies) && copies >= 1, () => `soup: ${copies} copies; expected a whole number from 1`);
  check(kind === 'uniform' || kind === 'greedy', () => `soup: '${kind}'; expected uniform or greedy`);
  check(
    kind === 'uniform' || validate,
    'soup: greedy needs validate, the accuracy on a validation split (never on the test set)',
  );
}

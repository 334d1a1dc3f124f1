// Train, prune the smallest weights, rewind, again: iterative magnitude pruning and its lottery tickets.
// Frankle & Carbin 2019, "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks"; Frankle, Dziugaite,
// Roy & Carbin 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis" (rewinding to an early step); Renda,
// Frankle & Carbin 2020, "Comparing Rewinding and Fine-tuning in Neural Network Pruning".

import { check, type Spec } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import {
  applyMask,
  checkMasked,
  type Layer,
  type Mask,
  type ModelLayers,
  magnitude,
  maskable,
  modelLayers,
  type PruneOptions,
  prune,
  refreshLayers,
  StaticMask,
} from '../../sparsity/index.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';
import { Capture } from '../../train/capture.ts';
import { restore, type Snapshot, snapshot } from '../../train/snapshot.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'imp',
  name: 'Iterative magnitude pruning',
  summary: 'Trains, prunes the smallest weights and rewinds, round after round: lottery tickets at every sparsity.',
  paper: 'The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks (Frankle & Carbin 2019)',
  kind: 'procedure',
};

/** Sparsities after each round: two of the three. */
export interface ImpLadder {
  /** Where the last round ends, 0 < S < 1. With `rounds`, each takes the same share: s_c = 1 − (1 − S)^(c/C). */
  readonly sparsity?: number;
  readonly rounds?: number;
  /** Share of the remaining weights that a round takes; default 0.2. With `sparsity`, the last round may take less. */
  readonly rate?: number;
}

/**
 * What the survivors of a round start from.
 * - `weights` (default): their values at step `rewindTo` of the dense training; so does the learning-rate schedule
 * - `learning-rate`: their trained values, but the learning-rate schedule of step `rewindTo`
 * - `none`: their trained values; the training decides about a small learning rate (fine-tuning)
 */
export type Rewind = 'weights' | 'learning-rate' | 'none';

/** One training that the procedure asks for. */
export interface ImpPhase {
  /** 0 is the dense training. */
  readonly round: number;
  readonly rounds: number;
  /** Share of the maskable weights that is gone. */
  readonly sparsity: number;
  /** What lives; undefined in the dense training. */
  readonly mask: Mask | undefined;
  /** To be given to the trainer: the fixed mask, or in the dense training what keeps the point to rewind to. */
  readonly sparsifiers: readonly Sparsifier[];
  /**
   * Step of the dense training's schedule at which this training begins: 0 for the dense one, `rewindTo` after a
   * rewind, undefined for fine-tuning.
   */
  readonly start: number | undefined;
}

/** All that the next round needs. */
export interface ImpState {
  readonly round: number;
  readonly mask: Mask | undefined;
  /** The trained model. */
  readonly weights: Snapshot;
  /** The model at `rewindTo`; only where weights are rewound. */
  readonly rewind: Snapshot | undefined;
}

/** A finished round; the model holds its trained weights until the next one is asked for. */
export interface ImpRound<T> extends ImpPhase {
  /** What `train` gave. */
  readonly result: T;
  readonly state: ImpState;
}

/** Importance of every element of a layer, higher stays; made once a round, when the model holds the trained weights. */
export type ImpScore = (at: {
  readonly model: Module;
  readonly layers: ModelLayers;
  readonly mask: Mask | undefined;
  readonly round: number;
}) => Promise<(layer: Layer) => Float32Array> | ((layer: Layer) => Float32Array);

export interface ImpOptions<T = unknown>
  extends ImpLadder,
    Pick<PruneOptions, 'granularity' | 'norm' | 'fixed' | 'minimum'> {
  readonly model: Module;
  /** Shape and dtype of each of the model's inputs, for one sample. */
  readonly inputs: readonly Spec[];
  /** Trains the model in place, with the phase's sparsifiers. */
  readonly train: (phase: ImpPhase) => Promise<T>;
  readonly rewind?: Rewind;
  /** Optimiser steps of the dense training before the point to rewind to; default 0, the initial weights. */
  readonly rewindTo?: number;
  /** Default `global`: one threshold for all layers. */
  readonly allocation?: PruneOptions['allocation'];
  /** Default magnitude. */
  readonly score?: ImpScore;
  /** Layers left dense: names, kinds, `first`, `last`, wildcards. Default none. */
  readonly exclude?: readonly string[];
  /** Goes on after this round: a killed run, or a dense training that several prunings share (round 0). */
  readonly from?: ImpState;
}

/** Sparsity after each round, from the first on; see {@link ImpLadder}. */
export function impLadder({ sparsity, rounds, rate = 0.2 }: ImpLadder): number[] {
  check(sparsity !== undefined || rounds !== undefined, 'imp: give a sparsity, a number of rounds, or both');
  check(
    sparsity === undefined || (sparsity > 0 && sparsity < 1),
    () => `imp: sparsity ${sparsity}; expected more than 0 and less than 1`,
  );
  check(
    rounds === undefined || (Number.isInteger(rounds) && rounds >= 1),
    () => `imp: ${rounds} rounds; expected a whole number from 1`,
  );
  check(rate > 0 && rate < 1, () => `imp: rate ${rate} is not between 0 and 1`);
  if (sparsity === undefined) return Array.from({ length: rounds! }, (_, i) => 1 - (1 - rate) ** (i + 1));
  // The guard keeps a sparsity that is a power of the rate from needing one round more.
  const count = rounds ?? Math.max(1, Math.ceil(Math.log(1 - sparsity) / Math.log(1 - rate) - 1e-9));
  const share = rounds === undefined ? 1 - rate : (1 - sparsity) ** (1 / rounds);
  return Array.from({ length: count }, (_, i) => (i + 1 === count ? sparsity : 1 - share ** (i + 1)));
}

/**
 * Trains densely; then in each round removes the lowest-scored of the remaining weights (masks are nested), rewinds,
 * and trains what is left. Gives the dense network (round 0) and every ticket as it is ready.
 *
 * ```ts
 * for await (const { round, sparsity, mask } of imp({ model, inputs, sparsity: 0.9, rounds: 10, train })) {
 *   console.log(round, sparsity, await accuracy(model));
 * }
 * ```
 */
export async function* imp<T>(options: ImpOptions<T>): AsyncGenerator<ImpRound<T>, void, undefined> {
  const { model, inputs, train, rewind = 'weights', rewindTo = 0, from, exclude } = options;
  const { score = () => (l: Layer) => magnitude(l.values) } = options;
  const ladder = impLadder(options);
  check(
    Number.isInteger(rewindTo) && rewindTo >= 0,
    () => `imp: rewindTo ${rewindTo}; expected a whole number of steps from 0`,
  );
  check(
    !from || rewind !== 'weights' || from.rewind,
    `imp: the state to go on from has no weights to rewind to; use rewind 'learning-rate' or 'none'`,
  );
  const found = await modelLayers(model, inputs);
  const names = new Set(maskable(found.layers, exclude).layers.map(l => l.name));
  const phase = { rounds: ladder.length };

  let state = from;
  if (state) restore(model, state.weights);
  else {
    const capture = new Capture(rewindTo);
    const dense: ImpPhase = {
      ...phase,
      round: 0,
      sparsity: 0,
      mask: undefined,
      sparsifiers: rewind === 'weights' ? [capture] : [],
      start: 0,
    };
    const result = await train(dense);
    check(
      rewind !== 'weights' || capture.taken,
      () =>
        `imp: the dense training never came to step ${rewindTo}, the point to rewind to: train longer, and give phase.sparsifiers to the trainer`,
    );
    state = { round: 0, mask: undefined, weights: await snapshot(model), rewind: capture.taken };
    yield { ...dense, result, state };
  }

  while (state.round < ladder.length) {
    restore(model, state.weights);
    const round: number = state.round + 1;
    const scores = await score({ model, layers: found, mask: state.mask, round });
    const layers = (await refreshLayers(found)).filter(l => names.has(l.name));
    const mask = prune(layers, scores, {
      ...options,
      allocation: options.allocation ?? 'global',
      sparsity: ladder[round - 1],
      ...(state.mask && { within: state.mask }),
    });
    if (rewind === 'weights') restore(model, state.rewind!);
    await applyMask(found, mask);
    const next: ImpPhase = {
      ...phase,
      round,
      sparsity: mask.sparsity(),
      mask,
      sparsifiers: [new StaticMask(mask)],
      start: rewind === 'none' ? undefined : rewindTo,
    };
    const result = await train(next);
    const weights = await snapshot(model);
    checkMasked(name => weights.get(name)!, mask, trainerHint);
    state = { ...state, round, mask, weights };
    yield { ...next, result, state };
  }
}

const trainerHint = { caller: 'imp: after the training', hint: 'give phase.sparsifiers to the trainer' };

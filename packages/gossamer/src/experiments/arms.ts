import { Random, type Spec } from '@gossamer/tensor';
import type { Batch } from '../data/dataset.ts';
import { GradualGlobalMagnitudePruning, globalMagnitudePruning } from '../methods/pruning/global-mp.ts';
import { GradualMagnitudePruning } from '../methods/pruning/gradual-magnitude-pruning.ts';
import { grasp } from '../methods/pruning/grasp.ts';
import type { Rewind } from '../methods/pruning/imp.ts';
import { oneShotMagnitude } from '../methods/pruning/one-shot-magnitude.ts';
import { snip } from '../methods/pruning/snip.ts';
import { synflow } from '../methods/pruning/synflow.ts';
import { RigL } from '../methods/sparse-training/rigl.ts';
import { SET } from '../methods/sparse-training/set.ts';
import type { Module } from '../nn/module.ts';
import { type Mask, prune, randomScore } from '../sparsity/index.ts';
import type { ModelLayers } from '../sparsity/model.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';
import { classification } from '../train/task.ts';

// Methods as arms of a comparison: how each makes its mask within one training budget. `PruningBench` runs them.

export interface Setting {
  readonly sparsity: number;
  readonly seed: number;
}

/** Optimiser steps that an arm's sparsifier takes part in. */
export interface Plan {
  readonly steps: number;
  readonly epochSteps: number;
}

/**
 * How an arm makes its mask: from a trained network, from an untrained one, while it trains (from a random start, or in the
 * second half of the budget), or in rounds of training.
 */
export type Arm =
  | { readonly when: 'after'; mask(found: ModelLayers, setting: Setting): Mask }
  | { readonly when: 'before'; mask(at: Start, setting: Setting): Promise<Mask> | Mask }
  | {
      readonly when: 'during';
      readonly from?: 'trained';
      /** Share of the training, from its start, whose steps need the gradients of masked weights, too; default 0. */
      readonly denseGradients?: number;
      sparsifier(setting: Setting, plan: Plan): Sparsifier;
    }
  | { readonly when: 'rounds'; readonly rounds: number; readonly rewind: Rewind };

/** An untrained network with what data-driven pruners look at. */
export interface Start {
  readonly model: Module;
  readonly found: ModelLayers;
  readonly input: Spec;
  /** Random training samples, other ones for each seed. */
  samples(count: number): Promise<Batch>;
}

export const task = classification();

/** Updates in the course of a training, of the methods that update often. */
const UPDATES = 40;
export const interval = (steps: number): number => Math.max(1, Math.round(steps / UPDATES));

/** A random mask, the same share of every layer or by another rule. */
export const randomMask =
  (allocation: 'uniform' | 'erk') =>
  ({ found: { layers } }: Start, { sparsity, seed }: Setting): Mask => {
    const random = new Random(seed).fork('random pruning');
    return prune(layers, l => randomScore(l.values.length, random.fork(l.name)), { sparsity, allocation });
  };

/** The usual baselines by name. */
export const baselines = {
  'uniform MP': { when: 'after', mask: ({ layers }, { sparsity }) => oneShotMagnitude(layers, { sparsity }) },
  'ERK MP': {
    when: 'after',
    mask: ({ layers }, { sparsity }) => oneShotMagnitude(layers, { sparsity, allocation: 'erk' }),
  },
  'global MP': { when: 'after', mask: ({ layers }, { sparsity }) => globalMagnitudePruning(layers, { sparsity }) },
  'gradual global MP': {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) => new GradualGlobalMagnitudePruning({ sparsity, interval: interval(steps) }),
  },
  GMP: {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) =>
      new GradualMagnitudePruning({ sparsity, interval: interval(steps), exclude: [] }),
  },
  SNIP: {
    when: 'before',
    mask: async ({ model, found, samples }, { sparsity }) =>
      snip({ model, task, layers: found, batches: [await samples(128)] }, { sparsity }),
  },
  GraSP: {
    when: 'before',
    mask: async ({ model, found, samples }, { sparsity }) =>
      grasp({ model, task, layers: found, batches: [await samples(100)] }, { sparsity }),
  },
  SynFlow: {
    when: 'before',
    mask: ({ model, found, input }, { sparsity }) => synflow(model, [input], found, { sparsity }),
  },
  RigL: {
    when: 'during',
    sparsifier: ({ sparsity }, { steps }) => new RigL({ sparsity, interval: interval(steps) }),
  },
  SET: {
    when: 'during',
    sparsifier: ({ sparsity }, { epochSteps }) =>
      new SET({ sparsity, allocation: 'erk', interval: epochSteps, spread: 0 }),
  },
  random: { when: 'before', mask: randomMask('uniform') },
} satisfies Record<string, Arm>;

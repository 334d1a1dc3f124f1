// All weights of the network compete in one ranking by magnitude; optionally every layer keeps a minimum.
// Gupta, Camci, Keneta, Vaidyanathan, Kanodia, James, Foo, Wu & Lin 2022, "Is Complexity Required for Neural Network
// Pruning? A Case Study on Global Magnitude Pruning".

import { check, type Spec } from '@gossamer/tensor';
import { type Collapse, findCollapse } from '../../sparsity/collapse.ts';
import {
  type Layer,
  type Mask,
  magnitude,
  maskable,
  type PruneOptions,
  prune,
  type SparsityReport,
  sparsityReport,
} from '../../sparsity/index.ts';
import { type Model, type ModelLayers, refreshLayers } from '../../sparsity/model.ts';
import { ScheduledPruning, type ScheduledPruningOptions } from '../../sparsity/scheduled.ts';
import type { MethodInfo } from '../method.ts';

export const method: MethodInfo = {
  slug: 'global-mp',
  name: 'Global magnitude pruning',
  summary: 'The strongest simple pruner: one magnitude threshold for the whole network, with a floor for every layer.',
  paper:
    'Is Complexity Required for Neural Network Pruning? A Case Study on Global Magnitude Pruning (Gupta et al. 2022)',
  kind: 'one-shot pruner',
};

export interface GlobalMagnitudeOptions {
  /** Share S of the weights of all layers together that go, 0 ≤ S < 1. */
  readonly sparsity: number;
  /**
   * Minimum threshold MT: weights that every layer keeps (all of a smaller layer), a count or a share of all weights.
   * The paper's value is `'0.05%'`. Default none.
   */
  readonly minimum?: PruneOptions['minimum'];
  /** For comparison: each layer at sparsity S by its own threshold. Default false. */
  readonly layerwise?: boolean;
  /** Layers left dense, outside the count: names, kinds, `first`, `last`, wildcards. Default none. */
  readonly exclude?: readonly string[];
}

/**
 * m = 1 where |w| > τ, with τ the k-th smallest |w| of all layers together, k = ⌊S·n⌋; ties are broken so that exactly k
 * weights go. With MT the ⌊n·MT⌋ largest weights of every layer stay, whatever their size, and the threshold falls on
 * the others so that k is met. Weights are ranked as they are: a layer before a normalisation, whose scale
 * means nothing, is not rescaled first.
 *
 * Refused: S ≥ 1, a minimum that S cannot meet (with the largest S that can), weights that are not finite, no layers.
 */
export function globalMagnitudePruning(
  layers: readonly Layer[],
  { sparsity, minimum, layerwise = false, exclude }: GlobalMagnitudeOptions,
): Mask {
  return prune(maskable(layers, exclude).layers, l => magnitude(l.values), {
    sparsity,
    allocation: layerwise ? 'uniform' : 'global',
    rounding: 'floor',
    ...(minimum !== undefined && { minimum }),
  });
}

export interface GradualGlobalMagnitudeOptions
  extends Pick<GlobalMagnitudeOptions, 'sparsity' | 'minimum' | 'exclude'> {
  /** First and last update in steps; default 0 and two thirds of the training. The rest fine-tunes the final mask. */
  readonly start?: number;
  readonly end?: number;
  /** Steps between updates; default 100. */
  readonly interval?: number;
  /** Whether what was pruned once stays so. Default false: masked weights keep their value and compete again. */
  readonly nested?: boolean;
}

/**
 * Gradual global pruning: s_t = S·(1 − (1 − p)³) with p the progress through the pruning window, the ranking over all
 * weights made anew at each update, from the start of training (or of fine-tuning) on.
 */
export class GradualGlobalMagnitudePruning extends ScheduledPruning {
  static override readonly options: readonly string[] = [
    'sparsity',
    'minimum',
    'exclude',
    'start',
    'end',
    'interval',
    'nested',
  ] satisfies readonly (keyof GradualGlobalMagnitudeOptions)[];
  override readonly name = method.slug;
  constructor({ sparsity, minimum, exclude, start, end, interval, nested = false }: GradualGlobalMagnitudeOptions) {
    check(sparsity >= 0 && sparsity < 1, () => `global magnitude pruning: sparsity ${sparsity}; expected 0 ≤ S < 1`);
    const given: Partial<ScheduledPruningOptions> = {
      ...(minimum !== undefined && { minimum }),
      ...(exclude && { exclude }),
      ...(start !== undefined && { start }),
      ...(end !== undefined && { end }),
      ...(interval !== undefined && { every: interval }),
    };
    super({ ...given, sparsity, kind: 'cubic', allocation: 'global', rounding: 'floor', regrow: !nested });
  }
}

/** What a mask does to a network. */
export interface MaskedNetwork extends SparsityReport, Collapse {
  /** Share of the dense FLOPs that is left: Σ nnz·positions / Σ n·positions over the layers. */
  readonly flops: number;
}

/**
 * Sparsity and FLOPs by layer and in total, and whether layers have collapsed: emptied, or cut off from input or output.
 *
 * @param inputs shape and dtype of each input, for one sample
 */
export async function inspectMask(
  model: Model,
  inputs: readonly Spec[],
  found: ModelLayers,
  mask: Mask,
): Promise<MaskedNetwork> {
  const layers = await refreshLayers(found);
  const report = sparsityReport(layers, { mask });
  const collapse = await findCollapse(model, inputs, { ...found, layers }, mask);
  return { ...report, ...collapse, flops: report.total.flopsSparse / report.total.flopsDense };
}

// A narrower dense network with as many parameters as a sparse one has non-zeros.
// Zhu & Gupta 2017, "To prune, or not to prune", §4: "small-dense" against "large-sparse".

import { check, type Spec } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import { modelLayers } from '../../sparsity/model.ts';
import type { MethodInfo } from '../method.ts';
import { widthFor } from '../pruning/equal-size.ts';

export const method: MethodInfo = {
  slug: 'small-dense',
  name: 'Small dense',
  summary: 'A narrower dense network with as many parameters as the sparse one has weights left. A baseline.',
  paper: 'To prune, or not to prune: exploring the efficacy of pruning for model compression (Zhu & Gupta 2017)',
  kind: 'procedure',
};

export interface SmallDenseOptions {
  /** Parameters that the small network must have at least. Or: */
  readonly nonzeros?: number;
  /** share of the full network's weights that the sparse one lacks, 0 ≤ s < 1; its biases and norms count in full. */
  readonly sparsity?: number;
  /** One input with its batch axis; needed with `sparsity`. */
  readonly input?: Spec;
  /** Width factors that are tried are multiples of 1 / `steps`; default 256. */
  readonly steps?: number;
}

export interface SmallDense {
  readonly model: Module;
  /** Factor on the full network's width. */
  readonly width: number;
  readonly parameters: number;
  /** Parameters that were asked for, and those of the full network. */
  readonly budget: number;
  readonly full: number;
}

/**
 * The narrowest network that has at least the budget of parameters.
 *
 * ```ts
 * await smallDense(width => createModel('resnet20', { width }), { sparsity: 0.9, input });
 * ```
 *
 * @param make the network at a factor 0…1 on its width; its size must not fall with the factor
 */
export async function smallDense(
  make: (width: number) => Module,
  { nonzeros, sparsity, input, steps = 256 }: SmallDenseOptions,
): Promise<SmallDense> {
  check(
    (nonzeros === undefined) !== (sparsity === undefined),
    () => `small dense: nonzeros ${nonzeros}, sparsity ${sparsity}; give one of them`,
  );
  const size = (model: Module) => model.parameters().reduce((n, p) => n + p.size, 0);
  const large = make(1);
  const full = size(large);
  let budget = nonzeros ?? full;
  if (sparsity !== undefined) {
    check(sparsity >= 0 && sparsity < 1, () => `small dense: sparsity ${sparsity}; expected 0 ≤ s < 1`);
    check(input, 'small dense: a sparsity needs the shape of an input, to tell weights from biases and norms');
    const { layers } = await modelLayers(large, [input]);
    budget = full - Math.round(sparsity * layers.reduce((n, l) => n + l.values.length, 0));
  }
  check(
    Number.isInteger(budget) && budget >= 1 && budget <= full,
    () => `small dense: a budget of ${budget} parameters; the full network has ${full}`,
  );
  const width = widthFor(w => size(make(w / steps)), budget, steps) / steps;
  const model = make(width);
  return { model, width, parameters: size(model), budget, full };
}

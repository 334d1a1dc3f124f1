// Large-sparse against small-dense: the comparison of Zhu & Gupta 2017, §4, at equal non-zeros and at equal bytes.

import { check } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { type ModelLayers, refreshLayers } from '../../sparsity/model.ts';
import { sparsityReport } from '../../sparsity/report.ts';
import type { StorageBytes } from '../../sparsity/storage.ts';

/** What a model takes, all of it: embeddings, softmax, biases and norms, too. */
export interface ModelSize {
  readonly parameters: number;
  readonly nonzeros: number;
  /**
   * 4 bytes a stored value, plus the index: a bit for each original position, CSR, or 5-bit relative indices. Only masked
   * weights need an index; a dense model takes 4 bytes a parameter in every column.
   */
  readonly bytes: StorageBytes;
}

/** Size of a model under a mask, dense where there is none. Running statistics do not count. */
export async function modelSize(model: Module, found: ModelLayers, mask?: Mask): Promise<ModelSize> {
  const parameters = model.parameters().reduce((n, p) => n + p.size, 0);
  const masked = mask ? (await refreshLayers(found)).filter(l => mask.has(l.name)) : [];
  if (!mask || masked.length === 0) {
    const bytes = 4 * parameters;
    return { parameters, nonzeros: parameters, bytes: { dense: bytes, bitmask: bytes, csr: bytes, relative: bytes } };
  }
  const { total } = sparsityReport(masked, { mask });
  const rest = parameters - total.parameters;
  const { dense, bitmask, csr, relative } = total.bytes;
  const plus = (bytes: number) => bytes + 4 * rest;
  return {
    parameters,
    nonzeros: total.nonzeros + rest,
    bytes: { dense: plus(dense), bitmask: plus(bitmask), csr: plus(csr), relative: plus(relative) },
  };
}

/**
 * The narrowest width 1 … `widest` whose dense model has at least `budget` parameters, so that the small dense model is
 * never the one with fewer. `parametersAt` must not fall with the width.
 *
 * ```ts
 * const hidden = widthFor(h => 4 * h * (h + 64) + 65 * h, sparse.nonzeros, 256);
 * ```
 */
export function widthFor(parametersAt: (width: number) => number, budget: number, widest: number): number {
  check(Number.isInteger(widest) && widest >= 1, () => `widthFor: widest ${widest}; expected a whole number from 1`);
  check(
    parametersAt(widest) >= budget,
    () => `widthFor: at width ${widest} there are ${parametersAt(widest)} parameters, fewer than the budget ${budget}`,
  );
  let low = 1;
  let high = widest;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (parametersAt(middle) >= budget) high = middle;
    else low = middle + 1;
  }
  return low;
}

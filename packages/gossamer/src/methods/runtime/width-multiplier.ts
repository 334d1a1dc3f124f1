// Wide and sparse against narrow and dense: a pruned network is worth what the best width of the dense one is not.
// Elsen et al. 2020, "Fast Sparse ConvNets", §4; the width multiplier is that of Howard et al. 2017, "MobileNets".

import { check, type Spec } from '@gossamer/tensor';
import type { Module } from '../../nn/module.ts';
import { flops, type Layer } from '../../sparsity/layer.ts';
import type { Mask } from '../../sparsity/mask.ts';
import { modelLayers } from '../../sparsity/model.ts';

/** Multiply-adds of the network for one sample, all layers together; weights that the mask has removed do not count. */
export const multiplyAdds = (layers: readonly Layer[], mask?: Mask): number =>
  layers.reduce((n, l) => n + flops(l, mask?.has(l.name) ? mask.kept(l.name) : l.values.length) / 2, 0);

/**
 * The narrowest of `widths` whose dense network has at least `budget` multiply-adds, so that the dense network is never
 * the one with fewer. The network must not shrink with its width.
 *
 * @param build the network of a width multiplier
 * @param input one sample, batch axis included
 * @param budget multiply-adds of the sparse network that it is compared with
 */
export async function widthOfEqualCost(
  build: (width: number) => Module,
  input: Spec,
  budget: number,
  widths: readonly number[],
): Promise<number> {
  let most = 0;
  for (const width of widths.toSorted((a, b) => a - b)) {
    const cost = multiplyAdds((await modelLayers(build(width), [input])).layers);
    if (cost >= budget) return width;
    most = Math.max(most, cost);
  }
  check(false, () => `widthOfEqualCost: none of the widths has ${budget} multiply-adds; the most are ${most}`);
}

/** A network as its user sees it: multiply-adds or milliseconds, and a quality of which more is better. */
export interface TradeOff {
  readonly cost: number;
  readonly quality: number;
}

/**
 * What a sparse network gains over dense ones of several widths: how much better it is than the dense network of equal
 * cost (a difference), and how often the cost of the sparse network the dense one of equal quality has (a ratio). Dense
 * networks between the given ones are interpolated, in the logarithm of the cost; beyond them there is no answer.
 */
export function gainOver(dense: readonly TradeOff[], sparse: TradeOff): { quality?: number; cost?: number } {
  const curve = dense.map(d => ({ at: Math.log(d.cost), ...d })).sort((a, b) => a.at - b.at);
  const target = Math.log(sparse.cost);
  let quality: number | undefined;
  let cost: number | undefined;
  curve.slice(1).forEach((right, i) => {
    const left = curve[i];
    const rise = right.quality - left.quality;
    if (quality === undefined && left.at <= target && target <= right.at) {
      quality = sparse.quality - left.quality - rise * share(target, left.at, right.at);
    }
    const within = (left.quality - sparse.quality) * (right.quality - sparse.quality) <= 0;
    if (cost === undefined && within) {
      const at = left.at + (right.at - left.at) * share(sparse.quality, left.quality, right.quality);
      cost = Math.exp(at - target);
    }
  });
  return { ...(quality !== undefined && { quality }), ...(cost !== undefined && { cost }) };
}

const share = (x: number, from: number, to: number): number => (to === from ? 0 : (x - from) / (to - from));

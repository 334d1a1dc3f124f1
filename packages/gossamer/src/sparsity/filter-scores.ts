import type { Layer } from './layer.ts';
import { layoutOf } from './layer.ts';

/**
 * What a filter (a row of a linear layer, an output channel) is worth, by its weights:
 *
 * - `l1`: Σ|w| (Li et al. 2017, "Pruning Filters for Efficient ConvNets")
 * - `l2`: √Σw²
 * - `fpgm`: Σ_j ‖w_i − w_j‖₂ over all filters of the layer; filters near the geometric median can be replaced by the others
 *   (He et al. 2019, "Filter Pruning via Geometric Median", eq. 6)
 */
export type FilterScore = 'l1' | 'l2' | 'fpgm';

/**
 * One score for each output channel of a layer, as it is: neither normalised nor combined with other layers, for which see
 * `channelScores`. Higher is kept.
 */
export function filterScores(layer: Layer, kind: FilterScore): Float32Array {
  const { out, in: inputs, kernel, outStride, inStride, kernelOffset } = layoutOf(layer);
  const filters = Array.from({ length: out }, (_, o) => {
    const places = new Int32Array(inputs * kernel);
    for (let i = 0; i < inputs; i++)
      for (let k = 0; k < kernel; k++) places[i * kernel + k] = o * outStride + i * inStride + kernelOffset[k];
    return places;
  });
  return Float32Array.from(scoresOfSlices(layer.values, filters, kind));
}

/**
 * One score for each slice of some values; a slice is the list of the places of its elements. `fpgm` compares slices of
 * one length and takes O(slices² × length).
 */
export function scoresOfSlices(
  values: ArrayLike<number>,
  slices: readonly ArrayLike<number>[],
  kind: FilterScore,
): Float64Array {
  const scores = new Float64Array(slices.length);
  if (kind === 'fpgm') {
    for (let a = 0; a < slices.length; a++) {
      for (let b = a + 1; b < slices.length; b++) {
        if (slices[a].length !== slices[b].length) continue;
        const distance = distanceOf(values, slices[a], slices[b]);
        scores[a] += distance;
        scores[b] += distance;
      }
    }
    return scores;
  }
  slices.forEach((places, s) => {
    let sum = 0;
    for (let i = 0; i < places.length; i++) {
      const w = values[places[i]];
      sum += kind === 'l1' ? Math.abs(w) : w * w;
    }
    scores[s] = kind === 'l1' ? sum : Math.sqrt(sum);
  });
  return scores;
}

function distanceOf(values: ArrayLike<number>, a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (values[a[i]] - values[b[i]]) ** 2;
  return Math.sqrt(sum);
}

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

/** One score for each output channel of a layer; higher is kept. `fpgm` takes O(filters² × weights of a filter). */
export function filterScores(layer: Layer, kind: FilterScore): Float32Array {
  const { out, in: inputs, kernel, outStride, inStride, kernelOffset } = layoutOf(layer);
  const { values } = layer;
  const places = new Int32Array(inputs * kernel);
  for (let i = 0; i < inputs; i++)
    for (let k = 0; k < kernel; k++) places[i * kernel + k] = i * inStride + kernelOffset[k];
  const scores = new Float64Array(out);
  if (kind === 'fpgm') {
    for (let a = 0; a < out; a++) {
      for (let b = a + 1; b < out; b++) {
        let sum = 0;
        for (const p of places) sum += (values[a * outStride + p] - values[b * outStride + p]) ** 2;
        const distance = Math.sqrt(sum);
        scores[a] += distance;
        scores[b] += distance;
      }
    }
    return Float32Array.from(scores);
  }
  for (let o = 0; o < out; o++) {
    for (const p of places) {
      const w = values[o * outStride + p];
      scores[o] += kind === 'l1' ? Math.abs(w) : w * w;
    }
  }
  return Float32Array.from(scores, s => (kind === 'l1' ? s : Math.sqrt(s)));
}

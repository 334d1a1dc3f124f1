import { check, type Random } from '@gossamer/tensor';
import { type Layer, layoutOf } from './layer.ts';

// Element scores for `prune`: higher is kept. w are a layer's weights, g = ∂L/∂w the gradient by the *effective*
// (masked) weight at all positions, dead ones included.

const map2 = (w: Float32Array, aux: Float32Array, what: string, f: (w: number, a: number) => number): Float32Array => {
  check(w.length === aux.length, () => `${what}: ${w.length} weights but ${aux.length} values to go with them`);
  const out = new Float32Array(w.length);
  for (let i = 0; i < w.length; i++) out[i] = f(w[i], aux[i]);
  return out;
};

/** |w| (Han et al. 2015; Hagiwara 1994). */
export function magnitude(w: Float32Array): Float32Array {
  const out = new Float32Array(w.length);
  for (let i = 0; i < w.length; i++) out[i] = Math.abs(w[i]);
  return out;
}

/** Uniform in [0, 1). Fork the generator by layer name to be independent of the order of layers. */
export const randomScore = (n: number, random: Random): Float32Array => random.uniform(n);

/** |g·w|: the first-order change of the loss when w goes (Mozer & Smolensky 1988; SNIP before normalisation). */
export const gradientWeight = (w: Float32Array, g: Float32Array): Float32Array =>
  map2(w, g, 'gradientWeight', (w, g) => Math.abs(g * w));

/** |g·w| / Σ|g·w|, the sum over all layers: connection sensitivity (Lee, Ajanthan & Torr 2019, SNIP, eq. 5). */
export function snip(layers: readonly { readonly w: Float32Array; readonly g: Float32Array }[]): Float32Array[] {
  const scores = layers.map(({ w, g }) => gradientWeight(w, g));
  const total = scores.reduce((sum, s) => s.reduce((a, b) => a + b, sum), 0);
  check(total > 0, 'snip: all products of gradient and weight are 0; the network passes no gradient');
  return scores.map(s => s.map(x => x / total));
}

/**
 * w·(Hg): the gradient flow ‖g‖² lost to first order when w goes (Wang, Zhang & Grosse 2020, GraSP). The paper's
 * S(−θ) = −θ⊙Hg (eq. 8) is the flow gained and its highest go; here the sign is turned so that the lowest do.
 */
export const grasp = (w: Float32Array, hessianGradient: Float32Array): Float32Array =>
  map2(w, hessianGradient, 'grasp', (w, hg) => w * hg);

/** w·∂R/∂w with R = 1ᵀ(Π|W_l|)1, the data-free synaptic flow (Tanaka et al. 2020, SynFlow, eq. 2). */
export const synflow = (w: Float32Array, flowGradient: Float32Array): Float32Array =>
  map2(w, flowGradient, 'synflow', (w, r) => Math.abs(w * r));

/** (g·w)² (Molchanov et al. 2019, eq. 8); group it by `sum` for the score of a filter. */
export const taylor = (w: Float32Array, g: Float32Array): Float32Array => map2(w, g, 'taylor', (w, g) => (g * w) ** 2);

/**
 * ½·F·w² with F the mean of squared per-sample gradients, the diagonal of the empirical Fisher matrix (Theis et al.
 * 2018; optimal brain damage, LeCun et al. 1990, with F for the Hessian).
 */
export const fisher = (w: Float32Array, meanSquaredGradient: Float32Array): Float32Array =>
  map2(w, meanSquaredGradient, 'fisher', (w, f) => (f * w * w) / 2);

/** sum − w·g: one step of the score accumulated over training (Sanh, Wolf & Rush 2020, movement pruning, eq. 5). */
export function movement(sum: Float32Array, w: Float32Array, g: Float32Array): Float32Array {
  const step = map2(w, g, 'movement', (w, g) => w * g);
  return map2(sum, step, 'movement', (s, d) => s - d);
}

/**
 * |w|·‖x‖₂ with the norm of the input feature that w multiplies, over calibration tokens (Sun et al. 2024, Wanda, eq. 1).
 * The paper compares within each output row.
 *
 * @param inputNorms ‖x‖₂ for each input channel, or for each (input channel, kernel position), row-major
 */
export function activationNorm(layer: Layer, inputNorms: Float32Array): Float32Array {
  const { out, in: inputs, kernel, outStride, inStride, kernelOffset } = layoutOf(layer);
  const perKernel = inputNorms.length === inputs * kernel ? 1 : 0;
  check(
    perKernel === 1 || inputNorms.length === inputs,
    () => `layer ${layer.name}: ${inputNorms.length} input norms; expected ${inputs} or ${inputs * kernel}`,
  );
  const scores = new Float32Array(layer.values.length);
  for (let i = 0; i < inputs; i++) {
    for (let k = 0; k < kernel; k++) {
      const norm = perKernel ? inputNorms[i * kernel + k] : inputNorms[i];
      for (let o = 0; o < out; o++) {
        const e = o * outStride + i * inStride + kernelOffset[k];
        scores[e] = Math.abs(layer.values[e]) * norm;
      }
    }
  }
  return scores;
}

/**
 * w² / Σ{v² : |v| ≥ |w|}, the layer-adaptive magnitude (Lee et al. 2021, LAMP, eq. 4): ranked globally it chooses the
 * layers' sparsities. A layer's largest weight scores 1; weights of equal magnitude score the same. O(n log n).
 */
export function lamp(w: Float32Array): Float32Array {
  const size = magnitude(w);
  // The bits of floats that are not negative order like the floats.
  const bits = new Uint32Array(size.buffer);
  const order = ascendingOrder(bits);
  const scores = new Float32Array(w.length);
  let sum = 0;
  for (let end = order.length; end > 0; ) {
    const first = order[end - 1];
    const square = size[first] ** 2;
    let start = end;
    for (; start > 0 && bits[order[start - 1]] === bits[first]; start--) sum += square;
    if (square !== 0) for (let i = start; i < end; i++) scores[order[i]] = square / sum;
    end = start;
  }
  return scores;
}

/** Positions of the keys from the lowest key to the highest: a radix sort by 11 bits. */
function ascendingOrder(keys: Uint32Array): Uint32Array {
  let order = Uint32Array.from({ length: keys.length }, (_, i) => i);
  let next = new Uint32Array(keys.length);
  for (let shift = 0; shift < 32; shift += 11) {
    const starts = new Uint32Array(2049);
    for (const key of keys) starts[((key >>> shift) & 2047) + 1]++;
    for (let digit = 1; digit < 2049; digit++) starts[digit] += starts[digit - 1];
    for (const at of order) next[starts[(keys[at] >>> shift) & 2047]++] = at;
    [order, next] = [next, order];
  }
  return order;
}

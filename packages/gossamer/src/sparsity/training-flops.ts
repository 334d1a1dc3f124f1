import type { Layer } from './layer.ts';

/**
 * Operations of a training in the products with weights: forward at the density of the step, backward dense, because
 * the gradient of W needs all positions and a pattern along the input axis does not shorten the product with Wᵀ. A dense
 * step costs three times a dense forward pass.
 *
 * @param samples samples of a step
 * @param density share of a layer's weights that the forward pass of a step computes with
 */
export function trainingFlops(
  layers: readonly Layer[],
  { steps, samples }: { readonly steps: number; readonly samples: number },
  density: (layer: Layer, step: number) => number,
): number {
  let total = 0;
  for (const l of layers) {
    const forward = 2 * l.values.length * l.positions * samples;
    for (let step = 0; step < steps; step++) total += forward * (density(l, step) + 2);
  }
  return total;
}

import { flops, type Layer } from '../sparsity/layer.ts';
import type { Mask } from '../sparsity/mask.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';

/**
 * Operations of a training in the products with weights, in dense training steps. A dense step is one forward pass and twice
 * that backward: one part for the gradients of inputs, one for those of weights. Under a mask all three parts
 * shrink to the share of operations that live weights take; where a method needs the gradients of masked weights, too,
 * the last part stays dense.
 */
export class TrainingCost {
  /** Dense steps that the training is worth so far. */
  steps = 0;

  /** Counts steps that are dense, or each `share` of a dense one. */
  add(steps: number, share = 1): void {
    this.steps += steps * share;
  }

  /**
   * Counts every step of the training that the sparsifier takes part in, by its mask of the moment, and the dense gradients
   * that it asks for.
   *
   * @param dense share of the training, from its first step on, whose steps need the gradients of all weights; default 0
   */
  watch(sparsifier: Sparsifier, dense = 0): Sparsifier {
    const update = sparsifier.update?.bind(sparsifier);
    let seen: Mask | undefined;
    let share = 1;
    sparsifier.update = async training => {
      const { step, steps, layers, denseGradients } = training;
      const counted: typeof denseGradients = batch => {
        this.add(1, (2 * share + 1) / 3);
        return denseGradients(batch);
      };
      await update?.({ ...training, denseGradients: counted });
      if (sparsifier.mask !== seen) {
        seen = sparsifier.mask;
        share = flopsShare(layers.layers, seen);
      }
      if (step < steps) this.add(1, step < dense * steps ? (2 * share + 1) / 3 : share);
    };
    return sparsifier;
  }
}

/** Share of the forward pass's operations that live weights take, 0…1; layers outside the mask are dense. */
export function flopsShare(layers: readonly Layer[], mask: Mask | undefined): number {
  let [live, all] = [0, 0];
  for (const l of layers) {
    all += flops(l, l.values.length);
    live += flops(l, mask?.has(l.name) ? mask.kept(l.name) : l.values.length);
  }
  return live / all;
}

import { GossamerError } from '@gossamer/tensor';
import type { Mask } from './mask.ts';
import type { ModelLayers } from './model.ts';

/** Sets what is dead to exactly zero in the model itself. Layers that the mask does not have stay as they are. */
export async function applyMask({ parameters }: ModelLayers, mask: Mask): Promise<void> {
  for (const name of mask.names) {
    const parameter = parameters.get(name)!;
    const values = (await parameter.data()).slice();
    mask.apply(name, values);
    parameter.set(values);
  }
}

/**
 * Refuses values that are not zero where the mask is dead, and names the first.
 *
 * @param values of each layer of the mask, by name
 * @param hint what to do about it, for the message
 */
export function checkMasked(
  values: (name: string) => Float32Array,
  mask: Mask,
  { caller, hint }: { readonly caller: string; readonly hint: string },
): void {
  for (const name of mask.names) {
    const [array, keep] = [values(name), mask.get(name)];
    for (let i = 0; i < keep.length; i++) {
      if (keep[i] === 0 && array[i] !== 0) {
        throw new GossamerError(`${caller}: ${name} has the value ${array[i]} at the pruned position ${i}; ${hint}`);
      }
    }
  }
}

import { type Parameter, sizeOf, type Tensor, tensor } from '@gossamer/tensor';
import type { Module } from './module.ts';

/** scale · sin(0.7 i + phase): numbers that a reference in another language makes as easily. */
export const wave = (shape: readonly number[], phase: number, scale = 1): Tensor =>
  tensor(waveData(shape, phase, scale), shape);

export const waveData = (shape: readonly number[], phase: number, scale = 1): Float32Array =>
  Float32Array.from({ length: sizeOf(shape) }, (_, i) => scale * Math.sin(0.7 * i + phase));

/** Sets the k-th parameter to a wave of phase 0.9 k + 0.1 and scale 0.5; returns the parameters. */
export function fill(module: Module): Parameter[] {
  const parameters = module.parameters();
  for (const [k, p] of parameters.entries()) p.set(waveData(p.shape, 0.9 * k + 0.1, 0.5));
  return parameters;
}

/** Throws if the numbers differ by more than `tolerance` · max(1, |expected|), naming the first that does. */
export async function expectNear(
  actual: Tensor | ArrayLike<number>,
  expected: readonly number[],
  tolerance = 1e-5,
): Promise<void> {
  const numbers = 'dtype' in actual ? await actual.data() : actual;
  if (numbers.length < expected.length) throw new Error(`${numbers.length} numbers, expected ${expected.length}`);
  expected.forEach((e, i) => {
    if (!(Math.abs(numbers[i] - e) <= tolerance * Math.max(1, Math.abs(e)))) {
      throw new Error(`element ${i} is ${numbers[i]}, expected ${e}`);
    }
  });
}

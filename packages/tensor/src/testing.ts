import { sizeOf } from './dtype.ts';
import { gradients } from './gradients.ts';
import { formatShape } from './operator.ts';
import { Random } from './random.ts';
import { realize } from './realize.ts';
import { type Tensor, tensor } from './tensor.ts';

/** Seeded normal data of a shape, as a leaf. */
export const randn = (shape: readonly number[], seed: number | string = 0, mean = 0, std = 1): Tensor =>
  tensor(new Random(seed).normal(sizeOf(shape), mean, std), shape);

export interface GradientCheckOptions {
  /** Step of the central difference. */
  eps?: number;
  /** Allowed |analytic − numeric| relative to max(1, |numeric|). */
  tolerance?: number;
  /** Also check the gradient of the gradient (its projection on a random direction). Default true. */
  second?: boolean;
  /** Elements checked per input, picked at random; all if there are fewer. */
  samples?: number;
}

/**
 * Compares `gradients` with central finite differences for a random projection of `fn`'s outputs, element by element,
 * and, unless `second` is false, the same for the gradients themselves. All perturbed evaluations run as one batch of
 * graphs. Throws an error that names input and element.
 */
export async function checkGradients(
  fn: (...inputs: Tensor[]) => Tensor | Tensor[],
  inputs: readonly Tensor[],
  { eps = 1e-2, tolerance = 1e-2, second = true, samples = 12 }: GradientCheckOptions = {},
): Promise<void> {
  await realize(...inputs);
  const project = (...xs: Tensor[]): Tensor => {
    const result = fn(...xs);
    const list = Array.isArray(result) ? result : [result];
    return list.map((y, i) => y.mul(randn(y.shape, `projection ${i}`)).sum()).reduce((a, b) => a.add(b));
  };
  await compare('gradient', project, inputs, eps, tolerance, samples);
  if (!second) return;
  const slope = (...xs: Tensor[]): Tensor =>
    gradients(project(...xs), xs)
      .map((g, i) => g.mul(randn(g.shape, `direction ${i}`)).sum())
      .reduce((a, b) => a.add(b));
  await compare('second gradient', slope, inputs, eps, tolerance, samples);
}

async function compare(
  what: string,
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  eps: number,
  tolerance: number,
  samples: number,
): Promise<void> {
  const analytic = gradients(fn(...inputs), inputs);
  await realize(...analytic);
  const random = new Random('elements');
  for (const [i, x] of inputs.entries()) {
    const values = await x.data();
    const grad = await analytic[i].data();
    const picks = x.size <= samples ? [...values.keys()] : [...random.permutation(x.size).slice(0, samples)];
    const at = async (element: number, delta: number): Promise<number> => {
      const moved = values.slice();
      moved[element] += delta;
      return fn(...inputs.map((t, j) => (j === i ? tensor(moved, x.shape) : t))).item();
    };
    for (const element of picks) {
      const numeric = ((await at(element, eps)) - (await at(element, -eps))) / (2 * eps);
      const error = Math.abs(numeric - grad[element]) / Math.max(1, Math.abs(numeric));
      if (!(error <= tolerance)) {
        throw new Error(
          `${what} of input ${i} ${formatShape(x.shape)} at element ${element}: analytic ${grad[element]}, numeric ${numeric}`,
        );
      }
    }
  }
}

import { check, Random } from '@gossamer/tensor';

/**
 * A few-shot draw: indices of `shots` random samples of every class, in random order.
 *
 * @param labels 0 … classes − 1, one a sample
 * @throws a GossamerError that names the class if one has fewer samples
 */
export function fewShot(labels: ArrayLike<number>, classes: number, shots: number, seed = 0): Int32Array {
  check(Number.isInteger(shots) && shots >= 1, () => `fewShot: ${shots} samples of each class; expected 1 or more`);
  const random = new Random(seed).fork('few-shot');
  const found = new Array<number>(classes).fill(0);
  const chosen: number[] = [];
  for (const index of random.permutation(labels.length)) {
    const label = labels[index];
    check(
      Number.isInteger(label) && label >= 0 && label < classes,
      () => `fewShot: label ${label} of sample ${index} is not one of ${classes} classes`,
    );
    if (found[label]++ < shots) chosen.push(index);
  }
  const rare = found.findIndex(n => n < shots);
  check(rare < 0, () => `fewShot: class ${rare} has ${found[rare]} samples, ${shots} of each were asked for`);
  return Int32Array.from(chosen);
}

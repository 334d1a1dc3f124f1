import { check, type NDArray } from '@gossamer/tensor';

// Which source class stands for each target class. Chen, Yao, Chen, Zhang & Liu 2023, "Understanding and Improving
// Visual Prompting: A Label-Mapping Perspective".

/**
 * - `rlm`: the first source classes, whatever they mean
 * - `flm`: the most frequent predictions of the network without a prompt
 * - `ilm`: the same with the current prompt, anew at the start of every epoch
 */
export type Mapping = 'rlm' | 'flm' | 'ilm';

/** π of `rlm`: source class b for target class b. */
export function firstClasses(source: number, target: number): Int32Array {
  checkClasses(source, target);
  return Int32Array.from({ length: target }, (_, b) => b);
}

/** What a source network says about target samples of each class. */
export interface Frequencies {
  /** C[a·K_t + b]: samples of target class b whose source prediction is a. */
  readonly counts: Int32Array;
  /** The same places: the sum of their probabilities of a. */
  readonly probabilities: Float64Array;
}

/**
 * Counts predictions, added to what is counted already.
 *
 * @param probabilities of the source classes, [samples, K_s]
 */
export function countPredictions(
  probabilities: NDArray,
  labels: ArrayLike<number>,
  target: number,
  before?: Frequencies,
): Frequencies {
  const [samples, source] = probabilities.shape;
  const counts = before?.counts.slice() ?? new Int32Array(source * target);
  const sums = before?.probabilities.slice() ?? new Float64Array(source * target);
  const data = probabilities.data as Float32Array;
  for (let i = 0; i < samples; i++) {
    let best = 0;
    for (let a = 0; a < source; a++) {
      const p = data[i * source + a];
      if (p > data[i * source + best]) best = a;
      sums[a * target + labels[i]] += p;
    }
    counts[best * target + labels[i]]++;
  }
  return { counts, probabilities: sums };
}

/**
 * π, one source class for each target class: the largest count assigns its a to its b and takes row and column out, until
 * all target classes have one. Equal counts, such as the many zeros of a few-shot draw: the higher probability, so that the
 * result does not depend on how classes are numbered.
 */
export function frequencyMapping({ counts, probabilities }: Frequencies, target: number): Int32Array {
  const source = counts.length / target;
  checkClasses(source, target);
  const order = Array.from(counts, (_, i) => i).sort(
    (i, j) => counts[j] - counts[i] || probabilities[j] - probabilities[i] || i - j,
  );
  const mapping = new Int32Array(target).fill(-1);
  const taken = new Uint8Array(source);
  for (const i of order) {
    const [a, b] = [Math.floor(i / target), i % target];
    if (taken[a] === 1 || mapping[b] !== -1) continue;
    mapping[b] = a;
    taken[a] = 1;
  }
  return mapping;
}

function checkClasses(source: number, target: number): void {
  check(
    source >= target,
    () =>
      `label mapping: ${target} target classes cannot each have one of ${source} source classes; take a source network with at least ${target} classes, or linear probing`,
  );
}

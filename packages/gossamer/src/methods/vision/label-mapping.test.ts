import { type NDArray, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { countPredictions, type Frequencies, firstClasses, frequencyMapping } from './label-mapping.ts';

const random = new Random(2);
const [n, source, target] = [3000, 12, 7];
const scores = random.uniform(n * source);
const labels = random.integers(n, 0, target);
labels.forEach((label, i) => {
  scores[i * source + ((5 * label + 2) % source)] += 0.4;
});
const probabilities: NDArray = { dtype: 'float32', shape: [n, source], data: scores };
const given = (counts: number[], sums: number[] = counts.map(() => 0)): Frequencies => ({
  counts: Int32Array.from(counts),
  probabilities: Float64Array.from(sums),
});

describe('frequencyMapping', () => {
  it('assigns the largest entry first and takes its row and column out', () => {
    //               target 0  1
    const counts = [5, 9, 4, 8, 0, 1];
    expect(Array.from(frequencyMapping(given(counts), 2))).toEqual([1, 0]);
    // What was never predicted goes by probability.
    expect(Array.from(frequencyMapping(given([0, 0, 0, 0], [0.1, 0.2, 0.4, 0.3]), 2))).toEqual([1, 0]);
  });

  it('is injective', () => {
    for (let k = 0; k < 20; k++) {
      const counts = Array.from(new Random(k).integers(source * target, 0, 4));
      expect(new Set(frequencyMapping(given(counts), target)).size).toBe(target);
    }
  });

  it('finds the class that stands for each, and follows a permutation of the source classes', () => {
    const mapping = frequencyMapping(countPredictions(probabilities, labels, target), target);
    expect(Array.from(mapping)).toEqual(Array.from({ length: target }, (_, b) => (5 * b + 2) % source));
    for (const samples of [n, 10]) {
      const some = { ...probabilities, shape: [samples, source] };
      const sigma = new Random(3).permutation(source);
      const data = new Float32Array(samples * source);
      for (let i = 0; i < samples; i++)
        for (let a = 0; a < source; a++) data[i * source + sigma[a]] = scores[i * source + a];
      const before = frequencyMapping(countPredictions(some, labels, target), target);
      const after = frequencyMapping(countPredictions({ ...some, data }, labels, target), target);
      expect(after).toEqual(before.map(a => sigma[a]));
    }
  });

  it('counts every sample once, batch after batch', () => {
    const rows = (...data: number[]): NDArray => ({
      dtype: 'float32',
      shape: [data.length / 3, 3],
      data: Float32Array.from(data),
    });
    const first = countPredictions(rows(0.6, 0.2, 0.2, 0, 0.1, 0.9), [1, 0], 2);
    const { counts, probabilities: sums } = countPredictions(rows(0, 0, 1), [0], 2, first);
    expect(Array.from(counts)).toEqual([0, 1, 0, 0, 2, 0]);
    expect(Array.from(first.counts)).toEqual([0, 1, 0, 0, 1, 0]);
    expect(Array.from(sums, v => +v.toFixed(6))).toEqual([0, 0.6, 0.1, 0.2, 1.9, 0.2]);
  });

  it('refuses more target than source classes', () => {
    expect(() => firstClasses(5, 6)).toThrow('6 target classes cannot each have one of 5 source classes');
    expect(() => frequencyMapping(given(new Array(30).fill(0)), 6)).toThrow('at least 6 classes');
    expect(Array.from(firstClasses(5, 3))).toEqual([0, 1, 2]);
  });
});

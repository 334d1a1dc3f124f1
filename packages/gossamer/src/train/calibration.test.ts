import { type NDArray, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import {
  accuracy,
  auroc,
  expectedCalibrationError,
  fitTemperature,
  negativeLogLikelihood,
  reliability,
  softmaxRows,
} from './calibration.ts';

const rows = (...values: number[][]): NDArray => ({
  dtype: 'float32',
  shape: [values.length, values[0].length],
  data: Float32Array.from(values.flat()),
});

it('accuracy is the share of rows whose highest score is at the label, the first of equals', () => {
  expect(accuracy(rows([3, -1], [0, 2], [1, 1], [1, 1]), [0, 0, 0, 1])).toBe(0.5);
});

describe('expectedCalibrationError', () => {
  it('is near 0 for a predictor that is right as often as it says', () => {
    const random = new Random(1);
    const n = 100_000;
    const confidence = random.uniform(n, 0.5, 1);
    const draw = random.uniform(n);
    const probabilities = rows(...Array.from(confidence, c => [c, 1 - c]));
    const labels = draw.map((u, i) => (u < confidence[i] ? 0 : 1));
    expect(expectedCalibrationError(probabilities, labels)).toBeLessThan(0.01);
  });

  it('is the share of errors for a predictor that is always certain', () => {
    const probabilities = rows(...Array.from({ length: 8 }, () => [0, 1, 0]));
    expect(expectedCalibrationError(probabilities, [1, 1, 1, 0, 2, 1, 0, 1])).toBeCloseTo(3 / 8, 12);
    expect(expectedCalibrationError(probabilities, Array(8).fill(1))).toBe(0);
  });

  it('weighs the bins of the reliability diagram by their samples', () => {
    const probabilities = rows([0.55, 0.45], [0.65, 0.35], [0.1, 0.9]);
    const bins = reliability(probabilities, [0, 1, 1], { bins: 10 });
    expect(bins.map(b => b.count)).toEqual([0, 0, 0, 0, 0, 1, 1, 0, 1, 0]);
    expect(bins[6].accuracy).toBe(0);
    expect(bins[6].confidence).toBeCloseTo(0.65, 6);
    expect(bins[0].accuracy).toBeNaN();
    const expected = (0.45 + 0.65 + 0.1) / 3;
    expect(expectedCalibrationError(probabilities, [0, 1, 1], { bins: 10 })).toBeCloseTo(expected, 6);
    // A bin holds its upper end, the first its lower end, too.
    expect(reliability(rows([0.5, 0.5]), [0], { bins: 2 }).map(b => b.count)).toEqual([1, 0]);
    expect(reliability(rows([0, 0]), [0], { bins: 2 })[0].count).toBe(1);
  });

  it('refuses labels that are no class, and arrays that do not fit', () => {
    expect(() => expectedCalibrationError(rows([0.5, 0.5]), [2])).toThrow(
      'label 2 of sample 0 is not one of 2 classes',
    );
    expect(() => negativeLogLikelihood(rows([0.5, 0.5]), [0, 1])).toThrow('[1, 2] and 2 labels');
    expect(() => reliability(rows([0.5, 0.5]), [0], { bins: 0 })).toThrow('0 bins');
  });
});

describe('likelihood and temperature', () => {
  it('is the mean of −log p, finite for a probability of 0', () => {
    expect(negativeLogLikelihood(rows([0.5, 0.5], [0.25, 0.75]), [0, 0])).toBeCloseTo(
      (Math.log(2) + Math.log(4)) / 2,
      6,
    );
    expect(negativeLogLikelihood(rows([0, 1]), [0])).toBeCloseTo(126 * Math.log(2), 6);
  });

  it('finds the temperature that logits were scaled by', () => {
    const random = new Random(2);
    const n = 20_000;
    const logits = rows(...Array.from({ length: n }, () => Array.from(random.normal(3))));
    const p = softmaxRows(logits).data;
    const u = random.uniform(n);
    const labels = Array.from(u, (v, i) => (v < p[3 * i] ? 0 : v < p[3 * i] + p[3 * i + 1] ? 1 : 2));
    const hot = { ...logits, data: (logits.data as Float32Array).map(v => 4 * v) };
    expect(fitTemperature(hot, labels)).toBeCloseTo(4, 0);
    expect(softmaxRows(hot, 4).data).toEqual(p);
  });

  it('keeps large logits finite', () => {
    expect(Array.from(softmaxRows(rows([1000, 0, -1000])).data)).toEqual([1, 0, 0]);
  });
});

describe('auroc', () => {
  it('is the share of pairs in the right order, ties half', () => {
    const scores = [0.9, 0.8, 0.8, 0.3, 0.1, 0.3];
    const positive = [1, 0, 1, 1, 0, 0];
    let wins = 0;
    for (const i of [0, 2, 3])
      for (const j of [1, 4, 5]) wins += scores[i] > scores[j] ? 1 : scores[i] === scores[j] ? 0.5 : 0;
    expect(auroc(scores, positive)).toBeCloseTo(wins / 9, 12);
    expect(auroc([1, 2, 3], [false, false, true])).toBe(1);
  });

  it('refuses one class alone', () => {
    expect(() => auroc([1, 2], [1, 1])).toThrow('2 positive and 0 negative');
    expect(() => auroc([1, 2], [1])).toThrow('2 scores for 1');
  });
});

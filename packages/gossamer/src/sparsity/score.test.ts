import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { layer } from './layer.ts';
import * as score from './score.ts';

const w = Float32Array.of(1, -2, 0, 3);
const g = Float32Array.of(-4, -1, 5, 0.5);

describe('scores', () => {
  it('follow their formulas', () => {
    expect([...score.magnitude(w)]).toEqual([1, 2, 0, 3]);
    expect([...score.gradientWeight(w, g)]).toEqual([4, 2, 0, 1.5]);
    expect([...score.grasp(w, g)]).toEqual([-4, 2, -0 + 0, 1.5]);
    expect([...score.synflow(w, g)]).toEqual([4, 2, 0, 1.5]);
    expect([...score.taylor(w, g)]).toEqual([16, 4, 0, 2.25]);
    expect([...score.fisher(w, Float32Array.of(2, 1, 9, 4))]).toEqual([1, 2, 0, 18]);
    expect([...score.movement(Float32Array.of(1, 1, 1, 1), w, g)]).toEqual([5, -1, 1, -0.5]);
  });

  it('SNIP adds up to one over all layers and refuses a dead network', () => {
    const [a, b] = score.snip([
      { w, g },
      { w: Float32Array.of(2), g: Float32Array.of(1.25) },
    ]);
    expect([...a, ...b]).toEqual([0.4, 0.2, 0, 0.15, 0.25].map(Math.fround));
    expect(() => score.snip([{ w, g: new Float32Array(4) }])).toThrow('snip');
  });

  it('refuse arrays of different lengths', () => {
    expect(() => score.taylor(w, new Float32Array(3))).toThrow('taylor: 4 weights but 3 values');
  });

  it('random is given by its seed', () => {
    expect(score.randomScore(5, new Random(1))).toEqual(score.randomScore(5, new Random(1)));
    expect(score.randomScore(5, new Random(1))).not.toEqual(score.randomScore(5, new Random(2)));
  });

  it('activation norm multiplies by the norm of the right input, in any layout', () => {
    const fc = layer('fc', [2, 3], Float32Array.of(1, -1, 2, -3, 4, 5));
    const norms = Float32Array.of(1, 10, 100);
    expect([...score.activationNorm(fc, norms)]).toEqual([1, 10, 200, 3, 40, 500]);
    const transposed = layer('matmul', [3, 2], fc.values, { outAxis: 1, inAxis: 0 });
    expect([...score.activationNorm(transposed, norms)]).toEqual([1, 1, 20, 30, 400, 500]);
    const conv = layer('conv', [1, 2, 1, 2], Float32Array.of(1, -1, 2, -3), { kind: 'conv' });
    expect([...score.activationNorm(conv, Float32Array.of(1, 10))]).toEqual([1, 1, 20, 30]);
    expect([...score.activationNorm(conv, Float32Array.of(1, 10, 100, 1000))]).toEqual([1, 10, 200, 3000]);
    expect(() => score.activationNorm(fc, new Float32Array(2))).toThrow('layer fc: 2 input norms; expected 3');
  });

  it('LAMP divides by the squares not smaller, gives each layer a 1, and keeps the order', () => {
    const values = new Random(4).normal(200).map(v => Math.round(4 * v) / 4);
    const lamp = score.lamp(values);
    values.forEach((v, i) => {
      const rest = values.reduce((n, u) => (Math.abs(u) >= Math.abs(v) ? n + u * u : n), 0);
      expect(lamp[i]).toBeCloseTo(v === 0 ? 0 : (v * v) / rest, 6);
    });
    expect(Math.max(...score.lamp(Float32Array.of(1, -7, 2)))).toBe(1);
    expect([...score.lamp(new Float32Array(3))]).toEqual([0, 0, 0]);
  });
});

import { describe, expect, it } from 'vitest';
import { exp, log, normalCdf, normalQuantile } from './elementary.ts';

const relative = (a: number, b: number) => Math.abs(a - b) / Math.abs(b);

describe('elementary functions', () => {
  it('log and exp agree with the engine to an ulp or two', () => {
    for (let x = -700; x <= 700; x += 0.37) {
      expect(relative(exp(x), Math.exp(x))).toBeLessThan(5e-16);
      expect(relative(log(Math.exp(x)), Math.log(Math.exp(x)))).toBeLessThan(5e-16);
    }
    expect(log(1)).toBe(0);
    expect(exp(0)).toBe(1);
  });

  it('exp goes through the subnormal numbers down to 0', () => {
    expect(relative(exp(-744), Math.exp(-744))).toBeLessThan(0.5);
    expect(relative(exp(-720), Math.exp(-720))).toBeLessThan(1e-9);
    expect(exp(-746)).toBe(0);
    expect(exp(Number.NEGATIVE_INFINITY)).toBe(0);
  });

  // Reference values: Abramowitz and Stegun, table 26.1–26.2; R's pnorm for the tails.
  it.each([
    [0, 0.5],
    [1, 0.8413447460685429],
    [-1.96, 0.0249978951482204],
    [-2.9999, 0.0013503412829549248],
    [-3, 0.0013498980316301],
    [-5, 2.866515718791939e-7],
    [-10, 7.619853024160525e-24],
    [-37, 5.725571222524576e-300],
  ])('Φ(%d)', (x, p) => {
    expect(relative(normalCdf(x), p)).toBeLessThan(1e-12);
  });

  it('Φ⁻¹ inverts Φ in the centre, both tails and across the seams', () => {
    for (let z = -37; z <= 5; z += 0.0137) {
      expect(Math.abs(normalQuantile(normalCdf(z)) - z)).toBeLessThan(z < 0 ? 1e-11 : 1e-9);
    }
    expect(normalQuantile(0.5)).toBe(0);
    expect(normalQuantile(0.975)).toBeCloseTo(1.959963984540054, 14);
    expect(normalQuantile(1e-20)).toBeCloseTo(-9.262340089798409, 13);
    for (const p of [2 ** -33, 0.01, 0.075, 0.4]) expect(normalQuantile(1 - p)).toBeCloseTo(-normalQuantile(p), 6);
  });
});

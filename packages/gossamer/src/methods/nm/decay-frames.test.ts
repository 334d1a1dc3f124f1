import { describe, expect, it } from 'vitest';
import { formatGranularity, type Granularity, layer, parseGranularity } from '../../sparsity/index.ts';
import { decayAt, densityOf, type Frame, frameAt, geometric, phasesOf, stepwise } from './decay-frames.ts';

const weight = layer('w', [4, 128], new Float32Array(512));
const pattern = (text: string): Frame => ({ granularity: parseGranularity(text) });
const text = (frames: readonly Frame[]) => frames.map(f => formatGranularity(f.granularity as Granularity));

describe('stepwise', () => {
  it('halves N down to the target', () => {
    expect(text(stepwise(weight, pattern('1:16')))).toEqual(['15:16', '8:16', '4:16', '2:16', '1:16']);
    expect(text(stepwise(weight, pattern('2:4')))).toEqual(['3:4', '2:4']);
    expect(text(stepwise(weight, pattern('1:8:out')))).toEqual(['7:8:out', '4:8:out', '2:8:out', '1:8:out']);
    expect(stepwise(weight, { sparsity: 0.75 })).toEqual([
      { sparsity: 1 / 512 },
      { sparsity: 0.5 },
      { sparsity: 0.75 },
    ]);
    expect(densityOf(pattern('1:16'))).toBe(1 / 16);
    expect(densityOf({ sparsity: 0.75 })).toBe(0.25);
  });

  it('refuses what halving does not reach', () => {
    expect(() => stepwise(weight, pattern('3:8'))).toThrow('no power of two; choose n = m/2');
    expect(() => stepwise(weight, { sparsity: 0.9 })).toThrow('choose 0.5, 0.75');
  });
});

describe('geometric', () => {
  it('shrinks the groups at one density, as far as they fit the row', () => {
    const blocks = [16, 8, 4, 2, 1];
    expect(text(geometric(weight, pattern('1:8'), blocks))).toEqual(['16:128', '8:64', '4:32', '2:16', '1:8']);
    expect(text(geometric(weight, pattern('1:32'), blocks))).toEqual(['4:128', '2:64', '1:32']);
    expect(text(geometric(weight, pattern('1:4:out'), blocks))).toEqual(['1:4:out']);
    expect(() => geometric(weight, { sparsity: 0.5 }, blocks)).toThrow('needs an N:M pattern');
  });
});

describe('phases', () => {
  it('frames cover the decay phase in order, without gap or overlap, in equal lengths', () => {
    for (const [steps, count] of [
      [100, 5],
      [103, 4],
      [1000, 3],
    ]) {
      const phases = phasesOf(steps, 0.0125, 0.1);
      const at = Array.from({ length: steps }, (_, t) => frameAt(t, phases, count));
      const inside = at.slice(phases.from, phases.to);
      expect(at.slice(0, phases.from).every(f => f === 0)).toBe(true);
      expect(at.slice(phases.to).every(f => f === count - 1)).toBe(true);
      const lengths = Array.from({ length: count }, (_, f) => inside.filter(x => x === f).length);
      expect(inside).toEqual(lengths.flatMap((n, f) => new Array(n).fill(f)));
      expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(1);
    }
    expect(phasesOf(1000, 0.0125, 0.1)).toEqual({ from: 13, to: 900 });
    expect(() => phasesOf(10, 0.5, 0.5)).toThrow('leave no decay');
  });

  it('D goes from 1 to 0, counted from the start of the decay', () => {
    const phases = { from: 20, to: 120 };
    expect([0, 20, 70, 119, 120, 130].map(t => decayAt('linear', t, phases))).toEqual([
      1,
      1,
      0.5,
      expect.closeTo(0.01, 12),
      0,
      0,
    ]);
    expect(decayAt('exponential', 70, phases)).toBeCloseTo(Math.exp(-Math.log(1000) / 2), 12);
    expect(decayAt('exponential', 119, phases)).toBeGreaterThan(1e-3);
    expect(decayAt('exponential', 30, phases, 0.01)).toBeCloseTo(Math.exp(-0.1), 12);
    // Below 1e-3 the pruned weights are gone, and behind the phase in any case.
    expect(decayAt('exponential', 100, phases, 0.1)).toBe(0);
    expect(decayAt('exponential', 120, phases, 1e-6)).toBe(0);
  });
});

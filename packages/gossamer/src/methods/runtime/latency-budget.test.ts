import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { type OperatorTime, operatorTime, sparsitiesForLatency } from './latency-budget.ts';

const operators: OperatorTime[] = [
  { name: 'large map', scores: new Random(1).uniform(40), positions: 1024, a: 1e-3, b: 0.1 },
  { name: 'small map', scores: new Random(2).uniform(200), positions: 16, a: 1e-3, b: 0.05 },
  { name: 'fc', scores: new Random(3).uniform(30), positions: 1, tile: 1, a: 1e-3, b: 0.01 },
];

const timeAt = (sparsities: Record<string, number>): number =>
  operators.reduce((n, o) => n + operatorTime(o, Math.round((1 - sparsities[o.name]) * o.scores.length)), 0);

const nothing = { 'large map': 0, 'small map': 0, fc: 0 };

describe('operatorTime', () => {
  it('is a · units · (P / N) + b', () => {
    expect(operatorTime({ name: 'x', scores: [1], positions: 64, tile: 16, a: 0.5, b: 2 }, 3)).toBe(8);
    expect(operatorTime(operators[0], 0)).toBe(0.1);
  });
});

describe('sparsitiesForLatency', () => {
  it('meets every budget that can be met, and not by much more than it must', () => {
    const dense = timeAt(nothing);
    for (const share of [0.15, 0.4, 0.7, 0.95]) {
      const found = sparsitiesForLatency(operators, share * dense);
      expect(timeAt(found)).toBeLessThanOrEqual(share * dense + 1e-9);
      expect(timeAt(found)).toBeGreaterThan(share * dense - 1.1 * operatorTime({ ...operators[0], b: 0 }, 1));
      expect(Math.max(...Object.values(found))).toBeLessThanOrEqual(0.9);
    }
  });

  it('prunes nothing when the dense network is fast enough', () => {
    expect(sparsitiesForLatency(operators, 100)).toEqual(nothing);
  });

  it('prunes where a unit costs most', () => {
    const found = sparsitiesForLatency(operators, 0.6 * timeAt(nothing));
    expect(found['large map']).toBeGreaterThan(found.fc);
  });

  it('refuses budgets that cannot be met, and operators without a cost', () => {
    expect(() => sparsitiesForLatency(operators, 0.1)).toThrow(/0\.1 ms; at 0\.9 sparsity everywhere .* still take/);
    expect(() => sparsitiesForLatency(operators, 1, { most: 1 })).toThrow('at most 1 sparse');
    expect(() => sparsitiesForLatency([{ ...operators[0], a: 0 }], 1)).toThrow('layer large map has a = 0');
  });
});

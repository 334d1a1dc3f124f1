import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import {
  type GroupedRows,
  identityOrder,
  normSum,
  retained,
  runsOf,
  solveOrders,
  unitScores,
} from './rearrange-solver.ts';

function weight(rows: number, inputs: number, options: Partial<GroupedRows> & { size?: number } = {}): GroupedRows {
  const { size = 2, ...rest } = options;
  const norms = new Random(rows * 31 + inputs).uniform(rows * inputs);
  const runs = runsOf(rows, size);
  const units = rest.balanced ? inputs : runs.groupSizes.length * inputs;
  return { rows, inputs, norms, norm: 'l1', ...runs, keep: Math.round(units / 2), balanced: false, ...rest };
}

const whole = (rows: number, weights: readonly number[] = [0]) => {
  return { members: rows, in: weights.map(w => ({ weight: w, positions: identityOrder(rows) })) };
};

/** Every order of 0 … n − 1. */
function* permutations(n: number): Generator<number[]> {
  if (n === 0) yield [];
  for (const rest of n > 0 ? permutations(n - 1) : []) {
    for (let i = 0; i <= rest.length; i++) yield [...rest.slice(0, i), n - 1, ...rest.slice(i)];
  }
}

describe('runsOf', () => {
  it('lets the last run of each block be shorter', () => {
    expect([...runsOf(7, 3).groupOf]).toEqual([0, 0, 0, 1, 1, 1, 2]);
    expect([...runsOf(7, 3).groupSizes]).toEqual([3, 3, 1]);
    expect([...runsOf(10, 4, 2).groupOf]).toEqual([0, 0, 0, 0, 1, 2, 2, 2, 2, 3]);
    expect([...runsOf(10, 4, 2).groupSizes]).toEqual([4, 1, 4, 1]);
  });
});

describe('retained', () => {
  it('is the sum of the highest unit scores', () => {
    const norms = Float32Array.of(1, 5, 2, 0, 4, 1, 3, 2);
    const w: GroupedRows = { rows: 4, inputs: 2, norms, norm: 'l1', ...runsOf(4, 2), keep: 2, balanced: false };
    // Groups of rows 0 1 and 2 3: inputs 3 5 and 7 3. Of rows 0 2 and 1 3: 5 6 and 5 2.
    expect([...unitScores(w, identityOrder(4))]).toEqual([3, 5, 7, 3]);
    expect(retained(w, identityOrder(4))).toBe(12);
    expect(retained(w, [0, 2, 1, 3])).toBe(11);
    expect(retained({ ...w, balanced: true, keep: 1 }, identityOrder(4))).toBe(12);
    expect(retained({ ...w, norm: 'l2' }, identityOrder(4))).toBeCloseTo(Math.sqrt(7) + Math.sqrt(5), 12);
    expect(normSum(w)).toBe(18);
  });
});

describe('solveOrders', () => {
  it('comes close to the best of all orders, and never falls below the first', () => {
    for (const options of [{}, { norm: 'l2' }, { balanced: true }, { size: 3 }, { size: 4, norm: 'l2' }] as const) {
      const w = weight(7, 9, options);
      const [order] = solveOrders([w], [whole(7)]);
      let best = 0;
      for (const p of permutations(7)) best = Math.max(best, retained(w, p));
      const first = retained(w, identityOrder(7));
      const found = retained(w, order);
      expect([...order].sort()).toEqual([...identityOrder(7)]);
      expect(found).toBeGreaterThanOrEqual(first);
      expect(found - first).toBeGreaterThanOrEqual(0.6 * (best - first));
    }
  });

  it('finds rows that want the same inputs, wherever they are', () => {
    const kinds = 4;
    const rows = 32;
    const norms = new Float32Array(rows * 16);
    const kindOf = new Random(3).permutation(rows).map(r => r % kinds);
    for (let r = 0; r < rows; r++) for (let i = 0; i < 4; i++) norms[r * 16 + kindOf[r] * 4 + i] = 1 + r / 100;
    const w: GroupedRows = { rows, inputs: 16, norms, norm: 'l1', ...runsOf(rows, 4), keep: 32, balanced: false };
    const [order] = solveOrders([w], [whole(rows)]);
    expect(retained(w, order)).toBeCloseTo(normSum(w), 4);
    expect(retained(w, identityOrder(rows))).toBeLessThan(0.8 * normSum(w));
  });

  it('gives weights that share a set one order, at no cost to any of them', () => {
    const weights = [weight(12, 5), weight(12, 8, { norm: 'l2' }), weight(12, 3, { size: 4 })];
    const orders = solveOrders(weights, [whole(12, [0, 1, 2])]);
    expect(orders[1]).toEqual(orders[0]);
    expect(orders[2]).toEqual(orders[0]);
    const gains = weights.map((w, i) => retained(w, orders[i]) - retained(w, identityOrder(12)));
    for (const g of gains) expect(g).toBeGreaterThanOrEqual(0);
    expect(Math.max(...gains)).toBeGreaterThan(0);
  });

  it('moves the rows of a set only', () => {
    const w = weight(10, 6);
    const positions = Int32Array.of(1, 4, 5, 8);
    const [order] = solveOrders([w], [{ members: 4, in: [{ weight: 0, positions }] }]);
    expect([...order].filter((row, p) => row !== p && !positions.includes(p))).toEqual([]);
    expect(solveOrders([w], [])[0]).toEqual(identityOrder(10));
  });
});

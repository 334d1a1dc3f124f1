import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { averageSnapshots } from './average.ts';

const state = (seed: number) =>
  new Map([
    ['w', new Random(seed).normal(50)],
    ['b', new Random(seed + 9).normal(3)],
  ]);

describe('averageSnapshots', () => {
  it('is the weighted mean of every tensor', () => {
    const [a, b, c] = [1, 2, 3].map(state);
    const mean = averageSnapshots([a, b, c]);
    const weighted = averageSnapshots([a, b], [3, 1]);
    for (const name of ['w', 'b']) {
      for (const [i, v] of mean.get(name)!.entries()) {
        expect(v).toBeCloseTo((a.get(name)![i] + b.get(name)![i] + c.get(name)![i]) / 3, 6);
        expect(weighted.get(name)![i]).toBeCloseTo(0.75 * a.get(name)![i] + 0.25 * b.get(name)![i], 6);
      }
    }
  });

  it('gives back identical snapshots bit for bit, whatever their number', () => {
    for (const m of [1, 2, 3, 5, 7, 10]) expect(averageSnapshots(Array(m).fill(state(4)))).toEqual(state(4));
  });

  it('refuses snapshots of different networks and weights that do not fit', () => {
    expect(() => averageSnapshots([])).toThrow('no snapshots');
    expect(() => averageSnapshots([state(1), new Map([['w', new Float32Array(50)]])])).toThrow('1 tensors');
    const other = new Map([...state(1), ['b', new Float32Array(2)]]);
    expect(() => averageSnapshots([state(1), other])).toThrow("'b' has 2 values in snapshot 1, 3 in the first");
    expect(() => averageSnapshots([state(1)], [1, 1])).toThrow('2 weights for 1 snapshots');
    expect(() => averageSnapshots([state(1), state(2)], [1, -1])).toThrow('add up');
  });
});

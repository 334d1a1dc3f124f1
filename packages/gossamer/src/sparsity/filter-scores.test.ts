import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { filterScores } from './filter-scores.ts';
import { layer } from './layer.ts';

const random = new Random(4);

describe('filter scores', () => {
  it('are norms and distances of the rows of a layer stored either way', () => {
    const rows = 5;
    const columns = 7;
    const values = random.normal(rows * columns);
    const turned = Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]);
    const row = (o: number) => [...values.subarray(o * columns, (o + 1) * columns)];
    const expected = {
      l1: (o: number) => row(o).reduce((s, w) => s + Math.abs(w), 0),
      l2: (o: number) => Math.hypot(...row(o)),
      fpgm: (o: number) =>
        Array.from({ length: rows }, (_, j) => Math.hypot(...row(o).map((w, i) => w - row(j)[i]))).reduce(
          (a, b) => a + b,
        ),
    };
    for (const kind of ['l1', 'l2', 'fpgm'] as const) {
      const plain = filterScores(layer('a', [rows, columns], values), kind);
      const other = filterScores(layer('b', [columns, rows], turned, { outAxis: 1, inAxis: 0 }), kind);
      for (let o = 0; o < rows; o++) {
        expect(plain[o]).toBeCloseTo(expected[kind](o), 5);
        expect(other[o]).toBeCloseTo(expected[kind](o), 5);
      }
    }
  });

  it('see all of a filter: input channels and window', () => {
    const values = new Float32Array(2 * 3 * 2 * 2);
    values[12 + 11] = -3;
    expect([...filterScores(layer('conv', [2, 3, 2, 2], values), 'l1')]).toEqual([0, 3]);
    expect([...filterScores(layer('conv', [2, 3, 2, 2], values), 'fpgm')]).toEqual([3, 3]);
  });

  it('give the filter in the middle of the others the lowest FPGM score', () => {
    const values = Float32Array.of(0, 1, 2, 3, 10);
    const scores = filterScores(layer('fc', [5, 1], values), 'fpgm');
    expect(scores.indexOf(Math.min(...scores))).toBe(2);
  });
});

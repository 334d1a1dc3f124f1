import { describe, expect, it } from 'vitest';
import { csrFromSorted, normalizeRows, toDense } from './sparse.ts';

const matrix = csrFromSorted([3, 3], [0, 0, 2], [0, 2, 1], [1, 3, 5]);

describe('sparse rows', () => {
  it('become dense', () => {
    expect(toDense(matrix).data).toEqual(Float32Array.from([1, 0, 3, 0, 0, 0, 0, 5, 0]));
  });

  it('are divided by their sums, empty ones left', () => {
    expect(toDense(normalizeRows(matrix)).data).toEqual(Float32Array.from([0.25, 0, 0.75, 0, 0, 0, 0, 1, 0]));
    expect(matrix.values).toEqual(Float32Array.from([1, 3, 5]));
  });
});

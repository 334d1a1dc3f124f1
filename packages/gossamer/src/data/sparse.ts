import type { NDArray } from '@gossamer/tensor';

/** A sparse matrix by rows: the columns and values of row i are at [offsets[i], offsets[i + 1]). */
export interface Csr {
  readonly shape: readonly [rows: number, columns: number];
  readonly offsets: Int32Array;
  readonly columns: Int32Array;
  readonly values: Float32Array;
}

/** The matrix as a dense float32 array [rows, columns]. */
export function toDense(matrix: Csr): NDArray<Float32Array> {
  const [rows, columns] = matrix.shape;
  const data = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let k = matrix.offsets[row]; k < matrix.offsets[row + 1]; k++) {
      data[row * columns + matrix.columns[k]] = matrix.values[k];
    }
  }
  return { dtype: 'float32', shape: [rows, columns], data };
}

/** Each row divided by its sum (rows that sum to 0 are left): the usual preparation of bag-of-words features. */
export function normalizeRows(matrix: Csr): Csr {
  const values = matrix.values.slice();
  for (let row = 0; row < matrix.shape[0]; row++) {
    const [start, stop] = [matrix.offsets[row], matrix.offsets[row + 1]];
    let sum = 0;
    for (let k = start; k < stop; k++) sum += values[k];
    if (sum !== 0) for (let k = start; k < stop; k++) values[k] /= sum;
  }
  return { ...matrix, values };
}

/** CSR from entries sorted by row. */
export function csrFromSorted(
  shape: readonly [number, number],
  rows: ArrayLike<number>,
  columns: ArrayLike<number>,
  values: ArrayLike<number>,
): Csr {
  const offsets = new Int32Array(shape[0] + 1);
  for (let k = 0; k < rows.length; k++) offsets[rows[k] + 1]++;
  for (let row = 0; row < shape[0]; row++) offsets[row + 1] += offsets[row];
  return { shape, offsets, columns: Int32Array.from(columns), values: Float32Array.from(values) };
}

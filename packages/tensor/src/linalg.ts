import {
  CholeskyDecomposition,
  EigenvalueDecomposition,
  LuDecomposition,
  Matrix,
  QrDecomposition,
  SingularValueDecomposition,
} from 'ml-matrix';
import type { NDArray } from './dtype.ts';
import { check } from './errors.ts';

/**
 * Dense decompositions of one matrix, computed in float64 by ml-matrix (the JAMA algorithms). They run on the calling
 * thread; seconds for square matrices, Node 24 on one core of a 2-core server:
 *
 * |    n | svd | qr | eigh | cholesky | solve (1 column) | inverse | pinv |
 * | ---: | --: | -: | ---: | -------: | ---------------: | ------: | ---: |
 * |   64 | 0.006 | 0.001 | 0.002 | 0.001 | 0.002 | 0.001 | 0.003 |
 * |  128 | 0.015 | 0.010 | 0.010 | 0.002 | 0.003 | 0.005 | 0.016 |
 * |  256 | 0.11 | 0.10 | 0.07 | 0.004 | 0.013 | 0.032 | 0.13 |
 * |  512 | 0.88 | 0.84 | 0.50 | 0.03 | 0.08 | 0.23 | 1.0 |
 * | 1024 | 8.0 | 7.5 | 3.2 | 0.4 | 0.5 | 2.0 | 8.7 |
 *
 * All grow as n³; for [m, n] as the longer side times the shorter side squared: svd of [768, 3072] takes 15 s.
 *
 * @module
 */

/** What every function takes: a finite, non-empty matrix, row-major. */
export type RealArray = NDArray<Float32Array | Float64Array>;
/** What every function returns: float64, row-major. */
export type Float64NDArray = NDArray<Float64Array<ArrayBuffer>>;

/**
 * Singular value decomposition a = u · diag(s) · vt of a matrix [m, n], k = min(m, n): u [m, k] with orthonormal columns,
 * s [k] descending and ≥ 0, vt [k, n] with orthonormal rows. In each column of u the component of largest magnitude (the
 * first of those within 1e-8 of it) is positive.
 */
export function svd(a: RealArray): { u: Float64NDArray; s: Float64NDArray; vt: Float64NDArray } {
  const { u, s, v } = decompose(matrixOf('svd', a));
  orient(u, v);
  return { u: fromMatrix(u), s: vector(s), vt: fromMatrix(v.transpose()) };
}

/**
 * Reduced QR decomposition a = q · r of a matrix [m, n], k = min(m, n): q [m, k] with orthonormal columns, r [k, n] upper
 * triangular with a diagonal ≥ 0 (which makes it unique where a has full rank).
 */
export function qr(a: RealArray): { q: Float64NDArray; r: Float64NDArray } {
  const whole = matrixOf('qr', a);
  const [m, n] = [whole.rows, whole.columns];
  const k = Math.min(m, n);
  // The library wants m ≥ n. The leading square of a wide matrix determines q; the rest of r is qᵀa.
  const decomposition = new QrDecomposition(n > m ? whole.subMatrix(0, m - 1, 0, m - 1) : whole);
  const q = decomposition.orthogonalMatrix;
  const r = new Matrix(k, n);
  r.setSubMatrix(decomposition.upperTriangularMatrix, 0, 0);
  if (n > m) r.setSubMatrix(q.transpose().mmul(whole.subMatrix(0, m - 1, m, n - 1)), 0, m);
  for (let i = 0; i < k; i++) {
    if (r.get(i, i) >= 0) continue;
    q.mulColumn(i, -1);
    r.mulRow(i, -1);
  }
  return { q: fromMatrix(q), r: fromMatrix(r) };
}

/**
 * Eigenvalues and eigenvectors of a symmetric matrix [n, n]: values [n] ascending, vectors [n, n] whose column i belongs to
 * values[i]; a = vectors · diag(values) · vectorsᵀ. Signs as in {@link svd}. Asymmetry up to rounding (1e-5 of the largest
 * entry in float32, 1e-10 in float64) is averaged away, more is an error.
 */
export function eigh(a: RealArray): { values: Float64NDArray; vectors: Float64NDArray } {
  const matrix = symmetricOf('eigh', a);
  const scale = normalize(matrix);
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  orient(eigenvectorMatrix);
  return { values: vector(realEigenvalues.map(x => x * scale)), vectors: fromMatrix(eigenvectorMatrix) };
}

/**
 * Lower triangular L [n, n] with a positive diagonal and L · Lᵀ = a, for a symmetric positive definite matrix [n, n]
 * (symmetric as for {@link eigh}). If a pivot is not positive the error names it and suggests
 * damping.
 */
export function cholesky(a: RealArray): Float64NDArray {
  const matrix = symmetricOf('cholesky', a);
  const decomposition = new CholeskyDecomposition(matrix);
  const lower = decomposition.lowerTriangularMatrix;
  if (!decomposition.isPositiveDefinite()) {
    const pivot = lower.diag().findIndex(x => !(x > 0));
    const mean = matrix.trace() / matrix.rows;
    const advice =
      mean > 0 ? `e.g. ${(0.01 * mean).toPrecision(2)}, 1 % of its mean` : 'its mean is not positive either';
    check(
      false,
      `cholesky: [${a.shape.join(', ')}] is not positive definite at pivot ${pivot}; add damping to the diagonal (${advice})`,
    );
  }
  return fromMatrix(lower);
}

/**
 * x with a · x = b, for a square matrix a [n, n] and b [n] or [n, k]; x has the shape of b. LU with partial pivoting. An
 * error if a is singular to working precision.
 */
export function solve(a: RealArray, b: RealArray): Float64NDArray {
  const matrix = squareOf('solve', a);
  const right = rightHandSide('solve', matrix, b);
  const x = factorise('solve', matrix).solve(right);
  return { ...fromMatrix(x), shape: [...b.shape] };
}

/** The inverse of a square matrix [n, n]. An error if it is singular to working precision. */
export function inverse(a: RealArray): Float64NDArray {
  const matrix = squareOf('inverse', a);
  return fromMatrix(factorise('inverse', matrix).solve(Matrix.eye(matrix.rows)));
}

/** Sign (−1, 0 or 1) and natural logarithm of |det a| (−Infinity if 0) of a square matrix [n, n]. */
export function logdet(a: RealArray): { sign: number; logAbs: number } {
  const lu = new LuDecomposition(squareOf('logdet', a));
  let sign = permutationSign(lu.pivotPermutationVector);
  let logAbs = 0;
  for (const x of lu.upperTriangularMatrix.diag()) {
    sign *= Math.sign(x);
    logAbs += Math.log(Math.abs(x));
  }
  // `|| 0` turns −0 into 0.
  return { sign: sign || 0, logAbs };
}

/** How small a singular value counts as zero. */
export interface RankOptions {
  /** Relative to the largest singular value; default max(m, n) · ε of the input's dtype. */
  readonly tolerance?: number;
}

/** Moore–Penrose pseudo-inverse [n, m] of a matrix [m, n], by {@link svd}. */
export function pinv(a: RealArray, options: RankOptions = {}): Float64NDArray {
  return fromMatrix(pseudoInverse('pinv', a, options).inverse);
}

/**
 * The x of least norm among those that minimise ‖a · x − b‖₂, for a [m, n] and b [m] or [m, k]; x is [n] or [n, k]. By
 * {@link svd}, so a may be rank-deficient; `rank` is the number of singular values kept.
 */
export function lstsq(a: RealArray, b: RealArray, options: RankOptions = {}): { x: Float64NDArray; rank: number } {
  const right = rightHandSide('lstsq', matrixOf('lstsq', a), b);
  const { inverse, rank } = pseudoInverse('lstsq', a, options);
  const x = fromMatrix(inverse.mmul(right));
  return { x: { ...x, shape: [a.shape[1], ...b.shape.slice(1)] }, rank };
}

function pseudoInverse(what: string, a: RealArray, options: RankOptions): { inverse: Matrix; rank: number } {
  const { u, s, v } = decompose(matrixOf(what, a));
  const tolerance = options.tolerance ?? Math.max(u.rows, v.rows) * (a.dtype === 'float32' ? 2 ** -23 : 2 ** -52);
  check(tolerance >= 0 && tolerance < 1, () => `${what}: tolerance ${tolerance}: expected a number in [0, 1)`);
  const rank = s.filter(x => x > tolerance * s[0]).length;
  for (let i = 0; i < s.length; i++) v.mulColumn(i, i < rank ? 1 / s[i] : 0);
  return { inverse: v.mmul(u.transpose()), rank };
}

/** u, s, v of the library, for any aspect; consumes `matrix`. */
function decompose(matrix: Matrix): { u: Matrix; s: number[]; v: Matrix } {
  const scale = normalize(matrix);
  const { leftSingularVectors, diagonal, rightSingularVectors } = new SingularValueDecomposition(matrix, {
    autoTranspose: true,
  });
  return { u: leftSingularVectors, s: diagonal.map(x => x * scale), v: rightSingularVectors };
}

/**
 * Divides `matrix` by a power of two, which it returns, so that its largest entry is about 1: squares neither overflow
 * nor vanish on the way, and the iterations below, which have no other bound, converge.
 */
function normalize(matrix: Matrix): number {
  const largest = Math.max(Math.abs(matrix.min()), Math.abs(matrix.max()));
  if (largest === 0) return 1;
  const scale = 2 ** Math.max(-1022, Math.floor(Math.log2(largest)));
  matrix.div(scale);
  return scale;
}

/** Makes the leading component of each column of `vectors` positive; flips the partner's columns along. */
function orient(vectors: Matrix, partner?: Matrix): void {
  for (let j = 0; j < vectors.columns; j++) {
    let largest = 0;
    for (let i = 0; i < vectors.rows; i++) largest = Math.max(largest, Math.abs(vectors.get(i, j)));
    let lead = 0;
    while (Math.abs(vectors.get(lead, j)) < largest * (1 - 1e-8)) lead++;
    if (vectors.get(lead, j) >= 0) continue;
    vectors.mulColumn(j, -1);
    partner?.mulColumn(j, -1);
  }
}

/**
 * LU of a square matrix, refused where a pivot is rounding noise: below n·ε of both the largest entry of its row and
 * that of its column (both, so that badly scaled rows or columns alone are no reason).
 */
function factorise(what: string, matrix: Matrix): LuDecomposition {
  const lu = new LuDecomposition(matrix);
  const upper = lu.upperTriangularMatrix;
  const n = matrix.rows;
  const rows = Array.from({ length: n }, (_, i) => largestOf(matrix.getRow(lu.pivotPermutationVector[i])));
  for (let i = 0; i < n; i++) {
    const noise = n * 2 ** -52 * Math.min(rows[i], largestOf(matrix.getColumn(i)));
    check(
      Math.abs(upper.get(i, i)) > noise,
      () =>
        `${what}: [${n}, ${n}] is singular to working precision: pivot ${i} is ${upper.get(i, i)}; use lstsq or pinv, or add damping to the diagonal`,
    );
  }
  return lu;
}

const largestOf = (values: number[]) => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

function permutationSign(permutation: number[]): number {
  const seen = new Set<number>();
  let sign = 1;
  for (let start = 0; start < permutation.length; start++) {
    // A cycle of even length is an odd permutation.
    for (let i = start, length = 0; !seen.has(i); i = permutation[i]) {
      seen.add(i);
      if (length++ > 0) sign = -sign;
    }
  }
  return sign;
}

/** A copy of `a` for the library; refuses all but finite, non-empty matrices of floats. */
function matrixOf(what: string, a: RealArray): Matrix {
  const shape = `[${a.shape.join(', ')}]`;
  check(
    a.data instanceof Float32Array || a.data instanceof Float64Array,
    () => `${what}: got ${a.dtype}, expected float32 or float64; cast it first`,
  );
  check(a.shape.length === 2, () => `${what}: ${shape} is not a matrix; expected two axes`);
  const [rows, columns] = a.shape;
  check(rows > 0 && columns > 0, () => `${what}: ${shape} is empty`);
  check(a.data.length === rows * columns, () => `${what}: shape ${shape} does not fit ${a.data.length} values`);
  const bad = a.data.findIndex(x => !Number.isFinite(x));
  check(
    bad < 0,
    () =>
      `${what}: element [${Math.floor(bad / columns)}, ${bad % columns}] of ${shape} is ${a.data[bad]}; expected finite values`,
  );
  return Matrix.from1DArray(rows, columns, a.data);
}

function squareOf(what: string, a: RealArray): Matrix {
  const matrix = matrixOf(what, a);
  check(matrix.isSquare(), () => `${what}: [${a.shape.join(', ')}] is not square`);
  return matrix;
}

function symmetricOf(what: string, a: RealArray): Matrix {
  const matrix = squareOf(what, a);
  const tolerance = (a.dtype === 'float32' ? 1e-5 : 1e-10) * Math.max(Math.abs(matrix.min()), Math.abs(matrix.max()));
  for (let i = 0; i < matrix.rows; i++) {
    for (let j = 0; j < i; j++) {
      const [below, above] = [matrix.get(i, j), matrix.get(j, i)];
      check(
        Math.abs(below - above) <= tolerance,
        () =>
          `${what}: [${a.shape.join(', ')}] is not symmetric: [${i}, ${j}] is ${below}, [${j}, ${i}] is ${above}; symmetrise it as (a + aᵀ) / 2 if that is meant`,
      );
      const middle = below / 2 + above / 2;
      matrix.set(i, j, middle);
      matrix.set(j, i, middle);
    }
  }
  return matrix;
}

function rightHandSide(what: string, a: Matrix, b: RealArray): Matrix {
  const columns = b.shape.length === 1 ? { ...b, shape: [b.shape[0], 1] } : b;
  const right = matrixOf(what, columns);
  check(
    right.rows === a.rows,
    () => `${what}: a [${a.rows}, ${a.columns}] and b [${b.shape.join(', ')}]: ${a.rows} and ${right.rows} rows differ`,
  );
  return right;
}

function vector(values: ArrayLike<number>): Float64NDArray {
  return { dtype: 'float64', shape: [values.length], data: Float64Array.from(values) };
}

function fromMatrix(matrix: Matrix): Float64NDArray {
  const data = new Float64Array(matrix.rows * matrix.columns);
  for (let i = 0; i < matrix.rows; i++) {
    for (let j = 0; j < matrix.columns; j++) data[i * matrix.columns + j] = matrix.get(i, j);
  }
  return { dtype: 'float64', shape: [matrix.rows, matrix.columns], data };
}

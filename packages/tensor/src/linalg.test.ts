import { describe, expect, it } from 'vitest';
import { cholesky, eigh, inverse, logdet, lstsq, pinv, qr, type RealArray, solve, svd } from './linalg.ts';
import { Random } from './random.ts';

const array = (shape: number[], values: Iterable<number>): RealArray => ({
  dtype: 'float64',
  shape,
  data: Float64Array.from(values),
});
const matrix = (...rows: number[][]) => array([rows.length, rows[0].length], rows.flat());
const random = (m: number, n: number): RealArray => array([m, n], new Random(`${m}x${n}`).normal(m * n));

const transpose = ({ shape: [m, n], data }: RealArray) =>
  array(
    [n, m],
    Array.from(data, (_, i) => data[(i % m) * n + Math.floor(i / m)]),
  );
const diagonal = ({ data }: RealArray) =>
  array(
    [data.length, data.length],
    Array.from({ length: data.length ** 2 }, (_, i) => (i % (data.length + 1) ? 0 : data[i / (data.length + 1)])),
  );
const eye = (n: number) => diagonal(array([n], Array(n).fill(1)));
function product(...factors: RealArray[]): RealArray {
  return factors.reduce((a, b) => {
    const [m, k, n] = [a.shape[0], a.shape[1], b.shape[1] ?? 1];
    expect(b.shape[0]).toBe(k);
    const out = new Float64Array(m * n);
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) for (let l = 0; l < k; l++) out[i * n + j] += a.data[i * k + l] * b.data[l * n + j];
    return array([m, ...b.shape.slice(1)], out);
  });
}
const largest = ({ data }: RealArray) => Math.max(...Array.from(data, Math.abs));

function expectClose(actual: RealArray, expected: RealArray, tolerance = 1e-12): void {
  expect(actual.shape).toEqual(expected.shape);
  const scale = Math.max(largest(expected), Number.MIN_VALUE);
  const error = Math.max(...Array.from(actual.data, (x, i) => Math.abs(x - expected.data[i])));
  expect(error).toBeLessThanOrEqual(tolerance * scale);
}

function expectOriented({ shape: [m, n], data }: RealArray): void {
  for (let j = 0; j < n; j++) {
    const column = Array.from({ length: m }, (_, i) => data[i * n + j]);
    expect(column.reduce((a, b) => (Math.abs(b) > Math.abs(a) * (1 + 1e-7) ? b : a))).toBeGreaterThan(0);
  }
}

const rankTwo = (m: number, n: number) => product(random(m, 2), random(2, n));
const shapes = [
  [1, 1],
  [1, 4],
  [4, 1],
  [2, 2],
  [5, 3],
  [3, 5],
  [20, 20],
  [40, 7],
  [7, 40],
];
const matrices: [string, RealArray][] = [
  ...shapes.map(([m, n]): [string, RealArray] => [`random [${m}, ${n}]`, random(m, n)]),
  ['rank 2 of [6, 6]', rankTwo(6, 6)],
  ['rank 2 of [9, 5]', rankTwo(9, 5)],
  ['rank 2 of [5, 9]', rankTwo(5, 9)],
  ['zeros', array([4, 3], Array(12).fill(0))],
  ['identity', eye(5)],
  ['a zero column first', matrix([0, 1, 2], [0, 3, 4], [0, 5, 7])],
  ['repeated columns', matrix([1, 1], [2, 2], [3, 3])],
  [
    'huge',
    array(
      [4, 4],
      Array.from(random(4, 4).data, x => x * 1e300),
    ),
  ],
  [
    'tiny',
    array(
      [4, 4],
      Array.from(random(4, 4).data, x => x * 1e-290),
    ),
  ],
];

describe('svd', () => {
  it.each(matrices)('rebuilds %s from orthonormal, ordered, oriented factors', (_, a) => {
    const [m, n] = a.shape;
    const k = Math.min(m, n);
    const { u, s, vt } = svd(a);
    expect([u.shape, s.shape, vt.shape]).toEqual([[m, k], [k], [k, n]]);
    expectClose(product(u, diagonal(s), vt), a);
    expectClose(product(transpose(u), u), eye(k));
    expectClose(product(vt, transpose(vt)), eye(k));
    expect([...s.data]).toEqual([...s.data].sort((x, y) => y - x));
    expect(s.data[k - 1]).toBeGreaterThanOrEqual(0);
    expectOriented(u);
  });

  it('finds known singular values and the rank', () => {
    // aᵀa = [[25, 20], [20, 25]]: eigenvalues 45 and 5.
    expectClose(svd(matrix([3, 0], [4, 5])).s, array([2], [Math.sqrt(45), Math.sqrt(5)]));
    const { s } = svd(rankTwo(30, 20));
    expect(s.data[1] / s.data[0]).toBeGreaterThan(0.1);
    expect(s.data[2] / s.data[0]).toBeLessThan(1e-14);
  });

  it('truncation is the best approximation: its error is the rest of the singular values', () => {
    const a = random(12, 9);
    const { u, s, vt } = svd(a);
    const kept = array(
      [9],
      Array.from(s.data, (x, i) => (i < 4 ? x : 0)),
    );
    const approximation = product(u, diagonal(kept), vt);
    const error = Array.from(a.data).reduce((sum, x, i) => sum + (x - approximation.data[i]) ** 2, 0);
    expect(error).toBeCloseTo(
      s.data.slice(4).reduce((sum, x) => sum + x * x, 0),
      10,
    );
  });
});

describe('qr', () => {
  it.each(matrices)('rebuilds %s from an orthonormal and an upper triangular factor', (_, a) => {
    const [m, n] = a.shape;
    const k = Math.min(m, n);
    const { q, r } = qr(a);
    expect([q.shape, r.shape]).toEqual([
      [m, k],
      [k, n],
    ]);
    expectClose(product(q, r), a);
    expectClose(product(transpose(q), q), eye(k));
    for (let i = 0; i < k; i++) {
      expect(r.data[i * n + i]).toBeGreaterThanOrEqual(0);
      for (let j = 0; j < i; j++) expect(Math.abs(r.data[i * n + j])).toBe(0);
    }
  });

  it('finds a known factorisation', () => {
    const { q, r } = qr(matrix([3, 1], [4, 2]));
    expectClose(q, matrix([0.6, -0.8], [0.8, 0.6]));
    expectClose(r, matrix([5, 2.2], [0, 0.4]));
  });
});

describe('eigh', () => {
  const symmetric = (n: number) => {
    const a = random(n, n);
    return array(
      [n, n],
      Array.from(a.data, (x, i) => x + transpose(a).data[i]),
    );
  };
  it.each([
    ['[1, 1]', matrix([-3])],
    ['random [12, 12]', symmetric(12)],
    ['random [33, 33]', symmetric(33)],
    ['rank 2', product(random(8, 2), transpose(random(8, 2)))],
    ['zeros', array([3, 3], Array(9).fill(0))],
    ['equal eigenvalues', array([4, 4], Array(16).fill(1))],
    ['huge', array([2, 2], [1e300, 2e299, 2e299, -1e300])],
  ])('rebuilds %s', (_, a) => {
    const { values, vectors } = eigh(a);
    expectClose(product(vectors, diagonal(values), transpose(vectors)), a);
    expectClose(product(transpose(vectors), vectors), eye(a.shape[0]));
    expect([...values.data]).toEqual([...values.data].sort((x, y) => x - y));
    expectOriented(vectors);
  });

  it('finds known eigenvalues: the path graph’s 2 − 2 cos(πk / n)', () => {
    const n = 9;
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      a[i * n + i] = i === 0 || i === n - 1 ? 1 : 2;
      if (i > 0) a[i * n + i - 1] = a[(i - 1) * n + i] = -1;
    }
    const expected = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos((Math.PI * k) / n));
    expectClose(eigh(array([n, n], a)).values, array([n], expected), 1e-14);
  });

  it('accepts asymmetry of float32 rounding and refuses more', () => {
    const data = Float32Array.of(1, 0.5, 0.5 + 2 ** -22, 1);
    expect(eigh({ dtype: 'float32', shape: [2, 2], data }).values.data[1]).toBeCloseTo(1.5, 6);
    expect(() => eigh(matrix([1, 2], [2.001, 1]))).toThrow(
      'eigh: [2, 2] is not symmetric: [1, 0] is 2.001, [0, 1] is 2',
    );
  });
});

describe('cholesky', () => {
  it.each([1, 2, 17])('rebuilds a positive definite [%d, %d] matrix', n => {
    const a = product(random(n, n + 3), transpose(random(n, n + 3)));
    const lower = cholesky(a);
    expectClose(product(lower, transpose(lower)), a);
    for (let i = 0; i < n; i++) {
      expect(lower.data[i * n + i]).toBeGreaterThan(0);
      for (let j = i + 1; j < n; j++) expect(lower.data[i * n + j]).toBe(0);
    }
  });

  it('finds a known factor', () => {
    const a = matrix([4, 12, -16], [12, 37, -43], [-16, -43, 98]);
    expectClose(cholesky(a), matrix([2, 0, 0], [6, 1, 0], [-8, 5, 3]));
  });

  it('names the pivot and suggests damping', () => {
    expect(() => cholesky(matrix([1, 0, 0], [0, 2, 2], [0, 2, 1]))).toThrow(
      'cholesky: [3, 3] is not positive definite at pivot 2; add damping to the diagonal (e.g. 0.013, 1 % of its mean)',
    );
    expect(() => cholesky(matrix([-1]))).toThrow('pivot 0');
    expect(() => cholesky(matrix([1, 1], [1, 1]))).toThrow('pivot 1');
    expect(() => cholesky(matrix([1, 0], [1, 1]))).toThrow('not symmetric');
  });
});

describe('solve, inverse, logdet', () => {
  it.each([1, 2, 5, 30])('solve inverts multiplication, [%d, %d]', n => {
    const a = random(n, n);
    const x = random(n, 3);
    expectClose(solve(a, product(a, x)), x, 1e-10);
    const column = array([n], random(n, 1).data);
    expectClose(solve(a, product(a, column)), column, 1e-10);
    expectClose(product(inverse(a), a), eye(n), 1e-10);
  });

  it('needs row exchanges and gets them', () => {
    expectClose(solve(matrix([0, 2], [3, 0]), array([2], [4, 9])), array([2], [3, 2]));
    expectClose(inverse(matrix([0, 1], [1, 0])), matrix([0, 1], [1, 0]));
  });

  it('refuses singular matrices, but not badly scaled ones', () => {
    expect(() => solve(matrix([1, 2], [2, 4]), array([2], [1, 1]))).toThrow('solve: [2, 2] is singular');
    expect(() => inverse(rankTwo(20, 20))).toThrow('use lstsq or pinv');
    expect(() => inverse(matrix([0]))).toThrow('pivot 0 is 0');
    expectClose(solve(matrix([1, 0], [0, 1e-30]), array([2], [1, 2e-30])), array([2], [1, 2]));
    expectClose(solve(matrix([1, 1], [1e-30, 3e-30]), array([2], [2, 4e-30])), array([2], [1, 1]));
    expectClose(solve(matrix([1, 1e-30], [1, 3e-30]), array([2], [1, 1])), array([2], [1, 0]));
  });

  it('refuses right-hand sides of another height', () => {
    expect(() => solve(eye(3), array([2], [1, 2]))).toThrow('solve: a [3, 3] and b [2]: 3 and 2 rows differ');
    expect(() => solve(random(3, 2), array([3], [1, 2, 3]))).toThrow('[3, 2] is not square');
  });

  it('logdet gives sign and logarithm, beyond the range of float64 too', () => {
    expect(logdet(matrix([0, 1, 0], [0, 0, 1], [1, 0, 0])).sign).toBe(1);
    expect(logdet(matrix([0, 1], [1, 0]))).toEqual({ sign: -1, logAbs: 0 });
    expect(logdet(matrix([1, 2], [2, 4]))).toEqual({ sign: 0, logAbs: Number.NEGATIVE_INFINITY });
    const { sign, logAbs } = logdet(matrix([2, 1], [7, 3]));
    expect([sign, logAbs]).toEqual([-1, expect.closeTo(0, 12)]);
    expect(logdet(diagonal(array([400], Array(400).fill(10)))).logAbs).toBeCloseTo(400 * Math.LN10, 8);
    const { values } = eigh(product(random(6, 6), transpose(random(6, 6))));
    const expected = values.data.reduce((sum, x) => sum + Math.log(x), 0);
    expect(2 * logdet(random(6, 6)).logAbs).toBeCloseTo(expected, 9);
  });
});

describe('pinv and lstsq', () => {
  it.each(matrices)('pinv of %s satisfies the four Penrose equations', (_, a) => {
    const p = pinv(a);
    const [ap, pa] = [product(a, p), product(p, a)];
    expectClose(product(ap, a), a, 1e-10);
    expectClose(product(pa, p), p, 1e-10);
    expectClose(transpose(ap), ap, 1e-10);
    expectClose(transpose(pa), pa, 1e-10);
  });

  it('lstsq fits a line', () => {
    const { x, rank } = lstsq(matrix([0, 1], [1, 1], [2, 1], [3, 1]), array([4], [1, 3, 5, 7]));
    expectClose(x, array([2], [2, 1]));
    expect(rank).toBe(2);
  });

  it('leaves a residual orthogonal to the columns, and picks the shortest solution', () => {
    const [a, b] = [rankTwo(9, 5), random(9, 2)];
    const { x, rank } = lstsq(a, b);
    expect([rank, x.shape]).toEqual([2, [5, 2]]);
    const residual = array(
      [9, 2],
      product(a, x).data.map((v, i) => v - b.data[i]),
    );
    expect(largest(product(transpose(a), residual))).toBeLessThan(1e-12);
    // Shortest means: no part in the null space, which pinv(a) · a projects out.
    expectClose(product(pinv(a), a, x), x, 1e-10);
  });

  it('drops what the tolerance, or the precision of float32, calls noise', () => {
    const a = matrix([1, 0], [0, 1e-7]);
    expect(pinv(a).data[3]).toBeCloseTo(1e7, 3);
    expect(pinv(a, { tolerance: 1e-6 }).data[3]).toBe(0);
    expect(pinv({ dtype: 'float32', shape: [2, 2], data: Float32Array.from(a.data) }).data[3]).toBe(0);
    expect(() => pinv(a, { tolerance: -1 })).toThrow('tolerance -1');
  });
});

describe('input', () => {
  const all = { svd, qr, eigh, cholesky, inverse, logdet, pinv, solve: (a: RealArray) => solve(a, a) };
  it.each(Object.entries(all))('%s refuses what is not a finite, non-empty float matrix', (name, run) => {
    const message = (a: unknown) => {
      try {
        run(a as RealArray);
      } catch (error) {
        return `${(error as Error).name} ${(error as Error).message}`;
      }
    };
    expect(message(array([0, 3], []))).toBe(`GossamerError ${name}: [0, 3] is empty`);
    expect(message(array([3], [1, 2, 3]))).toMatch(/is not|not square/);
    expect(message(array([2, 2], [1, 2, 3]))).toBe(`GossamerError ${name}: shape [2, 2] does not fit 3 values`);
    expect(message(matrix([1, 2], [Number.NaN, 1]))).toContain('element [1, 0] of [2, 2] is NaN');
    expect(message(matrix([1, Number.POSITIVE_INFINITY], [1, 1]))).toContain('element [0, 1] of [2, 2] is Infinity');
    expect(message({ dtype: 'int32', shape: [1, 1], data: Int32Array.of(1) })).toContain('got int32');
  });

  it('is left unchanged', () => {
    const a = product(random(4, 6), transpose(random(4, 6)));
    const before = [...a.data];
    for (const run of Object.values(all)) run(a);
    expect([...a.data]).toEqual(before);
  });

  it('float32 gives the float64 result of the same values', () => {
    const data = new Random(1).normal(12);
    expect(svd({ dtype: 'float32', shape: [4, 3], data })).toEqual(svd(array([4, 3], data)));
  });
});

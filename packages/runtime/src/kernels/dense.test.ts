import { describe, expect, it } from 'vitest';
import { type Gemm, gemm } from './dense.ts';
import { panelsOf } from './dense-pack.ts';
import { type Bench, bench } from './testing.ts';

let seed = 1;
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
};
const normal = (length: number) => Float32Array.from({ length }, random);

interface Case {
  m: number;
  n: number;
  k: number;
  batch?: number;
  a: 'weight' | 'rows' | 'transposed' | 'weight transposed';
  b: 'weight' | 'rows' | 'transposed' | 'weight transposed' | 'int8' | 'uint8';
  alpha?: number;
  rowBias?: boolean;
  columnBias?: boolean;
  residual?: boolean;
  limits?: readonly [number, number];
  sharedB?: boolean;
}

/** Runs a product and the plain sum; the largest difference relative to Σ|a·b|, and whether the floats after C changed. */
function difference(e: Bench, c: Case): number {
  const { m, n, k, batch = 1, alpha = 1 } = c;
  const a = normal((c.a.startsWith('weight') ? 1 : batch) * m * k);
  const sharedB = c.sharedB || c.b.startsWith('weight') || c.b.endsWith('int8');
  const bytes = c.b.endsWith('int8');
  const floats = normal((sharedB ? 1 : batch) * k * n);
  const raw = c.b === 'uint8' ? Uint8Array.from(floats, v => 128 + v * 127) : Int8Array.from(floats, v => v * 127);
  const scale = normal(n);
  const zero = Float32Array.from({ length: n }, (_, j) => (c.b === 'uint8' ? 128 + (j % 5) : j % 7));
  const aT = c.a.endsWith('transposed');
  const bT = c.b.endsWith('transposed');
  const rowBias = c.rowBias ? normal(m) : undefined;
  const columnBias = c.columnBias ? normal(n) : undefined;
  const residual = c.residual ? normal(batch * m * n) : undefined;
  const [lo, hi] = c.limits ?? [-Infinity, Infinity];
  const y = e.put(new Float32Array(batch * m * n + 16).fill(7));
  const key = `${seed}`;
  const options: Gemm = {
    m,
    n,
    k,
    batch,
    alpha,
    a: c.a.startsWith('weight') ? { data: a, key: `a${key}`, transposed: aT } : { at: e.put(a), transposed: aT },
    b: bytes
      ? { data: raw, key: `b${key}`, scale, zero }
      : c.b.startsWith('weight')
        ? { data: floats, key: `b${key}`, transposed: bT }
        : { at: e.put(floats), transposed: bT, step: sharedB ? 0 : undefined },
    c: { at: y },
    rowBias: rowBias && e.put(rowBias),
    columnBias: columnBias && e.put(columnBias),
    residual: residual && { at: e.put(residual) },
    lo,
    hi,
  };
  gemm(e, options);
  const result = e.view(y, batch * m * n + 16);
  let worst = 0;
  for (let item = 0; item < batch; item++) {
    for (let r = 0; r < m; r++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        let size = 1;
        for (let i = 0; i < k; i++) {
          const left = a[(c.a.startsWith('weight') ? 0 : item * m * k) + (aT ? i * m + r : r * k + i)];
          const at = (sharedB ? 0 : item * k * n) + (bT ? j * k + i : i * n + j);
          const right = bytes ? (raw[at] - zero[j]) * scale[j] : floats[at];
          sum += left * right;
          size += Math.abs(left * right) + (bytes ? Math.abs(left * zero[j] * scale[j]) : 0);
        }
        sum = alpha * sum + (rowBias?.[r] ?? 0) + (columnBias?.[j] ?? 0) + (residual?.[(item * m + r) * n + j] ?? 0);
        const expected = Math.min(Math.max(sum, lo), hi);
        worst = Math.max(worst, Math.abs(result[(item * m + r) * n + j] - expected) / size);
      }
    }
  }
  return result.subarray(batch * m * n).every(v => v === 7) ? worst : Infinity;
}

describe('panelsOf', () => {
  it('covers every row, with at most one to spare from 8 rows on', () => {
    for (let m = 1; m < 100; m++) {
      const { sixes, fours } = panelsOf(m);
      const spare = sixes * 6 + fours * 4 - m;
      expect(spare).toBeGreaterThanOrEqual(0);
      expect(spare).toBeLessThanOrEqual(m < 8 ? 3 : 1);
    }
  });
});

for (const build of ['simd', 'relaxed'] as const) {
  for (const threads of [1, 3]) {
    describe(`gemm, ${build}, ${threads} threads`, () => {
      it('every size modulo the tiles', async () => {
        const e = await bench(build, threads);
        for (let m = 1; m <= 19; m++) {
          for (let n = 1; n <= 19; n += threads === 1 ? 1 : 3) {
            expect(difference(e, { m, n, k: 1 + ((m * n) % 11), a: 'weight', b: 'rows', rowBias: true })).toBeLessThan(
              1e-6,
            );
          }
        }
      });

      it('every way to give the operands, with every epilogue', async () => {
        const e = await bench(build, threads);
        for (const a of ['weight', 'rows', 'transposed', 'weight transposed'] as const) {
          for (const b of ['weight', 'rows', 'transposed', 'weight transposed', 'int8', 'uint8'] as const) {
            if (a.startsWith('weight') && (b.startsWith('weight') || b.endsWith('int8'))) continue;
            for (const [m, n, k] of [
              [1, 21, 13],
              [2, 9, 6],
              [29, 43, 10],
              [31, 17, 5],
              [13, 40, 1],
            ]) {
              const shape = { m, n, k, a, b, alpha: 0.5 };
              expect(difference(e, shape)).toBeLessThan(1e-6);
              expect(difference(e, { ...shape, rowBias: true, columnBias: true, residual: true })).toBeLessThan(1e-6);
              expect(difference(e, { ...shape, columnBias: true, limits: [-0.2, 0.3] })).toBeLessThan(1e-6);
              expect(difference(e, { ...shape, batch: 3, residual: true })).toBeLessThan(1e-6);
              expect(difference(e, { ...shape, batch: 4, sharedB: true })).toBeLessThan(1e-6);
            }
          }
        }
      });

      it('blocks over K, rows and columns', async () => {
        const e = await bench(build, threads);
        const full = { rowBias: true, columnBias: true, residual: true, limits: [-3, 3] as const };
        expect(difference(e, { m: 30, n: 37, k: 1300, a: 'rows', b: 'rows', ...full })).toBeLessThan(1e-6);
        expect(difference(e, { m: 200, n: 21, k: 700, a: 'rows', b: 'weight', ...full })).toBeLessThan(1e-6);
        expect(difference(e, { m: 7, n: 700, k: 640, a: 'rows', b: 'transposed', ...full })).toBeLessThan(1e-6);
        expect(difference(e, { m: 9, n: 300, k: 641, a: 'weight', b: 'rows', ...full })).toBeLessThan(1e-6);
        expect(difference(e, { m: 40, n: 11, k: 900, a: 'rows', b: 'int8', columnBias: true })).toBeLessThan(1e-6);
      });

      it('an empty sum leaves the biases; leading dimensions and in-place residuals', async () => {
        const e = await bench(build, threads);
        expect(difference(e, { m: 5, n: 9, k: 0, a: 'rows', b: 'rows', rowBias: true, columnBias: true })).toBeLessThan(
          1e-6,
        );
        const c = e.put(new Float32Array(4 * 10).fill(1));
        const a = e.put(Float32Array.from([1, 2, 9, 3, 4, 9]));
        const b = e.put(Float32Array.from([1, 0, 1, 9, 0, 1, 1, 9]));
        gemm(e, {
          ...{ m: 2, n: 3, k: 2, a: { at: a, ld: 3 }, b: { at: b, ld: 4 }, c: { at: c, ld: 10 } },
          residual: { at: c, ld: 10 },
        });
        const y = e.view(c, 20);
        expect([...y.subarray(0, 4)]).toEqual([2, 3, 4, 1]);
        expect([...y.subarray(10, 14)]).toEqual([4, 5, 8, 1]);
      });
    });
  }
}

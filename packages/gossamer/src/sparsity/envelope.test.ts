import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { envelopeConjugate, envelopeProx, envelopeValue } from './envelope.ts';

/** Norms of random groups, of 1 to `most` groups, some of them zero or equal; weights; k and t. */
function cases(count: number, most: number) {
  const random = new Random(5);
  return Array.from({ length: count }, (_, i) => {
    const r = random.fork(i);
    const [m] = r.integers(1, 1, most + 1);
    const norms = Float64Array.from(r.uniform(m, 0.1, 3), x => x);
    const [special] = r.integers(1, 0, 6);
    if (special === 0) norms[0] = 0;
    if (special === 1) norms[m - 1] = norms[0];
    const weights = i % 3 === 0 ? undefined : Float64Array.from(r.uniform(m, 0.3, 4), x => x);
    const [k] = r.integers(1, 1, m + 1);
    const t = 10 ** r.uniform(1, -3, 1.5)[0];
    return { norms, weights, k, t };
  });
}

type Case = ReturnType<typeof cases>[number];
const d = ({ weights }: Case, j: number) => weights?.[j] ?? 1;

/** min of a convex function of u on {u ∈ [0,1]^m, Σu ≤ k} by moving weight between pairs, ever smaller amounts. */
function minimize(m: number, k: number, f: (u: Float64Array) => number): { u: Float64Array; value: number } {
  const u = new Float64Array(m).fill(Math.min(1, k / m));
  let value = f(u);
  for (let step = 0.25; step > 1e-12; ) {
    let better = false;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < m; j++) {
        const next = u.slice();
        const move = Math.min(step, 1 - u[i], i === j ? k - u.reduce((a, b) => a + b, 0) : u[j]);
        if (move <= 0) continue;
        next[i] += move;
        if (i !== j) next[j] -= move;
        const found = f(next);
        if (found < value) {
          [value, better] = [found, true];
          u.set(next);
        }
      }
    }
    if (!better) step /= 2;
  }
  return { u, value };
}

const ratio = (a: number, b: number): number => (a === 0 ? 0 : a / b);

describe('the value', () => {
  it('is the minimum of the variational form', () => {
    for (const c of cases(60, 6)) {
      const { norms, k } = c;
      const variational = (u: Float64Array) => norms.reduce((s, n, j) => s + ratio(d(c, j) * n * n, u[j]), 0) / 2;
      expect(envelopeValue(norms, c)).toBeCloseTo(minimize(norms.length, k, variational).value, 8);
    }
  });

  it('is the conjugate of the conjugate: no y gives more, and the proximal step finds one that gives as much', () => {
    for (const c of cases(200, 8)) {
      const { norms, t } = c;
      const random = new Random(2);
      for (let i = 0; i < 20; i++) {
        const y = random.fork(i).uniform(norms.length, 0, 4);
        const pairing = norms.reduce((s, n, j) => s + n * y[j], 0);
        expect(pairing - envelopeConjugate(y, c)).toBeLessThanOrEqual(envelopeValue(norms, c) + 1e-9);
      }
      // w = prox(v) and y = (v − w)/t are a pair with F(w) + F*(y) = ⟨w, y⟩.
      const f = envelopeProx(norms, t, c);
      const w = norms.map((n, j) => f[j] * n);
      const y = norms.map((n, j) => (n - w[j]) / t);
      const pairing = w.reduce((s, x, j) => s + x * y[j], 0);
      const gap = envelopeValue(w, c) + envelopeConjugate(y, c) - pairing;
      expect(Math.abs(gap) / Math.max(1, pairing)).toBeLessThan(1e-8);
    }
  });

  it('is half the squared sum for k = 1 and half the sum of squares for k = m or at most k live groups', () => {
    for (const c of cases(60, 8)) {
      const { norms, weights } = c;
      const sum = norms.reduce((a, b) => a + b, 0);
      expect(envelopeValue(norms, { k: 1 })).toBeCloseTo(sum ** 2 / 2, 10);
      const squares = norms.reduce((s, n, j) => s + d(c, j) * n * n, 0) / 2;
      expect(envelopeValue(norms, { k: norms.length, weights })).toBeCloseTo(squares, 10);
      const wide = Float64Array.of(...norms, 0, 0);
      const d2 = weights && Float64Array.of(...weights, 2, 3);
      expect(envelopeValue(wide, { k: norms.length, weights: d2 })).toBeCloseTo(squares, 10);
    }
    expect(envelopeValue([0, 0, 0], { k: 2 })).toBe(0);
  });
});

describe('the proximal step', () => {
  it('is the minimum over u by brute force', () => {
    for (const c of cases(60, 6)) {
      const { norms, k, t } = c;
      // For given u the minimum over w is w = v·u/(u + t·d), with value ½ Σ n²·t·d/(u + t·d).
      const value = (u: Float64Array) =>
        norms.reduce((s, n, j) => s + (n * n * t * d(c, j)) / (u[j] + t * d(c, j)), 0) / 2;
      const { u } = minimize(norms.length, k, value);
      const f = envelopeProx(norms, t, c);
      norms.forEach((n, j) => {
        expect(Math.abs(f[j] * n - (n * u[j]) / (u[j] + t * d(c, j)))).toBeLessThan(1e-6);
      });
      const own = norms.reduce((s, n, j) => s + (n * n * (1 - f[j])) / 2, 0);
      expect(own).toBeLessThanOrEqual(value(u) + 1e-10);
      expect(own).toBeGreaterThan(value(u) - 1e-6);
    }
  });

  it('agrees with Moreau: (v − prox_tF(v))/t is the minimum of ½‖y − v/t‖² + F*(y)/t', () => {
    for (const c of cases(12, 4)) {
      const { norms, t } = c;
      const f = envelopeProx(norms, t, c);
      const objective = (y: Float64Array) =>
        y.reduce((s, x, j) => s + (x - norms[j] / t) ** 2, 0) / 2 + envelopeConjugate(y.map(Math.abs), c) / t;
      const y = norms.map((n, j) => (n * (1 - f[j])) / t);
      const least = objective(y);
      const random = new Random(1);
      for (let i = 0; i < 400; i++) {
        const size = 10 ** -(i % 7);
        const other = y.map((x, j) => x + size * random.fork(i).normal(y.length)[j]);
        expect(objective(other)).toBeGreaterThanOrEqual(least - 1e-9 * Math.max(1, least));
      }
    }
  });

  it('gives the same root by sorting and by random pivots', () => {
    for (const [i, c] of cases(300, 40).entries()) {
      for (const t of [c.t, 1e-9, 1e6]) {
        const sorted = envelopeProx(c.norms, t, c);
        const found = envelopeProx(c.norms, t, { ...c, rootFinder: 'random', random: new Random(i) });
        sorted.forEach((f, j) => {
          expect(Math.abs(found[j] - f)).toBeLessThan(1e-9);
        });
      }
    }
  });

  it('meets Σu = k exactly where more than k groups live, at any t', () => {
    for (const c of cases(200, 30)) {
      const { norms, k } = c;
      for (const t of [1e-6, c.t, 1e3]) {
        const f = envelopeProx(norms, t, c);
        // u = f·t·d/(1 − f), but where it is 1.
        const u = f.map((x, j) => Math.min(1, (x * t * d(c, j)) / (1 - x)));
        const alive = norms.filter(n => n > 0).length;
        expect(u.reduce((a, b) => a + b, 0)).toBeCloseTo(Math.min(k, alive), 3);
        expect(f.filter(x => x > 0).length).toBeGreaterThanOrEqual(Math.min(k, alive));
      }
    }
  });

  it('shrinks all by 1/(1 + t·d) for k = m, and keeps the k largest for large t', () => {
    for (const c of cases(60, 12)) {
      const { norms, k, t } = c;
      if (norms.includes(0)) continue;
      envelopeProx(norms, t, { ...c, k: norms.length }).forEach((f, j) => {
        expect(f).toBeCloseTo(1 / (1 + t * d(c, j)), 12);
      });
      if (new Set(norms).size < norms.length) continue;
      const f = envelopeProx(norms, 1e7, { k });
      const best = [...norms.keys()].sort((a, b) => norms[b] - norms[a]).slice(0, k);
      expect([...f.keys()].filter(j => f[j] > 0)).toEqual(best.sort((a, b) => a - b));
    }
  });

  it('is non-expansive', () => {
    const random = new Random(9);
    for (const [i, c] of cases(200, 10).entries()) {
      const other = c.norms.map((n, j) => Math.abs(n + random.fork(i).normal(c.norms.length)[j] / 2));
      const distance = (a: Float64Array, b: Float64Array) => Math.sqrt(a.reduce((s, x, j) => s + (x - b[j]) ** 2, 0));
      const move = (norms: Float64Array) => {
        const f = envelopeProx(norms, c.t, c);
        return norms.map((n, j) => n * f[j]);
      };
      expect(distance(move(c.norms), move(other))).toBeLessThanOrEqual(distance(c.norms, other) + 1e-12);
    }
  });

  it('leaves zero groups zero, and all of them where nothing is to shrink', () => {
    expect([...envelopeProx([0, 2, 0], 0.5, { k: 2 })]).toEqual([0, 1 / 1.5, 0]);
    expect([...envelopeProx([0, 0], 0.5, { k: 1 })]).toEqual([0, 0]);
    expect([...envelopeProx([1, 2, 3], 0, { k: 1 })]).toEqual([1, 1, 1]);
  });
});

describe('refusals', () => {
  it('refuses a k outside 1…m, weights that are not positive, norms that are no norms', () => {
    expect(() => envelopeProx([1, 2], 1, { k: 0 })).toThrow('k = 0 of 2 groups');
    expect(() => envelopeProx([1, 2], 1, { k: 3 })).toThrow('expected a whole number from 1 to 2');
    expect(() => envelopeValue([1, 2], { k: 1.5 })).toThrow('k = 1.5');
    expect(() => envelopeProx([1, 2], 1, { k: 1, weights: [1, 0] })).toThrow('group 1 has weight 0');
    expect(() => envelopeProx([1, 2], 1, { k: 1, weights: [1] })).toThrow('1 weights for 2 groups');
    expect(() => envelopeProx([1, NaN], 1, { k: 1 })).toThrow('group 1 has norm NaN');
    expect(() => envelopeProx([1, 2], -1, { k: 1 })).toThrow('step -1');
    expect(() => envelopeProx([1, 2], 1, { k: 1, rootFinder: 'newton' as 'sort' })).toThrow('root finder newton');
  });
});

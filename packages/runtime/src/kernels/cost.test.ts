import { describe, expect, it } from 'vitest';
import { type Product, predict, type Rates } from './cost.ts';

describe('cost model', () => {
  it('predicts from the work that a kernel does', () => {
    const fixed: Rates = {
      'pixels dense': [1, 0, 0],
      'pixels csr': [2, 10, 1],
      'pixels block': [1.5, 5, 1],
      'window csr': [2, 10, 1],
      'vector csr': [4, 1, 0],
      'vector grouped': [2, 1, 0],
    };
    const product: Product = { kind: 'pixels', rows: 10, cols: 18, uses: 100, nonzeros: 30 };
    expect(predict(product, 'dense', fixed)).toBeCloseTo(18_000e-6, 12);
    expect(predict(product, { kind: 'csr' }, fixed)).toBeCloseTo((6000 + 10_000 + 1800) * 1e-6, 12);
    expect(predict(product, { kind: 'nm', n: 1, m: 4 }, fixed)).toBe(predict(product, { kind: 'csr' }, fixed));
    expect(predict(product, { kind: 'block', rows: 8 }, fixed)).toBeCloseTo((4500 + 5000 + 1800) * 1e-6, 12);
    // A window reads each of its 2 channels once, not 9 times.
    expect(predict({ ...product, kind: 'window' }, { kind: 'csr' }, fixed)).toBeCloseTo(16_200e-6, 12);
    const vector: Product = { ...product, kind: 'vector', uses: 1 };
    expect(predict(vector, { kind: 'nm', n: 2, m: 4 }, fixed)).toBeCloseTo((2 * 90 + 10) * 1e-6, 12);
    expect(predict(vector, { kind: 'nm', n: 1, m: 16 }, fixed)).toBeCloseTo((4 * 30 + 10) * 1e-6, 12);
  });
});

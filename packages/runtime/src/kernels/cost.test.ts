import { beforeAll, describe, expect, it } from 'vitest';
import { calibrate, isWide, type Region } from './calibrate.ts';
import { type Product, predict, type Rates } from './cost.ts';
import { instantiate, type Kernels } from './module.ts';

describe('cost model', () => {
  let kernels: Kernels;
  let rates: Rates;
  let region: Region;
  beforeAll(async () => {
    const memory = new WebAssembly.Memory({ initial: 128, maximum: 65536 });
    region = { memory, address: 65536, bytes: 6 << 20 };
    kernels = await instantiate('relaxed', memory);
    rates = await calibrate(kernels, region);
  });

  it('measures every kernel; rates survive JSON', () => {
    expect(Object.keys(rates)).toHaveLength(13);
    for (const rate of Object.values(rates)) {
      expect(rate[0]).toBeGreaterThan(0);
      expect(rate.every(part => part >= 0 && Number.isFinite(part))).toBe(true);
    }
    expect(JSON.parse(JSON.stringify(rates))).toEqual(rates);
  });

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

  it('finds no wide lanes where the engine is not asked for them, and needs memory', async () => {
    expect(await isWide(kernels, region)).toBe(false);
    await expect(calibrate(kernels, { ...region, bytes: 1000 })).rejects.toThrow('1000 bytes');
  });
});

import { beforeAll, describe, expect, it } from 'vitest';
import { calibrate, isWide, type Region } from './calibrate.ts';
import type { Rates } from './cost.ts';
import { instantiate, type Kernels } from './module.ts';

describe('calibration', () => {
  let kernels: Kernels;
  let rates: Rates;
  let region: Region;
  beforeAll(async () => {
    const memory = new WebAssembly.Memory({ initial: 700, maximum: 65536 });
    region = { memory, address: 65536, bytes: 40 << 20 };
    kernels = await instantiate('relaxed', memory);
    rates = await calibrate(kernels, region);
  });

  it('measures every kernel; rates survive JSON', () => {
    expect(Object.keys(rates)).toHaveLength(14);
    for (const rate of Object.values(rates)) {
      expect(rate[0]).toBeGreaterThan(0);
      expect(rate.every(part => part >= 0 && Number.isFinite(part))).toBe(true);
    }
    expect(JSON.parse(JSON.stringify(rates))).toEqual(rates);
  });

  it('finds no wide lanes where the engine is not asked for them, and needs memory', async () => {
    expect(await isWide(kernels, region)).toBe(false);
    await expect(calibrate(kernels, { ...region, bytes: 1000 })).rejects.toThrow('1000 bytes');
  });
});

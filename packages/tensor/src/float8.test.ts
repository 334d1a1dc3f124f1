import { describe, expect, it } from 'vitest';
import { float8ToFloat32 } from './float8.ts';

const one = (bits: number, format: Parameters<typeof float8ToFloat32>[1]) =>
  float8ToFloat32(Uint8Array.of(bits), format)[0];

describe('float8ToFloat32', () => {
  it.each([
    // Table 1 of Micikevicius et al. 2022.
    ['F8_E4M3', 0b0_1111_110, 448],
    ['F8_E4M3', 0b0_0001_000, 2 ** -6],
    ['F8_E4M3', 0b0_0000_111, 0.875 * 2 ** -6],
    ['F8_E4M3', 0b0_0000_001, 2 ** -9],
    ['F8_E4M3', 0b0_1111_111, NaN],
    ['F8_E4M3', 0b1_0111_000, -1],
    ['F8_E4M3', 0b1_0000_000, -0],
    ['F8_E5M2', 0b0_11110_11, 57344],
    ['F8_E5M2', 0b0_00001_00, 2 ** -14],
    ['F8_E5M2', 0b0_00000_01, 2 ** -16],
    ['F8_E5M2', 0b1_11111_00, -Infinity],
    ['F8_E5M2', 0b0_11111_01, NaN],
    ['F8_E8M0', 127, 1],
    ['F8_E8M0', 0, 2 ** -127],
    ['F8_E8M0', 254, 2 ** 127],
    ['F8_E8M0', 255, NaN],
  ] as const)('%s %i is %f', (format, bits, value) => {
    expect(one(bits, format)).toBe(value);
  });

  it('gives 256 values in order of magnitude', () => {
    const all = Uint8Array.from({ length: 127 }, (_, i) => i);
    for (const format of ['F8_E4M3', 'F8_E8M0'] as const) {
      const values = float8ToFloat32(all, format);
      expect(values.every((v, i) => i === 0 || v > values[i - 1])).toBe(true);
    }
  });
});

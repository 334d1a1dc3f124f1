import { describe, expect, it } from 'vitest';
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from './half.ts';

const all = Uint16Array.from({ length: 65536 }, (_, i) => i);

describe.each([
  ['float16', float16ToFloat32, float32ToFloat16, 10, 15],
  ['bfloat16', bfloat16ToFloat32, float32ToBfloat16, 7, 127],
] as const)('%s', (_, toFloat32, toBits, mantissa, bias) => {
  const values = toFloat32(all);

  it('widens every pattern to the number it stands for', () => {
    const expected = Array.from(all, bits => {
      const exponent = (bits >> mantissa) & (2 * bias + 1);
      const fraction = (bits & ((1 << mantissa) - 1)) / 2 ** mantissa;
      const special = fraction ? Number.NaN : Infinity;
      const magnitude = exponent ? (1 + fraction) * 2 ** (exponent - bias) : fraction * 2 ** (1 - bias);
      return (bits & 0x8000 ? -1 : 1) * (exponent === 2 * bias + 1 ? special : magnitude);
    });
    expect(expected.findIndex((x, bits) => !Object.is(x, values[bits]))).toBe(-1);
  });

  it('gives every number back, and NaN for NaN', () => {
    const back = toBits(values);
    const again = toFloat32(back);
    const wrong = all.findIndex(bits =>
      Number.isNaN(values[bits]) ? !Number.isNaN(again[bits]) : back[bits] !== bits,
    );
    expect(wrong).toBe(-1);
  });

  it('rounds to the nearest of two neighbours, ties to the even one', () => {
    const infinity = (2 * bias + 1) << mantissa;
    for (let bits = 0; bits + 1 < infinity; bits += 61) {
      const [low, high] = [values[bits], values[bits + 1]];
      const middle = (low + high) / 2;
      const nudge = (high - low) * 2 ** -20;
      const even = bits % 2 ? bits + 1 : bits;
      expect([...toBits([middle - nudge, middle, middle + nudge])]).toEqual([bits, even, bits + 1]);
      expect(toBits([-middle])[0]).toBe(even | 0x8000);
    }
  });

  it('rounds float64 once', () => {
    // Just above a tie: float32 would round onto it, and then to even.
    const step = 2 ** -mantissa;
    expect(toFloat32(toBits([1 + step / 2 + 2 ** -40]))[0]).toBe(1 + step);
  });
});

it('overflows to infinity where the next float16 would be', () => {
  expect([...float16ToFloat32(float32ToFloat16([65519, 65520, -1e9, 2 ** -25, 2 ** -25 * 1.001]))]).toEqual([
    65504,
    Infinity,
    -Infinity,
    0,
    2 ** -24,
  ]);
});

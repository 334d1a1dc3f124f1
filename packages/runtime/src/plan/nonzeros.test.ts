import { expect, it } from 'vitest';
import { nonzeros } from './nonzeros.ts';

it('counts what is not zero, of either sign', () => {
  const data = Float32Array.of(0, -0, 1, -1, 1e-45, -1e-45, Number.NaN, Number.POSITIVE_INFINITY, 0);
  expect(nonzeros(data)).toBe(6);
  expect(nonzeros(data.subarray(1, 3))).toBe(1);
  expect(nonzeros(new Float32Array(0))).toBe(0);
});

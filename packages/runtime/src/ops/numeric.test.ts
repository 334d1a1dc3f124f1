import { describe, expect, it } from 'vitest';
import { distance, f32, nodeOf, random, value } from '../../test/operators.ts';
import {
  axisOf,
  dot,
  floats,
  pack,
  product,
  productTransposed,
  roundEven,
  split,
  stridesOf,
  transposed,
} from './numeric.ts';
import { saturate } from './saturate.ts';

describe('numbers of any type', () => {
  it('go to floats and back', () => {
    expect([...floats(value('int64', [2], [-3, 2 ** 40]))]).toEqual([-3, 2 ** 40]);
    expect([...floats(value('float16', [2], [0x3c00, 0xc000]))]).toEqual([1, -2]);
    expect([...floats(value('bfloat16', [1], [0x3fc0]))]).toEqual([1.5]);
    const given = f32([1], [1]);
    expect(floats(given)).toBe(given.data);
    expect(pack('int64', [2], Float64Array.of(-1.9, 7)).data).toEqual(BigInt64Array.of(-1n, 7n));
    expect(pack('int32', [1], Float64Array.of(2 ** 32 + 5)).data).toEqual(Int32Array.of(5));
    // A tie in float16 rounds to even, and once: 2049 + 2⁻³⁰ lies above the tie.
    expect(pack('float16', [2], Float64Array.of(2049, 2049 + 2 ** -30)).data).toEqual(Uint16Array.of(0x6800, 0x6801));
  });

  it('round ties to even and saturate', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, -2.6].map(roundEven)).toEqual([0, 2, 2, -0, -2, 2, -3]);
    expect([...saturate('int8', Float64Array.of(-200, 127.5, 126.5, 3))]).toEqual([-128, 127, 126, 3]);
    expect([...saturate('uint8', Float64Array.of(-1, 256))]).toEqual([0, 255]);
    expect([...saturate('float32', Float64Array.of(0.5))]).toEqual([0.5]);
  });
});

describe('shapes', () => {
  it('have strides and parts around an axis', () => {
    expect(stridesOf([2, 3, 4])).toEqual([12, 4, 1]);
    expect(split([2, 3, 4], 1)).toEqual([2, 3, 4]);
    expect(split([5], 0)).toEqual([1, 5, 1]);
    const node = nodeOf('Softmax', []);
    expect([axisOf(node, -1, 3), axisOf(node, 2, 3)]).toEqual([2, 2]);
    expect(() => axisOf(node, -4, 3)).toThrow(/Softmax_0 \(Softmax\): axis -4/);
  });
});

describe('products', () => {
  it.each([
    [1, 1, 1],
    [2, 3, 5],
    [3, 4, 4],
    [2, 9, 7],
    [5, 1, 6],
    [1, 8, 3],
    [3, 5, 0],
  ])('of %i × %i over %i, at offsets and onto what is there', (m, n, k) => {
    const [a, b] = [random([2 + m * k], 1), random([3 + k * n], 2)].map(v => v.data as Float32Array);
    const expected = Float32Array.from({ length: m * n }, (_, i) => {
      let sum = 1;
      for (let p = 0; p < k; p++) sum += a[2 + Math.floor(i / n) * k + p] * b[3 + p * n + (i % n)];
      return sum;
    });
    const c = new Float32Array(1 + m * n).fill(1);
    product(m, n, k, a, 2, b, 3, c, 1);
    expect(distance(c.subarray(1), expected)).toBeLessThan(1e-5);
    const d = new Float32Array(m * n).fill(1);
    productTransposed(m, n, k, a, 2, transposed(k, n, b.subarray(3)), 0, d, 0);
    expect(distance(d, expected)).toBeLessThan(1e-5);
    expect(c[0]).toBe(1);
  });

  it('dot sums every remainder', () => {
    const ones = new Float64Array(9).fill(1);
    for (let length = 0; length <= 8; length++) expect(dot(length, ones, 1, ones, 0)).toBe(length);
  });
});

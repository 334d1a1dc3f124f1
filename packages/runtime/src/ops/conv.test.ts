import { describe, expect, it } from 'vitest';
import { distance, numbers, random, run, value } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';
import type { Value } from '../values.ts';

/** Convolution of images by its definition: [N, C, H, W] with [M, C / group, kh, kw]. */
function direct(
  x: Value,
  w: Value,
  bias: Value | undefined,
  options: { strides: number[]; dilations: number[]; pads: number[]; group: number },
) {
  const { strides, dilations, pads, group } = options;
  const [n, c, h, width] = x.dims;
  const [m, depth, kh, kw] = w.dims;
  const size = (length: number, d: number, k: number) =>
    Math.floor((length + pads[d] + pads[d + 2] - dilations[d] * (k - 1) - 1) / strides[d]) + 1;
  const [oh, ow] = [size(h, 0, kh), size(width, 1, kw)];
  const [xs, ws] = [x.data as Float32Array, w.data as Float32Array];
  const out: number[] = [];
  for (let b = 0; b < n; b++)
    for (let f = 0; f < m; f++)
      for (let i = 0; i < oh; i++)
        for (let j = 0; j < ow; j++) {
          let sum = bias ? (bias.data as Float32Array)[f] : 0;
          for (let d = 0; d < depth; d++)
            for (let p = 0; p < kh; p++)
              for (let q = 0; q < kw; q++) {
                const r = i * strides[0] + p * dilations[0] - pads[0];
                const s = j * strides[1] + q * dilations[1] - pads[1];
                const channel = Math.floor(f / (m / group)) * depth + d;
                if (r >= 0 && r < h && s >= 0 && s < width)
                  sum += xs[((b * c + channel) * h + r) * width + s] * ws[((f * depth + d) * kh + p) * kw + q];
              }
          out.push(sum);
        }
  return out;
}

const plain = { strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1 };

describe('Conv', () => {
  it.each([
    ['3×3', [2, 3, 6, 7], [4, 3, 3, 3], {}],
    ['padded unevenly', [1, 2, 5, 4], [3, 2, 3, 2], { pads: [0, 1, 2, 1] }],
    ['strided and dilated', [1, 2, 9, 8], [3, 2, 2, 3], { strides: [2, 3], dilations: [3, 1] }],
    ['grouped', [2, 6, 5, 5], [4, 3, 3, 3], { group: 2 }],
    ['depthwise', [1, 4, 5, 6], [8, 1, 3, 3], { group: 4, pads: [1, 1, 1, 1] }],
    ['pointwise', [2, 5, 3, 4], [3, 5, 1, 1], {}],
    ['pointwise, strided', [1, 5, 4, 4], [3, 5, 1, 1], { strides: [2, 2] }],
    ['more columns than one chunk', [1, 512, 12, 12], [2, 512, 3, 3], { pads: [1, 1, 1, 1] }],
  ])('equals its definition: %s', (_, x, w, attributes: Record<string, Attribute>) => {
    const [image, weight, bias] = [random(x, 1), random(w, 2), random([w[0]], 3)];
    const expected = direct(image, weight, bias, { ...plain, ...attributes } as typeof plain);
    expect(distance(numbers(run('Conv', [image, weight, bias], { attributes })), expected)).toBeLessThan(1e-4);
  });

  it('has one and three spatial dimensions: separable kernels are outer products', () => {
    const x = random([1, 1, 4, 5, 6], 4);
    const line = random([1, 1, 1, 1, 3], 5);
    const alone = run('Conv', [
      { ...x, dims: [20, 1, 6] },
      { ...line, dims: [1, 1, 3] },
    ]);
    expect(numbers(run('Conv', [x, line]))).toEqual(numbers(alone));
  });

  it('computes in float64 and rounds float16 to even', () => {
    const wide = value('float64', [1, 1, 2], [1, 1e-9]);
    expect(numbers(run('Conv', [wide, value('float64', [1, 1, 2], [1])]))).toEqual([1 + 1e-9]);
    // 2048 + 1 is a tie between 2048 and 2050.
    const half = value('float16', [1, 1, 2], [0x6800, 0x3c00]);
    expect(numbers(run('Conv', [half, value('float16', [1, 1, 2], [0x3c00])]))).toEqual([0x6800]);
  });

  it('handles an empty batch and refuses shapes that do not fit', () => {
    expect(run('Conv', [random([0, 2, 4, 4], 1), random([3, 2, 3, 3], 2)])[0].dims).toEqual([0, 3, 2, 2]);
    expect(() => run('Conv', [random([1, 3, 4, 4], 1), random([3, 2, 3, 3], 2)])).toThrow(
      /\[1,3,4,4\] and weight \[3,2,3,3\]/,
    );
  });
});

import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, random, run, value } from '../../test/operators.ts';
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
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((sum, value, i) => sum + value * b[i], 0);

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

describe('ConvTranspose', () => {
  it.each([
    [{ strides: [2, 3], pads: [1, 0, 0, 1], dilations: [1, 2] }, 1],
    [{ strides: [2, 2], pads: [1, 1, 1, 1], group: 2 }, 2],
    [{ strides: [3, 2], output_padding: [2, 1] }, 1],
    [{ auto_pad: 'SAME_UPPER', strides: [2, 2] }, 1],
    [{ auto_pad: 'SAME_LOWER', strides: [2, 2] }, 1],
  ])('is the adjoint of Conv: %j', (attributes: Record<string, Attribute>, group) => {
    const x = random([1, 4, 3, 4], 1);
    const w = random([4, 2, 3, 3], 2);
    const [y] = run('ConvTranspose', [x, w], { attributes });
    const probe = random(y.dims, 3);
    const rest: Record<string, Attribute> = Object.fromEntries(
      Object.entries(attributes).filter(([name]) => name !== 'output_padding'),
    );
    const back = numbers(run('Conv', [probe, w], { attributes: { ...rest, group } }));
    expect(dot(numbers([y]), probe.data as Float32Array)).toBeCloseTo(dot(x.data as Float32Array, back), 3);
  });

  it('takes an output shape: what is missing is padded at the beginning, or at the end for SAME_UPPER', () => {
    const x = f32([1, 1, 2], [1, 10]);
    const w = f32([1, 1, 3], [1, 2, 3]);
    const make = (attributes: Record<string, Attribute>) =>
      numbers(run('ConvTranspose', [x, w], { attributes: { strides: [2], output_shape: [4], ...attributes } }));
    expect(make({})).toEqual([2, 13, 20, 30]);
    expect(make({ auto_pad: 'SAME_UPPER' })).toEqual([1, 2, 13, 20]);
  });
});

describe('integer convolutions', () => {
  const x = value('uint8', [1, 1, 3], [100, 101, 103]);
  const w = value('int8', [2, 1, 2], [1, -2, 3, 4]);

  it('subtract zero points', () => {
    expect(numbers(run('ConvInteger', [x, w, value('uint8', [], [100])]))).toEqual([-2, -5, 4, 15]);
    const perMap = value('int8', [2], [1, 3]);
    expect(numbers(run('ConvInteger', [x, w, value('uint8', [], [100]), perMap]))).toEqual([-3, -9, 1, 3]);
  });

  it('round to even and saturate', () => {
    const inputs = [
      x,
      f32([], [0.5]),
      value('uint8', [], [100]),
      w,
      f32([2], [1, 100]),
      value('int8', [], [0]),
      f32([], [1]),
      value('uint8', [], [4]),
    ];
    // Products −2, −5 and 4, 15 become −1, −2.5 and 200, 750.
    expect(numbers(run('QLinearConv', inputs))).toEqual([3, 2, 204, 255]);
  });
});

describe('Col2Im', () => {
  it('is the adjoint of taking blocks', () => {
    const attributes = { strides: [2, 1], pads: [1, 0, 0, 1], dilations: [1, 2] };
    const image = random([1, 1, 5, 6], 1);
    // Convolution with one-hot kernels lists every block.
    const taps = f32(
      [6, 1, 2, 3],
      Array.from({ length: 36 }, (_, i) => (i % 7 === 0 ? 1 : 0)),
    );
    const [blocks] = run('Conv', [image, taps], { attributes });
    const columns = random([1, 6, blocks.dims[2] * blocks.dims[3]], 2);
    const [y] = run('Col2Im', [columns, i64([2], [5, 6]), i64([2], [2, 3])], { attributes });
    expect(y.dims).toEqual([1, 1, 5, 6]);
    expect(dot(numbers([y]), image.data as Float32Array)).toBeCloseTo(
      dot(columns.data as Float32Array, numbers([blocks])),
      4,
    );
  });
});

describe('DeformConv', () => {
  it('without offsets is Conv; whole offsets move the window; the mask scales', () => {
    const x = random([1, 2, 5, 5], 1);
    const w = random([3, 2, 2, 2], 2);
    const still = f32([1, 8, 4, 4], [0]);
    const expected = numbers(run('Conv', [x, w]));
    expect(distance(numbers(run('DeformConv', [x, w, still])), expected)).toBeLessThan(1e-5);
    const half = f32([1, 4, 4, 4], [0.5]);
    expect(
      distance(
        numbers(run('DeformConv', [x, w, still, undefined, half])),
        expected.map(v => v / 2),
      ),
    ).toBeLessThan(1e-5);
    // Rows one lower: the window of row i + 1, and padding under the last one.
    const moved = f32(
      [1, 8, 4, 4],
      Array.from({ length: 128 }, (_, i) => (Math.floor(i / 16) % 2 === 0 ? 1 : 0)),
    );
    const shifted = numbers(run('Conv', [x, w], { attributes: { pads: [0, 0, 1, 0] } }));
    const below = shifted.filter((_, i) => Math.floor(i / 4) % 5 > 0);
    expect(distance(numbers(run('DeformConv', [x, w, moved])), below)).toBeLessThan(1e-5);
  });
});

import { describe, expect, it } from 'vitest';
import { f32, i64, numbers, random, run } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((sum, value, i) => sum + value * b[i], 0);

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

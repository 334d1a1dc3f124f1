import { compile, Random, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { EDSR, pixelShuffle, WindowTransformer } from './super-resolution.ts';

const input = (shape: readonly number[]) => tensor(new Random(1).uniform(shape.reduce((a, b) => a * b)), shape);

describe('pixelShuffle', () => {
  it('is a bijection that puts the values of a channel into a square', async () => {
    const x = tensor(
      Float32Array.from({ length: 2 * 8 * 2 * 3 }, (_, i) => i),
      [2, 8, 2, 3],
    );
    const y = pixelShuffle(x, 2);
    expect(y.shape).toEqual([2, 2, 4, 6]);
    const values = await y.data();
    expect([...values].sort((a, b) => a - b)).toEqual(Array.from({ length: 96 }, (_, i) => i));
    // Pixel (0, 0) of the first channel: its four values in the first 2 × 2 square.
    expect([values[0], values[1], values[6], values[7]]).toEqual([0, 6, 12, 18]);
  });

  it('refuses channels that make no square', () => {
    expect(() => pixelShuffle(input([1, 6, 2, 2]), 2)).toThrow('6 channels are no multiple of 2² = 4');
  });
});

describe('super-resolution networks', () => {
  it.each([2, 3, 4] as const)('enlarge %d times', async scale => {
    const edsr = new EDSR({ scale, width: 4, blocks: 1 });
    expect(edsr.forward(input([2, 3, 5, 7])).shape).toEqual([2, 3, 5 * scale, 7 * scale]);
    const windows = new WindowTransformer({ scale, width: 8, window: 4, heads: 2 });
    expect(windows.forward(input([1, 3, 8, 4])).shape).toEqual([1, 3, 8 * scale, 4 * scale]);
  });

  it('attend within windows only; shifted ones reach the neighbours', async () => {
    const reach = async (blocks: number) => {
      const net = new WindowTransformer({ width: 8, window: 4, heads: 2, blocks });
      const run = compile((x: Tensor) => ({ y: net.body.forward(x) }));
      const x = new Random(2).normal(8 * 8 * 8);
      const changed = x.slice();
      changed[0] += 1;
      const [a, b] = await Promise.all([x, changed].map(async v => (await run(tensor(v, [1, 8, 8, 8]))).y.data()));
      return new Set([...a.keys()].filter(i => a[i] !== b[i]).map(i => i % 64)).size;
    };
    expect(await reach(1)).toBe(16);
    expect(await reach(2)).toBe(64);
  });

  it('refuse images that windows do not fill', () => {
    expect(() => new WindowTransformer({ window: 8 }).forward(input([1, 3, 12, 8]))).toThrow('12 × 8 is no multiple');
    expect(() => new EDSR({ scale: 5 as 2 })).toThrow('scale 5; expected 2, 3 or 4');
  });
});

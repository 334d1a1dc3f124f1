import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { degrade, extend, type Image, luma, PatchDataset, psnr, resizeBicubic, ssim } from './super-resolution.ts';

const image = (seed: number, [c, h, w]: readonly number[]): Image => ({
  dtype: 'float32',
  shape: [c, h, w],
  data: new Random(seed).uniform(c * h * w),
});

const ramp = (h: number, w: number, [dy, dx]: readonly number[]): Image => ({
  dtype: 'float32',
  shape: [1, h, w],
  data: Float32Array.from({ length: h * w }, (_, i) => 0.1 + dy * Math.floor(i / w) + dx * (i % w)),
});

describe('resizeBicubic', () => {
  it('keeps a flat image and, away from the borders, a slope', () => {
    const flat = { ...image(1, [2, 9, 12]), data: new Float32Array(216).fill(0.3) };
    for (const size of [
      [5, 6],
      [18, 24],
      [9, 12],
    ] as const) {
      for (const v of resizeBicubic(flat, size).data) expect(v).toBeCloseTo(0.3, 6);
    }
    const half = resizeBicubic(ramp(24, 32, [0.01, 0.02]), [12, 16]);
    for (let y = 3; y < 9; y++) {
      for (let x = 3; x < 13; x++)
        expect(half.data[y * 16 + x]).toBeCloseTo(0.1 + 0.01 * (2 * y + 0.5) + 0.02 * (2 * x + 0.5), 5);
    }
  });

  it('has the weights of the antialiased kernel: an impulse shrunk by two', () => {
    // Keys' kernel at quarters of a pixel, a = −½, halved: cubic(¼)/2 = 0.4335938, cubic(¾)/2 = 0.1132813, …
    const data = new Float32Array(32);
    data[16] = 1;
    const { data: half } = resizeBicubic({ dtype: 'float32', shape: [1, 1, 32], data }, [1, 16]);
    const found = [half[6], half[7], half[8], half[9]];
    [-0.0117188, 0.1132813, 0.4335938, -0.0351563].forEach((v, i) => {
      expect(found[i]).toBeCloseTo(v, 6);
    });
  });

  it('gives the picture back when nothing changes', () => {
    const x = image(2, [3, 7, 5]);
    expect(resizeBicubic(x, [7, 5])).toEqual(x);
  });
});

describe('extend', () => {
  it('repeats the last row and column', () => {
    const x: Image = { dtype: 'float32', shape: [2, 2, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) };
    const { shape, data } = extend(x, [3, 4]);
    expect(shape).toEqual([2, 3, 4]);
    expect([...data]).toEqual([1, 2, 2, 2, 3, 4, 4, 4, 3, 4, 4, 4, 5, 6, 6, 6, 7, 8, 8, 8, 7, 8, 8, 8]);
    expect(extend(x, [2, 2])).toEqual(x);
    expect(() => extend(x, [1, 4])).toThrow('extend: 2 × 2 to 1 × 4');
  });
});

describe('measures', () => {
  it('an image equals itself', () => {
    const x = image(3, [3, 20, 24]);
    expect(psnr(x, x)).toBe(Infinity);
    expect(ssim(x, x, 2)).toBeCloseTo(1, 9);
  });

  it('a constant offset has PSNR −20·log₁₀ d, and the border does not count', () => {
    const x = image(4, [1, 20, 20]);
    const shifted = { ...x, data: x.data.map(v => v + 0.1) };
    expect(psnr(x, shifted)).toBeCloseTo(20, 4);
    shifted.data[0] = 5;
    expect(psnr(x, shifted, 1)).toBeCloseTo(20, 4);
    expect(psnr(x, shifted)).toBeLessThan(20);
  });

  it('SSIM of a constant offset of flat images is its luminance term', () => {
    const flat = (v: number): Image => ({ dtype: 'float32', shape: [1, 16, 16], data: new Float32Array(256).fill(v) });
    expect(ssim(flat(0.4), flat(0.6))).toBeCloseTo((2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4), 5);
    expect(ssim(image(1, [1, 16, 16]), image(2, [1, 16, 16]))).toBeLessThan(0.3);
  });

  it('luma has the range of studio video', () => {
    const of = (...rgb: number[]) => luma({ dtype: 'float32', shape: [3, 1, 1], data: Float32Array.from(rgb) }).data[0];
    expect(255 * of(0, 0, 0)).toBeCloseTo(16, 4);
    expect(255 * of(1, 1, 1)).toBeCloseTo(235, 4);
    expect(255 * of(0, 1, 0)).toBeCloseTo(144.553, 3);
  });

  it('refuses images of other shapes, and grey ones where colours are needed', () => {
    expect(() => psnr(image(1, [1, 4, 4]), image(1, [1, 4, 5]))).toThrow('psnr: images of [1, 4, 4] and [1, 4, 5]');
    expect(() => psnr(image(1, [1, 4, 4]), image(1, [1, 4, 4]), 2)).toThrow('border 2');
    expect(() => luma(image(1, [1, 4, 4]))).toThrow('luma: 1 channels');
  });
});

describe('PatchDataset', () => {
  const pairs = [degrade(image(5, [3, 40, 32]), 2), degrade(image(6, [3, 21, 30]), 2)];

  it('gives the same patch for an index, and the low one is the high one shrunk', async () => {
    const data = new PatchDataset(pairs, { patch: 10, count: 40, seed: 3 });
    const { inputs, targets } = await data.batch([7, 3, 7]);
    expect([inputs.shape, targets.shape]).toEqual([
      [3, 3, 10, 10],
      [3, 3, 20, 20],
    ]);
    expect(inputs.data.slice(0, 300)).toEqual(inputs.data.slice(600));
    expect(targets.data.slice(0, 1200)).not.toEqual(targets.data.slice(1200, 2400));
    // Away from the borders of the patch, whose neighbours it does not have.
    const high: Image = { dtype: 'float32', shape: [3, 20, 20], data: (targets.data as Float32Array).slice(0, 1200) };
    const low = resizeBicubic(high, [10, 10]);
    for (let y = 3; y < 7; y++) {
      for (let x = 3; x < 7; x++) {
        const clipped = Math.min(1, Math.max(0, low.data[y * 10 + x]));
        expect(Math.abs(clipped - Number(inputs.data[y * 10 + x]))).toBeLessThan(0.51 / 255);
      }
    }
  });

  it('crops to a multiple of the scale and refuses images smaller than the patch', () => {
    expect(pairs[1].high.shape).toEqual([3, 20, 30]);
    expect(() => new PatchDataset(pairs, { patch: 11, count: 1 })).toThrow('[3, 10, 15] is smaller than a patch of 11');
    const other = { ...pairs[0], low: pairs[1].low };
    expect(() => new PatchDataset([pairs[0], other], { patch: 4, count: 1 })).toThrow('is not');
    expect(() => new PatchDataset([], { patch: 4, count: 1 })).toThrow('no photographs');
    expect(() => degrade(image(1, [3, 1, 4]), 2)).toThrow('smaller than the scale 2');
  });
});

import { type NDArray, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import type { Batch } from './dataset.ts';
import {
  centerCrop,
  compose,
  cutout,
  horizontalFlip,
  normalize,
  randomCrop,
  resize,
  type Transform,
  toFloat,
} from './transforms.ts';

const images = (shape: number[], dtype: 'uint8' | 'float32' = 'float32'): NDArray => {
  const size = shape.reduce((n, d) => n * d, 1);
  const values = Array.from({ length: size }, (_, i) => (i % 250) + 1);
  return { dtype, shape, data: dtype === 'uint8' ? Uint8Array.from(values) : Float32Array.from(values) };
};

async function run(transform: Transform, inputs: NDArray, seed = 0, indices?: number[]): Promise<NDArray> {
  const before = inputs.data.slice();
  const context = {
    indices: indices ?? Array.from({ length: inputs.shape[0] }, (_, i) => i),
    epoch: 0,
    random: new Random(seed),
  };
  const batch: Batch = await transform({ inputs, labels: images([inputs.shape[0]]) }, context);
  expect(inputs.data, 'the input is left alone').toEqual(before);
  expect(batch.labels).toBeDefined();
  return batch.inputs;
}

const pixel = (array: NDArray, n: number, c: number, y: number, x: number): number => {
  const [, channels, height, width] = array.shape;
  return Number(array.data[((n * channels + c) * height + y) * width + x]);
};

describe('values', () => {
  it('toFloat divides bytes by 255 and leaves numbers', async () => {
    const bytes = { dtype: 'uint8' as const, shape: [1, 1, 1, 3], data: Uint8Array.from([0, 51, 255]) };
    expect((await run(toFloat(), bytes)).data).toEqual(Float32Array.from([0, 0.2, 1]));
    expect((await run(toFloat(), images([1, 1, 1, 2]))).data).toEqual(Float32Array.from([1, 2]));
  });

  it('normalize is (x − mean) / std by channel, for bytes and numbers', async () => {
    for (const dtype of ['uint8', 'float32'] as const) {
      const input = images([2, 3, 4, 5], dtype);
      const result = await run(normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), input);
      const scale = dtype === 'uint8' ? 255 : 1;
      expect(result.dtype).toBe('float32');
      for (const [n, c, y, x] of [
        [0, 0, 0, 0],
        [0, 1, 3, 4],
        [1, 2, 2, 1],
      ]) {
        const expected = (pixel(input, n, c, y, x) / scale - (0.1 + 0.1 * c)) / (0.5 + 0.1 * c);
        expect(pixel(result, n, c, y, x)).toBeCloseTo(expected, 4);
      }
    }
    await expect(run(normalize([1, 2], 1), images([1, 3, 2, 2]))).rejects.toThrow('mean has 2 values for 3 channels');
  });
});

describe('randomCrop', () => {
  it('moves each image by at most the padding, all offsets alike', async () => {
    const [n, size] = [900, 5];
    const input = images([n, 2, size, size]);
    const result = await run(randomCrop({ padding: 1, fill: -1 }), input);
    const seen = new Map<string, number>();
    for (let i = 0; i < n; i++) {
      const offsets = [-1, 0, 1].flatMap(dy => [-1, 0, 1].map(dx => [dy, dx]));
      const matches = offsets.filter(([dy, dx]) => {
        for (let c = 0; c < 2; c++) {
          for (let y = 0; y < size; y++) {
            for (let x = 0; x < size; x++) {
              const inside = y + dy >= 0 && y + dy < size && x + dx >= 0 && x + dx < size;
              if (pixel(result, i, c, y, x) !== (inside ? pixel(input, i, c, y + dy, x + dx) : -1)) return false;
            }
          }
        }
        return true;
      });
      expect(matches.length, `image ${i}`).toBe(1);
      seen.set(String(matches[0]), (seen.get(String(matches[0])) ?? 0) + 1);
    }
    expect(seen.size).toBe(9);
    // 100 expected each; ±5 standard deviations.
    for (const count of seen.values()) expect(Math.abs(count - 100)).toBeLessThan(48);
  });

  it('crops to another size and refuses one that does not fit', async () => {
    expect((await run(randomCrop({ padding: 0, size: [2, 3] }), images([2, 1, 4, 4]))).shape).toEqual([2, 1, 2, 3]);
    await expect(run(randomCrop({ padding: 1, size: 7 }), images([1, 1, 4, 4]))).rejects.toThrow(
      '7×7 does not fit 4×4',
    );
  });
});

describe('horizontalFlip', () => {
  it('mirrors about half of the images, whole', async () => {
    const input = images([400, 2, 3, 4]);
    const result = await run(horizontalFlip(), input);
    let flipped = 0;
    for (let n = 0; n < 400; n++) {
      const mirrored = pixel(result, n, 0, 0, 0) === pixel(input, n, 0, 0, 3);
      flipped += Number(mirrored);
      for (let c = 0; c < 2; c++) {
        for (let y = 0; y < 3; y++) {
          for (let x = 0; x < 4; x++) {
            expect(pixel(result, n, c, y, x)).toBe(pixel(input, n, c, y, mirrored ? 3 - x : x));
          }
        }
      }
    }
    expect(Math.abs(flipped - 200)).toBeLessThan(50);
    expect((await run(horizontalFlip({ probability: 0 }), input)).data).toEqual(input.data);
  });
});

describe('cutout', () => {
  it('blanks one clipped square in every channel', async () => {
    const input = images([200, 2, 6, 6]);
    const result = await run(cutout({ size: 3, fill: -1 }), input);
    const sizes = new Set<number>();
    for (let n = 0; n < 200; n++) {
      const blank = [0, 1].map(c => {
        const cells: [number, number][] = [];
        for (let y = 0; y < 6; y++)
          for (let x = 0; x < 6; x++) if (pixel(result, n, c, y, x) === -1) cells.push([y, x]);
        return cells;
      });
      expect(blank[0]).toEqual(blank[1]);
      const [ys, xs] = [blank[0].map(([y]) => y), blank[0].map(([, x]) => x)];
      const area = (Math.max(...ys) - Math.min(...ys) + 1) * (Math.max(...xs) - Math.min(...xs) + 1);
      expect(blank[0].length).toBe(area);
      sizes.add(area);
    }
    expect([...sizes].sort((a, b) => a - b)).toEqual([4, 6, 9]);
  });
});

describe('geometry', () => {
  it('centerCrop cuts the middle and pads what is too small', async () => {
    const input = images([1, 1, 4, 4]);
    expect([...(await run(centerCrop(2), input)).data]).toEqual([6, 7, 10, 11]);
    const padded = await run(centerCrop(6), input);
    expect(pixel(padded, 0, 0, 0, 0)).toBe(0);
    expect(pixel(padded, 0, 0, 1, 1)).toBe(1);
  });

  it('resize keeps constants and sizes, and interpolates between pixel centres', async () => {
    const input = images([2, 3, 4, 4]);
    expect((await run(resize(4), input)).data).toEqual(input.data);
    const row: NDArray = { dtype: 'float32', shape: [1, 1, 1, 2], data: Float32Array.from([0, 4]) };
    expect([...(await run(resize([1, 4]), row)).data]).toEqual([0, 1, 3, 4]);
    expect([...(await run(resize([1, 1]), row)).data]).toEqual([2]);
    const bytes: NDArray = { dtype: 'uint8', shape: [1, 1, 1, 2], data: Uint8Array.from([10, 13]) };
    expect([...(await run(resize([1, 1]), bytes)).data]).toEqual([12]);
  });
});

describe('randomness', () => {
  const chain = compose(randomCrop({ padding: 2 }), horizontalFlip(), cutout({ size: 2 }));

  it('depends on seed and sample, not on the place in the batch', async () => {
    const input = images([4, 1, 5, 5]);
    const size = 25;
    const whole = (await run(chain, input, 1)).data as Float32Array;
    const third: NDArray = {
      ...input,
      shape: [1, 1, 5, 5],
      data: (input.data as Float32Array).slice(2 * size, 3 * size),
    };
    expect((await run(chain, third, 1, [2])).data).toEqual(whole.slice(2 * size, 3 * size));
    expect((await run(chain, input, 2)).data).not.toEqual(whole);
  });

  it('needs images and names a missing field', async () => {
    await expect(run(horizontalFlip(), images([2, 5]))).rejects.toThrow("'inputs' is [2,5], expected [n, channels");
    await expect(run(horizontalFlip({ field: 'image' }), images([1, 1, 2, 2]))).rejects.toThrow("no field 'image'");
  });
});

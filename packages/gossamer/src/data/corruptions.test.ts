import { type NDArray, Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { type Corruption, type CorruptionLevel, corrupt, corruptions } from './corruptions.ts';

const random = new Random(1);
const bytes: NDArray = { dtype: 'uint8', shape: [4, 3, 12, 10], data: Uint8Array.from(random.integers(1440, 0, 256)) };
const floats: NDArray = { ...bytes, dtype: 'float32', data: Float32Array.from(bytes.data as Uint8Array, v => v / 255) };

async function run(kind: Corruption, level: CorruptionLevel, inputs: NDArray, indices = [0, 1, 2, 3]) {
  const before = inputs.data.slice();
  const context = { indices, epoch: 0, random: new Random(5) };
  const result = (await corrupt(kind, level)({ inputs }, context)).inputs;
  expect(inputs.data, 'the input is left alone').toEqual(before);
  return result;
}

const distance = (a: NDArray, b: NDArray): number =>
  Math.sqrt(
    Array.from(a.data as Float32Array, (v, i) => (v - Number(b.data[i])) ** 2).reduce((x, y) => x + y) / a.data.length,
  );

const kinds = Object.keys(corruptions) as Corruption[];

describe('corrupt', () => {
  it.each(kinds)('%s: moves images further at every level, bytes and floats alike', async kind => {
    let last = 0;
    for (const level of [1, 2, 3] as const) {
      const [a, b] = [await run(kind, level, bytes), await run(kind, level, floats)];
      expect([a.dtype, b.dtype, a.shape]).toEqual(['uint8', 'float32', bytes.shape]);
      for (const [i, v] of (b.data as Float32Array).entries())
        expect(Math.abs(255 * v - Number(a.data[i]))).toBeLessThan(0.51);
      const moved = distance(b, floats);
      expect(moved).toBeGreaterThan(last);
      last = moved;
    }
  });

  it('adds noise of the stated deviation, by sample and not by place in the batch', async () => {
    const grey: NDArray = { dtype: 'float32', shape: [2, 1, 60, 60], data: new Float32Array(7200).fill(0.5) };
    const noisy = await run('gaussian-noise', 2, grey, [3, 8]);
    expect(distance(noisy, grey)).toBeCloseTo(0.08, 2);
    const swapped = await run('gaussian-noise', 2, grey, [8, 3]);
    expect(swapped.data.slice(0, 3600)).toEqual(noisy.data.slice(3600));
  });

  it('blurs by a Gaussian of the stated width that keeps the mean away from the border', async () => {
    const size = 21;
    const point: NDArray = { dtype: 'float32', shape: [1, 1, size, size], data: new Float32Array(size * size) };
    (point.data as Float32Array)[10 * size + 10] = 1;
    const { data } = await run('blur', 3, point);
    let [sum, spreadX, spreadY] = [0, 0, 0];
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const v = Number(data[y * size + x]);
        sum += v;
        spreadX += v * (x - 10) ** 2;
        spreadY += v * (y - 10) ** 2;
      }
    }
    expect(sum).toBeCloseTo(1, 5);
    expect(spreadX).toBeCloseTo(1.5 ** 2, 0);
    expect(spreadY).toBeCloseTo(spreadX, 5);
    const flat: NDArray = { ...point, data: new Float32Array(size * size).fill(0.25) };
    for (const v of (await run('blur', 1, flat)).data) expect(Number(v)).toBeCloseTo(0.25, 6);
  });

  it('leaves the stated part of the contrast, by image and channel', async () => {
    const result = await run('contrast', 1, floats);
    const plane = (a: NDArray, p: number) => Array.from(a.data.slice(p * 120, (p + 1) * 120), Number);
    for (let p = 0; p < 12; p++) {
      const [before, after] = [plane(floats, p), plane(result, p)];
      const mean = before.reduce((a, b) => a + b) / 120;
      for (const [i, v] of after.entries()) expect(v).toBeCloseTo(mean + 0.5 * (before[i] - mean), 5);
    }
  });

  it('refuses normalised images, other types, and what it does not know', async () => {
    const normalised: NDArray = { ...floats, data: (floats.data as Float32Array).map(v => v * 2 - 1) };
    await expect(run('blur', 1, normalised)).rejects.toThrow('before they are normalised');
    await expect(
      run('blur', 1, { ...floats, dtype: 'float64' as 'float32', data: new Float64Array(1440) as never }),
    ).rejects.toThrow('float64');
    expect(() => corrupt('fog' as Corruption, 1)).toThrow("no corruption 'fog'");
    expect(() => corrupt('blur', 4 as CorruptionLevel)).toThrow('level 4');
  });
});

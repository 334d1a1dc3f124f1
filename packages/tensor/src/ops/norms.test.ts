import { describe, expect, it } from 'vitest';
import { tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { groupNorm, instanceNorm, layerNorm, rmsNorm } from './norms.ts';

/** (row − mean) / √(variance + eps) of consecutive rows in float64. */
function normalised(data: Float32Array, width: number, eps: number, centred = true): number[] {
  const out: number[] = [];
  for (let start = 0; start < data.length; start += width) {
    const row = [...data.subarray(start, start + width)];
    const mean = centred ? row.reduce((a, b) => a + b) / width : 0;
    const power = row.reduce((a, b) => a + (b - mean) ** 2, 0) / width;
    out.push(...row.map(v => (v - mean) / Math.sqrt(power + eps)));
  }
  return out;
}

function expectClose(actual: Float32Array, expected: readonly number[], tolerance = 2e-5): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((e, i) => {
    expect(Math.abs(actual[i] - e)).toBeLessThan(tolerance);
  });
}

const x = randn([3, 4, 5], 'x', 0.5, 2);

describe('layerNorm', () => {
  it('normalises the trailing axes, then scales and shifts', async () => {
    expectClose(await layerNorm(x).data(), normalised(await x.data(), 5, 1e-5));
    const weight = randn([4, 5], 'w');
    const bias = randn([4, 5], 'b');
    const [w, b] = [await weight.data(), await bias.data()];
    const rows = normalised(await x.data(), 20, 0.1);
    const options = { axis: 1, weight, bias, eps: 0.1 };
    expectClose(
      await layerNorm(x, options).data(),
      rows.map((v, i) => v * w[i % 20] + b[i % 20]),
    );
    expectClose(
      await layerNorm(x, { ...options, bias: undefined }).data(),
      rows.map((v, i) => v * w[i % 20]),
    );
    expectClose(
      await layerNorm(x, { ...options, weight: undefined }).data(),
      rows.map((v, i) => v + b[i % 20]),
    );
  });

  it('is exact for a large common offset', async () => {
    const shifted = tensor(
      (await x.data()).map(v => Math.fround(Math.round(v * 64) / 64 + 1000)),
      x.shape,
    );
    expectClose(await layerNorm(shifted).data(), normalised(await shifted.data(), 5, 1e-5), 2e-3);
  });

  it('has right gradients for input, weight and bias', async () => {
    const small = [randn([2, 3, 4], 1), randn([4], 2), randn([4], 3)];
    await checkGradients((a, weight, bias) => layerNorm(a, { weight, bias, eps: 0.1 }), small);
    await checkGradients(a => layerNorm(a, { axis: 1, eps: 0.1 }).square(), [randn([2, 2, 3], 4)]);
    await checkGradients((a, weight) => layerNorm(a, { weight, eps: 0.1 }), small.slice(0, 2));
  });

  it('names the parameter that does not fit', () => {
    expect(() => layerNorm(x, { weight: randn([4]) })).toThrow('layerNorm: the weight is [4], expected [5]');
    expect(() => layerNorm(x, { axis: 1, bias: randn([5]) })).toThrow('layerNorm: the bias is [5], expected [4, 5]');
    expect(() => layerNorm(x, { axis: 3 })).toThrow('layerNorm: axis 3 is out of range');
  });
});

describe('rmsNorm', () => {
  it('divides by the root mean square', async () => {
    const weight = randn([5], 'w');
    const w = await weight.data();
    const rows = normalised(await x.data(), 5, 1e-5, false);
    expectClose(
      await rmsNorm(x, { weight }).data(),
      rows.map((v, i) => v * w[i % 5]),
    );
    expectClose(await rmsNorm(x, { axis: -2, eps: 0.5 }).data(), normalised(await x.data(), 20, 0.5, false));
  });

  it('has right gradients', async () => {
    await checkGradients((a, weight) => rmsNorm(a, { weight, eps: 0.1 }), [randn([3, 4], 1), randn([4], 2)]);
    await checkGradients(a => rmsNorm(a, { axis: 0, eps: 0.1 }).square(), [randn([3, 2], 1)]);
  });

  it('gives finite gradients at 0', async () => {
    await checkGradients(a => rmsNorm(a, { eps: 1 }), [tensor(new Float32Array(4), [1, 4])]);
  });
});

describe('groupNorm and instanceNorm', () => {
  const images = randn([2, 4, 3, 2], 'images');
  const weight = randn([4], 'w');
  const bias = randn([4], 'b');

  it('normalize groups of channels', async () => {
    const [w, b] = [await weight.data(), await bias.data()];
    const channel = (i: number) => Math.floor(i / 6) % 4;
    const affine = (rows: number[]) => rows.map((v, i) => v * w[channel(i)] + b[channel(i)]);
    const data = await images.data();
    expectClose(await groupNorm(images, 2, { weight, bias }).data(), affine(normalised(data, 12, 1e-5)));
    expectClose(await groupNorm(images, 1).data(), normalised(data, 24, 1e-5));
    expectClose(await instanceNorm(images, { weight, bias, eps: 0.2 }).data(), affine(normalised(data, 6, 0.2)));
  });

  it('have right gradients', async () => {
    await checkGradients((a, w, b) => groupNorm(a, 2, { weight: w, bias: b, eps: 0.1 }), [images, weight, bias]);
    await checkGradients(a => instanceNorm(a, { eps: 0.1 }).square(), [images]);
  });

  it('refuse groups that do not divide the channels', () => {
    expect(() => groupNorm(images, 3)).toThrow(
      'groupNorm: [2, 4, 3, 2] has 4 channels, which do not form 3 equal groups',
    );
    expect(() => groupNorm(images, 2, { weight: randn([2]) })).toThrow('groupNorm: the weight is [2], expected [4]');
  });
});

import { describe, expect, it } from 'vitest';
import { tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { type GridSampleOptions, gridSample } from './grid-sample.ts';

const OPTIONS: GridSampleOptions[] = (['zeros', 'border', 'reflection'] as const).flatMap(padding =>
  [false, true].map(alignCorners => ({ padding, alignCorners })),
);

describe('gridSample', () => {
  it('reads pixel centres exactly', async () => {
    const x = tensor([1, 2, 3, 4], [1, 1, 2, 2]);
    const grid = tensor([-0.5, -0.5, 0.5, -0.5, 0, 0], [1, 1, 3, 2]);
    expect(await gridSample(x, grid).tolist()).toEqual([[[[1, 2, 2.5]]]]);
    const corners = tensor([-1, -1, 1, 1], [1, 1, 2, 2]);
    expect(await gridSample(x, corners, { alignCorners: true }).tolist()).toEqual([[[[1, 4]]]]);
    expect(await gridSample(x, corners).tolist()).toEqual([[[[0.25, 1]]]]);
    expect(await gridSample(x, corners, { padding: 'border' }).tolist()).toEqual([[[[1, 4]]]]);
  });

  // The forward pass is ONNX Runtime's, the gradient that of our own formula: finite differences compare the two.
  it.each(OPTIONS)('has first and second derivatives in image and grid: %j', async options => {
    const inputs = [randn([2, 2, 4, 5], 1), randn([2, 3, 3, 2], 7)];
    await checkGradients((x, grid) => gridSample(x, grid, options), inputs, { eps: 1e-3, tolerance: 3e-2 });
  });

  it.each(OPTIONS)('nearest: a gradient for the image alone: %j', async options => {
    const grid = randn([2, 3, 3, 2], 7);
    await checkGradients(x => gridSample(x, grid, { ...options, mode: 'nearest' }), [randn([2, 2, 4, 5], 1)]);
  });

  it('says what does not fit', () => {
    expect(() => gridSample(randn([1, 2, 4, 4]), randn([1, 3, 3, 3]))).toThrow(
      'gridSample: input [1, 2, 4, 4], grid [1, 3, 3, 3]: expected',
    );
  });
});

import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import { tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { type Coordinates, type NearestRounding, pixelShuffle, pixelUnshuffle, resize, upsample } from './resize.ts';

const line = (...values: number[]) => tensor(values, [1, 1, values.length]);
const numbers = async (x: { data(): Promise<Float32Array> }) =>
  [...(await x.data())].map(v => Math.round(v * 1e4) / 1e4);

const COORDINATES: Coordinates[] = [
  'half_pixel',
  'half_pixel_symmetric',
  'pytorch_half_pixel',
  'align_corners',
  'asymmetric',
];
const ROUNDINGS: NearestRounding[] = ['floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil'];
const TARGETS = [{ scale: 2 }, { scale: [1.7, 0.6] }, { size: [3, 7] }, { size: 1 }];

describe('resize', () => {
  it('follows PyTorch by default', async () => {
    expect(await numbers(upsample(line(1, 2), 2))).toEqual([1, 1, 2, 2]);
    expect(await numbers(upsample(line(1, 2), 2, 'linear'))).toEqual([1, 1.25, 1.75, 2]);
    expect(await numbers(resize(line(1, 2, 3, 4), { size: 2 }))).toEqual([1, 3]);
    const corners = resize(line(0, 3), { size: 4, mode: 'linear', coordinates: 'align_corners' });
    expect(await numbers(corners)).toEqual([0, 1, 2, 3]);
  });

  it('interpolates both axes of an image', async () => {
    const x = tensor([0, 2, 4, 6], [1, 1, 2, 2]);
    const y = resize(x, { size: 3, mode: 'linear', coordinates: 'align_corners' });
    expect(await numbers(y)).toEqual([0, 1, 2, 2, 3, 4, 4, 5, 6]);
  });

  // The forward pass is ONNX Runtime's, the gradient our own matrices: finite differences compare the two.
  const cases = COORDINATES.flatMap(coordinates => [
    ...ROUNDINGS.map(rounding => ({ mode: 'nearest' as const, coordinates, rounding })),
    { mode: 'linear' as const, coordinates },
    { mode: 'cubic' as const, coordinates, cubicCoefficient: -0.5 },
    { mode: 'cubic' as const, coordinates, excludeOutside: true },
  ]);
  it.each(cases)('has a gradient that matches ONNX Runtime: %j', async options => {
    for (const target of TARGETS) {
      const f = (x: Parameters<typeof resize>[0]) => resize(x, { ...target, ...options });
      await checkGradients(f, [randn([1, 1, 5, 4])], { second: false, samples: 4 });
    }
  });

  it('resizes lines and volumes, twice differentiable', async () => {
    const options = { samples: 4 };
    await checkGradients(x => resize(x, { size: 7, mode: 'linear' }).square(), [randn([2, 2, 5])], options);
    await checkGradients(x => upsample(x, 2).square(), [randn([2, 2, 5])], options);
    await checkGradients(x => upsample(x, 2, 'linear').square(), [randn([1, 2, 3, 2, 4])], options);
    await checkGradients(x => upsample(x, [1, 2, 2]).square(), [randn([1, 2, 3, 2, 4])], options);
  });

  it('says what is wrong', () => {
    const x = randn([1, 1, 4, 4]);
    expect(() => resize(x, {})).toThrow('resize: give either size or scale');
    expect(() => resize(x, { size: 2, scale: 2 })).toThrow('either size or scale');
    expect(() => resize(x, { scale: [2, 2, 2] })).toThrow('one for each of 2 spatial axes');
    expect(() => resize(x, { scale: 0.1 })).toThrow('leaves nothing of [1, 1, 4, 4]');
    expect(() => resize(randn([1, 1, 4]), { size: 2, mode: 'cubic' })).toThrow(
      'mode cubic: expected [batch, channels, ...space] with 2',
    );
  });
});

describe('pixelShuffle', () => {
  it('lays channel offsets out in tiles', async () => {
    const x = tensor([0, 1, 2, 3, 10, 11, 12, 13], [1, 8, 1, 1]);
    expect(await pixelShuffle(x, 2).tolist()).toEqual([
      [
        [
          [0, 1],
          [2, 3],
        ],
        [
          [10, 11],
          [12, 13],
        ],
      ],
    ]);
  });

  it('is undone by pixelUnshuffle, whose gradient it is', async () => {
    const x = randn([2, 18, 2, 3]);
    const y = pixelShuffle(x, 3);
    expect(y.shape).toEqual([2, 2, 6, 9]);
    expect(await pixelUnshuffle(y, 3).data()).toEqual(await x.data());
    const seed = randn(y.shape, 1);
    const [g] = gradients(y, [x], seed);
    expect(await g.data()).toEqual(await pixelUnshuffle(seed, 3).data());
    expect(() => pixelShuffle(x, 4)).toThrow('pixelShuffle: input [2, 18, 2, 3], factor 4');
    expect(() => pixelUnshuffle(x, 2)).toThrow('pixelUnshuffle: input [2, 18, 2, 3], factor 2');
  });
});

import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { MobileNetV1 } from '../../models/mobilenet.ts';
import { layer } from '../../sparsity/layer.ts';
import { Mask } from '../../sparsity/mask.ts';
import { modelLayers } from '../../sparsity/model.ts';
import { gainOver, multiplyAdds, widthOfEqualCost } from './width-multiplier.ts';

const input = { dtype: 'float32', shape: [1, 3, 32, 32] } as const;
const build = (width: number) => new MobileNetV1({ width, classes: 10, random: new Random(0) });

describe('multiplyAdds', () => {
  it('of MobileNetV1 are those of the paper: 569 million', async () => {
    const model = new MobileNetV1();
    const { layers } = await modelLayers(model, [{ dtype: 'float32', shape: [1, 3, 224, 224] }]);
    expect(Math.round(multiplyAdds(layers) / 1e6)).toBe(569);
  });

  it('count live weights at all positions', () => {
    const layers = [
      layer('a', [4, 2, 1, 1], new Float32Array(8), { positions: 9 }),
      layer('b', [3, 4], new Float32Array(12)),
    ];
    const mask = new Mask([['a', { shape: [4, 2, 1, 1], keep: Uint8Array.of(1, 0, 0, 1, 0, 0, 1, 0) }]]);
    expect(multiplyAdds(layers)).toBe(8 * 9 + 12);
    expect(multiplyAdds(layers, mask)).toBe(3 * 9 + 12);
  });
});

describe('widthOfEqualCost', () => {
  it('is the narrowest that is not cheaper', async () => {
    const cost = async (width: number) => multiplyAdds((await modelLayers(build(width), [input])).layers);
    const widths = [0.5, 0.25, 0.375];
    const budget = await cost(0.375);
    expect(await widthOfEqualCost(build, input, budget, widths)).toBe(0.375);
    expect(await widthOfEqualCost(build, input, budget + 1, widths)).toBe(0.5);
    expect(await widthOfEqualCost(build, input, 1, widths)).toBe(0.25);
    await expect(widthOfEqualCost(build, input, 1e12, widths)).rejects.toThrow('none of the widths has 1000000000000');
  });
});

describe('gainOver', () => {
  const dense = [
    { cost: 800, quality: 70 },
    { cost: 100, quality: 40 },
    { cost: 200, quality: 50 },
  ];

  it('reads the dense curve at equal cost and at equal quality', () => {
    expect(gainOver(dense, { cost: 200, quality: 60 }).quality).toBeCloseTo(10, 12);
    // Halfway between 200 and 800 in the logarithm.
    expect(gainOver(dense, { cost: 200, quality: 60 }).cost).toBeCloseTo(2, 12);
    expect(gainOver(dense, { cost: 400, quality: 60 })).toEqual({
      quality: expect.closeTo(0, 12),
      cost: expect.closeTo(1, 12),
    });
  });

  it('says nothing beyond the curve', () => {
    expect(gainOver(dense, { cost: 50, quality: 45 })).toEqual({ cost: expect.closeTo(2 * Math.SQRT2, 12) });
    expect(gainOver(dense, { cost: 150, quality: 75 })).toEqual({ quality: expect.any(Number) });
    expect(gainOver([], { cost: 1, quality: 1 })).toEqual({});
  });

  it('takes the cheapest of several dense networks of equal quality', () => {
    const bumpy = [...dense, { cost: 1600, quality: 55 }];
    expect(gainOver(bumpy, { cost: 100, quality: 60 }).cost).toBeCloseTo(4, 12);
  });
});

import { describe, expect, it } from 'vitest';
import { MobileNetV1, MobileNetV2 } from './mobilenet.ts';
import { checkModel, parameterCount, shapesOf } from './testing.ts';

const small = { width: 0.1, classes: 5, stride: 1 } as const;

describe('MobileNetV1', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new MobileNetV1({ ...small, random }), { input: [3, 16, 16], output: [5] }));

  it('has the published number of parameters at the widths of the paper', () => {
    expect([1, 0.75, 0.5, 0.25].map(width => parameterCount(new MobileNetV1({ width })))).toEqual([
      4_231_976, 2_585_560, 1_331_592, 470_072,
    ]);
  });

  it('has the names of the usual port', () => {
    const shapes = shapesOf(new MobileNetV1(small));
    expect(shapes['model.0.0.weight']).toBe('8×3×3×3');
    expect(shapes['model.1.0.weight']).toBe('8×1×3×3');
    expect(shapes['model.13.3.weight']).toBe('102×102×1×1');
    expect(shapes['model.13.4.running_mean']).toBe('102');
    expect(shapes['fc.weight']).toBe('5×102');
  });
});

describe('MobileNetV2', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new MobileNetV2({ ...small, random }), { input: [3, 16, 16], output: [5] }));

  it('has the published number of parameters', () => {
    expect([1, 0.75, 0.5, 1.4].map(width => parameterCount(new MobileNetV2({ width })))).toEqual([
      3_504_872, 2_636_424, 1_968_680, 6_108_776,
    ]);
  });

  it("has torchvision's names", () => {
    const shapes = shapesOf(new MobileNetV2(small));
    const names = Object.keys(shapes).filter(name => name.startsWith('features.2.'));
    expect(names.filter(name => name.endsWith('weight'))).toEqual([
      'features.2.conv.0.0.weight',
      'features.2.conv.0.1.weight',
      'features.2.conv.1.0.weight',
      'features.2.conv.1.1.weight',
      'features.2.conv.2.weight',
      'features.2.conv.3.weight',
    ]);
    for (const name of [
      'features.0.0.weight',
      'features.1.conv.1.weight',
      'features.18.1.running_var',
      'classifier.1.bias',
    ]) {
      expect(shapes).toHaveProperty([name]);
    }
    expect(shapes['features.18.0.weight']).toBe('1280×32×1×1');
  });
});

import { describe, expect, it } from 'vitest';
import { checkModel, parameterCount, shapesOf } from './testing.ts';
import { VGG } from './vgg.ts';

describe('VGG', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new VGG({ depth: 11, width: 2, classes: 5, random }), { input: [3, 32, 32], output: [5] }));

  it('has the published number of parameters', () => {
    expect(parameterCount(new VGG())).toBe(14_728_266);
  });

  it('has the names of the usual ports', () => {
    const shapes = shapesOf(new VGG({ depth: 16, width: 4 }));
    expect(shapes).toMatchObject({
      'features.0.weight': '4×3×3×3',
      'features.1.running_mean': '4',
      'features.40.weight': '32×32×3×3',
      'classifier.weight': '10×32',
    });
    expect(Object.keys(shapes).filter(name => shapes[name].endsWith('3×3'))).toHaveLength(13);
    expect(() => new VGG({ depth: 12 as 11 })).toThrow('expected one of 11, 13, 16, 19');
  });
});

import { randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { ResNet } from './resnet.ts';
import { checkModel, parameterCount, shapesOf } from './testing.ts';

describe('ResNet', () => {
  it('keeps what every model keeps: basic blocks', () =>
    checkModel(random => new ResNet({ width: 4, classes: 5, random }), { input: [3, 32, 32], output: [5] }));

  it('keeps what every model keeps: bottlenecks, small stem', () =>
    checkModel(random => new ResNet({ depth: 50, stem: 'cifar', width: 2, classes: 5, random }), {
      input: [3, 8, 8],
      output: [5],
    }));

  it('has the published number of parameters', () => {
    expect(parameterCount(new ResNet())).toBe(11_689_512);
    expect(parameterCount(new ResNet({ depth: 50 }))).toBe(25_557_032);
    expect(() => new ResNet({ depth: 20 as 18 })).toThrow('depth 20: expected one of 18,34,50');
  });

  it("has torchvision's names", () => {
    const shapes = shapesOf(new ResNet({ depth: 50, width: 4 }));
    expect(shapes['layer1.0.downsample.0.weight']).toBe('16×4×1×1');
    expect(shapes['layer1.0.downsample.1.running_mean']).toBe('16');
    expect(shapes['layer4.2.conv3.weight']).toBe('128×32×1×1');
    expect(shapes['layer4.2.bn3.bias']).toBe('128');
    expect(shapes['fc.weight']).toBe('1000×128');
    expect(Object.keys(shapes)).toHaveLength(320 - 53);
  });

  it('divides the size by 32 with the stem for ImageNet, by 8 with the small one', () => {
    const at = (stem: 'imagenet' | 'cifar', size: number) => {
      const model = new ResNet({ stem, width: 2 }).eval();
      let h = model.conv1.forward(randn([1, 3, size, size]));
      expect(h.shape[2]).toBe(stem === 'imagenet' ? size / 2 : size);
      h = model.layer4.forward(model.layer3.forward(model.layer2.forward(h)));
      return h.shape[2];
    };
    expect(at('cifar', 32)).toBe(4);
    expect(at('imagenet', 64)).toBe(4);
  });
});

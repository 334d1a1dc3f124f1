import { GossamerError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { createModel, models } from './registry.ts';
import { batchOf, parameterCount } from './testing.ts';

/** Made at a fraction of their width, so that the test is fast. */
const heavy = {
  vgg11: 0.1,
  vgg16: 0.1,
  vgg19: 0.1,
  resnet18: 0.1,
  resnet34: 0.1,
  resnet50: 0.1,
  gpt2: 0.1,
  'resnet18-cifar': 0.1,
};

describe('createModel', () => {
  it.each(Object.keys(models))('%s takes the input and gives the classes it announces', name => {
    const { input, classes, description } = models[name];
    const width = heavy[name as 'vgg11'];
    const own = name === 'gpt2' ? 100 : undefined;
    const model = createModel(name, { ...(width && { width }), ...(own && { classes: own }) }).eval();
    const vocab = input.dtype === 'int32' ? (own ?? classes!) : undefined;
    const y = model.forward(batchOf([1, ...input.shape], 0, vocab));
    expect(description).not.toBe('');
    const [channels, ...side] = input.shape;
    const scale = name === 'edsr' ? 2 : 1;
    if (classes === null) expect(y.shape).toEqual([1, channels, ...side.map(n => scale * n)]);
    else expect(y.shape.at(-1)).toBe(own ?? classes);
  });

  it('follows its options', async () => {
    const a = createModel('resnet8', { classes: 3, width: 0.5, seed: 1 });
    expect(a.forward(batchOf([1, 3, 32, 32], 0)).shape).toEqual([1, 3]);
    expect(parameterCount(a)).toBeLessThan(parameterCount(createModel('resnet8')) / 3);
    const weight = async (seed: number) =>
      (await createModel('resnet8', { seed }).stateDict().get('conv1.weight')!.data()).slice();
    expect(await weight(1)).toEqual(await weight(1));
    expect(await weight(1)).not.toEqual(await weight(2));
  });

  it('names what there is', () => {
    expect(() => createModel('alexnet')).toThrow(GossamerError);
    expect(() => createModel('alexnet')).toThrow("no model 'alexnet'; there are lenet-300-100, lenet-5");
    expect(() => createModel('toString')).toThrow('no model');
    expect(() => createModel('squeezenet', { width: 2 })).toThrow('the width of squeezenet cannot be chosen');
    expect(() => createModel('style-transfer', { classes: 2 })).toThrow('style-transfer has no classes');
  });
});

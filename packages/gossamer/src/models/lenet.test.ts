import { describe, expect, it } from 'vitest';
import { LeNet5, LeNet300 } from './lenet.ts';
import { checkModel, parameterCount, shapesOf } from './testing.ts';

describe('LeNet-300-100', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new LeNet300({ inputs: 36, hidden: [9, 7], classes: 4, random }), {
      input: [1, 6, 6],
      output: [4],
    }));

  it('has the published number of parameters', () => {
    expect(parameterCount(new LeNet300())).toBe(266_610);
    expect(shapesOf(new LeNet300())).toMatchObject({ 'fc1.weight': '300×784', 'fc3.bias': '10' });
  });
});

describe('LeNet-5', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new LeNet5({ channels: 2, size: 16, widths: [3, 4, 9], classes: 5, random }), {
      input: [2, 16, 16],
      output: [5],
    }));

  it('has the published number of parameters', () => {
    expect(parameterCount(new LeNet5())).toBe(431_080);
    expect(shapesOf(new LeNet5())).toMatchObject({ 'conv2.weight': '50×20×5×5', 'fc1.weight': '500×800' });
  });
});

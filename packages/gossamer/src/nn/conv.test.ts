import { gradients, realize } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d } from './conv.ts';
import { expectNear, fill, wave } from './testing.ts';

/** PyTorch's layers: shapes, first outputs, first gradients by the input, sum of the gradient by weight and bias. */
const reference = {
  conv1d: {
    shape: [2, 6, 4],
    y: [0.87472385, 0.85259223, 0.52216482, 0.36473557, -0.38451323, -0.099989206],
    dx: [0.4824605, 1.2134695, 0.87828642, 1.4612794, 0.86104047, 1.0218267],
    sums: [-2.728152, 2.58736],
    wshape: [6, 2, 3],
  },
  conv2d: {
    shape: [2, 3, 3, 4],
    y: [1.276925, 1.5223739, 1.2497048, 0.58715874, -0.24352962, -0.8508563],
    dx: [0.55458432, 0.73857081, 0.6912421, 0.71649337, 0.76382208, 0.59321076],
    sums: [0.19487, 0.09692192],
    wshape: [3, 2, 3, 2],
  },
  same: {
    shape: [1, 2, 5, 5],
    y: [0.42129639, 0.63989991, 1.8576354, 2.3995743, 2.1623156, 0.012293071],
    dx: [0.15560186, -0.25358939, -0.91347456, -1.1437382, -0.60153854, -0.7819066],
    sums: [-29.15883, 2.227966],
    wshape: [2, 2, 3, 3],
  },
  conv3d: {
    shape: [1, 2, 5, 5, 5],
    y: [-0.067115366, -0.69692457, -0.94923365, -0.55722493, 0.073675931, 0.69266474],
    dx: [-2.0156593, -1.1647719, 0.23392576, 1.5226046, 1.6823575, 0.47829738],
    sums: [64.27697, 0.01906919],
    wshape: [2, 2, 2, 2, 2],
  },
  transpose1d: {
    shape: [1, 3, 10],
    y: [0.29887676, 0.23893602, 0.35485342, 0.33225381, 0.44181547, 0.46718591],
    dx: [0.26278862, 1.2975481, 0.33639121, -1.183197, -0.73860055, 0.2567043],
    sums: [-1.445812, 2.562811],
    wshape: [2, 3, 3],
  },
  transpose2d: {
    shape: [1, 2, 6, 6],
    y: [0.46847528, 0.96109056, 0.60289097, 0.86874735, 0.65163612, -0.028956145],
    dx: [0.47650269, 0.44267771, -0.78605884, -1.1208353, -0.59892446, 0.70121664],
    sums: [13.15024, 0.09692197],
    wshape: [4, 1, 3, 3],
  },
  transpose3d: {
    shape: [1, 1, 4, 4, 4],
    y: [0.55857724, 0.4649193, 0.40060484, 0.71423364, 0.350481, 0.26908451],
    dx: [-0.75122124, -0.04535567, -0.63535941, -0.51146096, 0.65609133, -0.25833458],
    sums: [3.077745, 0.8777732],
    wshape: [2, 1, 2, 2, 2],
  },
};

const cases = {
  conv1d: [new Conv1d(4, 6, 3, { stride: 2, padding: 1, groups: 2 }), [2, 4, 7]],
  conv2d: [new Conv2d(2, 3, [3, 2], { stride: [2, 1], padding: [1, 0], dilation: [1, 2] }), [2, 2, 5, 6]],
  same: [new Conv2d(2, 2, 3, { padding: 'same' }), [1, 2, 5, 5]],
  conv3d: [new Conv3d(2, 2, 2, { padding: 1 }), [1, 2, 4, 4, 4]],
  transpose1d: [new ConvTranspose1d(2, 3, 3, { stride: 2, padding: 1, outputPadding: 1 }), [1, 2, 5]],
  transpose2d: [new ConvTranspose2d(4, 2, 3, { stride: 2, padding: 1, outputPadding: 1, groups: 2 }), [1, 4, 3, 3]],
  transpose3d: [new ConvTranspose3d(2, 1, 2, { stride: 2 }), [1, 2, 2, 2, 2]],
} as const;

describe('convolutions agree with PyTorch', () => {
  for (const [name, [module, shape]] of Object.entries(cases)) {
    it(name, async () => {
      const expected = reference[name as keyof typeof reference];
      expect([...module.stateDict()].map(([n]) => n)).toEqual(['weight', 'bias']);
      expect(module.weight.shape).toEqual(expected.wshape);
      const parameters = fill(module);
      const x = wave(shape, 0.2);
      const y = module.forward(x);
      expect(y.shape).toEqual(expected.shape);
      const [dx, ...dw] = gradients(y.mul(wave(y.shape, 0.8)).sum(), [x, ...parameters]);
      const sums = dw.map(d => d.sum());
      await realize(y, dx, ...sums);
      await expectNear(y, expected.y);
      await expectNear(dx, expected.dx);
      for (const [i, s] of sums.entries()) await expectNear(s, [expected.sums[i]], 1e-4);
    });
  }
});

it('draws within ±1/√fan in and can leave the bias out', async () => {
  const module = new Conv2d(4, 8, 3, { bias: false, groups: 2 });
  expect([...module.stateDict().keys()]).toEqual(['weight']);
  const largest = Math.max(...(await module.weight.data()).map(Math.abs));
  expect(largest).toBeLessThanOrEqual(1 / Math.sqrt(18));
  expect(largest).toBeGreaterThan(0.9 / Math.sqrt(18));
});

it('refuses what does not fit', () => {
  expect(() => new Conv2d(3, 4, 3, { groups: 2 })).toThrow('3 → 4 channels in 2 groups');
  expect(() => new Conv2d(3, 4, [3])).toThrow('expected 2 lengths');
  expect(() => new Conv2d(3, 4, 3).forward(wave([3, 8, 8], 0))).toThrow('Conv2d: input [3, 8, 8]: expected rank 4');
  expect(() => new Conv2d(3, 4, 3).forward(wave([1, 2, 8, 8], 0))).toThrow('conv: input [1, 2, 8, 8]');
});

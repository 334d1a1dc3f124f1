import { compile, gradients, realize, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import type { Module } from './module.ts';
import { BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm, LayerNorm, RMSNorm } from './norm.ts';
import { expectNear, fill, wave } from './testing.ts';

/**
 * PyTorch's layers on a wave: first outputs, first gradients by the input, gradients by weight and bias, names; for
 * batch norm the running statistics and what it computes from them in evaluation.
 */
const reference = {
  batch1d: {
    y: [0.43255004, 0.79543632, 0.83645177, 0.47660705, 0.46667585, -0.18250886, 0.33990985, -0.079512589],
    dx: [0.016372174, 0.05210397, -0.0019737689, -0.022270085, -0.16390841, -0.15956371, -0.010358821, 0.061888888],
    grads: [
      [2.1821637, 2.6013401, 2.450453],
      [0.72665018, 1.0028324, 0.80736679],
    ],
    names: ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'],
    mean: [0.010394618, 0.039615005, 0.050203837],
    var: [1.1048752, 1.1618164, 1.198876],
    eval: [0.43911085, 1.0039735, 1.2254822, 0.49106652, 0.5765689, -0.16782093, 0.32986179, -0.13350251],
  },
  batch2d: {
    y: [0.43446735, 0.47577438, 0.49105257, 0.47311634, 0.43040138, 0.38299721, 0.014665764, 0.027772943],
    dx: [0.019506318, 0.012423154, -0.00053349789, -0.013269923, -0.019795977, -0.017042359, -0.043817692, 0.054506611],
    grads: [
      [10.454947, 10.514892],
      [0.097013712, -0.051418185],
    ],
    names: ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'],
    mean: [0.0025856849, -0.0029651837],
    var: [1.334234, 1.3327169],
    eval: [0.43779451, 0.48832572, 0.50701565, 0.48507413, 0.43282059, 0.37483066, -0.09456227, -0.078538224],
  },
  layer: {
    y: [0.33906385, 0.61912853, 0.87441301, 0.10824848, 0.50075406, 0.52564919, -0.097322851, -0.30821836],
    dx: [0.042006113, 0.15200607, 0.068017632, -0.26202971, 0.029609174, -0.087040842, -0.11163318, 0.16906497],
    grads: [
      [-0.16935873, -0.089003518, 3.4923573, 5.2479281],
      [0.86595386, 0.69246173, 0.19329393, -0.39678293],
    ],
    names: ['weight', 'bias'],
  },
  layer2: {
    y: [0.0022670045, 0.31723076, 0.595891, 0.33570963, -0.0044466839, 0.22127029, 0.73536623, 0.75194299],
    dx: [-0.12604044, 0.085148051, 0.11042687, -0.10089842, -0.18776523, 0.018438309, 0.20248738, 0.075875252],
    grads: [
      [
        0.26957962, 0.81378388, 1.7519929, 1.6010078, 0.77517611, 0.82155597, 1.7688646, 2.0300879, 1.0438106,
        0.26629266, 0.83912182, 1.7642467,
      ],
    ],
    names: ['weight'],
  },
  rms: {
    y: [0.013346805, 0.37813634, 0.67095912, 0.4057101, 0.0098079909, -0.26460129, -0.66081774, -0.52109599],
    dx: [-0.022068894, 0.058737516, 0.039076522, -0.10819793, -0.055002481, -0.079996526, -0.065753788, 0.10497965],
    grads: [[2.1782503, 1.999226, 4.4510159, 5.4634881]],
    names: ['weight'],
  },
  group: {
    y: [0.40224946, 0.45880902, 0.47972867, 0.74325925, 0.32299641, -0.14340265, -0.23640803, -0.21988186],
    dx: [0.12667556, -0.005023852, -0.067889035, 0.039228261, -0.04752928, -0.045461625, -0.11939672, 0.0050019585],
    grads: [
      [1.8205564, 3.5034163, 3.1620786, 4.4745188],
      [1.3659261, -2.4767973, 1.1348768, 1.3309211],
    ],
    names: ['weight', 'bias'],
  },
  instance: {
    y: [0.40224946, 0.45880902, 0.47972867, 0.45516953, 0.39668214, 0.33177406, 0.08293552, 0.09482044],
    dx: [0.033715706, 0.015644781, -0.0051927483, -0.018996669, -0.019274782, -0.005896287, -0.08392749, 0.0049498701],
    grads: [
      [5.3239732, 7.6365976],
      [-1.110871, 2.4657979],
    ],
    names: ['weight', 'bias'],
  },
  cumulative: [0.14342766, 0.21754572, 0.18934864],
};

interface Case {
  readonly y: number[];
  readonly dx: number[];
  readonly grads: number[][];
  readonly names: string[];
}

async function compare(module: Module, shape: number[], expected: Case): Promise<Tensor> {
  expect([...module.stateDict().keys()]).toEqual(expected.names.filter(n => n !== 'num_batches_tracked'));
  const parameters = fill(module);
  const x = wave(shape, 0.2, 2);
  const y = module.forward(x);
  const grads = gradients(y.mul(wave(shape, 0.8)).sum(), [x, ...parameters]);
  await realize(y, ...grads);
  await expectNear(y, expected.y);
  await expectNear(grads[0], expected.dx, 2e-5);
  for (const [i, g] of expected.grads.entries()) await expectNear(grads[i + 1], g, 2e-5);
  return x;
}

describe('norms agree with PyTorch', () => {
  it('LayerNorm', () => compare(new LayerNorm(4), [2, 3, 4], reference.layer));
  it('LayerNorm over two axes, without bias', () =>
    compare(new LayerNorm([3, 4], { bias: false }), [2, 3, 4], reference.layer2));
  it('RMSNorm', () => compare(new RMSNorm(4), [2, 3, 4], reference.rms));
  it('GroupNorm', () => compare(new GroupNorm(2, 4), [2, 4, 3], reference.group));
  it('InstanceNorm', () => compare(new InstanceNorm(2, { affine: true }), [2, 2, 2, 3], reference.instance));

  for (const [name, module, shape] of [
    ['batch1d', new BatchNorm1d(3), [4, 3]],
    ['batch2d', new BatchNorm2d(2, { momentum: 0.3 }), [3, 2, 2, 3]],
  ] as const) {
    it(`${name}: training, running statistics, evaluation`, async () => {
      const x = await compare(module, [...shape], reference[name]);
      await realize(module.runningMean!, module.runningVar!);
      await expectNear(module.runningMean!, reference[name].mean);
      await expectNear(module.runningVar!, reference[name].var);
      await expectNear(module.eval().forward(x), reference[name].eval);
    });
  }
});

describe('BatchNorm', () => {
  it('updates its statistics in a compiled training step', async () => {
    const module = new BatchNorm1d(3);
    fill(module);
    const train = compile((x: Tensor) => module.forward(x));
    await train(wave([4, 3], 0.2, 2));
    await expectNear(module.runningMean!, reference.batch1d.mean);
    await expectNear(module.runningVar!, reference.batch1d.var);
    expect(module.parameters()).toEqual([module.weight, module.bias]);
  });

  it('averages all batches alike with momentum "cumulative"', async () => {
    const module = new BatchNorm1d(3, { momentum: 'cumulative' });
    module.forward(wave([4, 3], 0.2));
    module.forward(wave([4, 3], 1.2));
    await expectNear(module.runningMean!, reference.cumulative);
  });

  it('uses batch statistics always when it keeps none', async () => {
    const module = new BatchNorm3d(2, { affine: false, track: false }).eval();
    expect(module.stateDict().size).toBe(0);
    const y = module.forward(wave([2, 2, 2, 2, 2], 0.3));
    await expectNear(y.mean([0, 2, 3, 4]), [0, 0]);
    await expectNear(y.variance([0, 2, 3, 4]), [1, 1], 1e-3);
  });

  it('loads PyTorch’s state, whose num_batches_tracked it ignores', async () => {
    const module = new BatchNorm2d(2);
    const pair = (a: number, b: number) => ({ dtype: 'float32' as const, shape: [2], data: Float32Array.of(a, b) });
    module.loadStateDict({
      weight: pair(1, 2),
      bias: pair(3, 4),
      running_mean: pair(5, 6),
      running_var: pair(7, 8),
      num_batches_tracked: { dtype: 'int64', shape: [], data: BigInt64Array.of(9n) },
    });
    expect(await module.runningVar!.tolist()).toEqual([7, 8]);
  });

  it('refuses inputs of another rank or channel count', () => {
    expect(() => new BatchNorm2d(2).forward(wave([3, 2], 0))).toThrow('BatchNorm2d: input [3, 2]');
    expect(() => new BatchNorm1d(2).forward(wave([3, 4], 0))).toThrow('2 channels');
  });
});

it('the others refuse too', () => {
  expect(() => new LayerNorm(4).forward(wave([2, 3], 0))).toThrow('does not end in [4]');
  expect(() => new GroupNorm(3, 4)).toThrow('equal groups');
  expect(() => new GroupNorm(2, 4).forward(wave([2, 3], 0))).toThrow('4 channels');
});

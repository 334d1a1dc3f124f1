import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import type { Tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { batchNorm, batchNormInference } from './batchNorm.ts';

const SHAPES = [
  [7, 3],
  [4, 3, 5],
  [3, 3, 2, 4],
  [2, 3, 2, 2, 3],
  [2, 3, 1, 2, 2, 2],
];
const vectors = (n: number) => [randn([n], 'gamma'), randn([n], 'beta')] as const;

async function expectClose(a: Tensor, b: Tensor, tolerance = 1e-4): Promise<void> {
  expect(a.shape).toEqual(b.shape);
  expect(await a.sub(b).abs().max().item()).toBeLessThan(tolerance);
}

/** Batch norm from elementary operators, differentiated by their rules. */
function plain(x: Tensor, gamma: Tensor, beta: Tensor, axes: number[], eps: number): Tensor {
  const vector = (v: Tensor) => v.reshape([x.shape[1], ...x.shape.slice(2).map(() => 1)]);
  const centred = x.sub(x.mean(axes, true));
  const rstd = centred.square().mean(axes, true).add(eps).rsqrt();
  return centred.mul(rstd).mul(vector(gamma)).add(vector(beta));
}

const batchAxes = (shape: readonly number[]) => shape.flatMap((_, i) => (i === 1 ? [] : [i]));

describe('batchNorm', () => {
  it.each(SHAPES.map(s => [s]))('matches its definition, gradients too: %j', async shape => {
    const x = randn(shape, 'x').mul(2).add(3);
    const [gamma, beta] = vectors(3);
    const eps = 1e-3;
    const { y, mean, variance } = batchNorm(x, gamma, beta, { eps });
    const expected = plain(x, gamma, beta, batchAxes(shape), eps);
    await expectClose(y, expected);
    await expectClose(mean, x.mean(batchAxes(shape)));
    await expectClose(variance, x.variance(batchAxes(shape)));
    const seed = randn(shape, 'seed');
    const inputs = [x, gamma, beta];
    const [ours, theirs] = [gradients(y, inputs, seed), gradients(expected, inputs, seed)];
    for (let i = 0; i < inputs.length; i++) await expectClose(ours[i], theirs[i], 1e-3);
  });

  it('has first and second derivatives through y, mean and variance', async () => {
    const f = (x: Tensor, gamma: Tensor, beta: Tensor) => Object.values(batchNorm(x, gamma, beta));
    await checkGradients(f, [randn([3, 2, 2, 3], 1), ...vectors(2)]);
    await checkGradients(f, [randn([6, 2], 1), ...vectors(2)]);
  });

  it('keeps its precision where the mean is far from zero', async () => {
    const x = randn([64, 2, 8, 8], 'x');
    const { variance } = batchNorm(x.add(1000), ...vectors(2));
    await expectClose(variance, x.variance([0, 2, 3]), 1e-3);
  });

  it('names the vector that does not fit', () => {
    expect(() => batchNorm(randn([2, 3, 4]), randn([3]), randn([4]))).toThrow(
      'batchNorm: beta [4], expected [3], the channels of [2, 3, 4]',
    );
    expect(() => batchNorm(randn([3]), randn([3]), randn([3]))).toThrow('expected [batch, channels, ...space]');
  });
});

describe('batchNormInference', () => {
  it('equals batchNorm for the statistics of the batch', async () => {
    for (const shape of SHAPES) {
      const x = randn(shape, 'x').add(1);
      const { y, mean, variance } = batchNorm(x, ...vectors(3));
      await expectClose(batchNormInference(x, ...vectors(3), mean, variance), y);
    }
  });

  it('has first and second derivatives in all inputs', async () => {
    const f = (x: Tensor, g: Tensor, b: Tensor, m: Tensor, v: Tensor) =>
      batchNormInference(x, g, b, m, v.square().add(1));
    await checkGradients(f, [randn([3, 2, 2, 3], 1), ...vectors(2), randn([2], 4), randn([2], 5)]);
  });
});

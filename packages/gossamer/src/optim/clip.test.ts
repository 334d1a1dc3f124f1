import { realize, tensor } from '@gossamer/tensor';
import { expect, it } from 'vitest';
import { expectNear, wave } from '../nn/testing.ts';
import { clipByGlobalNorm, clipByValue, globalNorm } from './clip.ts';

const grads = [wave([2, 3], 1), wave([3], 2)];

/** From torch.nn.utils.clip_grad_norm_ with max_norm 0.5. */
const reference = {
  norm: 2.1340487003326416,
  grads: [
    0.19715355, 0.23234342, 0.15825854, 0.0097421966, -0.14335606, -0.22903171, 0.21304503, 0.10013353, -0.059872344,
  ],
};

it('scales all tensors together to the largest norm', async () => {
  const { grads: clipped, norm } = clipByGlobalNorm(grads, 0.5);
  await realize(norm, ...clipped);
  expect(await norm.item()).toBeCloseTo(reference.norm, 5);
  await expectNear([...(await clipped[0].data()), ...(await clipped[1].data())], reference.grads);
  expect(await globalNorm(clipped).item()).toBeCloseTo(0.5, 5);
});

it('leaves small gradients as they are', async () => {
  const { grads: same } = clipByGlobalNorm(grads, 100);
  expect([...(await same[0].data())]).toEqual([...(await grads[0].data())]);
});

it('limits elements', async () => {
  const [clipped] = clipByValue([tensor([-2, -0.5, 0, 3])], 0.75);
  expect([...(await clipped.data())]).toEqual([-0.75, -0.5, 0, 0.75]);
});

it('refuses senseless limits', () => {
  expect(() => clipByGlobalNorm(grads, 0)).toThrow('limit 0');
  expect(() => clipByValue(grads, -1)).toThrow('limit -1');
  expect(() => globalNorm([])).toThrow('no tensors');
});

import { describe, expect, it } from 'vitest';
import { gradients } from './gradients.ts';
import { multiOperator, operator } from './operator.ts';
import { zeros } from './ops/constant.ts';
import { split } from './ops/movement.ts';
import { realize } from './realize.ts';
import { type Tensor, tensor } from './tensor.ts';
import { checkGradients, randn } from './testing.ts';

/** Loss of a two-layer perceptron. */
const mlp =
  (x: Tensor, y: Tensor) =>
  (w1: Tensor, b1: Tensor, w2: Tensor): Tensor =>
    x.matmul(w1).add(b1).tanh().matmul(w2).sub(y).square().mean();

const x = randn([8, 5], 'x');
const y = randn([8, 2], 'y');
const weights = [randn([5, 6], 1), randn([6], 2), randn([6, 2], 3)] as const;

describe('gradients', () => {
  it('of a perceptron equal finite differences, twice', async () => {
    await checkGradients((a, b, c) => mlp(x, y)(a, b, c), weights);
  });

  it('give Hessian-vector products', async () => {
    const loss = mlp(x, y);
    const direction = weights.map((w, i) => randn(w.shape, `v${i}`));
    const slope = gradients(loss(...weights), weights)
      .map((g, i) => g.mul(direction[i]).sum())
      .reduce((a, b) => a.add(b));
    const product = gradients(slope, weights);
    const eps = 2e-3;
    const moved = (step: number): Tensor[] => {
      const [a, b, c] = weights.map((w, i) => w.add(direction[i].mul(step)));
      return gradients(loss(a, b, c), [a, b, c]);
    };
    const behind = moved(-eps);
    const numeric = moved(eps).map((g, i) => g.sub(behind[i]).div(2 * eps));
    await realize(...product, ...numeric);
    for (const [i, h] of product.entries()) {
      const expected = await numeric[i].data();
      (await h.data()).forEach((v, e) => {
        expect(Math.abs(v - expected[e])).toBeLessThan(3e-3);
      });
    }
  });

  it('go on to the fourth order', async () => {
    const t = tensor([2]);
    const orders = [t.pow(4).sum()];
    for (let i = 0; i < 4; i++) orders.push(gradients(orders[i], [t])[0].sum());
    await realize(...orders);
    expect(await Promise.all(orders.map(d => d.item()))).toEqual([16, 32, 48, 48, 24]);
  });

  it('are zeros for inputs that are not used', async () => {
    const [a, b] = [randn([2, 3]), tensor(Int32Array.of(1, 2))];
    const [ga, gb, gc] = gradients(randn([2]).sum().add(a.detach().sum()), [a, b, randn([1])]);
    expect(await ga.tolist()).toEqual([
      [0, 0, 0],
      [0, 0, 0],
    ]);
    expect([gb.dtype, await gb.tolist(), await gc.tolist()]).toEqual(['int32', [0, 0], [0]]);
  });

  it('reach intermediate values, and y itself', async () => {
    const a = tensor([1, 2]);
    const middle = a.mul(3);
    const loss = middle.square().sum();
    const [dm, da, dl] = gradients(loss, [middle, a, loss]);
    expect(await dm.tolist()).toEqual([6, 12]);
    expect(await da.tolist()).toEqual([18, 36]);
    expect(await dl.item()).toBe(1);
  });

  it('sum over all paths and start from a seed', async () => {
    const a = tensor([1, 2]);
    const b = a.add(a).mul(a);
    const [g] = gradients(b, [a], tensor([1, 10]));
    expect(await g.tolist()).toEqual([4, 80]);
  });

  it('say what is wrong', async () => {
    const a = tensor([1, 2]);
    expect(() => gradients(a.mul(2), [a])).toThrow(
      'gradients: the tensor [2] is not a scalar; reduce it (sum, mean) or pass a seed',
    );
    expect(() => gradients(a.mul(2), [a], tensor([1]))).toThrow('gradients: the seed [1] differs from the tensor [2]');
    const loss = a.sum();
    await loss.item();
    expect(() => gradients(loss, [a])).toThrow('gradients: the tensor was realised');
    const opaque = operator<object>({
      name: 'opaque',
      infer: ([t]) => t,
      emit: (b, [t]) => b.node('Identity', [t]),
    });
    expect(() => gradients(opaque([a], {}).sum(), [a])).toThrow(
      'gradients: operator opaque has no gradient; detach() its input if none should pass',
    );
    expect(await gradients(opaque([a.detach()], {}).sum(), [a])[0].tolist()).toEqual([0, 0]);
    expect(
      await gradients(
        opaque([a.gt(1).cast('float32')], {})
          .mul(a)
          .sum(),
        [a],
      )[0].tolist(),
    ).toEqual([0, 1]);
  });
});

describe('gradients of operators with several outputs', () => {
  const reached: boolean[][] = [];
  /** x² and x³. */
  const powers = multiOperator<object>({
    name: 'powers',
    infer: ([t]) => [t, t],
    gradient: ({ inputs: [t], outputs: [square], grads: [g, h], reaches }) => {
      reached.push([reaches(0), reaches(1)]);
      return [g.mul(2).mul(t).add(h.mul(3).mul(square))];
    },
    emit: (b, [t]) => {
      const square = b.node('Mul', [t, t]);
      return [square, b.node('Mul', [square, t])];
    },
  });

  it('combine the outputs that are used, and know which', async () => {
    const t = tensor([1, 2]);
    const [square, cube] = powers([t], {});
    expect(await gradients(cube.sum(), [t])[0].tolist()).toEqual([3, 12]);
    expect(await gradients(square.sum(), [t])[0].tolist()).toEqual([2, 4]);
    expect(await gradients(square.add(cube).sum(), [t])[0].tolist()).toEqual([5, 16]);
    expect(reached).toEqual([
      [false, true],
      [true, false],
      [true, true],
    ]);
    await checkGradients(u => powers([u], {}), [randn([3])]);
  });

  it('work where one output is an input of another gradient', async () => {
    await checkGradients(
      u => {
        const [a, b] = split(u, 2);
        const [square] = powers([a], {});
        return square.mul(b);
      },
      [randn([4])],
    );
  });

  it('keep zeros of the right dtype for outputs that are not used', async () => {
    const [g] = gradients(tensor([3, 1, 2]).sort()[0].sum(), [zeros([1])]);
    expect(await g.tolist()).toEqual([0]);
  });
});

import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import { reachable } from '../graph.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import type { Axes } from './reduce.ts';

const x = randn([2, 3, 4], 'x');
const product = (v: number[]) => v.reduce((a, b) => a * b, 1);
const total = (v: number[]) => v.reduce((a, b) => a + b, 0);
const squares = (v: number[], correction = 0) => {
  const mean = total(v) / v.length;
  return total(v.map(e => (e - mean) ** 2)) / (v.length - correction);
};

const reductions: [
  name: string,
  f: (x: Tensor, axes?: Axes, keep?: boolean) => Tensor,
  reference: (v: number[]) => number,
][] = [
  ['sum', (t, a, k) => t.sum(a, k), total],
  ['mean', (t, a, k) => t.mean(a, k), v => total(v) / v.length],
  ['max', (t, a, k) => t.max(a, k), v => Math.max(...v)],
  ['min', (t, a, k) => t.min(a, k), v => Math.min(...v)],
  ['prod', (t, a, k) => t.prod(a, k), product],
  ['logsumexp', (t, a, k) => t.logsumexp(a, k), v => Math.log(total(v.map(Math.exp)))],
  ['variance', (t, a, k) => t.variance(a, k), v => squares(v)],
  ['std, corrected', (t, a, k) => t.std(a, k, 1), v => Math.sqrt(squares(v, 1))],
  ['norm 1', (t, a, k) => t.norm(1, a, k), v => total(v.map(Math.abs))],
  ['norm 2', (t, a, k) => t.norm(2, a, k), v => Math.hypot(...v)],
  ['norm 3', (t, a, k) => t.norm(3, a, k), v => total(v.map(e => Math.abs(e) ** 3)) ** (1 / 3)],
  ['norm ∞', (t, a, k) => t.norm(Infinity, a, k), v => Math.max(...v.map(Math.abs))],
];

/** Brute force over a [2, 3, 4] tensor. */
function reduced(data: ArrayLike<number>, axes: readonly number[], f: (v: number[]) => number): number[] {
  const groups = new Map<number, number[]>();
  for (let e = 0; e < 24; e++) {
    const at = [Math.floor(e / 12), Math.floor(e / 4) % 3, e % 4];
    const key = [0, 1, 2].reduce((k, a) => (axes.includes(a) ? k : k * 10 + at[a]), 1);
    groups.set(key, [...(groups.get(key) ?? []), data[e]]);
  }
  return [...groups.values()].map(f);
}

describe('reductions', () => {
  it.each(reductions)('%s over every set of axes', async (_name, f, reference) => {
    const data = await x.data();
    for (const [axes, list] of [
      [undefined, [0, 1, 2]],
      [1, [1]],
      [-1, [2]],
      [
        [0, -1],
        [0, 2],
      ],
    ] as const) {
      const y = f(x, axes);
      expect(y.shape).toEqual(x.shape.filter((_, i) => !(list as readonly number[]).includes(i)));
      expect(f(x, axes, true).shape).toEqual(x.shape.map((d, i) => ((list as readonly number[]).includes(i) ? 1 : d)));
      const expected = reduced(data, list, reference);
      (await y.data()).forEach((v, i) => {
        expect(v).toBeCloseTo(expected[i], 4);
      });
    }
  });

  it('have right gradients', async () => {
    for (const axes of [undefined, 1, [0, -1]]) {
      await checkGradients(t => reductions.map(([, f]) => f(t, axes)), [x.add(0.05)], { eps: 5e-3, tolerance: 2e-2 });
    }
  });

  it('take no axes as nothing to do', async () => {
    expect(await x.sum([]).tolist()).toEqual(await x.tolist());
    expect(() => x.sum(3)).toThrow('sum: axis 3 is out of range for a tensor of rank 3');
    expect(() => x.norm(0)).toThrow('norm: p = 0: expected a positive number or Infinity');
    expect(() => x.cast('uint8').sum()).toThrow('sum: the tensor is uint8, expected a float dtype, int32 or int64');
    expect(() => x.sum([0, -3])).toThrow('sum: axes [0,0] repeat');
    expect(() => x.slice(0, 0, 1).variance(0, false, 1)).toThrow(
      'variance: 1 elements with correction 1 leave no degree of freedom',
    );
  });

  it('share the gradient of max and min between ties', async () => {
    const t = tensor([
      [1, 3, 3],
      [2, 2, 2],
    ]);
    expect(await gradients(t.max(1).sum(), [t])[0].tolist()).toEqual([
      [0, 0.5, 0.5],
      [1, 1, 1].map(v => expect.closeTo(v / 3, 6)),
    ]);
    expect(await gradients(t.min().mul(4), [t])[0].tolist()).toEqual([
      [4, 0, 0],
      [0, 0, 0],
    ]);
  });

  it('have the right gradient of prod at zeros', async () => {
    const t = tensor([
      [2, 0, 3],
      [0, 5, 0],
      [1, 2, 3],
    ]);
    expect(await gradients(t.prod(1).sum(), [t])[0].tolist()).toEqual([
      [0, 6, 0],
      [0, 0, 0],
      [6, 3, 2],
    ]);
    await checkGradients(
      u => u.prod(0),
      [
        tensor([
          [0, 1],
          [2, 0],
          [3, 4],
        ]),
      ],
    );
  });

  it('have the gradient of prod over many elements, in a graph that stays small', async () => {
    const t = tensor(Float32Array.from({ length: 3000 }, (_, i) => (i % 2 === 0 ? 1.25 : 0.8)));
    const [g] = gradients(t.prod(), [t]);
    expect(reachable([g.node]).length).toBeLessThan(200);
    (await g.data()).forEach((v, i) => {
      expect(v).toBeCloseTo(i % 2 === 0 ? 0.8 : 1.25, 3);
    });
    const none = tensor(new Float32Array(0), [2, 0]);
    expect([await none.prod(1).tolist(), gradients(none.prod(1).sum(), [none])[0].shape]).toEqual([
      [1, 1],
      [2, 0],
    ]);
  });

  it('are stable', async () => {
    const t = tensor([
      [1000, 1000],
      [-1000, -1001],
      [-Infinity, 0],
    ]);
    const y = await t.logsumexp(1).data();
    expect(y[0]).toBeCloseTo(1000 + Math.log(2), 3);
    expect(y[1]).toBeCloseTo(-1000 + Math.log(1 + Math.exp(-1)), 3);
    expect(y[2]).toBe(0);
    expect(await t.softmax().slice(0, 0, 1).tolist()).toEqual([[0.5, 0.5]]);
    expect(await t.slice(0, 2).logSoftmax().tolist()).toEqual([[-Infinity, 0]]);
    const zero = tensor([0, 0]);
    expect(await gradients(zero.norm(), [zero])[0].tolist()).toEqual([0, 0]);
    const far = tensor([1e6, 1e6 + 1]);
    expect(await far.variance().item()).toBe(0.25);
  });

  it('work on integers and truth values', async () => {
    const t = tensor(Int32Array.of(1, 2 ** 24 + 1, -5), [3]);
    expect([t.sum().dtype, await t.sum().item()]).toEqual(['int32', 2 ** 24 - 3]);
    expect(await t.max().item()).toBe(2 ** 24 + 1);
    const b = tensor([
      [true, false],
      [true, true],
    ]);
    expect([b.any(1).dtype, await b.any(1).tolist(), await b.all(1).tolist()]).toEqual(['bool', [1, 1], [0, 1]]);
    expect(await b.not().any(0).tolist()).toEqual([0, 1]);
    expect([b.sum().dtype, await b.sum(0).tolist()]).toEqual(['int32', [2, 1]]);
  });

  it('propagate NaN', async () => {
    const t = tensor([1, NaN, 2]);
    for (const y of [t.sum(), t.mean(), t.prod(), t.logsumexp(), t.norm()]) expect(await y.item()).toBeNaN();
  });
});

describe('cumsum', () => {
  it('runs forwards and backwards, with and without the element itself', async () => {
    const t = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(await t.cumsum().tolist()).toEqual([
      [1, 3, 6],
      [4, 9, 15],
    ]);
    expect(await t.cumsum(0, { exclusive: true }).tolist()).toEqual([
      [0, 0, 0],
      [1, 2, 3],
    ]);
    expect(await t.cumsum(1, { reverse: true }).tolist()).toEqual([
      [6, 5, 3],
      [15, 11, 6],
    ]);
    expect(await t.cast('int32').cumsum(1, { reverse: true, exclusive: true }).tolist()).toEqual([
      [5, 3, 0],
      [11, 6, 0],
    ]);
  });
});

describe('softmax and logSoftmax', () => {
  it.each([0, 1, -1])('along axis %i', async axis => {
    const exp = x.exp();
    const expected = await exp.div(exp.sum(axis, true)).data();
    (await x.softmax(axis).data()).forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i], 6);
    });
    (await x.logSoftmax(axis).data()).forEach((v, i) => {
      expect(v).toBeCloseTo(Math.log(expected[i]), 5);
    });
  });

  it('have right gradients, as has cumsum', async () => {
    await checkGradients(
      t => [
        t.softmax(1),
        t.logSoftmax(),
        t.cumsum(1).square(),
        t.cumsum(0, { exclusive: true, reverse: true }).square(),
      ],
      [x],
    );
  });
});

import { describe, expect, it } from 'vitest';
import type { TypedArray } from './dtype.ts';
import type { Executor } from './execute/executor.ts';
import { multiOperator, operator } from './operator.ts';
import { constant } from './ops/constant.ts';
import { canonicalize, Plan } from './plan.ts';
import { currentExecutor } from './realize.ts';
import { type Tensor, tensor } from './tensor.ts';

const host = operator<{ add: number }>({
  name: 'hostAdd',
  infer: ([x]) => x,
  run: ([x], { add }) => (x.data as Float32Array).map(v => v + add),
});
/** Sum and difference. */
const both = multiOperator<object>({
  name: 'hostBoth',
  infer: ([x]) => [x, x],
  run: ([x, y]) => {
    const [p, q] = [x.data as Float32Array, y.data as Float32Array];
    return Promise.resolve([p.map((v, i) => v + q[i]), p.map((v, i) => v - q[i])]);
  },
});

/** The executor, with a record of what it loaded and released. */
function spied(): { executor: Executor; live: () => number; loaded: () => number } {
  let [loaded, released] = [0, 0];
  const inner = currentExecutor();
  return {
    loaded: () => loaded,
    live: () => loaded - released,
    executor: {
      name: 'spy',
      load: async model => {
        const session = await inner.load(model);
        loaded++;
        return {
          ...session,
          release: async () => {
            released++;
            await session.release();
          },
        };
      },
    },
  };
}

async function run(...tensors: Tensor[]): Promise<{ values: number[][]; sessions: number }> {
  const spy = spied();
  const graph = canonicalize(tensors.map(t => t.node));
  const plan = await Plan.compile(graph, spy.executor);
  const results = await plan.run(graph.leaves.map(p => graph.nodes[p].data as TypedArray));
  await plan.release();
  expect(spy.live()).toBe(0);
  return { values: results.map(r => Array.from(r, Number)), sessions: spy.loaded() };
}

const x = tensor([1, 2]);
const y = tensor([10, 20]);

describe('canonicalize', () => {
  const count = (...tensors: Tensor[]) => canonicalize(tensors.map(t => t.node)).nodes.length;

  it('merges equal subexpressions, but neither leaves nor different attributes', () => {
    expect(count(x.mul(2).add(x.mul(2)))).toBe(4);
    expect(count(x.mul(2).add(x.mul(3)))).toBe(6);
    expect(count(x.add(tensor([1, 2])))).toBe(3);
    const [a, b] = [both([x, y], {}), both([x, y], {})];
    expect(count(a[0].add(b[0]), a[1].add(b[1]))).toBe(7);
    expect(count(x.sub(y).add(y.sub(x)))).toBe(5);
  });

  it('gives equal keys to equal structures, whatever the data', () => {
    const key = (...tensors: Tensor[]) => canonicalize(tensors.map(t => t.node)).key;
    const f = (a: Tensor, b: Tensor) => a.matmul(b).exp();
    const make = (n: number, v: number) => tensor(new Float32Array(n * n).fill(v), [n, n]);
    expect(key(f(make(2, 1), make(2, 2)))).toBe(key(f(make(2, 3), make(2, 4))));
    expect(key(f(make(2, 1), make(2, 2)))).not.toBe(key(f(make(3, 1), make(3, 1))));
    const same = make(2, 1);
    expect(key(f(same, same))).not.toBe(key(f(make(2, 1), make(2, 1))));
    expect(key(x.neg(), x.exp())).not.toBe(key(x.exp(), x.neg()));
    expect(key(x.neg())).not.toBe(key(x.neg(), x.neg().neg()));
    expect(key(x.mul(0))).not.toBe(key(x.mul(-0)));
    expect(key(x.mul(Number.NaN))).not.toBe(key(x.mul(Infinity)));
  });
});

describe('Plan', () => {
  it('runs everything between host operators in one session', async () => {
    const h = host([x.mul(2).add(1)], { add: 100 });
    expect(await run(h.mul(3).sub(x), x.exp().mul(0), h)).toEqual({
      values: [
        [308, 313],
        [0, 0],
        [103, 105],
      ],
      sessions: 2,
    });
  });

  it('passes values from host operator to host operator', async () => {
    const chain = host([host([host([x], { add: 1 })], { add: 10 })], { add: 100 });
    expect(await run(chain)).toEqual({ values: [[112, 113]], sessions: 0 });
    expect((await run(chain.mul(2), chain)).values).toEqual([
      [224, 226],
      [112, 113],
    ]);
  });

  it('selects the outputs of host operators that have several', async () => {
    const [sum, difference] = both([x.mul(2), y], {});
    expect((await run(sum.mul(difference))).values).toEqual([[12 * -8, 24 * -16]]);
    expect((await run(difference)).values).toEqual([[-8, -16]]);
    const [a, b] = both([sum, difference], {});
    expect((await run(a, b, sum)).values).toEqual([
      [4, 8],
      [20, 40],
      [12, 24],
    ]);
    expect((await run(host([difference], { add: 8 }).add(a))).values).toEqual([[4, 0]]);
  });

  it('interleaves: a session between two host operators, and values that skip it', async () => {
    const early = host([x], { add: 1 });
    const late = host([early.mul(x)], { add: 0.5 });
    expect(await run(late.add(early).add(x.neg()))).toEqual({ values: [[2.5 + 2 - 1, 6.5 + 3 - 2]], sessions: 3 });
  });

  it('hands constants to host operators and returns them', async () => {
    const c = constant(3).expand([2]);
    expect((await run(host([c], { add: 1 }), c)).values).toEqual([
      [4, 4],
      [3, 3],
    ]);
    const scalar = constant(5);
    expect((await run(host([scalar], { add: 1 }), scalar)).values).toEqual([[6], [5]]);
  });

  it('returns one value under several outputs', async () => {
    expect((await run(x.add(1), x.add(1), x.add(1).add(0))).values).toEqual([
      [2, 3],
      [2, 3],
      [2, 3],
    ]);
  });

  it('runs operators with several outputs in a session', async () => {
    const [values, indices] = tensor([3, 1, 2]).sort();
    expect(await run(indices)).toEqual({ values: [[1, 2, 0]], sessions: 1 });
    expect((await run(values, indices.add(1))).values).toEqual([
      [1, 2, 3],
      [2, 3, 1],
    ]);
  });

  it('writes outputs into given memory', async () => {
    const graph = canonicalize([x.mul(2).node]);
    const plan = await Plan.compile(graph, currentExecutor());
    const memory = new Float32Array(2);
    const [result] = await plan.run([Float32Array.of(4, 5)], new Map([[plan.outputs[0], memory]]));
    expect(result).toBe(memory);
    expect(memory).toEqual(Float32Array.of(8, 10));
    await plan.release();
  });

  it('is released only when its runs are over', async () => {
    const spy = spied();
    let open: () => void = () => {};
    const gate = new Promise<void>(resolve => {
      open = resolve;
    });
    const waiting = operator<object>({
      name: 'waiting',
      infer: ([t]) => t,
      run: async ([t]) => {
        await gate;
        return t.data;
      },
    });
    const graph = canonicalize([waiting([x.add(1)], {}).mul(2).node]);
    const plan = await Plan.compile(graph, spy.executor);
    const result = plan.run([Float32Array.of(1, 2)]);
    await plan.release();
    expect(spy.live()).toBe(2);
    open();
    expect(await result).toEqual([Float32Array.of(4, 6)]);
    expect(spy.live()).toBe(0);
  });

  it('frees its sessions when one of them cannot be compiled', async () => {
    const spy = spied();
    const broken = operator<object>({
      name: 'broken',
      infer: ([t]) => t,
      emit: (b, [t]) => b.node('NoSuchOperator', [t]),
    });
    const graph = canonicalize([broken([host([x.add(1)], { add: 1 })], {}).node]);
    await expect(Plan.compile(graph, spy.executor)).rejects.toThrow('ONNX Runtime refused the compiled graph');
    expect([spy.loaded(), spy.live()]).toEqual([1, 0]);
  });

  it('names an operator that has no form to run in', async () => {
    const nothing = operator<object>({ name: 'nothing', infer: ([t]) => t });
    await expect(run(nothing([x], {}))).rejects.toThrow('nothing');
  });
});

import { describe, expect, it } from 'vitest';
import { compile } from './compile.ts';
import { gradients } from './gradients.ts';
import { operator } from './operator.ts';
import { crossEntropy } from './ops/cross-entropy.ts';
import { bernoulli, normal } from './ops/random.ts';
import { Parameter } from './parameter.ts';
import { Random } from './random.ts';
import { realize } from './realize.ts';
import { type Tensor, tensor } from './tensor.ts';
import { randn } from './testing.ts';

const parameter = (values: number[], name = 'p') => new Parameter(tensor(values), { name });

/** A perceptron with dropout, its momentum and a running statistic: one of everything that training has. */
function trainer(seed = 'dropout') {
  const random = new Random(seed);
  const weights = [randn([4, 8], 1), randn([8], 2), randn([8, 3], 3)].map(t => new Parameter(t));
  const velocity = weights.map(w => new Parameter(w.detach().mul(0)));
  const seen = parameter([0]);
  const step = (x: Tensor, y: Tensor) => {
    const [a, b, c] = weights;
    const hidden = x
      .matmul(a)
      .add(b)
      .relu()
      .mul(bernoulli(random, [x.shape[0], 8], 0.7));
    const loss = crossEntropy(hidden.matmul(c).add(normal(random, [3], 0, 0.1)), y);
    seen.assign(seen.mul(0.9).add(hidden.mean()));
    gradients(loss, weights).forEach((g, i) => {
      velocity[i].assign(velocity[i].mul(0.9).add(g));
      weights[i].assign(weights[i].sub(velocity[i].mul(0.1)));
    });
    return loss;
  };
  return { step, state: [...weights, ...velocity, seen] };
}

const batch = (i: number, size = 6): [Tensor, Tensor] => [
  randn([size, 4], `x${i}`),
  tensor(Int32Array.from({ length: size }, (_, j) => (i + j) % 3)),
];

describe('compile', () => {
  it('trains exactly as the eager function does: momentum, statistics, dropout, noise', async () => {
    const [eager, compiled] = [trainer(), trainer()];
    const step = compile(compiled.step);
    for (let i = 0; i < 5; i++) {
      const expected = eager.step(...batch(i));
      await realize(expected, ...eager.state);
      const loss = await step(...batch(i));
      expect(await loss.item()).toBe(await expected.item());
      for (const [j, p] of eager.state.entries()) expect(await compiled.state[j].data()).toEqual(await p.data());
    }
    expect(step.spent.calls).toBe(5);
    expect(step.spent.total).toBeGreaterThanOrEqual(step.spent.runtime);
  });

  it('gives what the eager function gives when the batch size changes', async () => {
    const [eager, compiled] = [trainer(), trainer()];
    const step = compile(compiled.step);
    for (const [i, size] of [6, 3, 6, 1, 3].entries()) {
      const expected = await eager.step(...batch(i, size)).item();
      await realize(...eager.state);
      expect(await (await step(...batch(i, size))).item()).toBe(expected);
    }
  });

  it('runs calls that were not awaited one after another', async () => {
    const p = parameter([1]);
    const step = compile((x: Tensor) => p.assign(p.mul(2).add(x)).sum());
    const results = await Promise.all([1, 2, 3, 4].map(v => step(tensor([v]))));
    expect(await Promise.all(results.map(r => r.item()))).toEqual([3, 8, 19, 42]);
  });

  it('records once for each combination of shapes', async () => {
    let traced = 0;
    const f = compile((x: Tensor, y: Tensor) => {
      traced++;
      return x.add(y);
    });
    await f(tensor([1, 2]), tensor([1]));
    await f(tensor([3, 4]), tensor([5]));
    expect(traced).toBe(1);
    expect(await (await f(tensor([1]), tensor([1, 2]))).tolist()).toEqual([2, 3]);
    const integers = await f(tensor(Int32Array.of(1)), tensor(Int32Array.of(2)));
    expect([integers.dtype, await integers.item()]).toEqual(['int32', 3]);
    expect(traced).toBe(3);
    const lazy = tensor([1, 2]).mul(10);
    expect(await (await f(lazy, tensor([1]))).tolist()).toEqual([11, 21]);
    expect(traced).toBe(3);
  });

  it('keeps a bounded number of records, those used last', async () => {
    let traced = 0;
    const f = compile((x: Tensor) => {
      traced++;
      return x.add(1);
    });
    const call = async (n: number) => (await f(tensor(new Float32Array(n)))).size;
    for (let n = 1; n <= 64; n++) await call(n);
    expect([await call(1), traced]).toEqual([1, 64]);
    expect([await call(65), traced]).toEqual([65, 65]);
    expect([await call(1), traced]).toEqual([1, 65]);
    expect([await call(2), traced]).toEqual([2, 66]);
    await f.dispose();
  });

  it('returns structures, arguments, parameters and captured tensors', async () => {
    const p = parameter([5]);
    const captured = tensor([9]);
    const f = compile((x: Tensor) => {
      const before = p.current();
      p.assign(p.add(x));
      return { list: [x, x.mul(2)], before, after: p, captured, nothing: undefined };
    });
    for (let i = 0; i < 3; i++) {
      const { list, before, after, captured: c } = await f(tensor([1]));
      expect(await Promise.all([...list, before, after, c].map(t => t.item()))).toEqual([1, 2, 5 + i, 6 + i, 9]);
    }
  });

  it('reads a parameter that another function assigns', async () => {
    const p = parameter([1]);
    const read = compile(() => [p, p.mul(10)]);
    const write = compile(() => {
      p.assign(p.add(1));
    });
    for (let i = 1; i <= 3; i++) {
      expect(await Promise.all((await read()).map(t => t.item()))).toEqual([i, 10 * i]);
      await write();
    }
    p.set(Float32Array.of(50));
    expect(await (await read())[1].item()).toBe(500);
  });
});

describe('memory of parameters', () => {
  const step = (p: Parameter) =>
    compile(() => {
      p.assign(p.add(1));
    });

  it('is recycled, two buffers in turn', async () => {
    const p = new Parameter(tensor(new Float32Array(64)));
    const f = step(p);
    const buffers = new Set<unknown>();
    for (let i = 0; i < 8; i++) {
      await f();
      buffers.add(p.node.data);
    }
    expect(buffers.size).toBe(2);
    expect((await p.data())[0]).toBe(8);
  });

  it('never changes under what was handed out', async () => {
    const source = tensor([0, 0]);
    const given = Float32Array.of(0, 0);
    const p = new Parameter(source);
    const q = new Parameter({ dtype: 'float32', shape: [2], data: given });
    const f = compile(() => {
      p.assign(p.add(1));
      q.assign(q.add(1));
      return p.mul(1);
    });
    const snapshots: [number, Float32Array | Tensor][] = [];
    for (let i = 0; i < 6; i++) {
      if (i % 2 === 0) snapshots.push([i, await p.data()], [i, p.current()], [i, p.add(0)]);
      const returned = await f();
      snapshots.push([i + 1, returned]);
    }
    for (const [value, s] of snapshots) expect(Array.from('shape' in s ? await s.data() : s)).toEqual([value, value]);
    expect(await source.tolist()).toEqual([0, 0]);
    expect(Array.from(given)).toEqual([0, 0]);
    expect(await q.tolist()).toEqual([6, 6]);
  });

  it('is not shared between parameters that are assigned from each other', async () => {
    const p = parameter([1], 'p');
    const target = parameter([0], 'target');
    target.assign(p);
    const f = compile(() => {
      p.assign(p.mul(2));
      return [p, target];
    });
    for (let i = 1; i <= 4; i++) {
      const [a, b] = await f();
      expect([await a.item(), await b.item()]).toEqual([2 ** i, 1]);
    }
    expect([await p.item(), await target.item()]).toEqual([16, 1]);
  });

  it('stays whole for one node that is assigned twice and returned', async () => {
    const [p, q] = [parameter([1]), parameter([1])];
    const f = compile(() => {
      const next = p.add(q);
      p.assign(next);
      q.assign(next);
      return next;
    });
    const returned: Tensor[] = [];
    for (let i = 0; i < 5; i++) returned.push(await f());
    expect(await Promise.all(returned.map(t => t.item()))).toEqual([2, 4, 8, 16, 32]);
    expect([await p.item(), await q.item()]).toEqual([32, 32]);
  });

  it('swaps two parameters', async () => {
    const [p, q] = [parameter([1]), parameter([2])];
    const f = compile(() => {
      const before = p.add(0);
      p.assign(q.add(0));
      q.assign(before);
    });
    for (let i = 0; i < 3; i++) await f();
    expect([await p.item(), await q.item()]).toEqual([2, 1]);
    const direct = compile(() => {
      p.assign(q);
    });
    await expect(direct()).rejects.toThrow('is assigned a tensor that is not computed in the function; use add(0)');
    expect([await p.item(), await q.item()]).toEqual([2, 1]);
  });

  it('is not written over while a slower function still reads it', async () => {
    const p = new Parameter(tensor(new Float32Array(4)));
    let open: () => void = () => {};
    let gate = Promise.resolve();
    const slow = operator<object>({
      name: 'slowRead',
      infer: ([x]) => x,
      run: async ([x]) => {
        await gate;
        return (x.data as Float32Array).slice();
      },
    });
    const read = compile(() => slow([p], {}));
    const f = step(p);
    await read();
    await f();
    gate = new Promise(resolve => {
      open = resolve;
    });
    const pending = read();
    for (let i = 0; i < 3; i++) await f();
    open();
    expect(await (await pending).tolist()).toEqual([1, 1, 1, 1]);
    expect(await p.tolist()).toEqual([4, 4, 4, 4]);
  });
});

describe('lazy parameters and random numbers', () => {
  it('computes a lazy value once, and draws as the eager function does', async () => {
    const make = () => {
      const random = new Random(7);
      const p = new Parameter(tensor([1, 2]).mul(3));
      const f = () => {
        const noise = normal(random, [2]);
        p.assign(p.add(noise));
        return noise;
      };
      return { p, f };
    };
    const [eager, compiled] = [make(), make()];
    const f = compile(compiled.f);
    for (let i = 0; i < 4; i++) {
      const expected = eager.f();
      await realize(expected, eager.p);
      expect(await (await f()).data()).toEqual(await expected.data());
      expect(await compiled.p.data()).toEqual(await eager.p.data());
    }
  });
});

describe('host operators in a compiled training step', () => {
  type Scale = (inputs: readonly Tensor[], attributes: { factor: number; power: number }) => Tensor;
  /** factor · x^power on the host, and its derivative a host operator too. */
  const scale: Scale = operator<{ factor: number; power: number }>({
    name: 'hostPower',
    infer: ([x]) => x,
    run: async ([x], { factor, power }) => (x.data as Float32Array).map(v => factor * v ** power),
    gradient: ({ inputs: [x], grads: [g], attributes: { factor, power } }) => [
      g.mul(scale([x], { factor: factor * power, power: power - 1 })),
    ],
  });

  it('train as the same operator in ONNX does', async () => {
    const make = (cube: (x: Tensor) => Tensor) => {
      const w = new Parameter(randn([3, 3], 'w', 0, 0.5));
      const f = (x: Tensor) => {
        const loss = cube(x.matmul(w)).sub(1).square().mean();
        const [g] = gradients(loss, [w]);
        w.assign(w.sub(g.mul(0.05)));
        return loss;
      };
      return { w, f: compile(f) };
    };
    const [host, onnx] = [make(x => scale([x], { factor: 1, power: 3 })), make(x => x.pow(3))];
    for (let i = 0; i < 4; i++) {
      const x = randn([5, 3], i, 0, 0.5);
      expect(await (await host.f(x)).item()).toBeCloseTo(await (await onnx.f(x)).item(), 5);
    }
    const expected = await onnx.w.data();
    (await host.w.data()).forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i], 5);
    });
    expect(host.f.spent.host).toBeGreaterThan(0);
  });

  it('leave all parameters as they were when they fail', async () => {
    let broken = false;
    const fragile = operator<object>({
      name: 'fragileStep',
      infer: ([x]) => x,
      run: ([x]) => {
        if (broken) throw new Error('the host is broken');
        return x.data.slice();
      },
    });
    const [p, q] = [parameter([1]), parameter([1])];
    const f = compile(() => {
      p.assign(p.mul(2));
      q.assign(fragile([q.add(1)], {}));
    });
    await f();
    broken = true;
    await expect(f()).rejects.toThrow('the host is broken');
    expect([await p.item(), await q.item()]).toEqual([2, 2]);
    broken = false;
    await f();
    expect([await p.item(), await q.item()]).toEqual([4, 3]);
  });
});

describe('errors and disposal', () => {
  it('leaves parameters alone when the function throws', async () => {
    const p = parameter([3]);
    let wrong = true;
    const f = compile((x: Tensor) => {
      p.assign(p.add(1));
      if (wrong) p.add(x.matmul(x));
      return p;
    });
    await expect(f(randn([2, 3]))).rejects.toThrow('inner dimensions 3 and 2 differ');
    expect(await p.item()).toBe(3);
    wrong = false;
    expect(await (await f(randn([2, 3]))).item()).toBe(4);
  });

  it('refuses async functions', async () => {
    const f = compile((async (x: Tensor) => x) as never) as (x: Tensor) => Promise<Tensor>;
    await expect(f(tensor([1]))).rejects.toThrow('compile: the function is async');
  });

  it('compiles again after dispose', async () => {
    let traced = 0;
    const p = parameter([0]);
    const f = compile(() => {
      traced++;
      p.assign(p.add(1));
    });
    await f();
    await f.dispose();
    await f();
    expect([traced, await p.item()]).toEqual([2, 2]);
    await f.dispose();
    await f.dispose();
  });
});

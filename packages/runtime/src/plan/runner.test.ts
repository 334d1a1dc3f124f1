import { describe, expect, it } from 'vitest';
import { InferenceSession } from '../session.ts';
import { Tensor } from '../tensor.ts';
import { int, integers, ints, Model, random, tensorOf } from '../testing.ts';

/** The largest difference of two tensors' numbers. */
function distance({ data: a }: Tensor, { data: b }: Tensor): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const off = Math.abs(Number(a[i]) - Number(b[i]));
    if (!(off <= largest)) largest = off;
  }
  return largest;
}

type Feeds = Record<string, Tensor>;

/** Runs a model by its plan and by the plain operators, several times, and compares. */
async function both(model: Model, runs: readonly Feeds[], threads = 1) {
  const bytes = model.bytes();
  const session = await InferenceSession.create(bytes, { threads });
  const plain = await InferenceSession.create(bytes, { kernels: 'plain' });
  for (const feeds of runs) {
    const [given, wanted] = [await session.run(feeds), await plain.run(feeds)];
    for (const name of session.outputNames) {
      expect(given[name].dims).toEqual(wanted[name].dims);
      expect(given[name].type).toEqual(wanted[name].type);
      expect(distance(given[name], wanted[name])).toBeLessThan(1e-4);
    }
  }
  const report = session.report();
  await session.release();
  return report;
}

const next = random(3);
const noise = (...dims: number[]) => {
  const size = dims.reduce((a, b) => a * b, 1);
  return new Tensor(
    'float32',
    Float32Array.from({ length: size }, () => next() * 2 - 1),
    dims,
  );
};
const int64 = (...values: number[]) => new Tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);

describe('stages', () => {
  it('a shape that is fed', async () => {
    const m = new Model();
    m.input('x', ['n', 6]);
    m.input('k', [2], 'int64');
    const w = m.constant(tensorOf([6, 6], Array.from({ length: 36 }, next)));
    const y = m.add('Reshape', [m.add('Relu', [m.add('MatMul', ['x', w])]), 'k']);
    m.output(m.add('Softmax', [y], { axis: int(-1) }));
    m.output(m.add('Neg', ['x']));
    await both(m, [
      { x: noise(2, 6), k: int64(3, 4) },
      { x: noise(2, 6), k: int64(4, -1) },
      { x: noise(3, 6), k: int64(-1, 9) },
      { x: noise(2, 6), k: int64(3, 4) },
    ]);
  });

  it('of fixed shapes whose data decide', async () => {
    // All shapes of inputs are numbers, but what follows differs from run to run and may not be kept for good.
    const m = new Model();
    m.input('x', [6]);
    m.input('k', [2], 'int64');
    const w = m.constant(tensorOf([2, 2], [1, 2, 3, 4]));
    const start = m.add(
      'Slice',
      ['x', 'k', m.constant(integers(6, 6))]
        .slice(0, 1)
        .concat(m.constant(integers(0)), m.add('Gather', ['k', m.constant(integers(0))])),
    );
    m.output(start);
    const ramp = m.add('Cast', ['k'], { to: int(1) });
    m.output(m.add('Add', [m.add('MatMul', [m.add('Reshape', ['x', m.constant(integers(3, 2))]), w]), ramp]));
    m.output(
      m.add('Expand', [m.add('Mul', [ramp, ramp]), m.add('Concat', ['k', m.constant(integers(2))], { axis: int(0) })]),
    );
    for (const threads of [1, 2])
      await both(
        m,
        [1, 2, 3, 1].map(i => ({ x: noise(6), k: int64(i, 3) })),
        threads,
      );
  });

  it('data that decide how many there are', async () => {
    const m = new Model();
    m.input('x', ['n', 4]);
    const found = m.add('NonZero', [m.add('Relu', ['x'])]);
    const picked = m.add('GatherND', ['x', m.add('Transpose', [found], { perm: ints([1, 0]) })]);
    const row = m.add('Unsqueeze', [picked, m.constant(integers(1))]);
    const w = m.constant(tensorOf([1, 3], [1, -2, 0]));
    const y = m.add('MatMul', [row, w]);
    m.output(m.add('Relu', [y]));
    m.output(m.add('Exp', ['x']));
    // A second blocked stage behind the first.
    m.output(m.add('NonZero', [m.add('Relu', [y])]), null, 'int64');
    const zero = new Tensor('float32', new Float32Array(8), [2, 4]);
    await both(m, [{ x: noise(2, 4) }, { x: noise(2, 4) }, { x: noise(5, 4) }, { x: zero }]);
  });

  it('branches and loops that take values from outside', async () => {
    const m = new Model();
    m.input('x', ['n']);
    m.input('go', [], 'bool');
    const w = m.constant(tensorOf([1], [0.5]));
    const y = m.add('Mul', ['x', w]);
    const branch = (op: string, name: string) => ({
      type: 'graph' as const,
      value: {
        name,
        nodes: [{ name: '', opType: op, domain: '', inputs: [y, w], outputs: [name], attributes: {} }],
        inputs: [],
        outputs: [{ name, dtype: 'float32' as const, shape: null }],
        initializers: new Map(),
      },
    });
    const chosen = m.add('If', ['go'], { then_branch: branch('Add', 'a'), else_branch: branch('Sub', 'b') });
    m.output(m.add('Relu', [m.add('Mul', [chosen, y])]));
    const bool = (value: boolean) => new Tensor('bool', [value], []);
    await both(
      m,
      [true, false, true].map(go => ({ x: noise(7), go: bool(go) })),
    );
  });

  it('an output that is a constant, an input, or made twice', async () => {
    const m = new Model();
    m.input('x', ['n']);
    const w = m.constant(tensorOf([2], [3, 4]));
    m.output(w);
    m.output('x');
    m.output(m.add('Relu', ['x']));
    m.output(m.add('Identity', ['x']));
    m.output(m.add('Shape', ['x']), null, 'int64');
    await both(m, [{ x: noise(3) }, { x: noise(1) }]);
  });
});

describe('plans', () => {
  it('are dropped when there are many, and made again', async () => {
    const m = new Model();
    m.input('x', ['n', 3]);
    const w = m.constant(tensorOf([3, 3], Array.from({ length: 9 }, next)));
    m.output(m.add('Relu', [m.add('MatMul', ['x', w])]));
    const sizes = Array.from({ length: 200 }, (_, i) => 1 + ((i * 53) % 97));
    const { memoryBytes, weightBytes, activationBytes } = await both(
      m,
      sizes.map(n => ({ x: noise(n, 3) })),
      2,
    );
    // 64 programs of at most 4 KiB are kept.
    expect(memoryBytes).toBeLessThan(weightBytes + 4 * activationBytes + 64 * 4096 + 4 * 65536);
  });

  it('stay right when the arena moves, between stages too', async () => {
    const m = new Model();
    m.input('x', ['n', 8]);
    m.input('k', [2], 'int64');
    const w = m.constant(
      tensorOf(
        [8, 8],
        Array.from({ length: 64 }, () => next() - 0.5),
      ),
    );
    const y = m.add('MatMul', [m.add('Relu', ['x']), w]);
    const wide = m.add('Expand', [m.add('Reshape', [y, 'k']), m.constant(integers(3, 1, 1))]);
    m.output(m.add('Tanh', [wide]));
    m.output(y);
    const sizes = [1, 50, 3, 200, 1, 400, 50, 999, 3];
    for (const threads of [1, 3])
      await both(
        m,
        sizes.map(n => ({ x: noise(n, 8), k: int64(n * 2, 4) })),
        threads,
      );
  });

  it('make growing sequences with what is kept of them', async () => {
    // A cache of keys: input [n, t, 4], output [n, t + 1, 4].
    const m = new Model();
    m.input('past', [1, 't', 4]);
    m.input('x', [1, 1, 4]);
    const w = m.constant(tensorOf([4, 4], Array.from({ length: 16 }, next)));
    const present = m.add('Concat', ['past', m.add('MatMul', ['x', w])], { axis: int(1) });
    m.output(present);
    m.output(m.add('ReduceSum', [m.add('Mul', [present, 'x'])], { keepdims: int(0) }));
    const session = await InferenceSession.create(m.bytes(), { threads: 1 });
    const plain = await InferenceSession.create(m.bytes(), { kernels: 'plain' });
    let past = noise(1, 0, 4);
    for (let t = 0; t < 100; t++) {
      const feeds = { past, x: noise(1, 1, 4) };
      const [a, b] = [await session.run(feeds), await plain.run(feeds)];
      for (const name of session.outputNames) expect(distance(a[name], b[name])).toBeLessThan(1e-4);
      past = a[session.outputNames[0]];
      expect(past.dims).toEqual([1, t + 1, 4]);
    }
  });
});

import { encodeOnnx, type OnnxAttribute, type OnnxTensor, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { InferenceSession, type SessionOptions } from '../session.ts';
import { Tensor } from '../tensor.ts';
import { float, int, random, tensorOf } from '../testing.ts';

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

interface Shape {
  readonly op: 'LSTM' | 'GRU';
  readonly length: number;
  readonly batch: number;
  readonly features: number;
  readonly hidden: number;
  readonly direction: 'forward' | 'reverse' | 'bidirectional';
  /** What is given: b(ias), h and c (initial states), p(eepholes). */
  readonly given: string;
  /** Which outputs are wanted. */
  readonly outputs: readonly number[];
  readonly density: number;
  readonly attributes?: Record<string, OnnxAttribute>;
}

/** The kernel of the node, after comparing with the plain operator. */
async function run(shape: Shape, seed: number, options: SessionOptions = {}): Promise<string> {
  const { op, length, batch, features, hidden, direction, given, outputs, density, attributes = {} } = shape;
  const next = random(seed);
  const directions = direction === 'bidirectional' ? 2 : 1;
  const width = (op === 'LSTM' ? 4 : 3) * hidden;
  const initializers = new Map<string, OnnxTensor>();
  const feeds: Record<string, Tensor> = {};
  const numbers = (dims: readonly number[], live = 1) =>
    Float32Array.from({ length: size(dims) }, () => (next() < live ? next() - 0.5 : 0));
  const constant = (name: string, dims: number[], live?: number) => {
    initializers.set(name, tensorOf(dims, numbers(dims, live)));
    return name;
  };
  const feed = (name: string, dims: number[]) => {
    feeds[name] = new Tensor('float32', numbers(dims), dims);
    return name;
  };
  const inputs = [
    feed('x', [length, batch, features]),
    constant('w', [directions, width, features], density),
    constant('r', [directions, width, hidden], density),
    given.includes('b') ? constant('b', [directions, 2 * width]) : '',
    '',
    given.includes('h') ? feed('h', [directions, batch, hidden]) : '',
    given.includes('c') ? feed('c', [directions, batch, hidden]) : '',
    given.includes('p') ? constant('p', [directions, 3 * hidden]) : '',
  ].slice(0, op === 'GRU' ? 6 : 8);
  const names = ['y', 'yh', 'yc'].map((name, i) => (outputs.includes(i) ? name : ''));
  const all = {
    direction: { type: 'string', value: direction } as OnnxAttribute,
    hidden_size: int(hidden),
    ...attributes,
  };
  const model = onnxModel(
    {
      name: 'test',
      inputs: Object.entries(feeds).map(([name, { dims }]) => onnxValue(name, 'float32', [...dims])),
      outputs: names.filter(Boolean).map(name => ({ name, dtype: 'float32' as const, shape: null })),
      initializers,
      nodes: [onnxNode(op, inputs, names, all)],
    },
    { opsets: { '': 14 } },
  );
  const bytes = encodeOnnx(model);
  const plain = await InferenceSession.create(bytes, { kernels: 'plain' });
  const session = await InferenceSession.create(bytes, { threads: 1, ...options });
  const wanted = await plain.run(feeds);
  await session.run(feeds);
  // A second time, on memory that has been used.
  const found = await session.run(feeds);
  const [{ kernel }] = session.report().nodes;
  await Promise.all([plain.release(), session.release()]);
  for (const name of names.filter(Boolean)) {
    expect(found[name].dims).toEqual(wanted[name].dims);
    const [a, b] = [found[name].data as Float32Array, wanted[name].data as Float32Array];
    let worst = 0;
    for (let i = 0; i < b.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
    expect(worst).toBeLessThan(1e-5);
  }
  return kernel;
}

const usual: Shape = {
  ...{ op: 'LSTM', length: 5, batch: 2, features: 6, hidden: 7 },
  ...{ direction: 'forward', given: 'b', outputs: [0, 1, 2], density: 1 },
};

describe.each(['LSTM', 'GRU'] as const)('%s', op => {
  it('equals the plain operator on random shapes, dense and sparse', async () => {
    const kernels = ['dense', 'csr', 'block', 'auto'] as const;
    for (let seed = 0; seed < 60; seed++) {
      const next = random(seed ^ 0xce11);
      const below = (n: number) => Math.floor(next() * n);
      const outputs = [0, 1, ...(op === 'LSTM' ? [2] : [])].filter(() => below(3) > 0);
      const shape: Shape = {
        op,
        length: 1 + below(7),
        batch: 1 + below(below(2) ? 6 : 1),
        features: 1 + below(20),
        hidden: 1 + below(24),
        direction: (['forward', 'reverse', 'bidirectional'] as const)[below(3)],
        given: [...(op === 'LSTM' ? 'bhcp' : 'bh')].filter(() => below(2) === 0).join(''),
        outputs: outputs.length ? outputs : [1],
        density: below(2) ? 1 : 0.2,
        attributes: op === 'GRU' ? { linear_before_reset: int(below(2)) } : {},
      };
      const threads = seed % 10 === 0 ? 2 : 1;
      const found = await run(shape, seed, { threads, kernels: kernels[below(4)] });
      expect(found.toLowerCase()).toMatch(op.toLowerCase());
    }
  }, 60_000);

  it('says which kernel multiplies', async () => {
    const shape = { ...usual, op, outputs: [0], density: 0.1, hidden: 16 };
    expect(await run(shape, 1, { kernels: 'csr' })).toBe(`${op} csr`);
    expect(await run(shape, 1, { kernels: 'dense' })).toBe(op.toLowerCase());
  });

  it('leaves other forms to the plain operator', async () => {
    const outputs = [0, 1];
    const names = op === 'LSTM' ? ['Sigmoid', 'Relu', 'Tanh'] : ['Sigmoid', 'Relu'];
    const activations: OnnxAttribute = { type: 'strings', value: names };
    expect(await run({ ...usual, op, outputs, attributes: { activations } }, 2)).toBe('plain');
    expect(await run({ ...usual, op, outputs, attributes: { clip: float(0.2) } }, 2)).toBe('plain');
    expect(await run({ ...usual, op, outputs, length: 1100 }, 2)).toBe('plain');
  });
});

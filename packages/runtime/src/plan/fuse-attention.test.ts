import { encodeOnnx, type OnnxTensor, onnxModel } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { InferenceSession, type SessionOptions } from '../session.ts';
import { Tensor } from '../tensor.ts';
import { int, integers, ints, Model, random, tensorOf } from '../testing.ts';

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

const scalar = (value: number): OnnxTensor => ({ dtype: 'float32', shape: [], data: Float32Array.of(value) });

interface Case {
  readonly model: Model;
  readonly feeds: Record<string, Tensor>;
}

/** Kernels of the nodes that are not views, after comparing with the plain operators. */
async function run({ model, feeds }: Case, y: string, options: SessionOptions = {}): Promise<string[]> {
  const { nodes, initializers, inputs } = model;
  const graph = {
    name: 'test',
    nodes,
    inputs,
    outputs: [{ name: y, dtype: 'float32', shape: null }],
    initializers,
  } as const;
  const bytes = encodeOnnx(onnxModel(graph as never, { opsets: { '': 17 } }));
  const plain = await InferenceSession.create(bytes, { kernels: 'plain' });
  const session = await InferenceSession.create(bytes, { threads: 1, ...options });
  const wanted = (await plain.run(feeds))[y];
  const given = (await session.run(feeds))[y];
  const kernels = session.report().nodes.map(node => node.kernel);
  await Promise.all([plain.release(), session.release()]);
  expect(given.dims).toEqual(wanted.dims);
  const [a, b] = [given.data as Float32Array, wanted.data as Float32Array];
  let worst = 0;
  for (let i = 0; i < b.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
  expect(worst).toBeLessThan(1e-5);
  expect(a.some(Number.isNaN)).toBe(false);
  return kernels.filter(kernel => kernel !== 'alias');
}

const floats = (next: () => number, dims: readonly number[]): Tensor =>
  new Tensor(
    'float32',
    Float32Array.from({ length: size(dims) }, () => 2 * next() - 1),
    dims,
  );

/** Attention as one of many exporters might write it. */
class Attention extends Model {
  readonly feeds: Record<string, Tensor> = {};
  readonly #next: () => number;
  readonly below: (n: number) => number;

  constructor(seed: number) {
    super();
    this.#next = random(seed);
    this.below = n => Math.floor(this.#next() * n);
  }

  feed(hint: string, dims: number[]): string {
    const name = this.name(hint);
    this.feeds[name] = floats(this.#next, dims);
    return this.input(
      name,
      dims.map((_, i) => `${name} ${i}`),
    );
  }

  number(value: number): string {
    return this.constant(scalar(value));
  }

  transpose(x: string, ...perm: number[]): string {
    return this.add('Transpose', [x], { perm: ints(perm) });
  }

  reshape(x: string, ...dims: number[]): string {
    return this.add('Reshape', [x, this.constant(integers(...dims))]);
  }

  /** [batch, heads, rows, depth], or with `swap` [batch, heads, depth, rows]. */
  heads(batch: number, heads: number, rows: number, depth: number, swap = false): string {
    switch (this.below(4)) {
      case 0: {
        const x = this.feed('heads', [batch, heads, rows, depth]);
        return swap ? this.transpose(x, 0, 1, 3, 2) : x;
      }
      case 1:
        return swap && this.below(2)
          ? this.feed('swapped', [batch, heads, depth, rows])
          : this.transpose(this.feed('rows', [batch, rows, heads, depth]), 0, 2, ...(swap ? [3, 1] : [1, 3]));
      case 2: {
        const x = this.reshape(this.feed('flat', [batch, rows, heads * depth]), 0, rows, heads, depth);
        const y = this.transpose(x, 0, 2, 1, 3);
        return swap ? this.transpose(y, 0, 1, 3, 2) : y;
      }
      default: {
        const width = heads * depth;
        const sizes = this.constant(integers(width, width, width));
        const part = this.several('Split', [this.feed('packed', [batch, rows, 3 * width]), sizes], 3, {
          axis: int(2),
        })[1];
        const x = this.reshape(part, -1, rows, heads, depth);
        return this.transpose(x, 0, 2, ...(swap ? [3, 1] : [1, 3]));
      }
    }
  }

  scaled(x: string, by: number): string {
    const order = this.below(3);
    if (order === 0) return this.add('Div', [x, this.number(1 / by)]);
    return this.add('Mul', order === 1 ? [x, this.number(by)] : [this.number(by), x]);
  }

  mask(dims: number[]): string {
    const shape = dims.map((dim, i) => (i < 3 && this.below(2) ? 1 : dim)).slice(this.below(3));
    if (this.below(2)) return this.feed('mask', shape);
    return this.constant(
      tensorOf(
        shape,
        Array.from({ length: size(shape) }, () => this.#next()),
      ),
    );
  }
}

/** Lower triangular, with `past` keys before. */
const causal = (queries: number, keys: number): OnnxTensor => ({
  dtype: 'bool',
  shape: [queries, keys],
  data: Uint8Array.from({ length: queries * keys }, (_, i) =>
    i % keys <= Math.floor(i / keys) + keys - queries ? 1 : 0,
  ),
});

/** A random case; with what its report must say when nothing hinders the kernel. */
function attention(seed: number): Case & { readonly y: string } {
  const m = new Attention(seed);
  const [batch, shared, group] = [1 + m.below(3), 1 + m.below(3), 1 + m.below(2) * (1 + m.below(2))];
  const heads = shared * group;
  const [queries, more] = [m.below(3) ? 1 + m.below(30) : 1, m.below(2) ? m.below(20) : 0];
  const keys = queries + more;
  const [depth, columns] = [1 + m.below(20), 1 + m.below(20)];
  const q = m.heads(batch, heads, queries, depth);
  const repeat = (x: string, rows: number, width: number): string => {
    if (group === 1) return x;
    const five = m.add('Unsqueeze', [x, m.constant(integers(2))]);
    const wide = m.add('Expand', [five, m.constant(integers(batch, shared, group, rows, width))]);
    return m.reshape(wide, batch, heads, rows, width);
  };
  const k =
    group === 1
      ? m.heads(batch, heads, keys, depth, true)
      : m.transpose(repeat(m.heads(batch, shared, keys, depth), keys, depth), 0, 1, 3, 2);
  const v = repeat(m.heads(batch, shared, keys, columns), keys, columns);
  const scale = depth ** -0.5;
  const where = m.below(4);
  const root = Math.sqrt(scale);
  let scores = m.add('MatMul', [
    where === 0 ? m.scaled(q, scale) : where === 1 ? m.scaled(q, root) : q,
    where === 1 ? m.scaled(k, root) : where === 2 ? m.scaled(k, scale) : k,
  ]);
  if (where === 3) scores = m.scaled(scores, scale);
  for (let masks = m.below(3); masks > 0; masks--) {
    const order = [scores, m.mask([batch, heads, queries, keys])];
    scores = m.add('Add', m.below(2) ? order : order.reverse());
  }
  const seen = m.below(4);
  if (seen === 0)
    scores = m.add('Where', [m.constant(causal(queries, keys)), scores, m.number(-3.4028234663852886e38)]);
  if (seen === 1) {
    const hidden = m.add('Not', [m.constant(causal(queries, keys))]);
    scores = m.add('Where', [hidden, m.number(-1e30), scores]);
  }
  if (seen === 2) {
    const triangle = m.add('Where', [m.constant(causal(queries, keys)), m.number(0), m.number(-1e30)]);
    scores = m.add('Add', [scores, triangle]);
  }
  let p = m.add('Softmax', [scores], { axis: int(m.below(2) ? -1 : 3) });
  if (m.below(4) === 0) p = m.add('Identity', [p]);
  let y = m.add('MatMul', [p, v]);
  if (m.below(2)) y = m.transpose(y, 0, 2, 1, 3);
  return { model: m, feeds: m.feeds, y };
}

describe('attention in the graphs of exporters', () => {
  it('equals the plain operators, over seeds', async () => {
    let kernels: string[] = [];
    const COUNT = 150;
    for (let seed = 0; seed < COUNT; seed++) {
      const made = attention(seed);
      const found = await run(made, made.y);
      kernels = [...kernels, ...found.filter(kernel => kernel === 'attention')];
    }
    // Keys that were fed with their rows last are the only ones that no kernel reads.
    expect(kernels.length).toBeGreaterThan(0.8 * COUNT);
  }, 60_000);

  it('equals the plain operators on two threads', async () => {
    for (let seed = 500; seed < 510; seed++) {
      const made = attention(seed);
      await run(made, made.y, { threads: 2 });
    }
  }, 60_000);

  it('reads query, key and value of a joint projection where they lie', async () => {
    const m = new Attention(1);
    const [batch, rows, heads, depth] = [2, 11, 3, 8];
    const five = m.reshape(m.feed('qkv', [batch, rows, 3 * heads * depth]), -1, rows, 3, heads, depth);
    const apart = m.transpose(five, 2, 0, 3, 1, 4);
    const [q, k, v] = [0, 1, 2].map(i =>
      m.add('Gather', [apart, m.constant({ ...integers(i), shape: [] })], { axis: int(0) }),
    );
    const scores = m.add('MatMul', [m.scaled(q, depth ** -0.5), m.transpose(k, 0, 1, 3, 2)]);
    const y = m.transpose(m.add('MatMul', [m.add('Softmax', [scores], { axis: int(-1) }), v]), 0, 2, 1, 3);
    expect(await run({ model: m, feeds: m.feeds }, y)).toEqual(['attention']);
  });

  it('takes a scale that is computed from shapes', async () => {
    const m = new Attention(2);
    const [q, k, v] = [0, 1, 2].map(() => m.feed('x', [1, 2, 9, 6]));
    const last = m.add('Slice', [m.add('Shape', [q]), m.constant(integers(-1)), m.constant(integers(2 ** 31))]);
    const scale = m.add('Div', [m.number(1), m.add('Sqrt', [m.add('Cast', [last], { to: int(1) })])]);
    const root = m.add('Sqrt', [scale]);
    const keys = m.add('Mul', [m.transpose(k, 0, 1, 3, 2), root]);
    const scores = m.add('MatMul', [m.add('Mul', [q, root]), keys]);
    const y = m.add('MatMul', [m.add('Softmax', [scores], { axis: int(-1) }), v]);
    expect(await run({ model: m, feeds: m.feeds }, y)).toEqual(['attention']);
  });

  it('takes batches of single heads, and single ones', async () => {
    for (const lead of [[6], []]) {
      const m = new Attention(3);
      const [q, k, v] = [5, 7, 7].map(rows => m.feed('x', [...lead, rows, 4]));
      const perm = lead.length ? [0, 2, 1] : [1, 0];
      const scores = m.add('Add', [m.add('MatMul', [q, m.transpose(k, ...perm)]), m.feed('mask', [...lead, 5, 7])]);
      const y = m.add('MatMul', [m.add('Softmax', [scores], { axis: int(-1) }), v]);
      const out = lead.length ? m.transpose(y, 1, 0, 2) : y;
      expect(await run({ model: m, feeds: m.feeds }, out)).toEqual(['attention']);
    }
  });

  it('shares key heads that queries are folded to, with a gate of rows', async () => {
    for (const rows of [1, 4]) {
      const m = new Attention(4);
      const [heads, shared, keys, depth] = [6, 2, 9, 5];
      const q = m.heads(2, heads, rows, depth);
      const [k, v] = [m.heads(2, shared, keys, depth, false), m.heads(2, shared, keys, depth)];
      const fold = (x: string, width: number) => m.reshape(x, -1, shared, (heads / shared) * rows, width);
      const unfold = (x: string, width: number) => m.reshape(x, -1, heads, rows, width);
      const scores = m.add('MatMul', [fold(m.scaled(q, 0.4), depth), m.transpose(k, 0, 1, 3, 2)]);
      const masked = m.add('Add', [unfold(scores, keys), m.feed('mask', [rows, keys])]);
      const p = m.add('Softmax', [masked], { axis: int(3) });
      const gated = rows === 1 ? m.add('Mul', [p, m.feed('gate', [1, 1])]) : p;
      const y = m.transpose(unfold(m.add('MatMul', [fold(gated, keys), v]), depth), 0, 2, 1, 3);
      expect(await run({ model: m, feeds: m.feeds }, y)).toContain('attention');
    }
  });

  it('leaves graphs as they are that only look like it', async () => {
    const make = (change: (m: Attention, scores: string) => string, axis = -1): Case & { y: string } => {
      const m = new Attention(5);
      const [q, k, v] = [0, 1, 2].map(() => m.feed('x', [2, 3, 7, 7]));
      const scores = change(m, m.add('MatMul', [q, m.transpose(k, 0, 1, 3, 2)]));
      const y = m.add('MatMul', [m.add('Softmax', [scores], { axis: int(axis) }), v]);
      return { model: m, feeds: m.feeds, y };
    };
    const cases = [
      make((_, scores) => scores, 2),
      make((m, scores) => m.add('Mul', [scores, m.feed('factor', [7])])),
      make((m, scores) => m.scaled(m.add('Add', [scores, m.feed('mask', [7])]), 0.5)),
      make((m, scores) => m.add('Add', [scores, m.feed('mask', [7, 1])])),
      make((m, scores) => m.add('Where', [m.constant(causal(7, 7)), scores, m.number(-3)])),
    ];
    for (const made of cases) expect(await run(made, made.y)).not.toContain('attention');
  });
});

describe('rotary embeddings', () => {
  const rotated = (m: Attention, x: string, c: string, s: string): string => {
    const [a, b] = m.several('Split', [x], 2, { axis: int(-1) });
    const product = (x: string, y: string) => m.add('Mul', m.below(2) ? [x, y] : [y, x]);
    const first = m.add('Sub', [product(a, c), product(b, s)]);
    const second = m.add('Add', m.below(2) ? [product(b, c), product(a, s)] : [product(a, s), product(b, c)]);
    return m.add('Concat', [first, second], { axis: int(-1) });
  };

  it('turn halves of rows, in any layout', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const m = new Attention(seed);
      const [batch, heads, rows, depth] = [1 + m.below(2), 1 + m.below(3), 1 + m.below(9), 2 + 2 * m.below(7)];
      const [c, s] = [0, 1].map(() => m.feed('table', [rows, depth / 2]));
      const made = rotated(m, m.heads(batch, heads, rows, depth), c, s);
      const kernels = await run({ model: m, feeds: m.feeds }, m.add('Softmax', [made], { axis: int(-1) }));
      expect(kernels).toContain('rotary');
    }
  });

  it('are read by attention where they were turned', async () => {
    const m = new Attention(6);
    const [batch, heads, rows, depth] = [2, 3, 10, 8];
    const [c, s] = [0, 1].map(() => m.feed('table', [rows, depth / 2]));
    const part = () =>
      m.transpose(m.reshape(m.feed('x', [batch, rows, heads * depth]), batch, rows, heads, depth), 0, 2, 1, 3);
    const [q, k] = [rotated(m, part(), c, s), rotated(m, part(), c, s)];
    const p = m.add('Softmax', [m.add('MatMul', [q, m.transpose(k, 0, 1, 3, 2)])], { axis: int(-1) });
    const y = m.transpose(m.add('MatMul', [p, part()]), 0, 2, 1, 3);
    expect(await run({ model: m, feeds: m.feeds }, y)).toEqual(['rotary', 'rotary', 'attention']);
  });

  it('whose tables repeat are left as they are', async () => {
    const m = new Attention(7);
    const x = m.feed('x', [1, 2, 5, 8]);
    for (const rows of [x, m.transpose(x, 0, 2, 1, 3)]) {
      const made = rotated(m, rows, m.feed('table', [1, 4]), m.feed('table', [1, 4]));
      const y = m.add('Softmax', [made], { axis: int(-1) });
      expect(await run({ model: m, feeds: m.feeds }, y)).not.toContain('rotary');
    }
  });
});

import { describe, expect, it } from 'vitest';
import type { Graph } from '../load/graph.ts';
import { readModel } from '../load/read.ts';
import { loadOperators } from '../ops/index.ts';
import { interpret } from '../ops/interpret.ts';
import { float, int, integers, ints, Model, random, tensorOf } from '../testing.ts';
import type { Value } from '../values.ts';
import { type Fused, fuse } from './fuse.ts';
import { fusedOperators } from './fused.ts';

const operators = await loadOperators();
const all = { ...operators, ...fusedOperators(operators) };
const next = random(7);
const noise = (length: number, low = -1, high = 1) => Float32Array.from({ length }, () => low + (high - low) * next());

const FUSABLE = new Set(['Conv', 'Gemm', 'MatMul']);

/** Operators of a fused graph, in order; what is fused with a clamp or a residual has a mark. */
const ops = ({ nodes }: Fused): string =>
  nodes
    .map(({ op, domain, inputs, attributes }) => {
      const marks = [domain && '~', FUSABLE.has(op) && inputs[3] && '+', attributes.lo !== undefined && '|'];
      return op + marks.filter(Boolean).join('');
    })
    .join(' ');

/** Fuses, and checks that all outputs stay the same. */
async function fused(model: Model, dims: Record<string, number[]>): Promise<Fused> {
  const { graph } = await readModel(model.bytes());
  const result = fuse(graph, all);
  const feeds = new Map<string, Value>();
  for (const { name } of graph.inputs) {
    const size = dims[name].reduce((a, b) => a * b, 1);
    feeds.set(name, { type: 'float32', dims: dims[name], data: noise(size) });
  }
  const rewritten: Graph = { ...graph, nodes: result.nodes, initializers: result.constants };
  const before = interpret(graph, feeds, all);
  const after = interpret(rewritten, feeds, all);
  for (const [name, { data, dims }] of before) {
    const got = after.get(name)!;
    expect(got.dims).toEqual(dims);
    const wanted = data as Float32Array;
    for (const [i, value] of wanted.entries()) expect(got.data[i]).toBeCloseTo(value, 4);
  }
  // Nothing is kept that nothing reads.
  const read = new Set([...result.nodes.flatMap(n => n.inputs), ...graph.outputs.map(o => o.name)]);
  for (const name of result.constants.keys())
    if (!JSON.stringify(graph.nodes).includes('"nodes"')) expect(read).toContain(name);
  return result;
}

const image = { x: [2, 4, 5, 5] };
const rows = { x: [2, 3, 4] };

function conv(m: Model, x: string, { out = 4, bias = false } = {}): string {
  const inputs = [x, m.constant(tensorOf([out, 4, 1, 1], noise(out * 4)))];
  if (bias) inputs.push(m.constant(tensorOf([out], noise(out))));
  return m.add('Conv', inputs);
}
const vector = (m: Model, ...dims: number[]) =>
  m.constant(
    tensorOf(
      dims,
      noise(
        dims.reduce((a, b) => a * b, 1),
        0.5,
        1,
      ),
    ),
  );
const scalar = (m: Model, value: number) => m.constant({ dtype: 'float32', shape: [], data: Float32Array.of(value) });
function norm(m: Model, x: string, size = 4, rest: string[] = []) {
  const outputs = m.several('BatchNormalization', [x, ...[1, 2, 3, 4].map(() => vector(m, size))], 1, {
    epsilon: float(0.1),
  });
  m.nodes.at(-1)!.outputs.push(...rest);
  return outputs[0];
}
function start(dims: (number | string)[] = ['n', 4, 'h', 'w']): Model {
  const m = new Model();
  m.input('x', dims);
  return m;
}

describe('constant folding', () => {
  it('computes what depends on constants only', async () => {
    const m = start();
    const [a, b] = [vector(m, 2, 3), vector(m, 3, 2)];
    const sum = m.add('ReduceSum', [m.add('MatMul', [a, b])], { keepdims: int(0) });
    m.output(m.add('Mul', ['x', sum]));
    m.output(sum);
    expect(ops(await fused(m, image))).toBe('Mul');
  });

  it('leaves what would be much larger than the file', async () => {
    const m = start();
    const big = m.add('Expand', [scalar(m, 1), m.constant(integers(2000, 2000))]);
    m.output(m.add('Add', ['x', m.add('ReduceMax', [big], { keepdims: int(0) })]));
    expect(ops(await fused(m, image))).toBe('Expand ReduceMax Add');
  });

  it('leaves random numbers, and drops what no output needs', async () => {
    const m = start();
    m.add('RandomNormal', [], { shape: ints([2]) });
    m.add('Relu', [m.add('Exp', ['x'])]);
    m.output(m.add('Neg', ['x']));
    expect(ops(await fused(m, image))).toBe('Neg');
    const r = start();
    r.output(r.add('RandomNormal', [], { shape: ints([2]) }));
    r.output(r.add('Neg', ['x']));
    const { graph } = await readModel(r.bytes());
    expect(ops(fuse(graph, all))).toBe('RandomNormal Neg');
  });

  it('keeps the integers of a dequantised weight', async () => {
    const m = start(['n', 4]);
    const q = m.constant({ dtype: 'int8', shape: [4, 2], data: Int8Array.of(1, 2, 3, 4, 5, 6, 7, -8) });
    const scale = m.constant(tensorOf([2], [0.5, 0.25]));
    const w = m.add('DequantizeLinear', [q, scale], { axis: int(1) });
    m.output(m.add('MatMul', ['x', w]));
    const result = await fused(m, { x: [3, 4] });
    expect(result.quantized.get(w)).toMatchObject({ axis: 1, scale: Float32Array.of(0.5, 0.25), zeroPoint: undefined });
    expect([...result.quantized.get(w)!.data]).toEqual([1, 2, 3, 4, 5, 6, 7, -8]);
  });
});

describe('convolutions', () => {
  it.each([false, true])('take normalisation, residual and clamp, bias %s', async bias => {
    const m = start();
    const y = m.add('Add', [norm(m, conv(m, 'x', { bias })), 'x']);
    m.output(m.add('Clip', [y, scalar(m, -0.25), scalar(m, 0.5)]));
    expect(ops(await fused(m, image))).toBe('Conv~+|');
  });

  it('take an added vector as their bias', async () => {
    for (const dims of [
      [4, 1, 1],
      [1, 4, 1, 1],
    ]) {
      const m = start();
      m.output(m.add('Relu', [m.add('Add', [vector(m, ...dims), conv(m, 'x')])]));
      expect(ops(await fused(m, image))).toBe('Conv~|');
    }
  });

  it.each<[string, string, (m: Model) => string]>([
    ['a bias exists', 'Conv Add', m => m.add('Add', [conv(m, 'x', { bias: true }), vector(m, 4, 1, 1)])],
    ['the vector lies along the width', 'Conv Add', m => m.add('Add', [conv(m, 'x'), vector(m, 5)])],
    ['the vector lies along the batch', 'Conv Add', m => m.add('Add', [conv(m, 'x'), vector(m, 2, 1, 1, 1)])],
    ['the vector adds a dimension', 'Conv Add', m => m.add('Add', [conv(m, 'x'), vector(m, 1, 1, 4, 1, 1)])],
    ['the one number meant all channels', 'Conv Add', m => m.add('Add', [conv(m, 'x'), vector(m, 1, 1, 1)])],
    ['the sum is of the same value', 'Conv Add', m => ((y: string) => m.add('Add', [y, y]))(conv(m, 'x'))],
    [
      'bounds are computed',
      'Conv ReduceMin Clip',
      m => m.add('Clip', [conv(m, 'x'), m.add('ReduceMin', ['x'], { keepdims: int(0) })]),
    ],
    ['bounds are crossed', 'Conv Clip', m => m.add('Clip', [conv(m, 'x'), scalar(m, 1), scalar(m, 0)])],
    [
      'statistics of the batch are used',
      'Conv BatchNormalization',
      m => {
        const y = norm(m, conv(m, 'x'), 4, ['mean', 'var']);
        m.nodes.at(-1)!.attributes.training_mode = int(1);
        return y;
      },
    ],
  ])('do not where %s', async (_name, expected, make) => {
    const m = start();
    m.output(make(m));
    expect(ops(await fused(m, image))).toBe(expected);
  });

  it('do not give up a value that something else reads', async () => {
    for (const other of ['output', 'node'] as const) {
      const m = start();
      const y = conv(m, 'x');
      m.output(m.add('Relu', [y]));
      m.output(other === 'output' ? y : m.add('Neg', [y]));
      expect(ops(await fused(m, image)).split(' ')).toEqual(expect.arrayContaining(['Conv', 'Relu']));
    }
  });

  it('do not give up a value that a subgraph reads', async () => {
    const m = start();
    const y = conv(m, 'x');
    const branch = {
      name: 'b',
      nodes: [{ name: '', opType: 'Neg', domain: '', inputs: [y], outputs: ['inner'], attributes: {} }],
      inputs: [],
      outputs: [{ name: 'inner', dtype: 'float32' as const, shape: null }],
      initializers: new Map(),
    };
    const then = { type: 'graph' as const, value: branch };
    const otherwise = {
      type: 'graph' as const,
      value: {
        ...branch,
        nodes: [{ ...branch.nodes[0], outputs: ['other'] }],
        outputs: [{ ...branch.outputs[0], name: 'other' }],
      },
    };
    const condition = m.constant({ dtype: 'bool', shape: [], data: Uint8Array.of(1) } as never);
    m.output(m.add('If', [condition], { then_branch: then, else_branch: otherwise }));
    m.output(m.add('Relu', [y]));
    expect(ops(await fused(m, image))).toBe('Conv If Relu');
  });

  it('of two that are added the later takes the other', async () => {
    const m = start();
    const [a, b] = [conv(m, 'x'), conv(m, m.add('Neg', ['x']))];
    m.output(m.add('Relu', [m.add('Add', [b, a])]));
    expect(ops(await fused(m, image))).toBe('Conv Neg Conv~+|');
  });

  it('have one weight for two normalisations', async () => {
    const m = start();
    const w = vector(m, 4, 4, 1, 1);
    m.output(norm(m, m.add('Conv', ['x', w])));
    m.output(norm(m, m.add('Conv', ['x', w])));
    expect(ops(await fused(m, image))).toBe('Conv Conv');
  });

  it('are not normalised by features of another number', async () => {
    const m = start([1, 4, 1, 1]);
    const y = conv(m, 'x');
    const parameters = [1, 2, 3, 4].map(() => vector(m, 4));
    m.output(m.add('BatchNormalization', [y, ...parameters], { training_mode: int(0) }));
    expect(ops(await fused(m, { x: [1, 4, 1, 1] }))).toBe('Conv');
  });
});

describe('matrix products', () => {
  it('take bias, residual and clamp', async () => {
    for (const dims of [[4], [1, 4]]) {
      const m = start(['n', 't', 4]);
      const y = m.add('Add', [vector(m, ...dims), m.add('MatMul', ['x', vector(m, 4, 4)])]);
      m.output(m.add('Relu', [m.add('Add', ['x', y])]));
      expect(ops(await fused(m, rows))).toBe('MatMul~+|');
      // The dimensions of the bias may be more than those of the product.
      expect((await fused(m, { x: [4] })).nodes.length).toBe(1);
    }
  });

  it('of Gemm take a residual of any shape', async () => {
    const m = start(['n', 4]);
    m.input('r', ['a', 'b', 4]);
    const y = m.add('Gemm', ['x', vector(m, 4, 4), vector(m, 4)], { alpha: float(0.5), beta: float(2) });
    m.output(m.add('Clip', [m.add('Add', ['r', y]), '', scalar(m, 0.1)]));
    expect(ops(await fused(m, { x: [3, 4], r: [2, 1, 4] }))).toBe('Gemm~+|');
  });

  it('of two activations take nothing', async () => {
    const m = start(['n', 4, 4]);
    m.output(m.add('Relu', [m.add('MatMul', ['x', 'x'])]));
    expect(ops(await fused(m, { x: [2, 4, 4] }))).toBe('MatMul Relu');
  });
});

describe('activations', () => {
  it('x · sigmoid(x) and x · hard sigmoid(x)', async () => {
    const m = start();
    m.output(m.add('Mul', ['x', m.add('Sigmoid', ['x'])]));
    const gate = (alpha: number) => m.add('HardSigmoid', ['x'], { alpha: float(alpha), beta: float(0.5) });
    m.output(m.add('Mul', [gate(1 / 6), 'x']));
    m.output(m.add('Mul', [gate(0.2), 'x']));
    const shared = m.add('Sigmoid', ['x']);
    m.output(m.add('Mul', [shared, 'x']));
    m.output(shared);
    expect(ops(await fused(m, image))).toBe('Silu~ HardSwish HardSigmoid Mul Sigmoid Mul');
  });

  it.each([0, 1, 2, 3])('gelu as exporters write it, %i', async order => {
    const m = start();
    const inner = order % 2 ? m.add('Div', ['x', scalar(m, Math.SQRT2)]) : m.add('Mul', ['x', scalar(m, Math.SQRT1_2)]);
    const erf = m.add('Erf', [inner]);
    const sum = m.add('Add', order > 1 ? [scalar(m, 1), erf] : [erf, scalar(m, 1)]);
    const half = scalar(m, 0.5);
    if (order === 0) m.output(m.add('Mul', [m.add('Mul', ['x', sum]), half]));
    if (order === 1) m.output(m.add('Mul', ['x', m.add('Mul', [half, sum])]));
    if (order >= 2) m.output(m.add('Mul', [sum, m.add('Mul', ['x', half])]));
    expect(ops(await fused(m, image))).toBe('Gelu');
  });

  it('gelu of other numbers or values is left', async () => {
    for (const change of ['one', 'half', 'root', 'value'] as const) {
      const m = start();
      const erf = m.add('Erf', [m.add('Div', ['x', scalar(m, change === 'root' ? 1.5 : Math.SQRT2)])]);
      const sum = m.add('Add', [erf, scalar(m, change === 'one' ? 2 : 1)]);
      const y = m.add('Mul', [change === 'value' ? m.add('Neg', ['x']) : 'x', sum]);
      m.output(m.add('Mul', [y, scalar(m, change === 'half' ? 0.25 : 0.5)]));
      expect(ops(await fused(m, image))).toContain('Erf');
    }
  });
});

describe('normalisations of rows', () => {
  const mean = (m: Model, x: string, axis = -1, keep = 1) =>
    m.add('ReduceMean', [x], { axes: ints([axis]), keepdims: int(keep) });
  const root = (m: Model, x: string) => m.add('Sqrt', [m.add('Add', [x, scalar(m, 0.01)])]);
  const square = (m: Model, x: string, pow: boolean) => (pow ? m.add('Pow', [x, scalar(m, 2)]) : m.add('Mul', [x, x]));

  it.each([0, 1, 2, 3])('root mean square, %i', async form => {
    const m = start(['n', 't', 4]);
    const below = root(m, mean(m, square(m, 'x', form % 2 === 0)));
    const normal = form > 1 ? m.add('Div', ['x', below]) : m.add('Mul', ['x', m.add('Reciprocal', [below])]);
    m.output(m.add('Mul', form % 2 ? [normal, vector(m, 4)] : [vector(m, 4), normal]));
    expect(ops(await fused(m, rows))).toBe('RMSNorm~');
  });

  it.each([true, false])('layer normalisation, power %s', async pow => {
    const m = start(['n', 't', 4]);
    const centred = m.add('Sub', ['x', mean(m, 'x')]);
    const normal = m.add('Div', [centred, root(m, mean(m, square(m, centred, pow)))]);
    m.output(m.add('Add', [m.add('Mul', [normal, vector(m, 4)]), vector(m, 4)]));
    expect(ops(await fused(m, rows))).toBe('LayerNormalization');
  });

  it('other axes, shapes and shared values are left', async () => {
    const shared = start(['n', 't', 4]);
    for (const [axis, scale] of [
      [1, 4],
      [-1, 1],
    ] as const) {
      const m = start(['n', 't', 4]);
      const normal = m.add('Div', ['x', root(m, mean(m, square(m, 'x', true), axis))]);
      m.output(m.add('Mul', [normal, vector(m, scale)]));
      expect(ops(await fused(m, rows))).toContain('ReduceMean');
    }
    const centred = shared.add('Sub', ['x', mean(shared, 'x')]);
    const normal = shared.add('Div', [centred, root(shared, mean(shared, square(shared, centred, true)))]);
    shared.output(shared.add('Add', [shared.add('Mul', [normal, vector(shared, 4)]), vector(shared, 4)]));
    shared.output(centred);
    expect(ops(await fused(shared, rows))).toContain('ReduceMean');
  });
});

describe('unread outputs', () => {
  it('of norms and dropouts go; a dropout that trains stays', async () => {
    const m = new Model();
    m.input('x', rows.x);
    const scale = m.constant(tensorOf([4], [1, 2, 3, 4]));
    const [y] = m.several('LayerNormalization', ['x', scale], 3, { axis: int(-1) });
    const [dropped] = m.several('Dropout', [y], 2);
    m.output(dropped);
    const { nodes } = await fused(m, rows);
    expect(nodes.map(n => `${n.op} ${n.outputs.length}`)).toEqual(['LayerNormalization 1', 'Identity 1']);

    const masked = new Model();
    masked.input('x', rows.x);
    const [z, mask] = masked.several('Dropout', ['x'], 2);
    masked.output(z);
    masked.output(mask, null, 'bool');
    expect(ops(await fused(masked, rows))).toBe('Dropout');

    const training = new Model();
    training.input('x', rows.x);
    const on = training.constant({ dtype: 'bool', shape: [], data: Uint8Array.of(1) });
    const half = training.constant(tensorOf([], [0]));
    training.output(training.several('Dropout', ['x', half, on], 1)[0]);
    expect(ops(await fused(training, rows))).toBe('Dropout');
  });
});

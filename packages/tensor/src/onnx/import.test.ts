import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compile } from '../compile.ts';
import { GossamerError } from '../errors.ts';
import { gradients } from '../gradients.ts';
import { conv } from '../ops/conv.ts';
import { linear } from '../ops/matmul.ts';
import { maxPool } from '../ops/pool.ts';
import { Parameter } from '../parameter.ts';
import { Random } from '../random.ts';
import { realize } from '../realize.ts';
import { type Tensor, tensor } from '../tensor.ts';
import { exportOnnx } from './export.ts';
import { array, difference, floats, randn, runDirectly, runImported, singleNode } from './import/testing.ts';
import { importOnnx } from './import.ts';
import {
  float,
  graph,
  int,
  ints,
  type OnnxGraph,
  type OnnxModel,
  type OnnxTensor,
  onnxModel,
  onnxNode,
  onnxValue,
  string,
  tensor as tensorAttribute,
} from './proto.ts';
import { readOnnx } from './read.ts';

const leaf = (t: OnnxTensor): Tensor => tensor(t);

/** Input x and output y of free size, float32. */
function modelOf(
  nodes: OnnxGraph['nodes'],
  initializers: Record<string, OnnxTensor> = {},
  rest: { shape?: (string | number)[]; opset?: number; outputs?: string[]; functions?: OnnxModel['functions'] } = {},
): OnnxModel {
  return onnxModel(
    {
      name: 'test',
      inputs: [onnxValue('x', 'float32', rest.shape ?? ['n', 'd'])],
      outputs: (rest.outputs ?? ['y']).map(name => ({ name, dtype: 'float32', shape: null })),
      initializers: new Map(Object.entries(initializers)),
      nodes,
    },
    { opsets: { '': rest.opset ?? 17, local: 1 }, ...(rest.functions && { functions: rest.functions }) },
  );
}

/** A small image classifier as PyTorch exports it. */
const classifier = (): OnnxModel =>
  modelOf(
    [
      onnxNode('Conv', ['x', 'conv.weight', 'conv.bias'], ['a'], {
        pads: ints([1, 1, 1, 1]),
        kernel_shape: ints([3, 3]),
      }),
      onnxNode('Relu', ['a'], ['b']),
      onnxNode('MaxPool', ['b'], ['c'], { kernel_shape: ints([2, 2]), strides: ints([2, 2]) }),
      // x.view(x.size(0), -1)
      onnxNode('Shape', ['c'], ['s']),
      onnxNode('Constant', [], ['zero'], { value: tensorAttribute(array([0], [])) }),
      onnxNode('Gather', ['s', 'zero'], ['n'], { axis: int(0) }),
      onnxNode('Unsqueeze', ['n', 'axis0'], ['n1']),
      onnxNode('Concat', ['n1', 'minus1'], ['shape'], { axis: int(0) }),
      onnxNode('Reshape', ['c', 'shape'], ['f']),
      onnxNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['y'], { transB: int(1) }),
    ],
    {
      'conv.weight': randn([4, 1, 3, 3], 1),
      'conv.bias': randn([4], 2),
      'fc.weight': randn([3, 64], 3, 0.1),
      'fc.bias': randn([3], 4),
      axis0: array([0]),
      minus1: array([-1]),
    },
    { shape: ['batch', 1, 8, 8] },
  );

describe('importOnnx', () => {
  it('computes what ONNX Runtime computes, at several batch sizes', async () => {
    const model = classifier();
    for (const n of [1, 3]) {
      const feeds = { x: randn([n, 1, 8, 8], n) };
      expect(difference(await runImported(model, feeds), await runDirectly(model, feeds))).toBe('');
    }
  });

  it('makes float initializers parameters under their names, and nothing else', () => {
    const { parameters } = importOnnx(classifier());
    expect([...parameters.keys()]).toEqual(['conv.weight', 'conv.bias', 'fc.weight', 'fc.bias']);
    expect([...parameters.values()].every(p => p instanceof Parameter && p.trainable)).toBe(true);
    const clip = modelOf([onnxNode('Clip', ['x', 'low', 'high'], ['y'])], {
      low: floats([0], []),
      high: floats([6], []),
    });
    expect(importOnnx(clip).parameters.size).toBe(0);
    const only = importOnnx(classifier(), { parameters: name => name.startsWith('fc') });
    expect([...only.parameters.keys()]).toEqual(['fc.weight', 'fc.bias']);
  });

  it('does not change the model when its parameters change', async () => {
    const model = classifier();
    const before = Array.from(model.graph.initializers.get('fc.bias')!.data as Float32Array);
    const { parameters } = importOnnx(model);
    const bias = parameters.get('fc.bias')!;
    const step = compile(() => {
      bias.assign(bias.add(1));
    });
    for (let i = 0; i < 4; i++) await step();
    await step.dispose();
    expect((await bias.data())[0]).toBeCloseTo(before[0] + 4, 4);
    expect(Array.from(model.graph.initializers.get('fc.bias')!.data as Float32Array)).toEqual(before);
  });

  it('has the gradients of the same net written directly', async () => {
    const imported = importOnnx(classifier());
    const [w, b, v, c] = ['conv.weight', 'conv.bias', 'fc.weight', 'fc.bias'].map(n => imported.parameters.get(n)!);
    const x = leaf(randn([2, 1, 8, 8], 9));
    const direct = linear(maxPool(conv(x, w, { padding: 1, bias: b }).relu(), 2).reshape([2, -1]), v, c);
    const wanted = [x, w, b, v, c];
    const expected = gradients(direct.mul(direct).sum(), wanted);
    const { y } = imported.call({ x });
    const actual = gradients(y.mul(y).sum(), wanted);
    await realize(...expected, ...actual);
    for (const [i, g] of actual.entries()) {
      expect(difference({ g: await g.array() }, { g: await expected[i].array() })).toBe('');
    }
  });

  it('survives a round trip through export, with a dynamic batch', async () => {
    const imported = importOnnx(classifier());
    const exported = await exportOnnx(x => imported.call({ x }), { x: { dtype: 'float32', shape: [1, 1, 8, 8] } });
    expect([...exported.graph.initializers.keys()]).toEqual(expect.arrayContaining([...imported.parameters.keys()]));
    for (const n of [1, 4]) {
      const feeds = { x: randn([n, 1, 8, 8], n) };
      expect(difference(await runDirectly(exported, feeds), await runDirectly(classifier(), feeds))).toBe('');
    }
  });

  it('fine-tunes', async () => {
    const model = modelOf(
      [
        onnxNode('MatMul', ['x', 'w1'], ['a']),
        onnxNode('Add', ['a', 'b1'], ['b']),
        onnxNode('Tanh', ['b'], ['c']),
        onnxNode('MatMul', ['c', 'w2'], ['y']),
      ],
      { w1: randn([3, 8], 1), b1: randn([8], 2), w2: randn([8, 1], 3) },
    );
    const imported = importOnnx(model);
    const parameters = [...imported.parameters.values()];
    const step = compile((x: Tensor, target: Tensor) => {
      const error = imported.call({ x }).y.sub(target);
      const loss = error.mul(error).mean();
      for (const [i, g] of gradients(loss, parameters).entries()) parameters[i].assign(parameters[i].sub(g.mul(0.05)));
      return loss;
    });
    const [x, target] = [leaf(randn([16, 3], 5)), leaf(randn([16, 1], 6))];
    const first = await (await step(x, target)).item();
    for (let i = 0; i < 100; i++) await step(x, target);
    const last = await (await step(x, target)).item();
    await step.dispose();
    expect(last).toBeLessThan(first / 4);
  });
});

describe('types', () => {
  it('takes and gives the declared ones, computing in float32 and int32', async () => {
    const model = onnxModel({
      name: 'types',
      inputs: [onnxValue('i', 'int64', ['n']), onnxValue('d', 'float64', ['n'])],
      outputs: [onnxValue('j', 'int64', ['n']), onnxValue('e', 'float64', ['n'])],
      initializers: new Map([['one', array([1])]]),
      nodes: [onnxNode('Add', ['i', 'one'], ['j']), onnxNode('Exp', ['d'], ['e'])],
    });
    const feeds = { i: array([-5, 2 ** 30]), d: array([0.5, -1], [2], 'float64') };
    expect(difference(await runImported(model, feeds), await runDirectly(model, feeds))).toBe('');
    await expect(runImported(model, { ...feeds, i: array([0, 2 ** 40]) })).rejects.toThrow(
      "input 'i' holds 1099511627776, which does not fit int32",
    );
  });

  it('converts half-precision weights to float32 parameters', async () => {
    const half = { dtype: 'float16', shape: [2], data: Uint16Array.of(0x3c00, 0xc000) } as const;
    const model = modelOf([onnxNode('Mul', ['x', 'w'], ['y'])], { w: half });
    const { y } = await runImported(model, { x: floats([3, 4], [1, 2]) });
    expect([...(y.data as Float32Array)]).toEqual([3, -8]);
  });
});

describe('values known from shapes', () => {
  it('are folded: interpolation to twice the size, written out', async () => {
    const nodes = [
      onnxNode('Shape', ['x'], ['s']),
      onnxNode('Slice', ['s', 'two', 'four', 'zero'], ['hw']),
      onnxNode('Cast', ['hw'], ['hwf'], { to: int(1) }),
      onnxNode('Mul', ['hwf', 'factor'], ['scaled']),
      onnxNode('Floor', ['scaled'], ['floored']),
      onnxNode('Cast', ['floored'], ['target'], { to: int(7) }),
      onnxNode('Slice', ['s', 'zero', 'two', 'zero'], ['nc']),
      onnxNode('Concat', ['nc', 'target'], ['sizes'], { axis: int(0) }),
      onnxNode('Resize', ['x', '', '', 'sizes'], ['y'], {
        mode: string('nearest'),
        nearest_mode: string('floor'),
        coordinate_transformation_mode: string('asymmetric'),
      }),
    ];
    const constants = { zero: array([0]), two: array([2]), four: array([4]), factor: floats([2], []) };
    const model = modelOf(nodes, constants, { shape: ['n', 'c', 'h', 'w'] });
    const feeds = { x: randn([1, 2, 3, 4]) };
    expect(difference(await runImported(model, feeds), await runDirectly(model, feeds))).toBe('');
  });

  it('are folded: broadcasting by ConstantOfShape, Equal, Where and Expand', async () => {
    // PyTorch's expand(-1, 4): a size of −1 keeps the input's.
    const nodes = [
      onnxNode('Shape', ['x'], ['s']),
      onnxNode('ConstantOfShape', ['rank'], ['ones'], { value: tensorAttribute(array([1])) }),
      onnxNode('Mul', ['ones', 'minus1'], ['minus']),
      onnxNode('Equal', ['wanted', 'minus'], ['keep']),
      onnxNode('Where', ['keep', 'ones', 'wanted'], ['shape']),
      onnxNode('Expand', ['x', 'shape'], ['e']),
      onnxNode('Range', ['zero', 'four', 'one'], ['positions']),
      onnxNode('Cast', ['positions'], ['p'], { to: int(1) }),
      onnxNode('Add', ['e', 'p'], ['y']),
    ];
    const model = modelOf(nodes, {
      rank: array([2]),
      minus1: array([-1]),
      wanted: array([-1, 4]),
      zero: array([0], []),
      four: array([4], []),
      one: array([1], []),
    });
    const feeds = { x: randn([3, 1]) };
    expect(difference(await runImported(model, feeds), await runDirectly(model, feeds))).toBe('');
  });

  it('may be results', async () => {
    const { model, feeds } = singleNode('Shape', { feeds: [randn([2, 3])], outputs: ['int64'] });
    const { y0 } = await runImported(model, feeds);
    expect([...(y0.data as BigInt64Array)]).toEqual([2n, 3n]);
  });

  it('are told apart from data, with the node named', async () => {
    const model = modelOf(
      [
        onnxNode('Cast', ['x'], ['i'], { to: int(7) }),
        onnxNode('Reshape', ['x', 'i'], ['y'], {}, { name: 'head/reshape' }),
      ],
      {},
      { shape: [2] },
    );
    expect(() => importOnnx(model).call({ x: tensor([1, 2]) })).toThrow(
      /Reshape 'head\/reshape' \(operator set 17\): its shape \(input 1, 'i'\) depends on the data/,
    );
  });
});

describe('graphs within graphs', () => {
  const branch = (opType: string): OnnxGraph => ({
    name: opType,
    inputs: [],
    outputs: [onnxValue('z', 'float32', ['n', 'd'])],
    initializers: new Map([['k', floats([3], [])]]),
    nodes: [onnxNode(opType, ['x', 'k'], ['z'])],
  });

  it('If takes the branch that shapes decide', async () => {
    const model = modelOf(
      [
        onnxNode('Size', ['x'], ['size']),
        onnxNode('Greater', ['size', 'limit'], ['large']),
        onnxNode('If', ['large'], ['y'], { then_branch: graph(branch('Add')), else_branch: graph(branch('Mul')) }),
      ],
      { limit: array([4], []) },
    );
    for (const n of [1, 3]) {
      const feeds = { x: randn([n, 2]) };
      expect(difference(await runImported(model, feeds), await runDirectly(model, feeds))).toBe('');
    }
  });

  it('If on data is refused', () => {
    const model = modelOf([
      onnxNode('ReduceSum', ['x'], ['sum'], { keepdims: int(0) }),
      onnxNode('Cast', ['sum'], ['flag'], { to: int(9) }),
      onnxNode('If', ['flag'], ['y'], { then_branch: graph(branch('Add')), else_branch: graph(branch('Mul')) }),
    ]);
    expect(() => importOnnx(model).call({ x: tensor([[1]]) })).toThrow(/If 'y'.*its condition .* depends on the data/);
  });

  it('inlines functions with attributes and defaults', async () => {
    const f = {
      name: 'Scaled',
      domain: 'local',
      inputs: ['a'],
      outputs: ['b'],
      attributes: ['alpha'],
      defaults: { beta: float(0.25) },
      nodes: [
        onnxNode('LeakyRelu', ['a'], ['t'], { alpha: { type: 'reference', value: 'alpha', of: 'float' } }),
        onnxNode('Elu', ['t'], ['b'], { alpha: { type: 'reference', value: 'beta', of: 'float' } }),
      ],
      opsets: { '': 17 },
    } as const;
    const functions = [f as unknown as NonNullable<OnnxModel['functions']>[number]];
    const nodes = [onnxNode('Scaled', ['x'], ['y'], { alpha: float(0.5) }, { domain: 'local' })];
    const model = modelOf(nodes, {}, { functions });
    const feeds = { x: randn([2, 3]) };
    expect(difference(await runImported(model, feeds), await runDirectly(model, feeds))).toBe('');
    const recursive = { ...functions[0], nodes: [onnxNode('Scaled', ['a'], ['b'], {}, { domain: 'local' })] };
    expect(() => importOnnx(modelOf(nodes, {}, { functions: [recursive] }))).toThrow('local::Scaled calls itself');
  });
});

describe('batch normalisation and dropout in training', () => {
  const model = modelOf(
    [
      onnxNode('BatchNormalization', ['x', 'g', 'b', 'm', 'v'], ['h'], { momentum: float(0.75) }),
      onnxNode('Dropout', ['h'], ['y']),
    ],
    { g: floats([1, 2]), b: floats([0, 1]), m: floats([0, 0]), v: floats([1, 1]) },
  );
  const x = floats([1, 2, 3, 6], [2, 2]);

  it('uses the statistics of the batch and moves the running ones', async () => {
    const { parameters, call } = bound(importOnnx(model));
    expect(['g', 'b', 'm', 'v'].map(n => parameters.get(n)!.trainable)).toEqual([true, true, false, false]);
    const { y } = call({ x: leaf(x) }, { batchStatistics: true, random: new Random(1) });
    const values = await y.data();
    // Kept values are doubled, the others zero.
    const whole = [-1, -1, 1, 3];
    values.forEach((v, i) => {
      if (v !== 0) expect(v).toBeCloseTo(2 * whole[i], 4);
    });
    expect(await parameters.get('m')!.tolist()).toEqual([0.5, 1]);
    expect(await parameters.get('v')!.tolist()).toEqual([0.75 + 0.25 * 2, 0.75 + 0.25 * 8]);
  });

  it('leaves frozen statistics alone', async () => {
    const { parameters, call } = bound(importOnnx(model));
    await call({ x: leaf(x) }, { batchStatistics: false, random: new Random(1) }).y.data();
    expect(await parameters.get('m')!.tolist()).toEqual([0, 0]);
  });

  const bound = (g: ReturnType<typeof importOnnx>) => ({ parameters: g.parameters, call: g.call.bind(g) });
});

describe('errors', () => {
  const mlp = modelOf([onnxNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'fc' })], { w: randn([4, 2]) });

  it('lists all operators that cannot be imported, when importing', () => {
    const model = modelOf([
      onnxNode('Wobble', ['x'], ['a'], {}, { name: 'n1' }),
      onnxNode('Wobble', ['a'], ['b']),
      onnxNode('Scan', ['b'], ['c'], { body: graph({ ...mlp.graph, name: 'body' }) }, { name: 'n3' }),
      onnxNode('Twist', ['c'], ['y'], {}, { domain: 'acme' }),
      onnxNode('Unread', ['x'], ['nobody']),
    ]);
    expect(() => importOnnx(model)).toThrow(
      "cannot be imported: Wobble (2 nodes, first Wobble 'n1'); Scan (Scan 'n3'); acme::Twist (acme::Twist 'y'). Loops over data",
    );
  });

  it('names inputs that are missing, unknown or of another shape or type', () => {
    const g = importOnnx(mlp);
    expect(() => g.call({})).toThrow("input 'x' is not fed; the inputs are 'x' (float32[n, d])");
    expect(() => g.call({ x: tensor([[1, 2, 3, 4]]), z: tensor([1]) })).toThrow("there is no input 'z'");
    expect(() => g.call({ x: tensor([1, 2]) })).toThrow("[2] is fed for input 'x' (float32[n, d])");
    expect(() => g.call({ x: tensor([[1]], [1, 1], 'int32') })).toThrow('int32 is fed');
  });

  it('names the node and the operator set', () => {
    expect(() => importOnnx(mlp).call({ x: tensor([[1, 2]]) })).toThrow(
      "importing MatMul 'fc' (operator set 17): matmul: [1, 2] × [4, 2]: inner dimensions 2 and 4 differ",
    );
  });

  it('refuses attributes it does not know', () => {
    const model = modelOf([onnxNode('Relu', ['x'], ['y'], { leak: float(1) })]);
    expect(() => importOnnx(model).call({ x: tensor([[1]]) })).toThrow('attribute leak is not supported');
    const typed = modelOf([onnxNode('LeakyRelu', ['x'], ['y'], { alpha: int(1) })]);
    expect(() => importOnnx(typed).call({ x: tensor([[1]]) })).toThrow('attribute alpha is of kind int');
  });
});

describe('damaged graphs', () => {
  const operators =
    'Relu Add Conv MaxPool AveragePool Concat Reshape Transpose Gather Gemm MatMul Softmax Slice Split Squeeze Unsqueeze Pad Expand Tile ReduceSum TopK Where Cast LSTM BatchNormalization Resize Clip Flatten OneHot ScatterND Einsum Trilu Range Shape ConstantOfShape InstanceNormalization QuantizeLinear CumSum ArgMax GatherND DepthToSpace'.split(
      ' ',
    );

  it('give a GossamerError or a graph, never another error', () => {
    const random = new Random('damage');
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random.uniform(1)[0] * list.length)];
    let refused = 0;
    for (let round = 0; round < 600; round++) {
      const model = classifier();
      const { nodes } = model.graph;
      const values = ['x', '', ...model.graph.initializers.keys(), ...nodes.map(n => n.outputs[0])];
      for (let k = 0; k < 1 + (round % 3); k++) {
        const node = pick(nodes);
        const keys = Object.keys(node.attributes);
        const action = pick(['swap', 'drop input', 'rewire', 'add input', 'drop attribute', 'garble attribute']);
        if (action === 'swap') node.opType = pick(operators);
        else if (action === 'drop input') node.inputs.pop();
        else if (action === 'rewire' && node.inputs.length > 0) node.inputs[0] = pick(values);
        else if (action === 'add input') node.inputs.push(pick(values));
        else if (action === 'drop attribute' && keys.length > 0) delete node.attributes[pick(keys)];
        else if (action === 'garble attribute' && keys.length > 0) {
          node.attributes[pick(keys)] = pick([int(-7), float(0.5), ints([]), ints([1, -1, 9]), string('?')]);
        }
      }
      try {
        const g = importOnnx(model);
        g.call({ x: leaf(randn([2, 1, 8, 8])) });
      } catch (error) {
        refused++;
        if (!(error instanceof GossamerError)) throw new Error(`round ${round}`, { cause: error });
      }
    }
    expect(refused).toBeGreaterThan(200);
    expect(refused).toBeLessThan(600);
  });
});

describe('a real file', () => {
  const path = process.env.GOSSAMER_MODELS && join(process.env.GOSSAMER_MODELS, 'ultraface_RFB-320_simplified.onnx');
  const there = path !== undefined && existsSync(path);
  if (!there) console.warn('skipped: UltraFace, because GOSSAMER_MODELS names no folder with it');

  it.skipIf(!there)('UltraFace equals ONNX Runtime', async () => {
    const model = await readOnnx(path!);
    const [input] = model.graph.inputs;
    const shape = input.shape!.map(d => (typeof d === 'number' ? d : 1));
    const feeds = { [input.name]: randn(shape) };
    expect(difference(await runImported(model, feeds), await runDirectly(model, feeds), 1e-4)).toBe('');
  });
});

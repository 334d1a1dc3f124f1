import {
  encodeOnnx,
  float as floatAttribute,
  graph as graphAttribute,
  int as intAttribute,
  ints,
  onnxModel,
  onnxNode,
  onnxValue,
  string,
  tensor as tensorAttribute,
} from '@gossamer/tensor/onnx';
import { beforeAll, describe, expect, it } from 'vitest';
import { FormatError, UnsupportedError } from '../errors.ts';
import type { Graph, Model, SparseValue } from './graph.ts';
import { parseModel } from './model.ts';
import {
  attribute,
  file,
  float,
  graph,
  header,
  int,
  node,
  nodeFields,
  type Part,
  part,
  sparse,
  tensor,
  value,
  varint,
} from './testing.ts';

const parse = (...parts: Part[]) => parseModel(file(...parts));
/** The attributes of a model's only node. */
const attributesOf = async (...attributes: Part[]) =>
  (await parse(header(), graph(node('Op', ['x'], ['y'], ...attributes)))).graph.nodes[0].attributes;

describe('a model of the tensor package', () => {
  const weights = Float32Array.of(0, 1, 0, 0, 2, 0);
  const branch = (op: string) => ({
    name: op,
    inputs: [],
    outputs: [onnxValue('z', 'float32', [2, 2])],
    initializers: new Map(),
    nodes: [onnxNode(op, ['h'], ['z'])],
  });
  const bytes = encodeOnnx(
    onnxModel(
      {
        name: 'main',
        inputs: [onnxValue('x', 'float32', ['n', 2]), onnxValue('bias', 'float32', [3])],
        outputs: [onnxValue('y', 'float32', [null, 3])],
        initializers: new Map([
          ['bias', { dtype: 'float32', shape: [3], data: Float32Array.of(1, 2, 3) }],
          ['w', { dtype: 'float32', shape: [2, 3], data: weights, sparse: true }],
          ['flag', { dtype: 'bool', shape: [], data: Uint8Array.of(1) }],
        ]),
        nodes: [
          onnxNode(
            'Gemm',
            ['x', 'w', 'bias'],
            ['h'],
            { alpha: floatAttribute(0.5), transB: intAttribute(0) },
            { name: 'fc' },
          ),
          onnxNode('Constant', [], ['c'], {
            value: tensorAttribute({ dtype: 'int64', shape: [1], data: BigInt64Array.of(7n) }),
          }),
          onnxNode('If', ['flag'], ['y'], {
            then_branch: graphAttribute(branch('Relu')),
            else_branch: graphAttribute(branch('Neg')),
          }),
          onnxNode('Custom', ['h'], ['u'], { axes: ints([0, -1]), mode: string('linear') }, { domain: 'my.ops' }),
        ],
      },
      { opsets: { '': 17, 'my.ops': 3 } },
    ),
  );
  let model: Model;
  beforeAll(async () => {
    model = await parseModel(bytes);
  });

  it('keeps header, graph and order', () => {
    expect(model).toMatchObject({ irVersion: 8, producer: 'gossamer' });
    expect(model.opsets).toEqual(
      new Map([
        ['', 17],
        ['my.ops', 3],
      ]),
    );
    expect(model.graph.name).toBe('main');
    // bias has an initializer.
    expect(model.graph.inputs).toEqual([{ name: 'x', type: 'float32', dims: ['n', 2] }]);
    expect(model.graph.outputs).toEqual([{ name: 'y', type: 'float32', dims: ['', 3] }]);
    expect(model.graph.nodes.map(({ name, op, domain, version }) => [name, op, domain, version])).toEqual([
      ['fc', 'Gemm', '', 17],
      ['Constant_1', 'Constant', '', 17],
      ['If_2', 'If', '', 17],
      ['Custom_3', 'Custom', 'my.ops', 3],
    ]);
  });

  it('keeps constants, dense and sparse', () => {
    const { initializers } = model.graph;
    expect(initializers.get('bias')).toEqual({ type: 'float32', dims: [3], data: Float32Array.of(1, 2, 3) });
    expect(initializers.get('flag')).toEqual({ type: 'bool', dims: [], data: Uint8Array.of(1) });
    expect(initializers.get('w')).toEqual({
      type: 'float32',
      dims: [2, 3],
      indices: Int32Array.of(1, 4),
      values: { type: 'float32', dims: [2], data: Float32Array.of(1, 2) },
    } satisfies SparseValue);
  });

  it('keeps attributes; nested graphs carry versions too', () => {
    const [gemm, constant, branches, custom] = model.graph.nodes;
    expect(gemm.attributes).toEqual({ alpha: 0.5, transB: 0 });
    expect(constant.attributes.value).toEqual({ type: 'int64', dims: [1], data: BigInt64Array.of(7n) });
    expect(custom.attributes).toEqual({ axes: [0, -1], mode: 'linear' });
    expect((branches.attributes.else_branch as Graph).nodes).toEqual([
      { name: 'Neg_0', op: 'Neg', domain: '', version: 17, inputs: ['h'], outputs: ['z'], attributes: {} },
    ]);
  });

  it('reads the same from a view into a larger buffer, and when it may move data in place', async () => {
    for (let shift = 1; shift < 8; shift++) {
      const larger = new Uint8Array(bytes.length + shift);
      larger.set(bytes, shift);
      expect(await parseModel(larger.subarray(shift))).toEqual(model);
      expect(await parseModel(larger.subarray(shift), { owned: true })).toEqual(model);
    }
  });
});

describe('attributes', () => {
  const scalar = tensor('', 1, [], float(4, 3));
  const constant = { type: 'float32', dims: [], data: Float32Array.of(3) };

  it('reads every kind, with and without the kind named', async () => {
    const inner = part(1, nodeFields('Neg', ['x'], ['z']));
    const body: Part = [...inner, ...part(12, part(1, 'z'))];
    const kinds: [kind: number, field: Part[], expected: unknown][] = [
      [1, [float(2, 0.5)], 0.5],
      [2, [int(3, -7)], -7],
      [3, [part(4, 'same')], 'same'],
      [4, [part(5, scalar)], constant],
      [6, [float(7, 1), float(7, 2)], [1, 2]],
      [6, [part(7, Float32Array.of(1, 2))], [1, 2]],
      [7, [part(8, varint(1), varint(-1))], [1, -1]],
      [8, [part(9, 'a'), part(9, '')], ['a', '']],
      [9, [part(10, scalar), part(10, scalar)], [constant, constant]],
    ];
    for (const [kind, fields, expected] of kinds) {
      expect(await attributesOf(attribute('a', kind, ...fields))).toEqual({ a: expected });
      expect(await attributesOf(attribute('a', 0, ...fields))).toEqual({ a: expected });
    }
    expect((await attributesOf(attribute('a', 5, part(6, body)))).a).toMatchObject({
      nodes: [{ op: 'Neg', version: 13 }],
    });
    expect((await attributesOf(attribute('a', 10, part(11, body)))).a).toMatchObject([
      { nodes: [{ op: 'Neg', version: 13 }] },
    ]);
    const values = tensor('', 1, [1], float(4, 3));
    const indices = tensor('', 7, [1], int(7, 2));
    expect((await attributesOf(attribute('a', 11, part(22, sparse(values, indices, [5]))))).a).toEqual({
      type: 'float32',
      dims: [5],
      indices: Int32Array.of(2),
      values: { ...constant, dims: [1] },
    });
  });

  it('reads absent zeros and empty lists', async () => {
    const absent = await attributesOf(...[1, 2, 3, 6, 7, 8].map(kind => attribute(`a${kind}`, kind)));
    expect(absent).toEqual({ a1: 0, a2: 0, a3: '', a6: [], a7: [], a8: [] });
  });

  it('rounds the limits of int64 to ±2⁶³', async () => {
    const limits = part(8, varint(2n ** 63n - 1n), varint(-(2n ** 63n)));
    expect(await attributesOf(attribute('a', 7, limits))).toEqual({ a: [2 ** 63, -(2 ** 63)] });
  });

  it.each<[string, Part, new (message: string) => Error, string]>([
    [
      'a type',
      attribute('a', 13, part(14)),
      UnsupportedError,
      'Op_0 (Op): attribute a: sequences, optionals and maps are not supported',
    ],
    ['no kind and no value', attribute('a', 0), FormatError, 'Op_0 (Op): attribute a: has no value'],
    ['no tensor', attribute('a', 4), FormatError, 'Op_0 (Op): attribute a: has no value'],
    ['an unknown kind', attribute('a', 77), FormatError, 'has no value'],
    ['another kind than it says', attribute('a', 2, float(2, 1)), FormatError, 'of another kind than it says'],
    ['two values', attribute('a', 0, float(2, 1), int(3, 1)), FormatError, 'or there are several'],
    ['no name', attribute('', 2, int(3, 1)), FormatError, 'Op_0 (Op): an attribute has no valid name'],
    ['the name __proto__', attribute('__proto__', 2, int(3, 1)), FormatError, 'has no valid name'],
    [
      'a reference outside of functions',
      attribute('a', 2, part(21, 'b')),
      FormatError,
      'refers to b, but lies in no function',
    ],
    [
      'a bad tensor',
      attribute('a', 4, part(5, tensor('', 1, [2], float(4, 3)))),
      FormatError,
      'Op_0 (Op): attribute a: 1 values',
    ],
  ])('refuses %s', async (_, part, type, message) => {
    await expect(attributesOf(part)).rejects.toThrow(type);
    await expect(attributesOf(part)).rejects.toThrow(message);
  });

  it('refuses an attribute that is given twice', async () => {
    await expect(attributesOf(attribute('a', 2), attribute('a', 2))).rejects.toThrow(
      'Op_0 (Op): attribute a is given twice',
    );
  });
});

describe('inputs and outputs', () => {
  const typed = (...type: Part[]): Part =>
    part(7, node('Op', ['v'], ['y']), part(11, part(1, 'v'), part(2, ...type)), value(12, 'y'));
  const input = async (...type: Part[]) => (await parse(header(), typed(...type))).graph.inputs[0];
  const shape = (...dims: Part[]): Part => part(2, ...dims.map(dim => part(1, dim)));

  it('reads sizes, names of sizes and unknown ones', async () => {
    const dims = shape(int(1, 3), part(2, 'batch'), [], int(1, -1), int(1, 0));
    expect(await input(part(1, int(1, 7), dims))).toEqual({ name: 'v', type: 'int64', dims: [3, 'batch', '', '', 0] });
    expect(await input(part(1, int(1, 7), shape()))).toEqual({ name: 'v', type: 'int64', dims: [] });
    expect(await input(part(1, int(1, 7)))).toEqual({ name: 'v', type: 'int64' });
  });

  it('leaves the type of an output open when the file does', async () => {
    const model = await parse(header(), part(7, node('Op', ['x'], ['y']), value(11, 'x'), part(12, part(1, 'y'))));
    expect(model.graph.outputs).toEqual([{ name: 'y' }]);
  });

  it.each([
    [4, "input 'v': is a sequence; only tensors are supported"],
    [5, "input 'v': is a map"],
    [8, "input 'v': is a sparse tensor"],
    [9, "input 'v': is an optional"],
  ])('refuses type %i', async (field, message) => {
    await expect(input(part(field))).rejects.toThrow(UnsupportedError);
    await expect(input(part(field))).rejects.toThrow(message);
  });

  it('refuses inputs without type or name', async () => {
    await expect(input()).rejects.toThrow("input 'v': has no element type");
    await expect(input(part(1, int(1, 17)))).rejects.toThrow("input 'v': element type float8e4m3fn is not supported");
    await expect(parse(header(), part(7, value(11, '')))).rejects.toThrow('input: has no name');
  });
});

describe('headers', () => {
  const simple = graph(node('Relu', ['x'], ['y']));

  it('takes the operator sets after the graph, and ai.onnx for the standard domain', async () => {
    const model = await parse(simple, part(8, part(1, 'ai.onnx'), int(2, 9)), int(1, 4));
    expect(model.opsets).toEqual(new Map([['', 9]]));
    expect(model.graph.nodes[0].version).toBe(9);
    const named = await parse(header(), graph(node('Relu', ['x'], ['y'], part(7, 'ai.onnx'))));
    expect(named.graph.nodes[0]).toMatchObject({ domain: '', version: 13 });
  });

  it('takes operator set 1 for files older than the field', async () => {
    expect((await parse(int(1, 2), simple)).graph.nodes[0].version).toBe(1);
  });

  it.each<[string, Part[], new (message: string) => Error, string]>([
    ['nothing', [], FormatError, 'is empty'],
    ['no graph', [header()], FormatError, 'has no graph: not an ONNX model, or truncated'],
    ['two graphs', [header(), simple, simple], FormatError, 'a second graph'],
    ['no ir_version', [part(8, int(2, 13)), simple], FormatError, 'has no ir_version'],
    ['no operator set', [int(1, 8), simple], FormatError, 'imports no operator set'],
    [
      'operator set 27',
      [header(27), simple],
      UnsupportedError,
      'the model imports operator set 27 of the standard domain; 1 to 26 are supported',
    ],
    ['operator set 0', [header(0), simple], FormatError, 'operator set 0 of the standard domain; versions start at 1'],
    ['operator set −1', [header(-1), simple], FormatError, 'operator set -1'],
    [
      'two operator sets',
      [header(), part(8, int(2, 14)), simple],
      FormatError,
      'operator set 14 of the standard domain, and 13 too',
    ],
    [
      'a domain that is not imported',
      [header(), graph(node('Gelu', ['x'], ['y'], part(7, 'my.ops')))],
      FormatError,
      "Gelu_0 (Gelu): the model imports no operator set of the domain 'my.ops'",
    ],
    [
      'only other domains',
      [int(1, 8), part(8, part(1, 'my.ops'), int(2, 1)), simple],
      FormatError,
      'Relu_0 (Relu): the model imports no operator set of the standard domain',
    ],
    [
      'a Git LFS pointer',
      [[...new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid')]],
      FormatError,
      'git lfs pull',
    ],
    ['a web page', [[...new TextEncoder().encode('\n<!DOCTYPE html><html>')]], FormatError, 'is a web page'],
    ['the format ORT', [[28, 0, 0, 0, ...new TextEncoder().encode('ORTM')]], UnsupportedError, 'the format ORT'],
    [
      'a node without operator',
      [header(), graph(part(1, part(1, 'x'), part(2, 'y')))],
      FormatError,
      'node 0: has no operator',
    ],
    [
      'an initializer without name',
      [header(), graph(part(5, tensor('', 1, [])))],
      FormatError,
      '0 values in the field',
    ],
    [
      'an initializer twice',
      [header(), graph(part(5, tensor('w', 1, [0])), part(5, tensor('w', 1, [0])))],
      FormatError,
      "initializer 'w' is given twice",
    ],
    [
      'an initializer without data',
      [header(), graph(part(5, tensor('w', 1, [3])))],
      FormatError,
      "initializer 'w': 0 values in the field of its type, expected 3",
    ],
  ])('refuses %s', async (_, parts, type, message) => {
    await expect(parse(...parts)).rejects.toThrow(type);
    await expect(parse(...parts)).rejects.toThrow(message);
  });

  it.each([
    [40, 'graphs are nested more than 32 deep'],
    [150, 'messages are nested more than 100 deep'],
  ])('refuses %i graphs within each other', async (depth, message) => {
    let body: Part = [];
    for (let i = 0; i < depth; i++) body = node('Loop', [], [], attribute('body', 5, part(6, body)));
    await expect(parse(header(), part(7, body))).rejects.toThrow(message);
  });
});

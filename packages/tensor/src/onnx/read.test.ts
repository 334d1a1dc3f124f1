import { existsSync } from 'node:fs';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import type { NDArray } from '../dtype.ts';
import { FormatError, GossamerError } from '../errors.ts';
import { OpaqueTensor } from './opaque.ts';
import { type ReadOptions, readOnnx } from './read.ts';
import {
  type GraphProtoSchema,
  AttributeProto_AttributeType as Kind,
  ModelProtoSchema,
  type SparseTensorProtoSchema,
  type TensorProtoSchema,
  TensorProto_DataType as Type,
} from './schema/onnx_pb.ts';

type TensorInit = MessageInitShape<typeof TensorProtoSchema>;
type GraphInit = MessageInitShape<typeof GraphProtoSchema>;

const bytesOf = (graph: GraphInit, opset = 17): Uint8Array =>
  toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ domain: '', version: BigInt(opset) }],
      graph: { name: 'g', ...graph },
    }),
  );
const read = (graph: GraphInit, options?: ReadOptions) => readOnnx(bytesOf(graph), options);
const readInitializer = async (tensor: TensorInit, options?: ReadOptions) =>
  (await read({ initializer: [{ name: 'w', ...tensor }] }, options)).graph.initializers.get('w')!;
const readSparse = async (tensor: MessageInitShape<typeof SparseTensorProtoSchema>, options?: ReadOptions) =>
  (await read({ sparseInitializer: [tensor] }, options)).graph.initializers.get('w')!;

const raw = (...bytes: number[]) => Uint8Array.from(bytes);
const external = (location: string, rest: Record<string, string> = {}): TensorInit => ({
  dims: [2n],
  dataType: Type.INT16,
  dataLocation: 1,
  externalData: Object.entries({ location, ...rest }).map(([key, value]) => ({ key, value })),
});

describe('tensors of a file', () => {
  const stored: [string, TensorInit, NDArray['data']][] = [
    ['float32 raw', { dataType: Type.FLOAT, rawData: raw(0, 0, 128, 63, 0, 0, 0, 192) }, Float32Array.of(1, -2)],
    ['float32 values', { dataType: Type.FLOAT, floatData: [1, NaN] }, Float32Array.of(1, NaN)],
    ['float64 values', { dataType: Type.DOUBLE, doubleData: [0.1, -1e300] }, Float64Array.of(0.1, -1e300)],
    ['float16 bits', { dataType: Type.FLOAT16, int32Data: [0x3c00, 0xc000] }, Uint16Array.of(0x3c00, 0xc000)],
    ['bfloat16 raw', { dataType: Type.BFLOAT16, rawData: raw(128, 63, 0, 192) }, Uint16Array.of(0x3f80, 0xc000)],
    ['int64 values', { dataType: Type.INT64, int64Data: [-1n, 2n ** 63n - 1n] }, BigInt64Array.of(-1n, 2n ** 63n - 1n)],
    ['int32 values', { dataType: Type.INT32, int32Data: [-5, 7] }, Int32Array.of(-5, 7)],
    ['int16 values', { dataType: Type.INT16, int32Data: [-300, 300] }, Int16Array.of(-300, 300)],
    ['int8 values', { dataType: Type.INT8, int32Data: [-128, 127] }, Int8Array.of(-128, 127)],
    [
      'uint64 values',
      { dataType: Type.UINT64, uint64Data: [0n, 2n ** 64n - 1n] },
      BigUint64Array.of(0n, 2n ** 64n - 1n),
    ],
    ['uint32 values', { dataType: Type.UINT32, uint64Data: [1n, 2n ** 32n - 1n] }, Uint32Array.of(1, 2 ** 32 - 1)],
    ['uint16 values', { dataType: Type.UINT16, int32Data: [0, 65535] }, Uint16Array.of(0, 65535)],
    ['uint8 raw', { dataType: Type.UINT8, rawData: raw(3, 255) }, Uint8Array.of(3, 255)],
    ['bool values', { dataType: Type.BOOL, int32Data: [1, 0] }, Uint8Array.of(1, 0)],
  ];
  it.each(stored)('hold %s', async (_, tensor, data) => {
    const w = await readInitializer({ dims: [2n], ...tensor });
    expect(w.data).toEqual(data);
    expect(w.shape).toEqual([2]);
  });

  it('may be empty or scalar', async () => {
    expect(await readInitializer({ dims: [0n, 3n], dataType: Type.FLOAT })).toEqual({
      dtype: 'float32',
      shape: [0, 3],
      data: new Float32Array(),
    });
    expect((await readInitializer({ dataType: Type.FLOAT, floatData: [3] })).shape).toEqual([]);
  });

  it('are views of the file where alignment allows it', async () => {
    const data = Float32Array.from({ length: 1000 }, (_, i) => i);
    const initializer = [{ name: 'w', dims: [1000n], dataType: Type.FLOAT, rawData: new Uint8Array(data.buffer) }];
    const bytes = bytesOf({ initializer });
    let views = 0;
    for (let shift = 0; shift < 4; shift++) {
      const buffer = new ArrayBuffer(bytes.length + 4);
      const shifted = new Uint8Array(buffer, shift, bytes.length);
      shifted.set(bytes);
      const w = (await readOnnx(shifted)).graph.initializers.get('w')!.data;
      expect(w).toEqual(data);
      if (w.buffer === buffer) views++;
    }
    expect(views).toBe(1);
  });

  it('of types without arithmetic stay opaque until used', async () => {
    const w = await readInitializer({ dims: [2n], dataType: Type.STRING, stringData: [raw(65), raw(66)] });
    expect(w).toBeInstanceOf(OpaqueTensor);
    expect(w.shape).toEqual([2]);
    expect(() => w.data).toThrow(GossamerError);
    expect(() => w.dtype).toThrow("tensor 'w' [2] has element type STRING");
  });

  const broken: [string, TensorInit, string][] = [
    [
      'too few bytes',
      { dims: [2n], dataType: Type.FLOAT, rawData: raw(1, 2, 3) },
      '3 bytes of data, its shape and type need 8',
    ],
    ['too many values', { dims: [1n], dataType: Type.FLOAT, floatData: [1, 2] }, '2 values, its shape has 1'],
    ['no data', { dims: [2n], dataType: Type.FLOAT }, '0 values, its shape has 2'],
    ['a negative dimension', { dims: [-1n], dataType: Type.FLOAT }, 'invalid shape [-1]'],
    ['two negative dimensions', { dims: [-1n, -1n], dataType: Type.FLOAT, floatData: [1] }, 'invalid shape [-1, -1]'],
    ['a huge shape', { dims: [2n ** 40n, 2n ** 40n], dataType: Type.FLOAT }, 'invalid shape'],
    ['a large shape without data', { dims: [2n ** 50n], dataType: Type.FLOAT, rawData: raw(0) }, '1 bytes of data'],
    ['an unknown type', { dims: [1n], dataType: 99, rawData: raw(0) }, 'unknown element type 99'],
    ['no type', { dims: [1n], rawData: raw(0) }, 'unknown element type 0'],
    [
      'data twice',
      { dims: [1n], dataType: Type.FLOAT, floatData: [1], rawData: raw(0, 0, 0, 0) },
      'its data is given twice',
    ],
    [
      'data in the wrong field',
      { dims: [1n], dataType: Type.FLOAT, int32Data: [1] },
      'float32 data in the field int32Data',
    ],
    [
      'a value that does not fit',
      { dims: [1n], dataType: Type.INT8, int32Data: [200] },
      'value 200 at position 0 does not fit int8',
    ],
    ['a bool of 2', { dims: [1n], dataType: Type.BOOL, rawData: raw(2) }, 'a bool is neither 0 nor 1'],
    [
      'segments',
      { dims: [0n], dataType: Type.FLOAT, segment: { begin: 0n, end: 1n } },
      'tensors stored in segments are not supported',
    ],
  ];
  it.each(broken)('are refused with %s', async (_, tensor, message) => {
    const reading = readInitializer(tensor);
    await expect(reading).rejects.toThrow(FormatError);
    await expect(reading).rejects.toThrow(`ONNX model: graph 'g': initializer 'w': ${message}`);
  });
});

describe('sparse initializers', () => {
  const values = { name: 'w', dims: [2n], dataType: Type.FLOAT, floatData: [1, 2] };
  const at = (dims: bigint[], int64Data: bigint[]) => ({ dims, dataType: Type.INT64, int64Data });

  it('become dense and stay marked', async () => {
    const expected = { dtype: 'float32', shape: [2, 2], data: Float32Array.of(0, 1, 2, 0), sparse: true };
    expect(await readSparse({ values, indices: at([2n], [1n, 2n]), dims: [2n, 2n] })).toEqual(expected);
    expect(await readSparse({ values, indices: at([2n, 2n], [0n, 1n, 1n, 0n]), dims: [2n, 2n] })).toEqual(expected);
  });

  it('are refused when broken', async () => {
    const where = "graph 'g': sparse initializer 'w'";
    await expect(readSparse({ values, indices: at([2n], [1n, 4n]), dims: [2n, 2n] })).rejects.toThrow(
      `${where}: sparse index 4`,
    );
    await expect(readSparse({ values, dims: [2n] })).rejects.toThrow('values or indices are missing');
    await expect(
      readSparse({ values: { ...values, dims: [3n] }, indices: at([2n], [0n, 1n]), dims: [4n] }),
    ).rejects.toThrow(`${where}, values: 2 values`);
    await expect(readSparse({ values, indices: at([2n], [0n, 1n]), dims: [-4n] })).rejects.toThrow(
      'invalid shape [-4]',
    );
  });

  it('together may not exceed a limit once dense', async () => {
    const sparse = { values, indices: at([2n], [0n, 1n]) };
    await expect(readSparse({ ...sparse, dims: [2n ** 45n] })).rejects.toThrow(
      'take more than 2147483648 bytes once dense',
    );
    await expect(readSparse({ ...sparse, dims: [16n] }, { maxDenseBytes: 63 })).rejects.toThrow(FormatError);
    expect((await readSparse({ ...sparse, dims: [16n] }, { maxDenseBytes: 64 })).shape).toEqual([16]);
  });
});

describe('external data', () => {
  const file = Uint8Array.of(9, 9, 1, 0, 2, 0, 9);
  const options: ReadOptions = { externalData: () => file };

  it('is read by offset and length', async () => {
    const w = await readInitializer(external('sub/w.bin', { offset: '2', length: '4' }), options);
    expect(w.data).toEqual(Int16Array.of(1, 2));
    expect((await readInitializer(external('w.bin'), { externalData: () => file })).data).toEqual(
      Int16Array.of(0x0909, 1),
    );
  });

  it('is shared by tensors of the same range, and may not overlap otherwise', async () => {
    const two = (a: string, b: string) =>
      read(
        {
          initializer: [
            { name: 'a', ...external('w', { offset: a }) },
            { name: 'b', ...external('w', { offset: b }) },
          ],
        },
        options,
      );
    const { initializers } = (await two('2', '2')).graph;
    expect(initializers.get('a')!.data.buffer).toBe(initializers.get('b')!.data.buffer);
    await expect(two('2', '3')).rejects.toThrow("initializer 'b': overlaps the external data of other tensors");
  });

  it.each([
    ['../w.bin', {}, "must lie in the model's folder"],
    ['/etc/hosts', {}, "must lie in the model's folder"],
    ['a/../../w', {}, "must lie in the model's folder"],
    ['C:\\w', {}, "must lie in the model's folder"],
    ['http://host/w', {}, "must lie in the model's folder"],
    ['', {}, "must lie in the model's folder"],
    ['w', { offset: '4' }, "bytes 4 to 8 of 'w', which has only 7"],
    ['w', { offset: '-1' }, "offset '-1' is not a number of bytes"],
    ['w', { offset: '99999999999999999999' }, 'is not a number of bytes'],
    ['w', { length: '3' }, '3 bytes of external data, its shape and type need 4'],
    ['w', { length: '0x4' }, "length '0x4' is not a number of bytes"],
  ])('is refused at %j %j', async (location, rest, message) => {
    const reading = readInitializer(external(location, rest), options);
    await expect(reading).rejects.toThrow(FormatError);
    await expect(reading).rejects.toThrow(message);
  });

  it('of a huge shape allocates nothing', async () => {
    await expect(readInitializer({ ...external('w'), dims: [2n ** 40n] }, options)).rejects.toThrow('which has only 7');
  });

  it('needs a place to look', async () => {
    await expect(readInitializer(external('w'))).rejects.toThrow(
      "its data lies in the file 'w'; open the model by path",
    );
  });
});

describe('graphs of a file', () => {
  it('have their nodes sorted, and cycles named', async () => {
    const node = (from: string, to: string) => ({ opType: 'Relu', input: [from], output: [to] });
    const input = [{ name: 'x' }];
    const model = await read({ input, node: [node('a', 'b'), node('x', 'a')], output: [{ name: 'b' }] });
    expect(model.graph.nodes.map(n => n.outputs[0])).toEqual(['a', 'b']);
    await expect(read({ node: [node('a', 'b'), node('b', 'a')] })).rejects.toThrow(
      "graph 'g': the graph has a cycle: Relu 'a' → Relu 'b'",
    );
    await expect(read({ node: [node('ghost', 'b')] })).rejects.toThrow("input 'ghost' is never produced");
  });

  it('keep every kind of attribute', async () => {
    const attribute = [
      { name: 'f', type: Kind.FLOAT, f: 0.5 },
      { name: 'i', type: Kind.INT, i: -3n },
      { name: 'zero', type: Kind.INT },
      { name: 's', type: Kind.STRING, s: raw(104, 105) },
      { name: 'bytes', type: Kind.STRING, s: raw(255) },
      { name: 'floats', type: Kind.FLOATS, floats: [1, 2] },
      { name: 'ints', type: Kind.INTS, ints: [1n, 2n ** 63n - 1n] },
      { name: 'strings', type: Kind.STRINGS, strings: [raw(97)] },
      { name: 't', type: Kind.TENSOR, t: { dataType: Type.INT32, int32Data: [4] } },
      { name: 'untyped', ints: [7n] },
      { name: '__proto__', type: Kind.INT, i: 1n },
    ];
    const { attributes } = (await read({ node: [{ opType: 'Custom', domain: 'my', attribute }] })).graph.nodes[0];
    expect(Object.entries(attributes)).toEqual([
      ['f', { type: 'float', value: 0.5 }],
      ['i', { type: 'int', value: -3 }],
      ['zero', { type: 'int', value: 0 }],
      ['s', { type: 'string', value: 'hi' }],
      ['bytes', { type: 'bytes', value: raw(255) }],
      ['floats', { type: 'floats', value: [1, 2] }],
      ['ints', { type: 'ints', value: [1, 2 ** 63] }],
      ['strings', { type: 'strings', value: ['a'] }],
      ['t', { type: 'tensor', value: { dtype: 'int32', shape: [], data: Int32Array.of(4) } }],
      ['untyped', { type: 'ints', value: [7] }],
      ['__proto__', { type: 'int', value: 1 }],
    ]);
  });

  it('keep types without arithmetic as they are', async () => {
    const type = (value: NonNullable<NonNullable<GraphInit['input']>[number]['type']>['value']) => ({
      type: { value },
    });
    const tensor = (elemType: number) => ({ case: 'tensorType' as const, value: { elemType } });
    const input = [
      { name: 'a', ...type(tensor(Type.FLOAT)) },
      { name: 'b', ...type(tensor(Type.STRING)) },
      { name: 'c', ...type({ case: 'sequenceType', value: { elemType: { value: tensor(Type.INT64) } } }) },
    ];
    const { inputs } = (await read({ input })).graph;
    expect(inputs[0]).toEqual({ name: 'a', dtype: 'float32', shape: null });
    expect(inputs.slice(1).map(v => [v.dtype, v.opaque?.text])).toEqual([
      [null, 'tensor(STRING)'],
      [null, 'sequence(tensor(INT64))'],
    ]);
    await expect(read({ input: [{ name: 'a', ...type(tensor(77)) }] })).rejects.toThrow(
      "graph 'g': input 'a': unknown element type 77",
    );
  });

  it('may leave sizes open', async () => {
    const dim = [
      { value: { case: 'dimParam' as const, value: 'batch' } },
      {},
      { value: { case: 'dimValue' as const, value: -1n } },
      { value: { case: 'dimValue' as const, value: 3n } },
    ];
    const shaped = (d: typeof dim) => [
      {
        name: 'x',
        type: { value: { case: 'tensorType' as const, value: { elemType: Type.FLOAT, shape: { dim: d } } } },
      },
    ];
    expect((await read({ input: shaped(dim) })).graph.inputs[0].shape).toEqual(['batch', null, null, 3]);
    dim[3] = { value: { case: 'dimValue', value: -2n } };
    await expect(read({ input: shaped(dim) })).rejects.toThrow("input 'x': invalid dimension -2");
  });
});

describe('files that are no model', () => {
  it.each([
    ['empty', new Uint8Array(), 'no graph'],
    ['text', new TextEncoder().encode('<!DOCTYPE html>'), 'not an ONNX file'],
    ['a message with a length that lies', raw(0x3a, 0xff, 0xff, 0xff, 0xff, 0x07, 1), 'not an ONNX file'],
  ])('are refused: %s', async (_, bytes, message) => {
    await expect(readOnnx(bytes)).rejects.toThrow(FormatError);
    await expect(readOnnx(bytes)).rejects.toThrow(message);
  });

  it('are refused when a part exceeds what it is part of', async () => {
    // A graph of 4 bytes; its node claims 3 where 2 are left, though the file goes on.
    const reading = readOnnx(raw(0x3a, 4, 0x0a, 3, 0x22, 0, 0x40, 0, 0, 0));
    await expect(reading).rejects.toThrow('field 1 of GraphProto has 3 bytes, 2 are left');
  });

  it('are refused when empty messages would fill the memory', async () => {
    // A graph of 10,000,000 bytes: five million times a node of none.
    const bytes = new Uint8Array(10_000_005);
    bytes.set([0x3a, 0x80, 0xad, 0xe2, 0x04]);
    for (let i = 5; i < bytes.length; i += 2) bytes[i] = 0x0a;
    await expect(readOnnx(bytes)).rejects.toThrow('more than 2000000 nodes');
  });

  it('name the operator sets that are supported', async () => {
    await expect(readOnnx(bytesOf({}, 5))).rejects.toThrow('operator set 5: operator sets 7 to 26 are supported');
    await expect(readOnnx(bytesOf({}, 40), { name: 'new.onnx' })).rejects.toThrow('new.onnx: operator set 40');
  });

  it('are refused when graphs nest without end', async () => {
    let graph: GraphInit = { name: 'leaf' };
    for (let depth = 0; depth < 5; depth++)
      graph = { node: [{ opType: 'If', attribute: [{ name: 'then', type: Kind.GRAPH, g: graph }] }] };
    await read(graph);
    for (let depth = 0; depth < 15; depth++)
      graph = { node: [{ opType: 'If', attribute: [{ name: 'then', type: Kind.GRAPH, g: graph }] }] };
    await expect(read(graph)).rejects.toThrow('nested more than 16 deep');
    // By hand, as no encoder nests this deep: each level wraps the bytes of the one inside.
    let bytes = raw();
    const wrap = (tag: number[], inner: Uint8Array) => {
      const length: number[] = [];
      for (let n = inner.length; ; n >>>= 7) {
        if (n < 128) {
          length.push(n);
          break;
        }
        length.push((n & 127) | 128);
      }
      return Uint8Array.of(...tag, ...length, ...inner);
    };
    for (let depth = 0; depth < 300; depth++) bytes = wrap([0x0a], wrap([0x2a], wrap([0x32], bytes)));
    await expect(readOnnx(wrap([0x3a], bytes))).rejects.toThrow('messages are nested more than 96 deep');
  });
});

const models = process.env.GOSSAMER_MODELS;
const ultraface = `${models}/ultraface_RFB-320_simplified.onnx`;
const missing =
  models === undefined ? 'GOSSAMER_MODELS is not set' : existsSync(ultraface) ? '' : `${ultraface} is missing`;

describe.skipIf(missing !== '')(`a real model${missing && ` (skipped: ${missing})`}`, () => {
  it('is read', async () => {
    const { graph, opsets } = await readOnnx(ultraface);
    expect(opsets['']).toBeGreaterThanOrEqual(7);
    expect(graph.inputs.find(v => !graph.initializers.has(v.name))?.shape).toEqual([1, 3, 240, 320]);
    expect(graph.outputs.map(v => v.name)).toEqual(['scores', 'boxes']);
    const parameters = [...graph.initializers.values()].filter(t => t.dtype === 'float32');
    expect(parameters.reduce((n, t) => n + t.data.length, 0)).toBeGreaterThan(250_000);
    expect(graph.nodes.filter(n => n.opType === 'Conv').length).toBeGreaterThan(40);
  });
});

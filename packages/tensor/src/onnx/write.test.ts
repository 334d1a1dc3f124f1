import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { create, toBinary } from '@bufbuild/protobuf';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { arrayType } from '../dtype.ts';
import { FormatError } from '../errors.ts';
import { encodeOnnx } from './encode.ts';
import {
  float,
  floats,
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
  strings,
  tensor,
} from './proto.ts';
import { readOnnx } from './read.ts';
import { ModelProtoSchema, TensorProto_DataType } from './schema/onnx_pb.ts';
import { type WriteOptions, writeOnnx } from './write.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-'));
});
afterAll(() => rm(folder, { recursive: true }));

const array = (shape: number[], value: (i: number) => number): OnnxTensor => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => value(i)),
});

/** y = relu(x · w + b), then an `If` that adds or subtracts b: two thirds of w are zero. */
function sample(): OnnxModel {
  const branch = (opType: string): OnnxGraph => ({
    name: opType,
    inputs: [],
    outputs: [onnxValue('z', 'float32', ['batch', 32])],
    initializers: new Map([['one', array([], () => 1)]]),
    nodes: [onnxNode('Mul', ['b', 'one'], ['b1']), onnxNode(opType, ['h', 'b1'], ['z'])],
  });
  return onnxModel(
    {
      name: 'sample',
      inputs: [onnxValue('x', 'float32', ['batch', 16]), onnxValue('flag', 'bool', [])],
      outputs: [onnxValue('y', 'float32', ['batch', 32])],
      valueInfo: [onnxValue('h', 'float32', [null, 32])],
      initializers: new Map([
        ['w', array([16, 32], i => (i % 3 === 0 ? Math.sin(i) : 0))],
        ['b', array([32], i => i / 8 - 2)],
      ]),
      nodes: [
        onnxNode('Gemm', ['x', 'w', 'b'], ['g'], { alpha: float(1), transB: int(0) }, { name: 'linear' }),
        onnxNode('Relu', ['g'], ['h']),
        onnxNode('If', ['flag'], ['y'], { then_branch: graph(branch('Add')), else_branch: graph(branch('Sub')) }),
      ],
    },
    { opsets: { '': 17 }, metadata: { task: 'test' }, modelVersion: 3, docString: 'größer' },
  );
}

function expected(x: Float32Array, { initializers }: OnnxGraph): number[] {
  const w = initializers.get('w')!.data;
  const b = initializers.get('b')!.data;
  return Array.from({ length: 32 }, (_, j) => {
    let sum = Number(b[j]);
    for (let i = 0; i < 16; i++) sum += x[i] * Number(w[i * 32 + j]);
    return Math.max(0, sum) + Number(b[j]);
  });
}

async function run(model: string | Uint8Array): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(model as string, { logSeverityLevel: 3 });
  const x = Float32Array.from({ length: 16 }, (_, i) => Math.cos(i));
  const { y } = await session.run({
    x: new ort.Tensor('float32', x, [1, 16]),
    flag: new ort.Tensor('bool', [true], []),
  });
  await session.release();
  return y.data as Float32Array;
}

const closeTo = (actual: Float32Array, wanted: number[]): void => {
  expect(actual.length).toBe(wanted.length);
  for (const [i, v] of wanted.entries()) expect(actual[i]).toBeCloseTo(v, 5);
};
const answer = expected(
  Float32Array.from({ length: 16 }, (_, i) => Math.cos(i)),
  sample().graph,
);
const marked = (model: OnnxModel, ...names: string[]): OnnxModel => {
  for (const name of names)
    model.graph.initializers.set(name, { ...model.graph.initializers.get(name)!, sparse: true });
  return model;
};

describe('encodeOnnx', () => {
  it('comes back equal', async () => {
    expect(await readOnnx(encodeOnnx(sample()))).toEqual(sample());
  });

  it('comes back equal with every kind of attribute and type, and functions', async () => {
    const model = sample();
    const attributes = {
      a: int(-7),
      max: int(2 ** 63),
      min: int(-(2 ** 63)),
      b: float(0.25),
      c: string('ä'),
      d: ints([1, -1]),
      e: floats([0.5, Number.POSITIVE_INFINITY]),
      f: strings(['x', '']),
      g: tensor({ dtype: 'int64', shape: [2], data: BigInt64Array.of(1n, -1n) }),
      h: { type: 'bytes' as const, value: Uint8Array.of(254, 255) },
      i: tensor({ dtype: 'float32', shape: [2, 2], data: Float32Array.of(0, 0, 3, 0), sparse: true }),
      j: { type: 'tensors' as const, value: [array([1], () => 2)] },
    };
    model.graph.nodes.push(onnxNode('Custom', ['x', '', 'b'], ['p', ''], attributes, { domain: 'my', name: 'odd' }));
    const body = onnxNode('LeakyRelu', ['in'], ['out'], { alpha: { type: 'reference', value: 'slope', of: 'float' } });
    model.functions = [
      {
        name: 'Leak',
        domain: 'my',
        inputs: ['in'],
        outputs: ['out'],
        attributes: [],
        defaults: { slope: float(0.5) },
        nodes: [body],
        opsets: { '': 17 },
      },
    ];
    model.opsets.my = 1;
    expect(await readOnnx(encodeOnnx(model))).toEqual(model);
  });

  it.each([
    'float64',
    'float16',
    'bfloat16',
    'int32',
    'int16',
    'int8',
    'uint64',
    'uint32',
    'uint16',
    'uint8',
    'bool',
    'int64',
  ] as const)('keeps %s, dense and sparse', async dtype => {
    const data = new (arrayType(dtype))(4);
    data[2] = typeof data[0] === 'bigint' ? 1n : 1;
    for (const sparse of [undefined, true]) {
      const model = onnxModel({
        name: 'g',
        nodes: [],
        inputs: [],
        outputs: [],
        initializers: new Map([['w', { dtype, shape: [4], data, ...(sparse && { sparse }) }]]),
      });
      expect(await readOnnx(encodeOnnx(model))).toEqual(model);
    }
  });

  it('keeps opaque tensors and types byte for byte', async () => {
    const strings = { value: { case: 'tensorType' as const, value: { elemType: TensorProto_DataType.STRING } } };
    const proto = create(ModelProtoSchema, {
      irVersion: 10n,
      opsetImport: [{ domain: '', version: 21n }],
      graph: {
        name: 'g',
        input: [{ name: 's', type: { value: { case: 'sequenceType', value: { elemType: strings } } } }],
        initializer: [
          { name: 't', dims: [1n], dataType: TensorProto_DataType.STRING, stringData: [Uint8Array.of(65)] },
        ],
      },
    });
    const file = toBinary(ModelProtoSchema, proto);
    expect(encodeOnnx(await readOnnx(file))).toEqual(file);
  });

  it('writes sparse what a rule picks', async () => {
    const names = async (sparse: Parameters<typeof encodeOnnx>[1]) => {
      const { initializers } = (await readOnnx(encodeOnnx(sample(), sparse))).graph;
      return [...initializers].filter(([, t]) => t.sparse).map(([name]) => name);
    };
    expect(await names({})).toEqual([]);
    expect(await names({ sparse: 0.3 })).toEqual([]);
    expect(await names({ sparse: 0.35 })).toEqual(['w']);
    expect(await names({ sparse: name => name === 'b' })).toEqual(['b']);
    expect(await readOnnx(encodeOnnx(sample(), { sparse: 0.35 }))).toEqual(marked(sample(), 'w'));
  });

  it('refuses what it would not read', () => {
    const model = sample();
    model.graph.nodes.reverse();
    expect(() => encodeOnnx(model)).toThrow(FormatError);
    expect(() => encodeOnnx({ ...sample(), opsets: { '': 99 } })).toThrow('operator set 99');
  });
});

describe('onnxruntime', () => {
  it('runs what is encoded', async () => {
    closeTo(await run(encodeOnnx(sample())), answer);
  });

  it('runs sparse initializers', async () => {
    closeTo(await run(encodeOnnx(marked(sample(), 'w', 'b'))), answer);
    const empty = sample();
    empty.graph.initializers.set('w', { ...array([16, 32], () => 0), sparse: true });
    closeTo(await run(encodeOnnx(empty)), expected(new Float32Array(16), empty.graph));
  });

  it('runs external data', async () => {
    const path = join(folder, 'external.onnx');
    await writeOnnx(path, sample(), { externalData: { threshold: 100 } });
    closeTo(await run(path), answer);
  });

  it('runs sparse initializers with external data', async () => {
    const path = join(folder, 'both.onnx');
    await writeOnnx(path, sample(), { externalData: { threshold: 1 }, sparse: 0.5 });
    closeTo(await run(path), answer);
  });
});

describe('writeOnnx', () => {
  it('puts the model into one file', async () => {
    const path = join(folder, 'plain.onnx');
    await writeOnnx(path, sample());
    expect(new Uint8Array(await readFile(path))).toEqual(encodeOnnx(sample()));
    expect(await readOnnx(path)).toEqual(sample());
    expect(await readOnnx(pathToFileURL(path))).toEqual(sample());
  });

  it('puts large initializers beside it', async () => {
    const path = join(folder, 'large.onnx');
    await writeOnnx(path, sample(), { externalData: { location: 'weights.bin', threshold: 1024 } });
    expect((await stat(join(folder, 'weights.bin'))).size).toBe(16 * 32 * 4);
    expect((await stat(path)).size).toBeLessThan(1024);
    expect(await readOnnx(path)).toEqual(sample());
    expect(await readOnnx(await readFile(path), { externalData: name => join(folder, name) })).toEqual(sample());
  });

  it('aligns them, and overwrites what is there', async () => {
    const path = join(folder, 'again.onnx');
    await writeOnnx(path, onnxModel({ ...sample().graph, name: 'first' }));
    const model = sample();
    model.graph.initializers.set(
      'odd',
      array([3], i => i),
    );
    model.graph.initializers.set(
      'last',
      array([3], i => -i),
    );
    for (let i = 0; i < 2; i++) await writeOnnx(path, model, { externalData: { threshold: 5 } });
    expect((await stat(`${path}.data`)).size).toBe(2048 + 128 + 64 + 12);
    expect(await readOnnx(path)).toEqual(model);
  });

  it('leaves nothing behind when it refuses', async () => {
    const path = join(folder, 'refused.onnx');
    const model = sample();
    model.graph.outputs.push(onnxValue('ghost', 'float32', []));
    await expect(writeOnnx(path, model, { externalData: {} })).rejects.toThrow("output 'ghost' is never produced");
    await expect(writeOnnx(path, sample(), { externalData: { location: '../w' } })).rejects.toThrow(
      "must lie in the model's folder",
    );
    expect((await readdir(folder)).filter(name => name.startsWith('refused'))).toEqual([]);
  });
});

const models = process.env.GOSSAMER_MODELS;
const ultraface = `${models}/ultraface_RFB-320_simplified.onnx`;
const missing =
  models === undefined ? 'GOSSAMER_MODELS is not set' : existsSync(ultraface) ? '' : `${ultraface} is missing`;

describe.skipIf(missing !== '')(`a real model${missing && ` (skipped: ${missing})`}`, () => {
  it('gives the same outputs after reading and writing, dense, sparse and with external data', async () => {
    const x = Float32Array.from({ length: 3 * 240 * 320 }, (_, i) => Math.sin(i / 50));
    const outputs = async (model: string): Promise<Float32Array[]> => {
      const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 });
      const { scores, boxes } = await session.run({
        [session.inputNames[0]]: new ort.Tensor('float32', x, [1, 3, 240, 320]),
      });
      await session.release();
      return [scores.data as Float32Array, boxes.data as Float32Array];
    };
    const original = await outputs(ultraface);
    const model = await readOnnx(ultraface);
    const isMatrix = (_: string, t: OnnxTensor): boolean => t.dtype === 'float32' && t.shape.length > 1;
    const variants: Record<string, WriteOptions> = {
      dense: {},
      sparse: { sparse: isMatrix },
      external: { externalData: {} },
    };
    for (const [name, options] of Object.entries(variants)) {
      await writeOnnx(join(folder, `${name}.onnx`), model, options);
      expect(await outputs(join(folder, `${name}.onnx`)), name).toEqual(original);
    }
  });
});

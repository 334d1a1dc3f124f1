import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as ort from 'onnxruntime-common';
import * as node from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from 'vitest';
import * as runtime from './index.ts';
import * as proto from './load/testing.ts';
import { float, integers, Model, tensorOf } from './testing.ts';

const { InferenceSession, Tensor } = runtime;

/** y = x · w + b, z = relu(y). */
function affine(batch: number | string = 'n'): Model {
  const m = new Model();
  m.input('x', [batch, 3]);
  const [w, b] = [m.constant(tensorOf([3, 2], [1, 0, 0, 2, -1, 0])), m.constant(tensorOf([2], [0.5, -0.5]))];
  const y = m.add('Add', [m.add('MatMul', ['x', w]), b]);
  m.output(y, [batch, 2]);
  m.output(m.add('Relu', [y]), [batch, 2]);
  return m;
}

const x = (...rows: number[][]) => new Tensor('float32', rows.flat(), [rows.length, 3]);
const expected = (a: number, b: number, c: number) => [a - c + 0.5, 2 * b - 0.5];

describe('InferenceSession.create', () => {
  let folder: string;
  const bytes = affine().bytes();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'runtime-'));
    await writeFile(join(folder, 'm.onnx'), bytes);
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('takes a path, a URL, bytes, a buffer and a part of one', async () => {
    const padded = new Uint8Array(bytes.length + 10);
    padded.set(bytes, 7);
    const sessions = await Promise.all([
      InferenceSession.create(join(folder, 'm.onnx'), { threads: 1 }),
      InferenceSession.create(pathToFileURL(join(folder, 'm.onnx')), { threads: 1 }),
      InferenceSession.create(bytes, { threads: 1 }),
      InferenceSession.create(padded.subarray(7, 7 + bytes.length), { threads: 1 }),
      InferenceSession.create(bytes.buffer, { threads: 1 }),
      InferenceSession.create(padded.buffer, 7, bytes.length, { threads: 1 }),
    ]);
    for (const session of sessions) {
      const [y] = session.outputNames;
      expect([...((await session.run({ x: x([1, 2, 3]) }))[y].data as Float32Array)]).toEqual(expected(1, 2, 3));
    }
  });

  it('refuses options that cannot be', async () => {
    const create = (options: object) => InferenceSession.create(bytes, options);
    await expect(create({ threads: 0 })).rejects.toThrow('threads: 0, expected 1 to 64');
    await expect(create({ threads: 1.5 })).rejects.toThrow('threads: 1.5');
    await expect(create({ kernels: 'fast' })).rejects.toThrow("kernels: 'fast', expected auto, dense");
    await expect(create({ build: 'avx' })).rejects.toThrow("build: 'avx'");
    await expect(InferenceSession.create(join(folder, 'none.onnx'))).rejects.toThrow('none.onnx');
    await expect(InferenceSession.create(Uint8Array.of(1, 2, 3))).rejects.toThrow(runtime.FormatError);
  });

  it('names an operator or attribute that it does not have', async () => {
    const unknown = affine();
    unknown.output(unknown.add('Frobnicate', ['x'], {}, 'my.domain'), ['n', 3]);
    await expect(InferenceSession.create(unknown.bytes())).rejects.toThrow(/Frobnicate/);
    const attribute = affine();
    attribute.output(attribute.add('Relu', ['x'], { slope: float(1) }), ['n', 3]);
    await expect(InferenceSession.create(attribute.bytes())).rejects.toThrow(/slope/);
  });

  it('refuses a small file that asks for gigabytes', async () => {
    const file = (side: number) => {
      const values = proto.tensor('w', 1, [1], proto.part(9, Float32Array.of(1)));
      const indices = proto.tensor('', 7, [1], proto.part(9, BigInt64Array.of(5n)));
      const weight = proto.part(15, proto.sparse(values, indices, [side, 1 << 14]));
      return proto.file(proto.header(), proto.graph(proto.node('Add', ['x', 'w'], ['y']), weight));
    };
    await InferenceSession.create(file(10), { threads: 1 });
    const hostile = InferenceSession.create(file(1 << 16), { threads: 1 });
    await expect(hostile).rejects.toThrow(runtime.FormatError);
    await expect(hostile).rejects.toThrow("'w': [65536,16384] with 1 entries takes 4294967296 bytes");
  });

  it('makes symbolic dimensions fixed on demand', async () => {
    const session = await InferenceSession.create(bytes, { threads: 1, freeDimensionOverrides: { n: 2 } });
    expect(session.inputMetadata[0].shape).toEqual([2, 3]);
    expect(session.report().nodes.length).toBeGreaterThan(0);
    await expect(session.run({ x: x([1, 2, 3]) })).rejects.toThrow('has dims [1, 3], expected [2, 3]');
    expect((await session.run({ x: x([1, 2, 3], [4, 5, 6]) }))[session.outputNames[0]].dims).toEqual([2, 2]);
  });

  it('starts no threads that outlive a failure', async () => {
    const workers = () => process.getActiveResourcesInfo().filter(kind => /worker|messageport/i.test(kind)).length;
    const before = workers();
    const m = new Model();
    m.input('x', [1, 3]);
    m.output(m.add('Reshape', ['x', m.constant(integers(5))]), [5]);
    await expect(InferenceSession.create(m.bytes(), { threads: 3 })).rejects.toThrow(/Reshape/);
    await new Promise(resolve => setTimeout(resolve, 50));
    expect(workers()).toBe(before);
  });
});

describe.each(['auto', 'plain'] as const)('InferenceSession.run, %s', kernels => {
  const open = (model: Model) => InferenceSession.create(model.bytes(), { threads: 1, kernels });

  it('has names, metadata and all outputs', async () => {
    const session = await open(affine());
    expect(session.inputNames).toEqual(['x']);
    expect(session.inputMetadata).toEqual([{ name: 'x', isTensor: true, type: 'float32', shape: ['n', 3] }]);
    const outputs = await session.run({ x: x([1, 2, 3], [-1, 0, 2]) });
    const [y, z] = session.outputNames;
    expect(Object.keys(outputs)).toEqual([y, z]);
    expect(outputs[y]).toBeInstanceOf(Tensor);
    expect([...(outputs[y].data as Float32Array)]).toEqual([...expected(1, 2, 3), ...expected(-1, 0, 2)]);
    expect([...(outputs[z].data as Float32Array)]).toEqual([0, 3.5, 0, 0]);
  });

  it('gives what is fetched, and writes to tensors of the caller', async () => {
    const session = await open(affine());
    const [y, z] = session.outputNames;
    expect(Object.keys(await session.run({ x: x([1, 2, 3]) }, [z]))).toEqual([z]);
    const mine = new Tensor(new Float32Array(2), [1, 2]);
    const outputs = await session.run({ x: x([1, 2, 3]) }, { [y]: mine, [z]: null });
    expect(outputs[y]).toBe(mine);
    expect([...(mine.data as Float32Array)]).toEqual(expected(1, 2, 3));
    expect(Object.keys(await session.run({ x: x([1, 2, 3]) }, { logSeverityLevel: 3 } as never))).toEqual([y, z]);
    await expect(session.run({ x: x([1, 2, 3]) }, ['q'])).rejects.toThrow("there is no output 'q'");
    await expect(session.run({ x: x([1, 2, 3], [0, 0, 0]) }, { [y]: mine })).rejects.toThrow('cannot be written');
  });

  it('says what is wrong with feeds', async () => {
    const m = affine('n');
    m.input('u', ['n', 1]);
    m.output(m.add('Add', ['u', 'x']), ['n', 3]);
    const session = await open(m);
    const u = new Tensor(Float32Array.of(0), [1, 1]);
    await expect(session.run({ u })).rejects.toThrow("input 'x' (float32 [n, 3]) is missing");
    await expect(session.run({ u, x: x([1, 2, 3]), v: u })).rejects.toThrow("there is no input 'v'; inputs are x, u");
    await expect(session.run({ u, x: new Tensor('int32', [1, 2, 3], [1, 3]) })).rejects.toThrow(
      "input 'x' is int32, expected float32",
    );
    await expect(session.run({ u, x: new Tensor('float32', [1, 2], [1, 2]) })).rejects.toThrow(
      'has dims [1, 2], expected [n, 3]',
    );
    await expect(session.run({ u, x: new Tensor('float32', [1, 2, 3], [3]) })).rejects.toThrow('has dims [3]');
    await expect(session.run({ u, x: x([1, 2, 3], [4, 5, 6]) })).rejects.toThrow("dimension n is 2 and 1 (input 'u')");
    await expect(session.run({ u, x: { type: 'float32', dims: [1, 3], data: [1] } })).rejects.toThrow(
      'hold 3 elements',
    );
    expect(Object.keys(await session.run({ u, x: x([1, 2, 3]) })).length).toBe(3);
  });

  it('runs many shapes, in any order, also when called at once', async () => {
    const session = await open(affine());
    const [y] = session.outputNames;
    const sizes = Array.from({ length: 150 }, (_, i) => 1 + ((i * 37) % 90));
    const runs = sizes.map(async size => {
      const rows = Array.from({ length: size }, (_, r) => [r, size, 1]);
      const { data, dims } = (await session.run({ x: x(...rows) }))[y];
      expect(dims).toEqual([size, 2]);
      expect([...(data as Float32Array)]).toEqual(rows.flatMap(([a, b, c]) => expected(a, b, c)));
    });
    await Promise.all(runs);
  });

  it('hands out copies', async () => {
    const session = await open(affine());
    const [y] = session.outputNames;
    const first = await session.run({ x: x([1, 2, 3]) });
    const second = await session.run({ x: x([7, 7, 7]) });
    expect([...(first[y].data as Float32Array)]).toEqual(expected(1, 2, 3));
    expect([...(second[y].data as Float32Array)]).toEqual(expected(7, 7, 7));
  });

  it('goes on after a run that failed', async () => {
    const m = new Model();
    m.input('x', ['n', 3]);
    m.input('k', [1], 'int64');
    m.output(m.add('Reshape', ['x', 'k']), ['m']);
    const session = await open(m);
    const run = (k: bigint) => session.run({ x: x([1, 2, 3]), k: new Tensor(BigInt64Array.of(k)) });
    const [good, bad, again] = await Promise.allSettled([run(3n), run(4n), run(-1n)]);
    expect([good.status, bad.status, again.status]).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('ends with release, after what was called', async () => {
    const session = await open(affine());
    const [y] = session.outputNames;
    const called = session.run({ x: x([1, 2, 3]) });
    const released = [session.release(), session.release()];
    await expect(session.run({ x: x([1, 2, 3]) })).rejects.toThrow('released');
    expect((await called)[y].dims).toEqual([1, 2]);
    await Promise.all(released);
    await expect(session.run({ x: x([1, 2, 3]) })).rejects.toThrow('released');
  });

  it('carries values of every kind', async () => {
    const m = new Model();
    const strings = { text: 'tensor(STRING)', bytes: Uint8Array.from(proto.part(1, proto.int(1, 8))) };
    m.inputs.push({ name: 's', dtype: null, shape: null, opaque: strings });
    m.input('i', ['n'], 'int64');
    m.input('h', ['n'], 'float16');
    m.outputs.push({ name: m.add('Identity', ['s']), dtype: null, shape: null, opaque: strings });
    m.output(m.add('Add', ['i', 'i']), ['n'], 'int64');
    m.output(m.add('Add', ['h', 'h']), ['n'], 'float16');
    const session = await open(m);
    const h = new Tensor('float16', Uint16Array.of(0x3c00, 0x4000));
    const feeds = { s: new Tensor(['a', 'b']), i: new Tensor(BigInt64Array.of(2n ** 40n, -1n)), h };
    const [s, i, half] = Object.values(await session.run(feeds));
    expect(s.data).toEqual(['a', 'b']);
    expect(i.data).toEqual(BigInt64Array.of(2n ** 41n, -2n));
    expect(half.data.constructor).toBe(h.data.constructor);
    expect([...(half.data as Uint16Array)].map(Number)).toEqual([...(h.data as Uint16Array)].map(v => 2 * v));
  });
});

describe('report', () => {
  it('tells kernels, costs and memory', async () => {
    const session = await InferenceSession.create(affine(4).bytes(), { threads: 2, profile: true });
    const before = session.report();
    expect(before.nodes.every(node => node.kernel !== 'plain')).toBe(true);
    expect(before.nodes[0].ms).toBeUndefined();
    await session.run({ x: x([1, 2, 3], [0, 0, 0], [1, 1, 1], [2, 2, 2]) });
    const { threads, build, nodes, flops, skipped, weightBytes, activationBytes, memoryBytes } = session.report();
    expect(threads).toBe(2);
    expect(['relaxed', 'simd']).toContain(build);
    expect(nodes[0].density).toBe(0.5);
    expect(flops + skipped).toBe(2 * 4 * 3 * 2);
    expect(nodes.every(node => node.ms! >= 0)).toBe(true);
    expect(memoryBytes).toBeGreaterThanOrEqual(weightBytes + activationBytes);
    expect(memoryBytes).toBeLessThan((weightBytes + activationBytes) * 1.1 + 3 * 65536);
    await session.release();
  });

  it('of the plain operators has their names', async () => {
    const session = await InferenceSession.create(affine().bytes(), { kernels: 'plain' });
    expect(session.report().nodes.map(node => `${node.op} ${node.kernel}`)).toEqual([
      'MatMul plain',
      'Add plain',
      'Relu plain',
    ]);
    expect(session.report().build).toBe('plain');
  });
});

describe('in the place of onnxruntime', () => {
  /** Code as onnxruntime's documentation has it, but for the import. */
  async function example(
    { InferenceSession, Tensor }: Pick<typeof ort, 'InferenceSession' | 'Tensor'>,
    model: Uint8Array,
  ) {
    const session = await InferenceSession.create(model, {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'all',
      intraOpNumThreads: 1,
      logSeverityLevel: 3,
    });
    const feeds: Record<string, ort.Tensor> = {};
    for (const name of session.inputNames) feeds[name] = new Tensor('float32', Float32Array.of(1, 2, 3), [1, 3]);
    const results = await session.run(feeds);
    const only = await session.run(feeds, [session.outputNames[1]]);
    const data = results[session.outputNames[0]].data as Float32Array;
    const { dims, type, size, location } = only[session.outputNames[1]];
    await session.release();
    return { data: [...data], dims: [...dims], type, size, location };
  }

  it('the same code gives the same', async () => {
    const model = affine().bytes();
    expect(await example(runtime as never, model)).toEqual(await example(node as never, model));
  });

  it('types fit', () => {
    type Session = ort.InferenceSession;
    type Ours = runtime.InferenceSession;
    expectTypeOf<Ours>().toExtend<Pick<Session, 'inputNames' | 'outputNames' | 'release' | 'startProfiling'>>();
    // What one can be fed, the other can be fed; onnxruntime's own tensors too.
    expectTypeOf<Record<string, ort.Tensor>>().toExtend<Parameters<Ours['run']>[0]>();
    expectTypeOf<ort.InferenceSession.FetchesType>().toExtend<Parameters<Ours['run']>[1]>();
    expectTypeOf<
      Omit<ort.InferenceSession.SessionOptions, 'externalData' | 'preferredOutputLocation' | 'freeDimensionOverrides'>
    >().toExtend<runtime.SessionOptions>();
    expectTypeOf<runtime.Tensor>().toExtend<Pick<ort.TypedTensor<'float32'>, 'dims' | 'size' | 'location'>>();
    expectTypeOf<ConstructorParameters<typeof ort.Tensor>>().toExtend<unknown[]>();
  });
});

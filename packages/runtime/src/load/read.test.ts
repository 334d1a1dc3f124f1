import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type OnnxModel, onnxModel, onnxNode, onnxValue, writeOnnx } from '@gossamer/tensor/onnx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FormatError, RuntimeError } from '../errors.ts';
import type { Model } from './graph.ts';
import { readModel } from './read.ts';
import { external, file, graph, header, node, part, tensor } from './testing.ts';

const ramp = (length: number): Float32Array<ArrayBuffer> => Float32Array.from({ length }, (_, i) => i);
const source: OnnxModel = onnxModel({
  name: 'g',
  inputs: [onnxValue('x', 'float32', [1000])],
  outputs: [onnxValue('y', 'float32', [1000])],
  initializers: new Map([
    ['a', { dtype: 'float32' as const, shape: [1000], data: ramp(1000) }],
    ['b', { dtype: 'float32' as const, shape: [1000], data: ramp(1000).map(i => -i) }],
    ['s', { dtype: 'float32' as const, shape: [1000], data: ramp(1000).map(i => (i % 2) * i), sparse: true }],
    ['small', { dtype: 'float32' as const, shape: [1], data: Float32Array.of(7) }],
  ]),
  nodes: [onnxNode('Sum', ['x', 'a', 'b', 's', 'small'], ['y'])],
});

let folder: string;
let server: Server;
let origin: string;
const requests: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'read-model-'));
  await writeOnnx(join(folder, 'inside.onnx'), source);
  await writeOnnx(join(folder, 'outside.onnx'), source, { externalData: { location: 'some weights.bin' } });
  server = createServer(async (request, response) => {
    requests.push(request.url!);
    const { readFile } = await import('node:fs/promises');
    try {
      response.end(await readFile(join(folder, decodeURIComponent(request.url!.replace(/\?.*/, '')))));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  origin = `http://127.0.0.1:${typeof address === 'object' && address?.port}`;
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

const bytesOf = async (name: string): Promise<Uint8Array> => {
  const { readFile } = await import('node:fs/promises');
  return readFile(join(folder, name));
};

function expectSource({ graph: { initializers, nodes } }: Model): void {
  expect(nodes.map(({ op }) => op)).toEqual(['Sum']);
  expect(initializers.get('a')).toEqual({ type: 'float32', dims: [1000], data: ramp(1000) });
  expect(initializers.get('b')).toEqual({ type: 'float32', dims: [1000], data: ramp(1000).map(i => -i) });
  expect(initializers.get('s')).toMatchObject({ indices: Int32Array.from({ length: 500 }, (_, i) => 2 * i + 1) });
  expect(initializers.get('small')).toMatchObject({ data: Float32Array.of(7) });
}

describe.each(['inside.onnx', 'outside.onnx'])('readModel of %s', name => {
  it('reads a path and a file URL', async () => {
    expectSource(await readModel(join(folder, name)));
    expectSource(await readModel(pathToFileURL(join(folder, name))));
    expectSource(await readModel(pathToFileURL(join(folder, name)).href));
  });

  it('reads an address, with what lies beside it', async () => {
    requests.length = 0;
    expectSource(await readModel(`${origin}/${name}?download=1`));
    expectSource(await readModel(new URL(`${origin}/${name}`)));
    expect(requests.filter(url => url === '/some%20weights.bin').length).toBe(name === 'outside.onnx' ? 2 : 0);
  });

  it('reads bytes, with external data given by name or function', async () => {
    const bytes = await bytesOf(name);
    const weights = await bytesOf('some weights.bin');
    const before = Uint8Array.from(bytes);
    expectSource(await readModel(bytes, { external: { './some weights.bin': weights } }));
    expectSource(
      await readModel(new Uint8Array(bytes).buffer, { external: async () => new Uint8Array(weights).buffer }),
    );
    // Data that is not ours is copied where it must be aligned, never moved.
    expect(Uint8Array.from(bytes)).toEqual(before);
  });
});

describe('readModel', () => {
  it('says which file is missing, and where it was expected', async () => {
    await expect(readModel(join(folder, 'none.onnx'))).rejects.toThrow(/none\.onnx: cannot be read: ENOENT/);
    await expect(readModel(`${origin}/none.onnx`)).rejects.toThrow(`${origin}/none.onnx: 404 Not Found`);
    await expect(readModel('http://127.0.0.1:1/m.onnx')).rejects.toThrow(/m\.onnx: cannot be read: /);
    const bytes = await bytesOf('outside.onnx');
    await expect(readModel(bytes)).rejects.toThrow(
      /^model: initializer 'a': its data lies in the file 'some weights\.bin', which was not given/,
    );
    await expect(readModel(bytes)).rejects.toThrow(RuntimeError);
    await writeFile(
      join(folder, 'alone.onnx'),
      file(header(), graph(part(5, tensor('w', 1, [1], external({ location: 'gone.bin' }))))),
    );
    await expect(readModel(join(folder, 'alone.onnx'))).rejects.toThrow(/gone\.bin: cannot be read: ENOENT/);
    const data = `data:application/octet-stream;base64,${Buffer.from(await bytesOf('alone.onnx')).toString('base64')}`;
    await expect(readModel(data)).rejects.toThrow("'gone.bin', which was not given");
  });

  it('puts the name of the file in front of what is wrong with it', async () => {
    const path = join(folder, 'damaged.onnx');
    await writeFile(path, (await bytesOf('inside.onnx')).subarray(0, 5000));
    await expect(readModel(path)).rejects.toThrow(FormatError);
    await expect(readModel(path)).rejects.toThrow(`${path}: Model at byte`);
  });

  /** A model with two tensors of four bytes each in w.bin, at given places. */
  const twoTensors = (...places: [offset: number, length: number][]): Uint8Array =>
    file(
      header(),
      graph(
        node('Neg', ['x'], ['y']),
        ...places.map(([offset, length], i) =>
          part(5, tensor(`w${i}`, 2, [length], external({ location: 'w.bin', offset: String(offset) }))),
        ),
      ),
    );
  const weights = Uint8Array.from({ length: 200_000 }, (_, i) => i * 7);
  const read = (...places: [number, number][]) => readModel(twoTensors(...places), { external: { 'w.bin': weights } });

  it('reads ranges in any order, near and far, equal, empty and overlapping', async () => {
    const places: [number, number][] = [
      [150_000, 9],
      [5, 4],
      [0, 4],
      [5, 4],
      [7, 100],
      [200_000, 0],
      [199_999, 1],
    ];
    await writeFile(join(folder, 'w.bin'), weights);
    await writeFile(join(folder, 'ranges.onnx'), twoTensors(...places));
    for (const model of [await read(...places), await readModel(join(folder, 'ranges.onnx'))]) {
      places.forEach(([offset, length], i) => {
        expect(model.graph.initializers.get(`w${i}`)).toMatchObject({
          data: weights.subarray(offset, offset + length),
        });
      });
    }
  });

  it('refuses ranges beyond the file, and overlaps that multiply it', async () => {
    await expect(read([199_999, 2])).rejects.toThrow(
      "model: external data 'w.bin' has 200000 bytes, a tensor takes 199999 to 200001",
    );
    await expect(read([2 ** 52, 1])).rejects.toThrow("external data 'w.bin' has 200000 bytes");
    await expect(read([0, 2 ** 40])).rejects.toThrow("external data 'w.bin' has 200000 bytes");
    await expect(read([0, 150_000], [1, 150_000])).rejects.toThrow("tensors overlap in the external data 'w.bin'");
  });

  it('does not look outside of the folder', async () => {
    const bytes = file(header(), graph(part(5, tensor('w', 1, [1], external({ location: '../w.bin' })))));
    await writeFile(join(folder, 'escape.onnx'), bytes);
    await expect(readModel(join(folder, 'escape.onnx'))).rejects.toThrow(
      "tensor 'w': external data '../w.bin' must lie in the model's folder",
    );
  });
});

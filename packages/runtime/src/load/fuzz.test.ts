import { isDeepStrictEqual } from 'node:util';
import {
  encodeOnnx,
  float as floatAttribute,
  graph as graphAttribute,
  int as intAttribute,
  ints,
  type OnnxFunction,
  onnxModel,
  onnxNode,
  onnxValue,
  string,
  strings,
  tensor as tensorAttribute,
} from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { RuntimeError } from '../errors.ts';
import type { Attribute, Graph } from './graph.ts';
import { isSparse } from './graph.ts';
import { externalRanges } from './locate.ts';
import { parseModel } from './model.ts';
import { attribute, external, file, graph, header, node, part, sparse, tensor, varint } from './testing.ts';

/** Models small enough that a random byte often hits structure; together they have every part that the loader knows. */
function seeds(): Record<string, Uint8Array> {
  const branch = {
    name: 'b',
    inputs: [],
    outputs: [onnxValue('z', 'float32', [2])],
    initializers: new Map(),
    nodes: [onnxNode('Relu', ['s'], ['z'])],
  };
  const main = {
    name: 'g',
    inputs: [onnxValue('x', 'float32', ['n', 2])],
    outputs: [onnxValue('y', 'float32', [null, 2])],
    initializers: new Map([
      ['w', { dtype: 'float32' as const, shape: [2], data: Float32Array.of(1, 2) }],
      ['p', { dtype: 'float32' as const, shape: [2, 3], data: Float32Array.of(0, 1, 0, 0, 2, 0), sparse: true }],
      ['i', { dtype: 'int64' as const, shape: [1], data: BigInt64Array.of(-1n) }],
      ['t', { dtype: 'bool' as const, shape: [], data: Uint8Array.of(1) }],
    ]),
    nodes: [
      onnxNode('Add', ['x', 'w'], ['s'], {
        alpha: floatAttribute(1),
        mode: string('m'),
        axes: ints([0, 1]),
        keys: strings(['a']),
      }),
      onnxNode('Constant', [], ['c'], {
        value: tensorAttribute({ dtype: 'float64', shape: [1], data: Float64Array.of(3) }),
      }),
      onnxNode('If', ['t'], ['y'], { then_branch: graphAttribute(branch), else_branch: graphAttribute(branch) }),
    ],
  };
  const functions: OnnxFunction[] = [
    {
      name: 'F',
      domain: 'f',
      inputs: ['a', 'b'],
      outputs: ['c'],
      attributes: ['k'],
      defaults: { m: intAttribute(1) },
      opsets: { '': 17, f: 1 },
      nodes: [
        onnxNode('Scale', ['a'], ['t'], { k: { type: 'reference' as const, of: 'int' as const, value: 'k' } }),
        onnxNode('G', ['t'], ['c'], {}, { domain: 'f' }),
      ],
    },
    {
      name: 'G',
      domain: 'f',
      inputs: ['a'],
      outputs: ['b'],
      attributes: [],
      defaults: {},
      opsets: { '': 17 },
      nodes: [onnxNode('Neg', ['a'], ['b'])],
    },
  ];
  const calls = {
    ...main,
    initializers: new Map(),
    nodes: [
      onnxNode('F', ['x', ''], ['u'], { k: intAttribute(2) }, { domain: 'f' }),
      onnxNode('F', ['u', 'x'], ['y'], { m: intAttribute(3) }, { domain: 'f' }),
    ],
  };
  const entries = { location: 'w.bin', offset: '4', length: '8' };
  return {
    main: encodeOnnx(onnxModel(main)),
    functions: encodeOnnx(onnxModel(calls, { opsets: { '': 17, f: 1 }, functions })),
    typed: file(
      header(),
      graph(
        part(5, tensor('a', 1, [2], external(entries))),
        part(5, tensor('b', 1, [3], part(4, Float32Array.of(1, 2, 3)))),
        part(5, tensor('c', 7, [2, 1], part(7, varint(-5), varint(300)))),
        part(5, tensor('d', 10, [2], part(5, varint(0x3c00), varint(0)))),
        part(5, tensor('e', 8, [2], part(6, 'one'), part(6, 'two'))),
        part(5, tensor('f', 22, [3], part(9, [0x21, 0x0f]))),
        part(
          15,
          sparse(
            tensor('h', 1, [2], part(4, Float32Array.of(1, 2))),
            tensor('', 7, [2, 2], part(7, [0, 1, 1, 0])),
            [2, 2],
          ),
        ),
        node('Late', ['m'], ['y'], attribute('list', 0, part(8, varint(1), varint(2)))),
        node(
          'Early',
          ['x', 'a', 'b'],
          ['m'],
          attribute('t', 4, part(5, tensor('', 1, [], part(4, Float32Array.of(1))))),
        ),
      ),
    ),
  };
}

/** mulberry32. */
function generator(seed: number): (n: number) => number {
  return n => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

function mutate(bytes: Uint8Array, below: (n: number) => number): Uint8Array {
  let result = bytes.slice();
  for (let edits = 1 + below(4); edits > 0 && result.length > 0; edits--) {
    const at = below(result.length);
    const kind = below(7);
    if (kind <= 1) result[at] = below(256);
    else if (kind === 2) result[at] ^= 1 << below(8);
    else if (kind === 3) result[at] = [0, 0x7f, 0x80, 0xff][below(4)];
    else if (kind === 4) result = Uint8Array.of(...result.subarray(0, at), ...result.subarray(at + 1 + below(8)));
    else if (kind === 5) {
      const from = below(result.length);
      const piece = result.subarray(from, from + below(40));
      result = Uint8Array.of(...result.subarray(0, at), ...piece, ...result.subarray(at));
    } else result = result.slice(0, at + 1);
  }
  return result;
}

/** Bytes of the constants that are no views of the file. */
function allocated(graph: Graph, file: ArrayBufferLike): number {
  let bytes = 0;
  const count = (value: unknown): void => {
    if (ArrayBuffer.isView(value)) bytes += value.buffer === file ? 0 : value.byteLength;
    else if (Array.isArray(value)) bytes += 8 * value.length;
  };
  const visit = (value: Attribute): void => {
    if (Array.isArray(value)) for (const item of value) if (typeof item === 'object') visit(item);
    count(value);
    if (typeof value !== 'object' || Array.isArray(value)) return;
    if ('nodes' in value) bytes += allocated(value, file);
    else if (isSparse(value)) {
      count(value.indices);
      count(value.values.data);
    } else count(value.data);
  };
  for (const value of graph.initializers.values()) visit(value);
  for (const { attributes } of graph.nodes) Object.values(attributes).forEach(visit);
  return bytes;
}

const outside = new Uint8Array(64);

/** True if the bytes were read; any error that is not of this package fails the test and names the seed. */
async function survives(bytes: Uint8Array, label: string): Promise<boolean> {
  const read = async (owned: boolean) => {
    const own = bytes.slice();
    const ranges = externalRanges(own);
    const model = await parseModel(own, {
      owned,
      external: ({ location, offset, length }) => {
        // Everything that is asked for was announced.
        expect(ranges).toContainEqual({ location, offset, length });
        return location === 'w.bin' ? outside.subarray(offset, offset + length) : undefined;
      },
    });
    expect(allocated(model.graph, own.buffer), label).toBeLessThanOrEqual(16 * bytes.length);
    return model;
  };
  try {
    const model = await read(false);
    // Moving data in place must not have reached anything that is still to be read.
    if (!isDeepStrictEqual(await read(true), model)) throw new Error('differs when its bytes are owned');
    return true;
  } catch (error) {
    if (error instanceof RuntimeError && error.message.length < 2000) return false;
    throw new Error(`${label}: ${error}`, { cause: error });
  }
}

describe.each(Object.entries(seeds()))('damaged files: %s', (name, bytes) => {
  it('end in a model or an error of this package at every truncation', async () => {
    let read = 0;
    for (let end = 0; end < bytes.length; end++) if (await survives(bytes.subarray(0, end), `cut at ${end}`)) read++;
    // Only a cut within trailing fields that may be absent leaves a model.
    expect(read).toBeLessThan(3);
    expect(await survives(bytes, 'whole')).toBe(true);
  });

  it('end in a model or an error of this package at 6,000 random changes', async () => {
    const outcomes = { read: 0, refused: 0 };
    for (let seed = 0; seed < 6000; seed++) {
      const read = await survives(mutate(bytes, generator(seed)), `${name}, seed ${seed}`);
      outcomes[read ? 'read' : 'refused']++;
    }
    expect(outcomes.read).toBeGreaterThan(100);
    expect(outcomes.refused).toBeGreaterThan(3000);
  });
});

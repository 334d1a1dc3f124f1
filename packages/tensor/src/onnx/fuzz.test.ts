import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import { encodeOnnx } from './encode.ts';
import { float, graph, ints, onnxModel, onnxNode, onnxValue, string, tensor } from './proto.ts';
import { type ReadOptions, readOnnx } from './read.ts';

/** A model small enough that a random byte often hits structure, with every part that the reader knows. */
function seedModel(): Uint8Array {
  const branch = graph({
    name: 'b',
    inputs: [],
    outputs: [onnxValue('z', 'float32', [2])],
    initializers: new Map(),
    nodes: [onnxNode('Relu', ['s'], ['z'])],
  });
  return encodeOnnx(
    onnxModel({
      name: 'g',
      inputs: [onnxValue('x', 'float32', ['n', 2])],
      outputs: [onnxValue('y', 'float32', [null, 2])],
      valueInfo: [onnxValue('s', 'float32', [2])],
      initializers: new Map([
        ['w', { dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) }],
        ['p', { dtype: 'float32', shape: [2, 3], data: Float32Array.of(0, 1, 0, 0, 2, 0), sparse: true }],
        ['i', { dtype: 'int64', shape: [1], data: BigInt64Array.of(-1n) }],
        ['t', { dtype: 'bool', shape: [], data: Uint8Array.of(1) }],
      ]),
      nodes: [
        onnxNode('Add', ['x', 'w'], ['s'], { alpha: float(1), mode: string('m'), axes: ints([0, 1]) }),
        onnxNode('Constant', [], ['c'], { value: tensor({ dtype: 'float64', shape: [1], data: Float64Array.of(3) }) }),
        onnxNode('If', ['t'], ['y'], { then_branch: branch, else_branch: branch }),
      ],
    }),
  );
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
  for (let edits = 1 + below(4); edits > 0; edits--) {
    const at = below(result.length);
    const kind = below(6);
    if (kind <= 1) result[at] = below(256);
    else if (kind === 2) result[at] ^= 1 << below(8);
    else if (kind === 3) result[at] = [0, 0x7f, 0x80, 0xff][below(4)];
    else if (kind === 4) result = new Uint8Array([...result.subarray(0, at), ...result.subarray(at + 1 + below(8))]);
    else {
      const from = below(result.length);
      const piece = result.subarray(from, from + below(16));
      result = new Uint8Array([...result.subarray(0, at), ...piece, ...result.subarray(at)]);
    }
    if (result.length === 0) return result;
  }
  return result;
}

const options: ReadOptions = { maxDenseBytes: 2 ** 20, externalData: () => new Uint8Array(64) };

/** True if the bytes were read; any error other than a FormatError fails the test and names the seed. */
async function survives(bytes: Uint8Array, label: string): Promise<boolean> {
  try {
    // What was read can be written and read again.
    await readOnnx(encodeOnnx(await readOnnx(bytes, options)), options);
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw new Error(`${label}: ${error}`, { cause: error });
  }
}

describe('reading damaged files', () => {
  it('ends in a model or a FormatError at every truncation', async () => {
    const bytes = seedModel();
    let read = 0;
    for (let end = 0; end < bytes.length; end++) if (await survives(bytes.subarray(0, end), `cut at ${end}`)) read++;
    // Only a cut within trailing optional fields leaves a model.
    expect(read).toBeLessThan(3);
    expect(await survives(bytes, 'whole')).toBe(true);
  });

  it('ends in a model or a FormatError at 10,000 random changes', async () => {
    const bytes = seedModel();
    const outcomes = { read: 0, refused: 0 };
    for (let seed = 0; seed < 10_000; seed++) {
      const ok = await survives(mutate(bytes, generator(seed)), `seed ${seed}`);
      outcomes[ok ? 'read' : 'refused']++;
    }
    expect(outcomes.read).toBeGreaterThan(500);
    expect(outcomes.refused).toBeGreaterThan(5000);
  }, 60_000);
});

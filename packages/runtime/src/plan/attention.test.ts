import { encodeOnnx, type OnnxAttribute, type OnnxTensor, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { InferenceSession } from '../session.ts';
import { Tensor } from '../tensor.ts';
import { float, int, integers, random, tensorOf } from '../testing.ts';

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

interface Case {
  readonly op: string;
  readonly domain?: string;
  readonly attributes: Record<string, OnnxAttribute>;
  /** Dims of a feed, a constant, or nothing. */
  readonly inputs: readonly (number[] | OnnxTensor | undefined)[];
  readonly outputs: number;
  readonly threads?: number;
}

/** The kernel of the node, after comparing with the plain operator. */
async function run({ op, domain = '', attributes, inputs, outputs, threads = 1 }: Case, seed = 0): Promise<string> {
  const next = random(seed);
  const feeds: Record<string, Tensor> = {};
  const initializers = new Map<string, OnnxTensor>();
  const names = inputs.map((input, i) => {
    if (!input) return '';
    if (Array.isArray(input))
      feeds[`x${i}`] = new Tensor(
        'float32',
        Float32Array.from({ length: size(input) }, () => 2 * next() - 1),
        input,
      );
    else initializers.set(`x${i}`, input);
    return `x${i}`;
  });
  const made = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const model = onnxModel(
    {
      name: 'test',
      inputs: Object.entries(feeds).map(([name, { dims }]) => onnxValue(name, 'float32', [...dims])),
      outputs: made.map(name => ({ name, dtype: 'float32' as const, shape: null })),
      initializers,
      nodes: [onnxNode(op, names, made, attributes, { domain })],
    },
    { opsets: { '': 23, 'com.microsoft': 1 } },
  );
  const bytes = encodeOnnx(model);
  const plain = await InferenceSession.create(bytes, { kernels: 'plain' });
  const session = await InferenceSession.create(bytes, { threads });
  const [wanted, given] = [await plain.run(feeds), await session.run(feeds)];
  const [{ kernel }] = session.report().nodes;
  await Promise.all([plain.release(), session.release()]);
  for (const name of made) {
    expect(given[name].dims).toEqual(wanted[name].dims);
    const [a, b] = [given[name].data as Float32Array, wanted[name].data as Float32Array];
    let worst = 0;
    for (let i = 0; i < b.length; i++) worst = Math.max(worst, Math.abs(a[i] - b[i]));
    expect(worst).toBeLessThan(1e-5);
  }
  return kernel;
}

const below = (seed: number) => {
  const next = random(seed);
  return (n: number): number => Math.floor(next() * n);
};

const table = (rows: number, half: number, f: (x: number) => number): OnnxTensor =>
  tensorOf(
    [rows, half],
    Array.from({ length: rows * half }, (_, i) => f(Math.floor(i / half) / (1 + (i % half)))),
  );

describe('Attention', () => {
  it('runs on the kernel: flat or not, masked, causal, with a cache, with outputs of keys and values', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const pick = below(seed);
      const [batch, shared, group] = [1 + pick(3), 1 + pick(2), 1 + pick(3)];
      const heads = shared * group;
      const causal = pick(2);
      const queries = 1 + pick(pick(2) ? 12 : 1);
      const count = causal ? queries : 1 + pick(20);
      const past = pick(2) ? 1 + pick(9) : 0;
      const keys = count + past;
      const [depth, columns] = [1 + pick(12), 1 + pick(12)];
      const flat = pick(2) === 1;
      const dims = (n: number, rows: number, width: number) =>
        flat ? [batch, rows, n * width] : [batch, n, rows, width];
      const mask = [[heads, queries, keys], [queries, keys], [batch, 1, queries, keys], undefined][pick(4)];
      const kernel = await run(
        {
          op: 'Attention',
          attributes: {
            is_causal: int(causal),
            ...(flat && { q_num_heads: int(heads), kv_num_heads: int(shared) }),
            ...(pick(2) && { scale: float(0.3) }),
          },
          inputs: [
            dims(heads, queries, depth),
            dims(shared, count, depth),
            dims(shared, count, columns),
            mask,
            ...(past
              ? [
                  [batch, shared, past, depth],
                  [batch, shared, past, columns],
                ]
              : []),
          ],
          outputs: past || pick(2) ? 3 : 1,
          threads: 1 + (seed % 8 === 0 ? 1 : 0),
        },
        seed,
      );
      expect(kernel).toBe('attention');
    }
  });

  it('is left to the plain operator where the kernel has no form of it', async () => {
    const inputs = [
      [1, 2, 5, 4],
      [1, 2, 7, 4],
      [1, 2, 7, 4],
    ];
    const plain = async (more: Partial<Case>) =>
      expect(await run({ op: 'Attention', attributes: {}, inputs, outputs: 1, ...more })).toBe('plain');
    await plain({ attributes: { softcap: float(2) } });
    await plain({ attributes: { is_causal: int(1) } });
    await plain({ outputs: 4 });
    await plain({ inputs: [...inputs, [5, 3]] });
    const seen: OnnxTensor = {
      dtype: 'bool',
      shape: [5, 7],
      data: Uint8Array.from({ length: 35 }, (_, i) => (i % 3 ? 1 : 0)),
    };
    await plain({ inputs: [...inputs, seen] });
  });
});

describe('MultiHeadAttention', () => {
  it('runs on the kernel: biased, with an attention bias, with a cache, with keys that have heads', async () => {
    for (let seed = 0; seed < 24; seed++) {
      const pick = below(seed);
      const [batch, heads, queries, count] = [1 + pick(2), 1 + pick(3), 1 + pick(9), 1 + pick(9)];
      const [depth, past] = [1 + pick(9), pick(2) * (1 + pick(6))];
      const ready = pick(3) === 0;
      const hidden = heads * depth;
      const rows = ready ? [batch, heads, count, depth] : [batch, count, hidden];
      const cache = past ? [batch, heads, past, depth] : undefined;
      const kernel = await run(
        {
          op: 'MultiHeadAttention',
          domain: 'com.microsoft',
          attributes: { num_heads: int(heads), ...(count + past >= queries && { unidirectional: int(pick(2)) }) },
          inputs: [
            [batch, queries, hidden],
            rows,
            rows,
            !ready && pick(2) ? [3 * hidden] : undefined,
            undefined,
            pick(2) ? [1, heads, queries, count + past] : undefined,
            cache,
            cache,
          ],
          outputs: past ? 3 : 1,
        },
        seed,
      );
      expect(kernel).not.toBe('plain');
    }
  });
});

describe('GroupQueryAttention', () => {
  it('runs on the kernel: packed or not, rotated or not, prompts and what follows', async () => {
    for (let seed = 0; seed < 24; seed++) {
      const pick = below(seed);
      const past = pick(2) * (1 + pick(9));
      const [batch, shared, group] = [past ? 1 : 1 + pick(3), 1 + pick(2), 1 + pick(2)];
      const [queries, depth] = [1 + pick(past ? 2 : 9), 2 + 2 * pick(5)];
      const heads = shared * group;
      const total = past + queries;
      const packed = pick(2) === 1;
      const rows = [batch, queries, shared * depth];
      const cache = past ? [batch, shared, past, depth] : undefined;
      const scalar = (value: number, shape: number[]): OnnxTensor => ({
        dtype: 'int32',
        shape,
        data: new Int32Array(size(shape)).fill(value),
      });
      const rotary = pick(2);
      const half = depth / 2;
      const kernel = await run(
        {
          op: 'GroupQueryAttention',
          domain: 'com.microsoft',
          attributes: {
            num_heads: int(heads),
            kv_num_heads: int(shared),
            do_rotary: int(rotary),
            rotary_interleaved: int(pick(2)),
          },
          inputs: [
            [batch, queries, (packed ? heads + 2 * shared : heads) * depth],
            packed ? undefined : rows,
            packed ? undefined : rows,
            cache,
            cache,
            scalar(total - 1, [batch]),
            scalar(total, []),
            ...(rotary ? [table(total + 3, half, Math.cos), table(total + 3, half, Math.sin)] : []),
          ],
          outputs: 3,
        },
        seed,
      );
      expect(kernel).toBe('attention');
    }
  });
});

describe('RotaryEmbedding', () => {
  it('runs on the kernel, in both domains, with constant positions', async () => {
    for (let seed = 0; seed < 32; seed++) {
      const pick = below(seed);
      const [batch, heads, rows, depth] = [1 + pick(2), 1 + pick(3), 1 + pick(7), 2 + 2 * pick(6)];
      const microsoft = pick(2) === 1;
      const flat = pick(2) === 1;
      const x = flat ? [batch, rows, heads * depth] : [batch, heads, rows, depth];
      const half = depth / 2;
      const attributes = { interleaved: int(pick(2)), ...(flat && { num_heads: int(heads) }) };
      const each: OnnxTensor = {
        ...integers(...Array.from({ length: batch * rows }, () => pick(12))),
        shape: [batch, rows],
      };
      const [cos, sin] = [Math.cos, Math.sin].map(f => table(12, half, f));
      const own = [Math.cos, Math.sin].map(f => ({ ...table(batch * rows, half, f), shape: [batch, rows, half] }));
      const kernel = await run(
        microsoft
          ? {
              op: 'RotaryEmbedding',
              domain: 'com.microsoft',
              attributes,
              inputs: [x, pick(2) ? each : integers(pick(4)), cos, sin],
              outputs: 1,
            }
          : { op: 'RotaryEmbedding', attributes, inputs: pick(2) ? [x, cos, sin, each] : [x, ...own], outputs: 1 },
        seed,
      );
      expect(kernel).toBe('rotary');
    }
  });
});

import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { compile } from '../compile.ts';
import { linear } from '../ops/matmul.ts';
import { uniform } from '../ops/random.ts';
import { Parameter } from '../parameter.ts';
import { Random } from '../random.ts';
import type { Tensor } from '../tensor.ts';
import { tensor } from '../tensor.ts';
import { randn } from '../testing.ts';
import { encodeOnnx } from './encode.ts';
import { exportOnnx } from './export.ts';
import type { OnnxModel } from './proto.ts';

const parameter = async (shape: number[], name: string) =>
  new Parameter({ dtype: 'float32', shape, data: (await randn(shape, name).data()).slice() }, { name });

async function runFile(model: OnnxModel, feeds: Record<string, Tensor>): Promise<Record<string, ort.Tensor>> {
  const session = await ort.InferenceSession.create(encodeOnnx(model));
  const inputs: Record<string, ort.Tensor> = {};
  for (const [name, t] of Object.entries(feeds)) inputs[name] = new ort.Tensor('float32', await t.data(), [...t.shape]);
  return session.run(inputs) as Promise<Record<string, ort.Tensor>>;
}

describe('exportOnnx', () => {
  it('writes parameters under their names and gives the same outputs for every batch size', async () => {
    const w = await parameter([5, 6], 'fc.weight');
    const b = await parameter([5], 'fc.bias');
    // Touches every kind of size that follows the batch: reshape, expand, slice, pad, concat, flattened batch × time.
    const model = (x: Tensor) => {
      const h = linear(x, w, b).relu();
      const shifted = h.pad([[1, 1, 0]]).slice(1, 0, 4);
      const mixed = h.add(shifted).reshape([-1, 5]).softmax().reshape([x.shape[0], 4, 5]);
      const bias = tensor([1, 2, 3, 4, 5]).expand([x.shape[0], 4, 5]);
      return { mixed: mixed.mul(bias), total: mixed.flatten().sum(1), last: x.slice(0, x.shape[0] - 1) };
    };
    const onnx = await exportOnnx(model, { x: { shape: [1, 4, 6], dtype: 'float32' } });
    expect([...onnx.graph.initializers.keys()]).toEqual(expect.arrayContaining(['fc.weight', 'fc.bias']));
    expect(onnx.graph.outputs.map(o => [o.name, o.shape])).toEqual([
      ['mixed', ['batch', 4, 5]],
      ['total', ['batch']],
      ['last', [1, 4, 6]],
    ]);
    for (const n of [1, 2, 7]) {
      const x = randn([n, 4, 6], n);
      const want = model(x);
      const got = await runFile(onnx, { x });
      for (const [name, t] of Object.entries(want)) {
        const expected = await t.data();
        expect(got[name].dims).toEqual([...t.shape]);
        for (const [i, v] of (got[name].data as Float32Array).entries()) expect(v).toBeCloseTo(expected[i], 5);
      }
    }
  });

  it('uses standard operators only, also for swapped batched products', async () => {
    const onnx = await exportOnnx((q: Tensor, k: Tensor) => q.matmul(k.transpose()), {
      q: { shape: [1, 3, 4], dtype: 'float32' },
      k: { shape: [1, 5, 4], dtype: 'float32' },
    });
    expect(onnx.graph.nodes.every(n => n.domain === '')).toBe(true);
    const [q, k] = [randn([2, 3, 4], 1), randn([2, 5, 4], 2)];
    const { output } = await runFile(onnx, { q, k });
    const want = await q.matmul(k.transpose()).data();
    for (const [i, v] of (output.data as Float32Array).entries()) expect(v).toBeCloseTo(want[i], 5);
  });

  it('refuses what a file cannot express, saying why', async () => {
    const x = { x: { shape: [1, 4], dtype: 'float32' as const } };
    const { output } = await runFile(await exportOnnx(t => t.mean(), x), { x: tensor([1, 2, 3, 6], [1, 4]) });
    expect(output.data[0]).toBe(3);
    await expect(exportOnnx(t => t.mul(t.shape[0]), x)).rejects.toThrow(/depends on the batch size/);
    await expect(exportOnnx(t => (t.shape[0] > 2 ? t.neg() : t.exp()), x)).rejects.toThrow(/graph itself changes/);
    const random = new Random(0);
    await expect(exportOnnx(t => t.mul(uniform(random, t.shape)), x)).rejects.toThrow(/random numbers/);
    const p = await parameter([4], 'p');
    await expect(exportOnnx(t => p.assign(p.mul(2)).add(t), x)).rejects.toThrow(/assigned while tracing/);
    await expect(exportOnnx(t => t, {})).rejects.toThrow(/at least one input/);
  });

  it('exports the values that training left in the parameters', async () => {
    const w = await parameter([1, 4], 'w');
    const step = compile(() => {
      w.assign(w.mul(0).add(3));
    });
    await step();
    const onnx = await exportOnnx(x => linear(x, w), { x: { shape: [1, 4], dtype: 'float32' } });
    expect([...onnx.graph.initializers.get('w')!.data]).toEqual([3, 3, 3, 3]);
  });
});

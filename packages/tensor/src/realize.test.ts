import { describe, expect, it } from 'vitest';
import { compile } from './compile.ts';
import { float32ToBfloat16, float32ToFloat16, toFloat32 } from './half.ts';
import { operator } from './operator.ts';
import { clearCache, realize } from './realize.ts';
import { type Tensor, tensor } from './tensor.ts';
import { randn } from './testing.ts';

/** Runs on the host and counts its calls. */
let calls = 0;
const double = operator<{ by: number }>({
  name: 'hostScale',
  infer: ([x]) => x,
  run: ([x], { by }) => {
    calls++;
    return (x.data as Float32Array).map(v => v * by);
  },
});

describe('realize', () => {
  it('computes several tensors together, each once, and makes them leaves', async () => {
    const x = tensor([1, 2, 3]);
    const shared = double([x], { by: 2 });
    const [a, b] = [shared.add(1), shared.sum()];
    calls = 0;
    await realize(a, b, a);
    expect(calls).toBe(1);
    expect([a.isRealized, b.isRealized, shared.isRealized]).toEqual([true, true, false]);
    expect([await a.tolist(), await b.item()]).toEqual([[3, 5, 7], 12]);
    await realize(a);
    await realize();
    expect(calls).toBe(1);
  });

  it('reuses the plan of a graph of the same structure after its nodes were realised', async () => {
    for (let i = 1; i <= 3; i++) {
      const y = double([tensor([i])], { by: 3 });
      const z = y.add(1);
      await realize(y, z);
      expect([await y.item(), await z.item()]).toEqual([3 * i, 3 * i + 1]);
    }
  });

  it('runs concurrently over shared and overlapping graphs', async () => {
    const x = randn([16], 1);
    const middle = double([x.mul(2)], { by: 1 });
    const end = double([middle.add(1)], { by: 10 }).neg();
    const again = double([middle.sub(1)], { by: 5 });
    const all = [middle, end, again, end, middle.neg()];
    await Promise.all(all.map(t => t.data()));
    const base = await x.data();
    (await end.data()).forEach((v, i) => {
      expect(v).toBeCloseTo(-10 * (2 * base[i] + 1), 4);
    });
    (await again.data()).forEach((v, i) => {
      expect(v).toBeCloseTo(5 * (2 * base[i] - 1), 4);
    });
  });

  it('keeps working when more structures run at once than the cache holds', async () => {
    const x = tensor([1]);
    const tensors = Array.from({ length: 150 }, (_, i) => x.add(i + 0.5));
    const values = await Promise.all(tensors.map(t => t.item()));
    expect(values).toEqual(tensors.map((_, i) => i + 1.5));
    // The first structures were evicted and are compiled anew.
    expect(await x.add(0.5).item()).toBe(1.5);
    await clearCache();
    expect(await x.add(0.5).item()).toBe(1.5);
  });

  it('evicts and clears plans that cannot be compiled, which only those hear of who run them', async () => {
    const impossible = operator<object>({
      name: 'impossible',
      infer: ([x]) => x,
      emit: (b, inputs) => b.node('NoSuchOperator', inputs),
    });
    const x = tensor([1]);
    const refused = [expect(impossible([x], {}).item()).rejects.toThrow('NoSuchOperator')];
    await Promise.all(Array.from({ length: 140 }, (_, i) => x.add(i + 0.25).item()));
    refused.push(expect(impossible([x], {}).item()).rejects.toThrow('ONNX Runtime refused the compiled graph'));
    await clearCache();
    await Promise.all(refused);
    expect(await x.add(0.25).item()).toBe(1.25);
  });

  it('passes on errors of the runtime as errors of ours', async () => {
    await expect(
      tensor([1, 2])
        .gather(tensor(Int32Array.of(2)))
        .data(),
    ).rejects.toThrow(
      expect.objectContaining({
        name: 'GossamerError',
        message: expect.stringMatching(/ONNX Runtime failed: .*Gather/),
      }),
    );
  });

  it('tells special numbers in the structure apart', async () => {
    const x = tensor([1]);
    for (const v of [0, -0, Infinity, -Infinity, NaN]) expect(await x.mul(0).add(x.mul(v)).item()).toBe(v * 1 + 0);
    expect(await tensor([2]).div(-0).item()).toBe(-Infinity);
    expect(await tensor([2]).div(0).item()).toBe(Infinity);
  });

  it('passes on the error of a host operator, and runs again afterwards', async () => {
    let broken = true;
    const fragile = operator<object>({
      name: 'fragile',
      infer: ([x]) => x,
      run: ([x]) => {
        if (broken) throw new Error('the host is broken');
        return x.data.slice();
      },
    });
    const y = fragile([tensor([4])], {}).add(1);
    await expect(y.item()).rejects.toThrow('the host is broken');
    broken = false;
    expect(await y.item()).toBe(5);
  });

  it('refuses inputs of compiled functions', async () => {
    let escaped: Tensor | undefined;
    const f = compile((x: Tensor) => {
      escaped = x.mul(2);
      return x.add(1);
    });
    await f(tensor([1]));
    await expect(escaped!.data()).rejects.toThrow('has a value only inside');
  });

  it.each(['float16', 'bfloat16'] as const)('casts to %s and back, on leaves and results', async dtype => {
    const x = tensor([1, -2.5, 0.1, 65504]);
    const half = x.cast(dtype);
    const bits = await half.data<Uint16Array>();
    expect(bits).toEqual((dtype === 'float16' ? float32ToFloat16 : float32ToBfloat16)(await x.data()));
    // `half` is a leaf now, and feeds the next graph.
    const back = await half.cast('float32').mul(2).data();
    expect(back).toEqual(toFloat32({ dtype, shape: [4], data: bits }).data.map(v => v * 2));
  });
});

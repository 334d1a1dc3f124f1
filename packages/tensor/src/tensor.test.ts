import { describe, expect, it } from 'vitest';
import { tensor } from './tensor.ts';

describe('tensor', () => {
  it('takes nested arrays, typed arrays and plain arrays', async () => {
    const cases = [
      [
        tensor([
          [1, 2, 3],
          [4, 5, 6],
        ]),
        [2, 3],
        'float32',
      ],
      [tensor(7), [], 'float32'],
      [tensor([true, false]), [2], 'bool'],
      [tensor([[], []]), [2, 0], 'float32'],
      [tensor([1, 2], [2, 1], 'int64'), [2, 1], 'int64'],
      [tensor(Int32Array.of(1, 2, 3, 4), [2, 2]), [2, 2], 'int32'],
      [tensor(BigUint64Array.of(1n)), [1], 'uint64'],
      [tensor(Uint8Array.of(1, 0), [2], 'bool'), [2], 'bool'],
      [tensor({ dtype: 'float16', shape: [1], data: Uint16Array.of(0x3c00) }), [1], 'float16'],
    ] as const;
    for (const [t, shape, dtype] of cases) {
      expect([t.shape, t.dtype, t.isRealized]).toEqual([shape, dtype, true]);
      expect((await t.array()).data).toHaveLength(t.size);
    }
    expect(await tensor([1, 2], [2, 1], 'int64').data()).toEqual(BigInt64Array.of(1n, 2n));
  });

  it('gives back numbers in nested arrays', async () => {
    const rows = [[[1, 2]], [[3, 4]]];
    expect(await tensor(rows).tolist()).toEqual(rows);
    expect(await tensor(BigInt64Array.of(-5n)).item()).toBe(-5);
    expect(await tensor(Uint16Array.of(0x3c00, 0xc000), [2], 'float16').tolist()).toEqual([1, -2]);
    expect(await tensor(Uint16Array.of(0x3f80), [], 'bfloat16').item()).toBe(1);
    await expect(tensor([1, 2]).item()).rejects.toThrow('item: the tensor [2] has 2 elements, expected 1');
  });

  it('refuses what has no shape, or another one', () => {
    expect(() => tensor([[1, 2], [3]])).toThrow('tensor: the nested arrays are not all of one shape [2, 2]');
    expect(() => tensor([[1, 2], [3], [4, 5, 6]])).toThrow('not all of one shape [3, 2]');
    expect(() => tensor([[1, 2], 3 as never])).toThrow('not all of one shape');
    expect(() => tensor([1, [2] as never])).toThrow('not all of one shape [2]');
    expect(() => tensor([1, 2, 3], [2, 2])).toThrow('tensor: 3 elements do not fill shape [2, 2]');
    expect(() => tensor(new Float32Array(2), [2], 'int32')).toThrow('tensor: Float32Array does not store int32');
    expect(() => tensor(Uint16Array.of(1))).toThrow('may hold uint16, float16 or bfloat16: name the dtype');
  });
});

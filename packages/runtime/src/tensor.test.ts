import * as ort from 'onnxruntime-common';
import { describe, expect, it } from 'vitest';
import { Tensor, type TensorData, toValue } from './tensor.ts';

describe('Tensor', () => {
  it.each<[TensorData, string]>([
    [Float32Array.of(1, 2), 'float32'],
    [Float64Array.of(1, 2), 'float64'],
    [Int8Array.of(1, 2), 'int8'],
    [Uint8Array.of(1, 2), 'uint8'],
    [Uint8ClampedArray.of(1, 2), 'uint8'],
    [Int16Array.of(1, 2), 'int16'],
    [Uint16Array.of(1, 2), 'uint16'],
    [Int32Array.of(1, 2), 'int32'],
    [Uint32Array.of(1, 2), 'uint32'],
    [BigInt64Array.of(1n, 2n), 'int64'],
    [BigUint64Array.of(1n, 2n), 'uint64'],
    [[true, false], 'bool'],
    [['a', 'b'], 'string'],
  ])('finds the type of %o as onnxruntime-common does', (data, type) => {
    for (const dims of [undefined, [2], [1, 2]]) {
      const tensor = new Tensor(data, dims);
      const other = new ort.Tensor(data as Float32Array, dims);
      expect([tensor.type, tensor.dims, tensor.size]).toEqual([type, dims ?? [2], 2]);
      expect([other.type, other.dims, other.size]).toEqual([type, dims ?? [2], 2]);
    }
  });

  it('converts lists of numbers', () => {
    expect(new Tensor('float32', [1, 2.5]).data).toEqual(Float32Array.of(1, 2.5));
    expect(new Tensor('int64', [1, 2n as unknown as number]).data).toEqual(BigInt64Array.of(1n, 2n));
    expect(new Tensor('bool', [true, false]).data).toEqual(Uint8Array.of(1, 0));
    expect(new Tensor('uint8', Uint8ClampedArray.of(255)).data).toEqual(Uint8Array.of(255));
    expect(new Tensor('float32', [], [0, 3]).dims).toEqual([0, 3]);
    expect(new Tensor('float32', [7], []).size).toBe(1);
  });

  it('carries float16 as onnxruntime-common does', () => {
    const bits = Uint16Array.of(0x3c00, 0xc000);
    const other = new ort.Tensor('float16', bits, [2]);
    const tensor = new Tensor('float16', bits, [2]);
    expect(Object.getPrototypeOf(tensor.data)).toBe(Object.getPrototypeOf(other.data));
    expect([...(tensor.data as Uint16Array)]).toEqual([...other.data]);
    // Operators see the bits, whichever way they came.
    for (const given of [tensor, other, { type: 'float16', dims: [2], data: bits }])
      expect(toValue(given, 'x').data).toEqual(bits);
    const Half = (globalThis as unknown as { Float16Array: Float32ArrayConstructor }).Float16Array;
    if (Half) expect(new Tensor(Half.of(1, -2)).type).toBe('float16');
  });

  it('takes views, and tensors of others, without copying', () => {
    const data = Float32Array.of(0, 1, 2, 3).subarray(1, 3);
    expect(new Tensor(data).data).toBe(data);
    expect(toValue(new ort.Tensor('float32', data, [2]), 'x').data).toBe(data);
    expect(new Tensor(data, [1, 2]).reshape([2, 1]).data).toBe(data);
  });

  it('refuses what does not fit', () => {
    const bad =
      (...args: unknown[]) =>
      () =>
        new (Tensor as unknown as new (...args: unknown[]) => Tensor)(...args);
    expect(bad('float32', [1, 2, 3], [2])).toThrow('dims [2] hold 2 elements, the data 3');
    expect(bad('float32', [1], [-1])).toThrow('whole numbers');
    expect(bad('float32', [1], [1.5])).toThrow('whole numbers');
    expect(bad('float32', [1], 1)).toThrow('whole numbers');
    expect(bad('float32', Float64Array.of(1))).toThrow('carried by a Float32Array, not by Float64Array');
    expect(bad('float32')).toThrow('not by undefined');
    expect(bad('string', [1])).toThrow('array of strings');
    expect(bad('nonsense', [1])).toThrow("there is no element type 'nonsense'");
    expect(bad([1, 2])).toThrow('new Tensor(type, data, dims)');
    expect(bad()).toThrow('new Tensor(type, data, dims)');
    expect(() => toValue({ type: 'int32', dims: [3], data: Int32Array.of(1) }, 'input x')).toThrow(
      'input x: Tensor: dims [3] hold 3 elements',
    );
  });

  it('gives its data as a promise', async () => {
    const tensor = new Tensor(Float32Array.of(1));
    expect(await tensor.getData()).toBe(tensor.data);
    tensor.dispose();
  });
});

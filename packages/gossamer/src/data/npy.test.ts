import { type DType, FormatError, type NDArray } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { expectArrays, readNpy, readNpz, writeNpy, writeNpz } from './npy.ts';

const arrays: NDArray[] = [
  { dtype: 'float32', shape: [2, 2], data: Float32Array.from([1.5, -2, Number.NaN, Number.POSITIVE_INFINITY]) },
  { dtype: 'float64', shape: [3], data: Float64Array.from([0.1, -0, 1e300]) },
  { dtype: 'float16', shape: [2], data: Uint16Array.from([0x3c00, 0xffff]) },
  { dtype: 'int64', shape: [], data: BigInt64Array.from([-(2n ** 63n)]) },
  { dtype: 'uint64', shape: [1, 1], data: BigUint64Array.from([2n ** 64n - 1n]) },
  { dtype: 'int32', shape: [0, 5], data: new Int32Array(0) },
  { dtype: 'uint32', shape: [1], data: Uint32Array.from([2 ** 32 - 1]) },
  { dtype: 'int16', shape: [1], data: Int16Array.from([-32768]) },
  { dtype: 'uint16', shape: [1], data: Uint16Array.from([65535]) },
  { dtype: 'int8', shape: [2], data: Int8Array.from([-128, 127]) },
  { dtype: 'uint8', shape: [2, 1], data: Uint8Array.from([0, 255]) },
  { dtype: 'bool', shape: [2], data: Uint8Array.from([0, 1]) },
];

/** A file as NumPy writes it, with the given header and body. */
function npy(header: string, body: Uint8Array, major = 1): Uint8Array {
  const text = new TextEncoder().encode(`${header}\n`);
  const length = major === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0];
  return Uint8Array.from([0x93, ...new TextEncoder().encode('NUMPY'), major, 0, ...length, ...text, ...body]);
}

const header = (descr: string, shape: string, fortran = 'False'): string =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }`;

describe('npy', () => {
  it('round-trips every type', () => {
    for (const array of arrays) {
      const file = writeNpy(array);
      expect(file.indexOf(10) % 64, array.dtype).toBe(63);
      expect(readNpy(file), array.dtype).toEqual(array);
    }
  });

  it('writes the bytes NumPy writes', () => {
    const file = writeNpy({ dtype: 'int32', shape: [2], data: Int32Array.from([1, 2]) });
    const text = `\x93NUMPY\x01\x00\x76\x00${header('<i4', '(2,)').padEnd(117)}\n\x01\0\0\0\x02\0\0\0`;
    expect(Buffer.from(file).toString('latin1')).toBe(text);
  });

  it('reads Fortran order, big-endian numbers and later versions', () => {
    const body = Uint8Array.from([1, 4, 2, 5, 3, 6]);
    expect(readNpy(npy(header('|u1', '(2, 3)', 'True'), body)).data).toEqual(Uint8Array.from([1, 2, 3, 4, 5, 6]));
    expect(readNpy(npy(header('>i2', '(3,)'), Uint8Array.from([0, 1, 1, 0, 255, 255]), 2))).toEqual({
      dtype: 'int16',
      shape: [3],
      data: Int16Array.from([1, 256, -1]),
    });
    const cube = Uint8Array.from({ length: 24 }, (_, i) => i);
    const { data } = readNpy(npy(header('|u1', '(2, 3, 4)', 'True'), cube));
    for (let i = 0; i < 2; i++) {
      for (let j = 0; j < 3; j++) for (let k = 0; k < 4; k++) expect(data[(i * 3 + j) * 4 + k]).toBe(i + 2 * j + 6 * k);
    }
  });

  it('refuses cuts, other types, lying shapes and trailing bytes', () => {
    const good = writeNpy(arrays[0]);
    for (let length = 0; length < good.length; length++) {
      expect(() => readNpy(good.subarray(0, length))).toThrow(FormatError);
    }
    for (const descr of ['|O', '<c8', '<U3', '|S5', '|V8', '<f3']) {
      expect(() => readNpy(npy(header(descr, '(1,)'), new Uint8Array(8)), 'x'), descr).toThrow(/x: .*not supported/);
    }
    expect(() => readNpy(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", good))).toThrow(
      FormatError,
    );
    expect(() => readNpy(npy(header('<f8', '(1000000000000,)'), new Uint8Array(8)))).toThrow('truncated');
    expect(() => readNpy(npy(header('<f8', '(99999999999, 99999999999)'), new Uint8Array(8)))).toThrow('too large');
    expect(() => readNpy(npy(header('<f8', '(-1,)'), new Uint8Array(8)))).toThrow(FormatError);
    expect(() => readNpy(npy(header('|u1', '(1,)'), new Uint8Array(2)))).toThrow('1 bytes follow uint8 [1]');
    expect(() => readNpy(npy(header('|u1', '(1,)'), new Uint8Array(1), 9))).toThrow('version 9');
  });

  it('refuses to write bfloat16', () => {
    expect(() => writeNpy({ dtype: 'bfloat16' as DType, shape: [1], data: new Uint16Array(1) })).toThrow('float32');
  });
});

describe('npz', () => {
  it('round-trips, compressed or not, and reproducibly', () => {
    const named = Object.fromEntries(arrays.map((array, i) => [`a${i}`, array]));
    expect(readNpz(writeNpz(named))).toEqual(named);
    expect(readNpz(writeNpz(named, false))).toEqual(named);
    expect(writeNpz(named)).toEqual(writeNpz(named));
  });

  it('names what is missing', () => {
    expect(() => expectArrays({ a: arrays[0] }, ['a', 'b'], 'x.npz')).toThrow('x.npz: no array b; it holds a');
  });
});

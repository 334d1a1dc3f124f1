import { describe, expect, it } from 'vitest';
import { FormatError, RuntimeError, UnsupportedError } from '../errors.ts';
import type { DataType, NumericArray } from '../values.ts';
import { parseTensor, type TensorOptions } from './tensor.ts';
import { double, external, file, float, int, type Part, part, tensor, varint } from './testing.ts';

const parse = (fields: Part, options?: TensorOptions) => parseTensor(file(fields), options).value;

/** Every numeric type: its number, and three values as they are in memory. */
const TYPES: [code: number, type: DataType, data: NumericArray, stored: (number | bigint)[], field: number][] = [
  [1, 'float32', Float32Array.of(1.5, -0, Number.NaN), [1.5, -0, Number.NaN], 4],
  [2, 'uint8', Uint8Array.of(0, 7, 255), [0, 7, 255], 5],
  [3, 'int8', Int8Array.of(-128, 0, 127), [-128, 0, 127], 5],
  [4, 'uint16', Uint16Array.of(0, 1, 65535), [0, 1, 65535], 5],
  [5, 'int16', Int16Array.of(-32768, 0, 32767), [-32768, 0, 32767], 5],
  [6, 'int32', Int32Array.of(-(2 ** 31), 0, 2 ** 31 - 1), [-(2 ** 31), 0, 2 ** 31 - 1], 5],
  [7, 'int64', BigInt64Array.of(-(2n ** 63n), -1n, 2n ** 63n - 1n), [-(2n ** 63n), -1n, 2n ** 63n - 1n], 7],
  [9, 'bool', Uint8Array.of(1, 0, 1), [1, 0, 1], 5],
  [10, 'float16', Uint16Array.of(0x3c00, 0x8000, 0xffff), [0x3c00, 0x8000, 0xffff], 5],
  [11, 'float64', Float64Array.of(0.1, -0, Number.NaN), [0.1, -0, Number.NaN], 10],
  [12, 'uint32', Uint32Array.of(0, 1, 2 ** 32 - 1), [0, 1, 2 ** 32 - 1], 11],
  [13, 'uint64', BigUint64Array.of(0n, 2n ** 63n, 2n ** 64n - 1n), [0n, 2n ** 63n, 2n ** 64n - 1n], 11],
  [16, 'bfloat16', Uint16Array.of(0x3f80, 0x8000, 0xffff), [0x3f80, 0x8000, 0xffff], 5],
];

const single = (field: number, value: number | bigint): Part =>
  field === 4 ? float(field, Number(value)) : field === 10 ? double(field, Number(value)) : int(field, value);
const packed = (field: number, values: (number | bigint)[]): Part =>
  field === 4
    ? part(field, Float32Array.from(values, Number))
    : field === 10
      ? part(field, Float64Array.from(values, Number))
      : part(field, ...values.map(varint));

describe.each(TYPES)('element type %i, %s', (code, type, data, stored, field) => {
  const expected = { type, dims: [3, 1], data };

  it('reads raw, packed and single numbers', () => {
    expect(parse(tensor('w', code, [3, 1], part(9, data)))).toEqual(expected);
    expect(parse(tensor('w', code, [3, 1], packed(field, stored)))).toEqual(expected);
    expect(parse(tensor('w', code, [3, 1], ...stored.map(value => single(field, value))))).toEqual(expected);
    expect(parse(tensor('w', code, [3, 1], single(field, stored[0]), packed(field, stored.slice(1))))).toEqual(
      expected,
    );
  });

  it('reads raw data at every alignment, moved in place when the bytes are its own', () => {
    for (let shift = 0; shift < 8; shift++) {
      const bytes = file(tensor('w'.repeat(shift + 1), code, [3, 1], part(9, data)));
      expect(parseTensor(bytes).value).toEqual(expected);
      const own = parseTensor(bytes, { owned: true }).value;
      expect(own).toEqual(expected);
      expect((own.data as NumericArray).buffer).toBe(bytes.buffer);
    }
  });

  it('reads external data', () => {
    const bytes = new Uint8Array(data.buffer);
    const entries = { location: './w.bin', offset: '128', length: String(bytes.length), checksum: 'x' };
    const asked: unknown[] = [];
    const options: TensorOptions = {
      external: range => {
        asked.push(range);
        return bytes;
      },
    };
    expect(parse(tensor('w', code, [3, 1], external(entries)), options)).toEqual(expected);
    expect(asked).toEqual([{ location: 'w.bin', offset: 128, length: bytes.length }]);
  });

  it('refuses one number too few or too many', () => {
    for (const dims of [[4], [2]]) {
      const raw = () => parse(tensor('w', code, dims, part(9, data)));
      expect(raw).toThrow(FormatError);
      expect(raw).toThrow(
        `tensor 'w': ${data.byteLength} bytes of data, ${type} [${dims}] takes ${(data.byteLength / 3) * dims[0]}`,
      );
      expect(() => parse(tensor('w', code, dims, packed(field, stored)))).toThrow(
        `tensor 'w': 3 values in the field of its type, expected ${dims[0]}`,
      );
    }
  });
});

describe('tensors', () => {
  it('reads scalars, empty tensors and strings', () => {
    expect(parse(tensor('', 1, [], float(4, 2)))).toEqual({ type: 'float32', dims: [], data: Float32Array.of(2) });
    expect(parse(tensor('', 7, [0, 5]))).toEqual({ type: 'int64', dims: [0, 5], data: new BigInt64Array(0) });
    expect(parse(tensor('', 1, [3, 0], part(9)))).toEqual({ type: 'float32', dims: [3, 0], data: new Float32Array(0) });
    const texts = parse(tensor('', 8, [2], part(6, 'a'), part(6, 'ß')));
    expect(texts).toEqual({ type: 'string', dims: [2], data: ['a', 'ß'] });
  });

  it('takes numbers before the shape that says how many they are', () => {
    const fields = [...part(4, Float32Array.of(1, 2)), ...int(2, 1), ...part(1, varint(2), varint(1))];
    expect(parse(fields)).toEqual({ type: 'float32', dims: [2, 1], data: Float32Array.of(1, 2) });
  });

  it('unpacks 4 and 2 bits, the first element in the lowest bits', () => {
    expect(parse(tensor('', 21, [3], part(9, [0xf1, 0x02]))).data).toEqual(Uint8Array.of(1, 15, 2));
    expect(parse(tensor('', 22, [3], part(9, [0xf1, 0x08]))).data).toEqual(Int8Array.of(1, -1, -8));
    expect(parse(tensor('', 22, [4], part(5, varint(0x87), varint(0x1f)))).data).toEqual(Int8Array.of(7, -8, -1, 1));
    expect(parse(tensor('', 25, [5], part(9, [0b11100100, 2]))).data).toEqual(Uint8Array.of(0, 1, 2, 3, 2));
    expect(parse(tensor('', 26, [4], part(9, [0b11100100]))).data).toEqual(Int8Array.of(0, 1, -2, -1));
  });

  it('makes every bool 0 or 1', () => {
    expect(parse(tensor('', 9, [3], part(9, [0, 255, 1]))).data).toEqual(Uint8Array.of(0, 1, 1));
    expect(parse(tensor('', 9, [2], part(5, varint(256), varint(0)))).data).toEqual(Uint8Array.of(1, 0));
  });

  it.each<[string, Part, new (message: string) => Error, RegExp]>([
    [
      'float8',
      tensor('w', 17, [1], part(9, [0])),
      UnsupportedError,
      /tensor 'w': element type float8e4m3fn is not supported/,
    ],
    ['complex64', tensor('w', 14, [1], part(9, [0])), UnsupportedError, /complex64/],
    ['no element type', tensor('w', 0, [1]), FormatError, /unknown element type 0/],
    ['element type 99', tensor('w', 99, [1]), FormatError, /unknown element type 99/],
    ['a negative dimension', tensor('w', 1, [-1]), FormatError, /impossible shape \[-1\]/],
    ['dimensions whose product overflows', tensor('w', 1, [2 ** 40, 2 ** 40]), FormatError, /impossible shape/],
    ['the same beside a zero', tensor('w', 1, [2 ** 40, 0, 2 ** 40]), FormatError, /impossible shape/],
    [
      '65 dimensions',
      tensor('w', 1, new Array(65).fill(1)),
      FormatError,
      /impossible shape \[1, 1, 1, 1, 1, 1, 1, 1, …\]/,
    ],
    ['2⁴⁰ floats in 4 bytes', tensor('w', 1, [2 ** 40], part(9, [0, 0, 0, 0])), FormatError, /takes 4398046511104/],
    [
      '2⁴⁰ floats in none',
      tensor('w', 1, [2 ** 40]),
      FormatError,
      /0 values in the field of its type, expected 1099511627776/,
    ],
    ['2⁴⁰ strings in none', tensor('w', 8, [2 ** 40]), FormatError, /0 values in the field of its type/],
    ['data twice', tensor('w', 1, [1], float(4, 1), part(9, [0, 0, 0, 0])), FormatError, /given twice/],
    ['numbers in the field of another type', tensor('w', 1, [1], int(5, 1)), FormatError, /0 values in the field/],
    ['strings with numbers', tensor('w', 8, [1], part(6, 'a'), int(5, 1)), FormatError, /0 values in the field/],
    ['raw strings', tensor('w', 8, [1], part(9, 'a')), FormatError, /cannot be stored as raw/],
    ['segments', tensor('w', 1, [1], part(3, int(1, 0))), FormatError, /segments/],
  ])('refuses %s', (_, fields, type, message) => {
    expect(() => parse(fields)).toThrow(type);
    expect(() => parse(fields)).toThrow(message);
  });

  it.each([
    ['../w.bin', /must lie in the model's folder/],
    ['a/../../w.bin', /must lie in the model's folder/],
    ['/etc/passwd', /must lie in the model's folder/],
    ['C:/w.bin', /must lie in the model's folder/],
    ['..\\w.bin', /must lie in the model's folder/],
    ['https://host/w.bin', /must lie in the model's folder/],
    ['', /must lie in the model's folder/],
    ['.', /must lie in the model's folder/],
  ])("refuses external data at '%s'", (location, message) => {
    const options = { external: () => new Uint8Array(4) };
    expect(() => parse(tensor('w', 1, [1], external({ location })), options)).toThrow(message);
  });

  it('refuses external data of another length, at no number, or not given', () => {
    const at = (entries: Record<string, string>, options?: TensorOptions) => () =>
      parse(tensor('w', 1, [2], external({ location: 'w.bin', ...entries })), options);
    expect(at({ length: '4' })).toThrow("tensor 'w': 4 bytes of external data, its shape and type need 8");
    expect(at({ offset: '-1' })).toThrow("external offset '-1' is not a number of bytes");
    expect(at({ offset: '1e400' })).toThrow('is not a number of bytes');
    expect(at({})).toThrow(RuntimeError);
    expect(at({})).toThrow("tensor 'w': its data lies in the file 'w.bin', which was not given");
    expect(at({}, { external: () => new Uint8Array(7) })).toThrow('7 bytes of data, float32 [2] takes 8');
  });
});

import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import { FIXED32, FIXED64, Reader, VARINT } from './protobuf.ts';
import { double, file, float, int, part, varint } from './testing.ts';

/** What a callback reads from the fields of a file, in order. */
function read<T>(bytes: Uint8Array, take: (reader: Reader, field: number) => T): T[] {
  const reader = new Reader(bytes);
  const values: T[] = [];
  reader.file('File', field => values.push(take(reader, field)));
  return values;
}

const LIMITS = [
  0n,
  1n,
  127n,
  128n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n - 1n,
  -1n,
  -(2n ** 31n),
  -(2n ** 63n),
];

describe('scalars', () => {
  it('reads 64-bit integers, rounded to float64 and exactly by halves', () => {
    const bytes = file(...LIMITS.map(value => int(1, value)));
    expect(read(bytes, reader => reader.int())).toEqual(LIMITS.map(Number));
    const halves = read(bytes, reader => {
      reader.words();
      return (BigInt(reader.high) << 32n) + BigInt(reader.low);
    });
    expect(halves).toEqual(LIMITS);
  });

  it('reads every power of two and its neighbours', () => {
    for (let bit = 0n; bit < 63n; bit++) {
      for (const near of [2n ** bit - 1n, 2n ** bit, -(2n ** bit), 1n - 2n ** bit]) {
        expect(read(file(int(7, near)), reader => reader.int())).toEqual([Number(near)]);
      }
    }
  });

  it('reads floats, doubles, strings and bytes', () => {
    expect(read(file(float(1, 1.5), float(2, Number.NaN)), reader => reader.float())).toEqual([1.5, Number.NaN]);
    expect(read(file(double(1, 0.1)), reader => reader.double())).toEqual([0.1]);
    const long = 'ä'.repeat(40) + 'x'.repeat(100);
    const texts = ['', 'weight', 'größe 👍', '\ufeffmark', long];
    expect(read(file(...texts.map(text => part(3, text))), reader => reader.string())).toEqual(texts);
  });

  it('gives bytes as a view of the file, as a plain Uint8Array even from a Buffer', () => {
    const bytes = Buffer.from(file(part(1, Uint8Array.of(7, 8, 9))));
    const [view] = read(bytes, reader => reader.bytes());
    expect(view).toEqual(Uint8Array.of(7, 8, 9));
    expect(Object.getPrototypeOf(view)).toBe(Uint8Array.prototype);
    expect(view.buffer).toBe(bytes.buffer);
  });
});

describe('repeated numbers', () => {
  const collect = (bytes: Uint8Array): number[] => {
    const values: number[] = [];
    read(bytes, (reader, field) => {
      if (field === 1) reader.each(VARINT, () => values.push(reader.int()));
      if (field === 2) reader.each(FIXED32, () => values.push(reader.float()));
      if (field === 3) reader.each(FIXED64, () => values.push(reader.double()));
    });
    return values;
  };
  const count = (bytes: Uint8Array): number[] =>
    read(bytes, (reader, field) => reader.count([VARINT, VARINT, FIXED32, FIXED64][field] as typeof VARINT));

  it('reads packed, single and mixed ones alike', () => {
    const bytes = file(
      part(1, varint(300), varint(-1)),
      int(1, 5),
      part(1),
      part(2, Float32Array.of(1, 2)),
      float(2, 3),
      double(3, 4),
    );
    expect(collect(bytes)).toEqual([300, -1, 5, 1, 2, 3, 4]);
    expect(count(bytes)).toEqual([2, 1, 0, 2, 1, 1]);
  });

  it('refuses packed bytes that end within a number', () => {
    expect(() => collect(file(part(1, [0x80])))).toThrow(/File at byte 3: ends within a number/);
    expect(() => collect(file(part(2, [0, 0, 0])))).toThrow(/4 bytes expected, 3 are left/);
    expect(() => count(file(part(3, [0, 0, 0, 0])))).toThrow(/4 bytes of packed numbers are no multiple of 8/);
  });
});

describe('messages', () => {
  it('skips what is not taken: all wire types, nested messages too', () => {
    const bytes = file(
      int(9, 1n << 60n),
      double(10, 1),
      part(11, 'abc'),
      float(12, 1),
      part(1, int(5, 1), int(2, 42)),
      int(3, 7),
    );
    const reader = new Reader(bytes);
    const values: number[] = [];
    reader.file('File', field => {
      if (field === 1) reader.message('Inner', inner => inner === 2 && values.push(reader.int()));
      if (field === 3) values.push(reader.int());
    });
    expect(values).toEqual([42, 7]);
  });

  it('reads a noted place later and goes on where it was', () => {
    const reader = new Reader(file(part(1, int(1, 11)), int(2, 22)));
    const values: number[] = [];
    reader.file('File', field => {
      if (field !== 1) return values.push(reader.int());
      const place = reader.place();
      for (let time = 0; time < 2; time++) reader.revisit(place, 'Inner', () => values.push(reader.int()));
    });
    expect(values).toEqual([11, 11, 22]);
  });

  it.each([
    ['a length beyond the file', [0x0a, 5, 1], /File at byte 2: a length of 5 bytes where 1 are left/],
    ['a length beyond 2³²', [0x0a, ...varint(2 ** 40), 1], /a length of 1099511627776 bytes where 1 are left/],
    ['a negative length', [0x0a, ...varint(-1), 1], /a length of -1 bytes where 1 are left/],
    ['a cut tag', [0x80], /File at byte 1: ends within a number/],
    ['a cut varint', [0x08, 0xff], /ends within a number/],
    ['a varint of eleven bytes', [0x08, ...new Array(10).fill(0x80), 0], /longer than ten bytes/],
    ['a cut float', [0x0d, 0, 0], /4 bytes expected, 2 are left/],
    ['a group', [0x0b, 0x0c], /File at byte 1: wire type 3/],
    ['wire type 6', [0x0e], /wire type 6/],
    ['field 0', [0x00, 0], /no valid number/],
    ['a field number beyond 32 bits', [...varint(2 ** 36), 0], /no valid number/],
  ])('refuses %s', (_, bytes, message) => {
    const attempt = () => read(Uint8Array.from(bytes), () => undefined);
    expect(attempt).toThrow(FormatError);
    expect(attempt).toThrow(message);
  });

  it('refuses a field of another wire type than its reader expects', () => {
    expect(() => read(file(int(1, 1)), reader => reader.string())).toThrow(/expected a length, found a varint/);
    expect(() => read(file(part(1, 'a')), reader => reader.int())).toThrow(/expected a varint, found a length/);
    expect(() => read(file(float(1, 1)), reader => reader.double())).toThrow(/expected 8 bytes, found 4 bytes/);
  });

  it('keeps an inner message within its outer one', () => {
    // The inner length fits the file, not the message around it.
    const reader = new Reader(file([0x0a, 2, 0x0a, 3], int(2, 1), int(2, 1)));
    const attempt = () => reader.file('File', field => field === 1 && reader.message('Outer', () => reader.bytes()));
    expect(attempt).toThrow(/Outer at byte 4: a length of 3 bytes where 0 are left/);
  });

  it('refuses strings that are not UTF-8', () => {
    expect(() => read(file(part(1, [0xc3, 0x28])), reader => reader.string())).toThrow(
      /File at byte 2: a string is not valid UTF-8/,
    );
  });

  it('refuses messages nested without end', () => {
    let bytes: readonly number[] = [];
    for (let depth = 0; depth < 150; depth++) bytes = part(1, bytes);
    const reader = new Reader(file(bytes));
    const dive = (): void => reader.message('Inner', dive);
    expect(() => reader.file('File', dive)).toThrow(/nested more than 100 deep/);
  });
});

import { describe, expect, it } from 'vitest';
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16, toFloat32 } from './half.ts';

const all16 = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
const bitsOf = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);

/** The definition of IEEE 754 binary16, for finite values. */
function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** Nearest of the ascending values of the positive bit patterns 0 … n, ties to the even pattern. */
function nearestPattern(x: number, value: (bits: number) => number, last: number): number {
  let low = 0;
  let high = last + 1; // one past the largest finite pattern stands for infinity
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (value(middle) <= x) low = middle;
    else high = middle;
  }
  const below = x - value(low);
  const above = value(high) - x;
  return below < above || (below === above && low % 2 === 0) ? low : high;
}

/** Every 16-bit value, the midpoints between neighbours, and the float32 just beside both. */
function hardCases(decode: (bits: Uint16Array) => Float32Array): Float32Array {
  const exact = decode(all16);
  const out: number[] = [];
  const neighbour = new Float32Array(1);
  const word = bitsOf(neighbour);
  for (let i = 0; i < exact.length; i++) {
    if (!Number.isFinite(exact[i])) continue;
    const next = Number.isFinite(exact[i + 1]) ? exact[i + 1] : exact[i] + (exact[i] - exact[i - 1]);
    for (const x of [exact[i], (exact[i] + next) / 2]) {
      neighbour[0] = x;
      out.push(neighbour[0]);
      word[0]++;
      out.push(neighbour[0]);
      word[0] -= 2;
      out.push(neighbour[0]);
    }
  }
  return Float32Array.from(out).filter(x => !Number.isNaN(x));
}

describe('float16', () => {
  it('decodes every finite pattern by the definition', () => {
    const values = float16ToFloat32(all16);
    const wrong = [...all16].filter(bits => (bits & 0x7c00) !== 0x7c00 && !Object.is(values[bits], float16Value(bits)));
    expect(wrong).toEqual([]);
    expect(values[0x7c00]).toBe(Infinity);
    expect(values[0xfc00]).toBe(-Infinity);
    expect(Object.is(values[0x8000], -0)).toBe(true);
  });

  it('returns every pattern unchanged from float32, NaN payloads included', () => {
    expect(float32ToFloat16(float16ToFloat32(all16))).toEqual(all16);
  });

  it('rounds to nearest, ties to even, at and beside every value and midpoint', () => {
    const values = hardCases(float16ToFloat32);
    const got = float32ToFloat16(values);
    const wrong = values.filter((x, i) => {
      const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
      return got[i] !== (sign | nearestPattern(Math.abs(x), float16Value, 0x7bff));
    });
    expect(values.length).toBeGreaterThan(300_000);
    expect([...wrong.slice(0, 5)]).toEqual([]);
  });

  it('handles what lies outside of the range', () => {
    const float32 = Float32Array.of(65519.996, 65520, 3e38, -Infinity, 1e-45, -(2 ** -25), 2 ** -25 * (1 + 2 ** -23));
    expect([...float32ToFloat16(float32)]).toEqual([0x7bff, 0x7c00, 0x7c00, 0xfc00, 0, 0x8000, 1]);
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xffc00000, 0x7fc02000).buffer);
    expect([...float32ToFloat16(nan)]).toEqual([0x7e00, 0xfe00, 0x7e01]);
  });
});

describe('bfloat16', () => {
  it('returns every pattern unchanged from float32, NaN payloads included', () => {
    const values = bfloat16ToFloat32(all16);
    expect(bitsOf(values).every((word, i) => word === i * 2 ** 16)).toBe(true);
    expect(float32ToBfloat16(values)).toEqual(all16);
  });

  it('rounds to nearest, ties to even, at and beside every value and midpoint', () => {
    const exact = bfloat16ToFloat32(all16);
    const value = (bits: number) => (bits === 0x7f80 ? 2 ** 128 : exact[bits]);
    const values = hardCases(bfloat16ToFloat32).filter(Number.isFinite);
    const got = float32ToBfloat16(values);
    const wrong = values.filter((x, i) => {
      const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
      return got[i] !== (sign | nearestPattern(Math.abs(x), value, 0x7f7f));
    });
    expect(values.length).toBeGreaterThan(300_000);
    expect([...wrong.slice(0, 5)]).toEqual([]);
  });

  it('never turns a NaN into infinity', () => {
    const nan = new Float32Array(Uint32Array.of(0x7f800001, 0xff80ffff, 0x7fffffff).buffer);
    expect([...float32ToBfloat16(nan)]).toEqual([0x7fc0, 0xffc0, 0x7fff]);
  });
});

describe('toFloat32', () => {
  it('keeps the shape and converts each dtype', () => {
    const shape = [2, 1];
    const cases = [
      { dtype: 'float64', data: Float64Array.of(0.1, 1e300) },
      { dtype: 'float16', data: Uint16Array.of(0x3c00, 0xc000) },
      { dtype: 'bfloat16', data: Uint16Array.of(0x3f80, 0xc000) },
      { dtype: 'int64', data: BigInt64Array.of(-7n, 2n ** 53n) },
      { dtype: 'int32', data: Int32Array.of(-7, 2 ** 24 + 1) },
      { dtype: 'uint8', data: Uint8Array.of(0, 255) },
      { dtype: 'bool', data: Uint8Array.of(0, 1) },
    ] as const;
    const values = cases.map(({ dtype, data }) => {
      const array = toFloat32({ dtype, shape, data });
      expect([array.dtype, array.shape]).toEqual(['float32', shape]);
      return [...array.data];
    });
    expect(values).toEqual([
      [Math.fround(0.1), Infinity],
      [1, -2],
      [1, -2],
      [-7, 2 ** 53],
      [-7, 2 ** 24],
      [0, 255],
      [0, 1],
    ]);
  });

  it('does not copy float32', () => {
    const array = { dtype: 'float32', shape: [1], data: Float32Array.of(1) } as const;
    expect(toFloat32(array)).toBe(array);
  });

  it('rounds 64-bit integers once', () => {
    const near = [0n, 1n, -1n, 1n << 29n, (1n << 29n) + 1n, (1n << 29n) - 1n, 3n << 29n, (1n << 38n) + 1n];
    const bases = [0n, 1n << 24n, 1n << 31n, 1n << 32n, 1n << 53n, (1n << 53n) + (1n << 30n), 1n << 62n, -(1n << 62n)];
    const signed = bases.flatMap(base => near.flatMap(d => [base + d, -(base + d)]));
    const unsigned = [...signed.filter(x => x >= 0n), (1n << 64n) - 1n, (1n << 63n) + (1n << 39n), 1n << 63n];
    const int64 = { dtype: 'int64', shape: [signed.length], data: BigInt64Array.from(signed) } as const;
    const uint64 = { dtype: 'uint64', shape: [unsigned.length], data: BigUint64Array.from(unsigned) } as const;
    expect([...toFloat32(int64).data]).toEqual(signed.map(roundBigint));
    expect([...toFloat32(uint64).data]).toEqual(unsigned.map(roundBigint));
  });
});

/** To 24 significant bits, nearest, ties to even, in integers only. */
function roundBigint(x: bigint): number {
  const magnitude = x < 0n ? -x : x;
  const drop = BigInt(Math.max(0, magnitude.toString(2).length - 24));
  const unit = 1n << drop;
  let count = magnitude >> drop;
  const rest = 2n * (magnitude - count * unit);
  if (rest > unit || (rest === unit && count % 2n === 1n)) count++;
  return Number(count * unit) * (x < 0n ? -1 : 1);
}

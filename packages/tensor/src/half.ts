import type { DType, NDArray, TypedArray } from './dtype.ts';

/**
 * Any tensor as float32, rounded once to nearest, ties to even (float16, bfloat16, small integers and bool: exact).
 * A float32 tensor is returned as it is, not copied.
 */
export function toFloat32(array: NDArray): NDArray<Float32Array> {
  return array.data instanceof Float32Array
    ? (array as NDArray<Float32Array>)
    : { dtype: 'float32', shape: array.shape, data: float32Of(array) };
}

/** float32 numbers as elements of a float type, rounded to nearest, ties to even; of any other type, as they are. */
export function fromFloat32(values: Float32Array, dtype: DType): TypedArray {
  switch (dtype) {
    case 'float16':
      return float32ToFloat16(values);
    case 'bfloat16':
      return float32ToBfloat16(values);
    case 'float64':
      return Float64Array.from(values);
    default:
      return values;
  }
}

/** float16 bits → float32, exact: subnormals, infinities and NaN payloads included. */
export function float16ToFloat32(bits: Uint16Array): Float32Array {
  const table = (float16Table ??= makeFloat16Table());
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]];
  return new Float32Array(out.buffer);
}

/**
 * float32 → float16 bits, rounded to nearest, ties to even. |x| ≥ 65520 becomes infinity, small values subnormal;
 * NaN keeps its sign and the upper bits of its payload.
 */
export function float32ToFloat16(values: Float32Array): Uint16Array {
  const words = wordsOf(values);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const word = words[i];
    const magnitude = word & 0x7fffffff;
    let half: number;
    if (magnitude < 0x38800000) {
      // Below 2⁻¹⁴: a count of 2⁻²⁴ steps. Adding and taking off 2⁵² rounds that count to an even integer.
      half = Math.abs(values[i]) * 2 ** 24 + 2 ** 52 - 2 ** 52;
    } else if (magnitude < 0x47800000) {
      // The exponent's bias goes from 127 to 15; a carry out of the mantissa moves the exponent, up to infinity.
      half = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    } else if (magnitude <= 0x7f800000) {
      half = 0x7c00;
    } else {
      const payload = (magnitude >>> 13) & 0x3ff;
      half = 0x7c00 | (payload || 0x200); // a payload that vanished would read as infinity
    }
    out[i] = ((word >>> 16) & 0x8000) | half;
  }
  return out;
}

/** bfloat16 bits → float32, exact: they are the upper half of a float32. */
export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < out.length; i++) out[i] = bits[i] << 16;
  return new Float32Array(out.buffer);
}

/** float32 → bfloat16 bits, rounded to nearest, ties to even; NaN keeps its sign and upper payload. */
export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const words = wordsOf(values);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const word = words[i];
    const upper = word >>> 16;
    if ((word & 0x7fffffff) > 0x7f800000) out[i] = (upper & 0x7f) === 0 ? upper | 0x40 : upper;
    else out[i] = (word + 0x7fff + (upper & 1)) >>> 16;
  }
  return out;
}

function float32Of({ dtype, data }: NDArray): Float32Array {
  if (dtype === 'float16') return float16ToFloat32(data as Uint16Array);
  if (dtype === 'bfloat16') return bfloat16ToFloat32(data as Uint16Array);
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return int64ToFloat32(data);
  return new Float32Array(data);
}

/** Works on 32-bit halves: bigints would be slow, and `Number(x)` would round twice on the way to float32. */
function int64ToFloat32(values: BigInt64Array | BigUint64Array): Float32Array {
  const lows = new Uint32Array(values.buffer, values.byteOffset, 2 * values.length);
  const highs = values instanceof BigInt64Array ? new Int32Array(lows.buffer, lows.byteOffset, lows.length) : lows;
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) {
    let low = lows[2 * i];
    const high = highs[2 * i + 1];
    // Beyond a float64's 53 bits, the 11 lowest bits only tell whether a tie is one: fold them into the bit above.
    if ((high >= 2 ** 21 || high < -(2 ** 21)) && (low & 0x7ff) !== 0) low = ((low & ~0x7ff) | 0x800) >>> 0;
    out[i] = high * 2 ** 32 + low;
  }
  return out;
}

const wordsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** The float32 word of each float16 (256 KiB), made on first use. */
let float16Table: Uint32Array | undefined;

function makeFloat16Table(): Uint32Array {
  const table = new Uint32Array(2 ** 16);
  const value = new Float32Array(1);
  const word = new Uint32Array(value.buffer);
  for (let half = 0; half < 2 ** 15; half++) {
    const exponent = half >>> 10;
    const mantissa = half & 0x3ff;
    if (exponent === 31) word[0] = 0x7f800000 | (mantissa << 13);
    else value[0] = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
    table[half] = word[0];
    table[half | 0x8000] = word[0] | 0x80000000;
  }
  return table;
}

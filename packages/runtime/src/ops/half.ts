/** float16 and bfloat16: exact conversions, and the widening with which arithmetic on them is done. */
import { arrayOf, type DataType, type NumericArray, type Value } from '../values.ts';

const scratch = new Float64Array(1);
const words = new Uint32Array(scratch.buffer);

/** numbers → bits of a 16-bit float, rounded once to nearest, ties to even; too large is infinity, tiny is subnormal. */
const rounder =
  (mantissa: number, bias: number) =>
  (values: ArrayLike<number>): Uint16Array => {
    const infinity = (2 * bias + 1) << mantissa;
    const out = new Uint16Array(values.length);
    for (let i = 0; i < out.length; i++) {
      const x = values[i];
      scratch[0] = x;
      const sign = (words[1] >>> 16) & 0x8000;
      const exponent = Math.max(((words[1] >>> 20) & 0x7ff) - 1023, 1 - bias);
      if (exponent > bias) {
        out[i] = sign | infinity | (Number.isNaN(x) ? 1 << (mantissa - 1) : 0);
        continue;
      }
      // The magnitude as a count of the format's steps; adding and taking off 2⁵² rounds that count to an even integer.
      words[0] = 0;
      words[1] = (1023 + mantissa - exponent) << 20;
      const steps = Math.abs(x) * scratch[0] + 2 ** 52 - 2 ** 52;
      // A normal number's leading one is counted in `steps` and moves the exponent field up by one; so does a carry.
      out[i] = sign | (((exponent + bias - 1) << mantissa) + steps);
    }
    return out;
  };

export const float32ToFloat16 = rounder(10, 15);
export const float32ToBfloat16 = rounder(7, 127);

export function float16ToFloat32(bits: ArrayLike<number>): Float32Array {
  const out = new Float32Array(bits.length);
  const word = new Uint32Array(out.buffer);
  for (let i = 0; i < out.length; i++) {
    const sign = (bits[i] & 0x8000) << 16;
    const magnitude = bits[i] & 0x7fff;
    if (magnitude < 0x400) out[i] = magnitude * 2 ** -24 * (sign ? -1 : 1);
    else word[i] = sign | ((magnitude << 13) + (magnitude < 0x7c00 ? 112 << 23 : 224 << 23));
  }
  return out;
}

export function bfloat16ToFloat32(bits: ArrayLike<number>): Float32Array {
  const word = new Uint32Array(bits.length);
  for (let i = 0; i < word.length; i++) word[i] = bits[i] << 16;
  return new Float32Array(word.buffer);
}

/** The elements as arithmetic reads them: 16-bit floats as float32, everything else as it is stored. */
export function widen(value: Value): NumericArray {
  if (value.type === 'float16') return float16ToFloat32(value.data as Uint16Array);
  if (value.type === 'bfloat16') return bfloat16ToFloat32(value.data as Uint16Array);
  return value.data as NumericArray;
}

/** Zeros in which arithmetic builds a result of `type`; `narrow` makes the value of them. */
export const room = (type: Exclude<DataType, 'string'>, length: number): NumericArray =>
  type === 'float16' || type === 'bfloat16' ? new Float32Array(length) : new (arrayOf(type))(length);

/** The inverse of `widen`: rounds to 16 bits where the type asks for it. */
export function narrow(type: DataType, dims: readonly number[], data: NumericArray | readonly string[]): Value {
  if (type === 'float16') return { type, dims, data: float32ToFloat16(data as Float32Array) };
  if (type === 'bfloat16') return { type, dims, data: float32ToBfloat16(data as Float32Array) };
  return { type, dims, data };
}

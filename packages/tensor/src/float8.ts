/** The 8-bit floats of files: sign, exponent and mantissa bits, and what their largest exponent means. */
const formats = {
  /** 4 exponent bits, bias 7, no infinities; only all ones is NaN (Micikevicius et al. 2022, "FP8 formats for deep learning"). */
  F8_E4M3: {
    exponent: 4,
    bias: 7,
    signed: true,
    special: (e: number, m: number) => (e === 15 && m === 7 ? NaN : undefined),
  },
  /** 5 exponent bits, bias 15, infinities and NaN as in IEEE 754. */
  F8_E5M2: {
    exponent: 5,
    bias: 15,
    signed: true,
    special: (e: number, m: number) => (e === 31 ? (m === 0 ? Infinity : NaN) : undefined),
  },
  /** Powers of two without a sign: the scales of microscaling formats (OCP MX 1.0). */
  F8_E8M0: { exponent: 8, bias: 127, signed: false, special: (e: number) => (e === 255 ? NaN : undefined) },
} as const;

export type Float8 = keyof typeof formats;

export const float8Formats = Object.keys(formats) as Float8[];

export const isFloat8 = (code: unknown): code is Float8 => typeof code === 'string' && Object.hasOwn(formats, code);

/** The 256 values of a format. */
function valuesOf(format: Float8): Float32Array {
  const { exponent, bias, signed, special } = formats[format];
  const mantissa = 8 - exponent - (signed ? 1 : 0);
  return Float32Array.from({ length: 256 }, (_, bits) => {
    const sign = signed && bits >= 128 ? -1 : 1;
    const e = (bits >> mantissa) & (2 ** exponent - 1);
    const m = bits & (2 ** mantissa - 1);
    const fraction = m / 2 ** mantissa;
    // A format without mantissa has no subnormal numbers either.
    const size = e === 0 && mantissa > 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (e - bias);
    return sign * (special(e, m) ?? size);
  });
}

const tables = new Map<Float8, Float32Array>();

/** Exact conversion of raw 8-bit floats. */
export function float8ToFloat32(bits: Uint8Array, format: Float8): Float32Array {
  let table = tables.get(format);
  if (!table) tables.set(format, (table = valuesOf(format)));
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]];
  return out;
}

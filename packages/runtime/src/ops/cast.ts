/** Conversions between element types: casts and linear quantisation. */
import { UnsupportedError } from '../errors.ts';
import type { Node } from '../load/graph.ts';
import { dataType } from '../load/tensor.ts';
import { arrayOf, bytesOf, type DataType, type Info, type NumericArray, sizeOf, type Value } from '../values.ts';
import { isBig, isFloat } from './access.ts';
import { float32ToBfloat16, float32ToFloat16, narrow, room, widen } from './half.ts';
import { axisOf, need, roundEven } from './numeric.ts';
import { describe, fail, type Inputs, number, type Operator, type Operators } from './operator.ts';
import { toBig } from './scalar.ts';

/** Types of fewer than 8 bits are read from files as 8-bit integers, but never made. */
const NARROW: Readonly<Record<number, string>> = { 21: 'uint4', 22: 'int4', 25: 'uint2', 26: 'int2' };

/** The element type that an attribute names by number; the fallback when it is absent. */
export function typeAttribute<D extends DataType | undefined>(node: Node, name: string, fallback?: D): DataType | D {
  const code = number(node, name, 0);
  if (code === 0) return fallback as D;
  if (NARROW[code])
    throw new UnsupportedError(`${describe(node)}: cannot make ${NARROW[code]} values; use int8 or uint8`);
  return dataType(code, describe(node));
}

/** The shortest decimal that reads back as the same number of `type`. */
function decimal(x: number, type: DataType): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'NaN' : x > 0 ? 'INF' : '-INF';
  if (type === 'float64' || Number.isInteger(x)) return String(x);
  const rounded = (v: number) =>
    type === 'float32' ? Math.fround(v) : (type === 'float16' ? float32ToFloat16 : float32ToBfloat16)([v])[0];
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(x.toPrecision(digits));
    if (rounded(short) === rounded(x)) return String(short);
  }
  return String(Number(x.toPrecision(9)));
}

const SPECIAL: Readonly<Record<string, number>> = { inf: Infinity, infinity: Infinity, nan: Number.NaN };

function parse(node: Node, text: string): number {
  const [, sign, word] = /^\s*([+-]?)(.*?)\s*$/.exec(text)!;
  const magnitude = SPECIAL[word.toLowerCase()] ?? (word === '' ? Number.NaN : Number(word));
  if (Number.isNaN(magnitude) && word.toLowerCase() !== 'nan')
    fail(node, `cannot read ${JSON.stringify(text)} as a number`);
  return sign === '-' ? -magnitude : magnitude;
}

/** The elements of a value converted to another type, as Cast does. */
export function castTo(node: Node, value: Value, type: DataType): Value {
  const { dims } = value;
  if (value.type === type) return value;
  if (type === 'string') {
    const data = Array.from(widen(value) as ArrayLike<number | bigint>, x =>
      typeof x === 'bigint' ? `${x}` : decimal(x, value.type),
    );
    return { type, dims, data };
  }
  let source: ArrayLike<number> | BigInt64Array;
  if (value.type === 'string') {
    const texts = value.data as readonly string[];
    const whole = isBig(type) && texts.every(item => /^\s*[+-]?\d+\s*$/.test(item));
    source = whole ? BigInt64Array.from(texts, item => BigInt(item)) : texts.map(item => parse(node, item));
  } else source = widen(value) as Float32Array;

  const bigs = source instanceof BigInt64Array || source instanceof BigUint64Array;
  if (isBig(type)) {
    const data = new (arrayOf(type as 'int64'))(source.length) as BigInt64Array;
    if (bigs) data.set(source as BigInt64Array);
    else for (let i = 0; i < data.length; i++) data[i] = toBig((source as number[])[i]);
    return { type, dims, data };
  }
  if (bigs) {
    // Integers keep their low bits; floats round.
    const convert = isFloat(type) || type === 'bool' ? Number : (x: bigint) => Number(BigInt.asIntN(32, x));
    source = Float64Array.from(source as unknown as ArrayLike<bigint>, convert);
  }
  const numbers = source as ArrayLike<number>;
  if (type === 'float16') return { type, dims, data: float32ToFloat16(numbers) };
  if (type === 'bfloat16') return { type, dims, data: float32ToBfloat16(numbers) };
  if (type === 'bool') return { type, dims, data: Uint8Array.from(numbers, x => (x === 0 ? 0 : 1)) };
  const Kind = arrayOf(type) as unknown as new (numbers: ArrayLike<number>) => NumericArray;
  return { type, dims, data: new Kind(numbers) };
}

const cast = (typeOf: (node: Node, inputs: Inputs<Info>) => DataType, ...attributes: string[]): Operator => ({
  attributes: [...attributes, 'saturate', 'round_mode'],
  infer: (node, inputs) => [{ type: typeOf(node, inputs), dims: need(node, inputs, 0).dims }],
  run: (node, inputs) => [castTo(node, need(node, inputs, 0), typeOf(node, inputs))],
});

// ---- linear quantisation ----

const LIMITS: Partial<Record<DataType, readonly [number, number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
};

/**
 * out[i] = f(x[i], scale, zero) where scale and zero point are one number, one for each index of an axis, or one for each
 * block of `block_size` along the axis.
 */
function scaled(
  node: Node,
  inputs: Inputs,
  out: NumericArray,
  f: (x: number, scale: number, zero: number) => number,
): void {
  const [x, scale] = [need(node, inputs, 0), need(node, inputs, 1)];
  const zero = inputs[2];
  const [data, scales] = [widen(x) as Float32Array, widen(scale) as Float32Array];
  if (zero && sizeOf(zero.dims) !== scales.length) {
    fail(node, `scale has shape [${scale.dims}] and the zero point [${zero.dims}]: they must be equal`);
  }
  const zeros = zero ? (widen(zero) as Int8Array) : new Int8Array(scales.length);
  const block = number(node, 'block_size', 0);
  const whole = scales.length === 1 && !block;
  const axis = whole ? 0 : axisOf(node, number(node, 'axis', 1), x.dims.length);
  const length = whole ? 1 : x.dims[axis];
  const inner = whole ? data.length : sizeOf(x.dims.slice(axis + 1));
  const outer = whole ? 1 : sizeOf(x.dims.slice(0, axis));
  const blocks = block ? Math.ceil(length / block) : length;
  if (block ? scales.length !== outer * blocks * inner : scales.length !== length) {
    fail(node, `scale has shape [${scale.dims}], which does not fit an input of shape [${x.dims}] along axis ${axis}`);
  }
  for (let o = 0, i = 0; o < outer; o++) {
    for (let d = 0; d < length; d++) {
      let at = block ? (o * blocks + Math.floor(d / block)) * inner : d;
      const step = block ? 1 : 0;
      for (const end = i + inner; i < end; i++, at += step) out[i] = f(data[i], scales[at], zeros[at]);
    }
  }
}

const quantizedType = (node: Node, inputs: Inputs<Info>): DataType =>
  inputs[2]?.type ?? typeAttribute(node, 'output_dtype', 'uint8');

const quantize: Operator = {
  attributes: ['axis', 'block_size', 'output_dtype', 'precision', 'saturate'],
  infer: (node, inputs) => [{ type: quantizedType(node, inputs), dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const type = quantizedType(node, inputs);
    const [low, high] = LIMITS[type] ?? fail(node, `does not quantise to ${type}`);
    const data = room(type as 'int8', sizeOf(dims));
    scaled(node, inputs, data, (x, scale, zero) =>
      Math.min(high, Math.max(low, roundEven(Math.fround(x / scale)) + zero)),
    );
    return [{ type, dims, data }];
  },
};

const dequantizedType = (node: Node, inputs: Inputs<Info>): DataType =>
  typeAttribute(node, 'output_dtype') ?? need(node, inputs, 1).type;

const dequantize: Operator = {
  attributes: ['axis', 'block_size', 'output_dtype'],
  infer: (node, inputs) => [{ type: dequantizedType(node, inputs), dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const { dims } = need(node, inputs, 0);
    const type = dequantizedType(node, inputs);
    const data = room(type as 'float32', sizeOf(dims));
    scaled(node, inputs, data, (x, scale, zero) => (x - zero) * scale);
    return [narrow(type, dims, data)];
  },
};

const dynamicQuantize: Operator = {
  attributes: [],
  infer: (node, inputs) => [
    { type: 'uint8', dims: need(node, inputs, 0).dims },
    { type: 'float32', dims: [] },
    { type: 'uint8', dims: [] },
  ],
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const data = x.data as Float32Array;
    let [low, high] = [0, 0];
    for (let i = 0; i < data.length; i++) {
      low = Math.min(low, data[i]);
      high = Math.max(high, data[i]);
    }
    const scale = high > low ? Math.fround(Math.fround(high - low) / 255) : 1;
    const limit = (v: number) => Math.max(0, Math.min(255, v));
    const zero = limit(roundEven(Math.fround(-low / scale)));
    return [
      {
        type: 'uint8',
        dims: x.dims,
        data: Uint8Array.from(data, v => limit(roundEven(Math.fround(v / scale)) + zero)),
      },
      { type: 'float32', dims: [], data: Float32Array.of(scale) },
      { type: 'uint8', dims: [], data: Uint8Array.of(zero) },
    ];
  },
};

const bitCast: Operator = {
  attributes: ['to'],
  infer: (node, inputs) => [{ type: typeAttribute(node, 'to', 'string'), dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const type = typeAttribute(node, 'to', 'string');
    if (type === 'string' || x.type === 'string' || bytesOf(type) !== bytesOf(x.type)) {
      fail(node, `cannot read the bits of ${x.type} as ${type}`);
    }
    const { buffer, byteOffset } = x.data as NumericArray;
    const Kind = arrayOf(type as 'int8') as unknown as new (
      buffer: ArrayBufferLike,
      at: number,
      length: number,
    ) => NumericArray;
    return [{ type, dims: x.dims, data: new Kind(buffer, byteOffset, x.data.length) }];
  },
};

export const castOperators: Operators = {
  Cast: cast(node => typeAttribute(node, 'to') ?? fail(node, 'attribute to is missing'), 'to'),
  CastLike: cast((node, inputs) => need(node, inputs, 1).type),
  BitCast: bitCast,
  QuantizeLinear: quantize,
  DequantizeLinear: dequantize,
  DynamicQuantizeLinear: dynamicQuantize,
};

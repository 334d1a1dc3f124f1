/** Conversions between element types. */
import { UnsupportedError } from '../errors.ts';
import type { Node } from '../load/graph.ts';
import { dataType } from '../load/tensor.ts';
import { arrayOf, type DataType, type Info, type NumericArray, type Value } from '../values.ts';
import { isBig, isFloat } from './access.ts';
import { float32ToBfloat16, float32ToFloat16, widen } from './half.ts';
import { need } from './numeric.ts';
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

export const castOperators: Operators = {
  Cast: cast(node => typeAttribute(node, 'to') ?? fail(node, 'attribute to is missing'), 'to'),
  CastLike: cast((node, inputs) => need(node, inputs, 1).type),
};

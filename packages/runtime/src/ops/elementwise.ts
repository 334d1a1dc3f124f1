/** Operators that map elements to elements: arithmetic, activations, comparisons, logic. */
import { arrayOf, type Info, sizeOf, type Value } from '../values.ts';
import { isBig, isFloat, isInteger, scalarOf } from './access.ts';
import { broadcastShapes, expandedStrides, forEachRow, wordsOf } from './broadcast.ts';
import {
  activation,
  type Binary,
  type ByType,
  big,
  binary,
  floats,
  mapInto,
  numbersAndBigs,
  numeric,
  placed,
  sameTypes,
  type Unary,
  unary,
  variadic,
  withRow,
  zip,
} from './elements.ts';
import { narrow, room, widen } from './half.ts';
import { need, roundEven, sigmoid } from './numeric.ts';
import { fail, number, type Operator, type Operators, text } from './operator.ts';
import { erf, gelu, geluTanh, pick, softplus, toBig } from './scalar.ts';

const add = withRow(
  (x, y) => x + y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = a[i] + b[j];
  },
);
const sub = withRow(
  (x, y) => x - y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = a[i] - b[j];
  },
);
const mul = withRow(
  (x, y) => x * y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = a[i] * b[j];
  },
);
const div = withRow(
  (x, y) => x / y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = a[i] / b[j];
  },
);
const greater = withRow(
  (x, y) => x > y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = +(a[i] > b[j]);
  },
);
const greaterOrEqual = withRow(
  (x, y) => x >= y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = +(a[i] >= b[j]);
  },
);
const less = withRow(
  (x, y) => x < y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = +(a[i] < b[j]);
  },
);
const lessOrEqual = withRow(
  (x, y) => x <= y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = +(a[i] <= b[j]);
  },
);
export const and = withRow(
  (x, y) => x & y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = a[i] & b[j];
  },
);
export const or = withRow(
  (x, y) => x | y,
  (a, b, z, k, [i, j, p, q, n]) => {
    for (const end = k + n; k < end; k++, i += p, j += q) z[k] = a[i] | b[j];
  },
);

const arithmetic = (f: Binary, bigs: Binary = f, int32: Binary = f): Operator =>
  binary(type =>
    type === 'bool' || type === 'string' ? undefined : isBig(type) ? bigs : type.endsWith('int32') ? int32 : f,
  );

const comparison = (f: Binary, any = false): Operator =>
  binary(type => (any || (type !== 'string' && type !== 'bool') ? f : undefined), [], 'bool');

const logic = (f: Binary): Operator => binary(type => (type === 'bool' ? f : undefined));

const nonBool: (f: Binary, bigs?: Binary) => ByType<Binary> =
  (f, bigs = f) =>
  type =>
    type === 'bool' || type === 'string' ? undefined : isBig(type) ? bigs : f;

// ---- integer arithmetic ----

/** Remainder with the divisor's sign, as Python's. Also of BigInts. */
const floorMod: Binary = (x, y) => {
  const r = x % y;
  return r && r < 0 !== y < 0 ? r + y : r;
};
/** BigInts throw on division by zero where typed arrays store 0. */
const guarded = (f: Binary): Binary =>
  big((x, y) => (y ? (f as unknown as (a: bigint, b: bigint) => bigint)(x, y) : 0n));

/** Integer power that wraps in 32 bits; a negative exponent truncates 1/xⁿ. */
function power32(x: number, y: number): number {
  if (y < 0) return Math.trunc(x ** y);
  let out = 1;
  for (; y > 0; y = Math.floor(y / 2), x = Math.imul(x, x)) if (y % 2) out = Math.imul(out, x);
  return out;
}

function power64(x: bigint, y: bigint): bigint {
  if (y < 0n) return x === 1n ? 1n : x === -1n ? (y % 2n ? -1n : 1n) : 0n;
  let out = 1n;
  for (; y > 0n; y >>= 1n, x = BigInt.asIntN(64, x * x)) if (y & 1n) out = BigInt.asIntN(64, out * x);
  return out;
}

const pow: Operator = {
  attributes: ['axis', 'broadcast'],
  infer(node, inputs) {
    const [x, y] = placed(node, [need(node, inputs, 0), need(node, inputs, 1)]) as [Info, Info];
    return [{ type: x.type, dims: broadcastShapes(node, [x.dims, y.dims]) }];
  },
  run(node, inputs) {
    const [{ dims }] = pow.infer!(node, inputs);
    const [x, y] = placed(node, inputs) as [Value, Value];
    const type = numeric(node, x);
    const whole = isInteger(x.type) && isInteger(y.type);
    const [base, exponent] = [widen(x), widen(y)];
    const result = room(type, sizeOf(dims));
    let f: Binary = (a, b) => (Math.abs(a) === 1 && !Number.isFinite(b) && !Number.isNaN(b) ? 1 : a ** b);
    if (isBig(x.type)) {
      f = whole ? big((a, b) => power64(a, BigInt(b))) : big((a, b) => toBig(Number(a) ** Number(b)));
    } else if (isBig(y.type)) {
      const g = whole ? power32 : f;
      f = (a, b) => g(a, Number(b));
    } else if (whole) f = power32;
    zip(f, base, x.dims, exponent, y.dims, result, dims);
    return [narrow(type, dims, result)];
  },
};

// ---- operators with a form of their own ----

const clip: Operator = {
  attributes: ['min', 'max'],
  infer: (node, inputs) => [{ type: need(node, inputs, 0).type, dims: need(node, inputs, 0).dims }],
  run(node, inputs) {
    const x = need(node, inputs, 0);
    const type = numeric(node, x);
    const bound = (name: string, i: number): number | undefined => {
      if (node.version < 11) return number(node, name);
      const value = inputs[i];
      if (value && sizeOf(value.dims) !== 1) fail(node, `${name} has shape [${value.dims}], expected a scalar`);
      return scalarOf(value && { ...value, data: widen(value) }) as number | undefined;
    };
    const [low, high] = [bound('min', 1), bound('max', 2)];
    // NaN stays NaN, and `high` wins when the bounds cross.
    const f: Unary = v => {
      const raised = low !== undefined && v < low ? low : v;
      return high !== undefined && raised > high ? high : raised;
    };
    const result = room(type, sizeOf(x.dims));
    mapInto(f, widen(x), result);
    return [narrow(type, x.dims, result)];
  },
};

const where: Operator = {
  attributes: [],
  infer(node, inputs) {
    const all = [0, 1, 2].map(i => need(node, inputs, i));
    if (all[0].type !== 'bool') fail(node, `the condition is ${all[0].type}, expected bool`);
    sameTypes(node, all.slice(1));
    return [
      {
        type: all[1].type,
        dims: broadcastShapes(
          node,
          all.map(info => info.dims),
        ),
      },
    ];
  },
  run(node, inputs) {
    const [{ type, dims }] = where.infer!(node, inputs);
    const [condition, x, y] = inputs as [Value, Value, Value];
    const size = sizeOf(dims);
    const data = type === 'string' ? new Array<string>(size) : new (arrayOf(type))(size);
    const [to, from, other] = [data, x.data, y.data].map(each => wordsOf(type, each));
    const { unit } = to;
    const spread = (strides: number[], last: number) => [...strides.map(stride => stride * unit), last];
    const chosen = condition.data as Uint8Array;
    const strides = [
      [...expandedStrides(condition.dims, dims), 0],
      spread(expandedStrides(x.dims, dims), 1),
      spread(expandedStrides(y.dims, dims), 1),
    ];
    const [xs, ys, out] = [from.words, other.words, to.words] as [Int32Array, Int32Array, Int32Array];
    let at = 0;
    forEachRow([...dims, unit], strides, ([c, i, j], [o, p, q], n) => {
      for (const end = at + n; at < end; at++, c += o, i += p, j += q) out[at] = chosen[c] ? xs[i] : ys[j];
    });
    return [{ type, dims, data }];
  },
};

const isInf = unary(
  (type, node) => {
    const low = number(node, 'detect_negative', 1) ? -Infinity : Infinity;
    const high = number(node, 'detect_positive', 1) ? Infinity : -Infinity;
    if (!isFloat(type)) return undefined;
    if (low > high) return () => false;
    return x => x === low || x === high;
  },
  ['detect_negative', 'detect_positive'],
  'bool',
);

const hard = (alpha: number, beta: number) => (x: number) => Math.max(0, Math.min(1, alpha * x + beta));

export const elementwiseOperators: Operators = {
  // arithmetic
  Add: arithmetic(add),
  Sub: arithmetic(sub),
  Mul: arithmetic(mul, mul, Math.imul),
  Div: arithmetic(div, guarded(div)),
  Mod: binary(
    (type, node) => {
      const f: Binary = number(node, 'fmod', 0) ? (x, y) => x % y : floorMod;
      return nonBool(f, guarded(f))(type, node);
    },
    ['fmod'],
  ),
  Pow: pow,
  PRelu: binary(type => (type === 'bool' || type === 'string' ? undefined : (x, y) => (x < 0 ? x * y : x))),
  Sum: variadic(nonBool(add)),
  Mean: variadic(type => (isFloat(type) ? add : undefined), true),
  Max: variadic(
    nonBool(
      Math.max,
      pick((x, y) => x > y),
    ),
  ),
  Min: variadic(
    nonBool(
      Math.min,
      pick((x, y) => x < y),
    ),
  ),
  Abs: numbersAndBigs(Math.abs, x => (x < 0 ? -x : x)),
  Neg: numbersAndBigs(x => -x),
  Sign: numbersAndBigs(
    Math.sign,
    big(x => (x > 0n ? 1n : x < 0n ? -1n : 0n)),
  ),
  Relu: numbersAndBigs(
    x => Math.max(x, 0),
    big(x => (x < 0n ? 0n : x)),
  ),
  Clip: clip,
  Where: where,
  // comparisons, logic, bits
  Equal: comparison((x, y) => x === y, true),
  Greater: comparison(greater),
  GreaterOrEqual: comparison(greaterOrEqual),
  Less: comparison(less),
  LessOrEqual: comparison(lessOrEqual),
  And: logic(and),
  Or: logic(or),
  Xor: logic((x, y) => x ^ y),
  Not: unary(type => (type === 'bool' ? x => !x : undefined)),
  IsNaN: unary(type => (isFloat(type) ? Number.isNaN : undefined), [], 'bool'),
  IsInf: isInf,
  // functions
  ...Object.fromEntries(
    (
      'Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan Tanh Ceil Floor Exp Log Sqrt'.split(' ') as Capitalize<
        'acos' | 'exp'
      >[]
    ).map(name => [name, floats(Math[name.toLowerCase() as 'acos' | 'exp'])]),
  ),
  Round: floats(roundEven),
  Reciprocal: floats(x => 1 / x),
  Erf: floats(erf),
  Sigmoid: floats(sigmoid),
  Softplus: floats(softplus),
  HardSwish: floats(x => x * hard(1 / 6, 0.5)(x)),
  HardSigmoid: activation(node => hard(number(node, 'alpha', 0.2), number(node, 'beta', 0.5)), 'alpha', 'beta'),
  LeakyRelu: activation(node => {
    const alpha = number(node, 'alpha', 0.01);
    return x => (x < 0 ? alpha * x : x);
  }, 'alpha'),
  Elu: activation(node => {
    const alpha = number(node, 'alpha', 1);
    return x => (x < 0 ? alpha * Math.expm1(x) : x);
  }, 'alpha'),
  Gelu: activation(node => (text(node, 'approximate', 'none') === 'tanh' ? geluTanh : gelu), 'approximate'),
};

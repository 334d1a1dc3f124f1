/** Arithmetic, comparison and logic: ONNX operators that broadcast, computed on the host where all inputs are known. */
import { type DType, isFloat } from '../../dtype.ts';
import { full } from '../../ops/constant.ts';
import * as ops from '../../ops/elementwise.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import, Value } from './call.ts';
import { computeDtype, HostConstant, zipConstants } from './host-constant.ts';

type Numbers = (a: number, b: number) => number;
type Tensors = (a: Tensor, b: Tensor) => Tensor;

/** The runtime has few kernels for 8-bit integers; arithmetic on them goes through int32 and wraps around on the way back. */
const widened =
  (fn: Tensors): Tensors =>
  (a, b) => {
    if (a.dtype !== b.dtype || (a.dtype !== 'uint8' && a.dtype !== 'int8')) return fn(a, b);
    const y = fn(a.cast('int32'), b.cast('int32'));
    return y.dtype === 'int32' ? y.cast(a.dtype) : y;
  };

const binary =
  (host: Numbers, device: Tensors, result?: DType): Import =>
  call =>
    call.folds && call.constants().length === 2
      ? zipConstants(call.constants(), host, result)
      : widened(device)(call.tensor(0), call.tensor(1));

const variadic =
  (host: Numbers, device: Tensors): Import =>
  call => {
    if (call.folds) return call.constants().reduce((a, b) => zipConstants([a, b], host));
    if (call.inputs.length === 0) call.fail('it has no inputs');
    return call.tensors().reduce(widened(device));
  };

const dtypeOfInputs = (call: Call): DType => call.value(0).dtype;

export const Add = binary((a, b) => a + b, ops.add);
export const Sub = binary((a, b) => a - b, ops.sub);
export const Mul = binary((a, b) => a * b, ops.mul);
/** Integers are divided towards zero, by ONNX Runtime and by the conversion of folded numbers alike. */
export const Div: Import = call => {
  const divisor = call.known(1);
  if (!isFloat(dtypeOfInputs(call)) && divisor?.values.includes(0)) call.fail('division of integers by zero');
  return binary((a, b) => a / b, ops.div)(call);
};

/** `fmod` 0: the sign of the divisor, integers only; 1: the sign of the dividend, as in C. */
export const Mod: Import = call => {
  const fmod = call.flag('fmod');
  if (!isFloat(dtypeOfInputs(call)) && call.known(1)?.values.includes(0)) call.fail('remainder of integers by zero');
  if (!fmod) return binary((a, b) => a - Math.floor(a / b) * b, ops.mod)(call);
  return binary(
    (a, b) => a % b,
    (a, b) => {
      if (!isFloat(a.dtype)) return a.sub(a.div(b).mul(b));
      const [p, q] = [a.abs(), b.abs()];
      return ops.where(a.lt(0), ops.mod(p, q).neg(), ops.mod(p, q));
    },
  )(call);
};

/** The result has the type of the base. Small constant exponents become products, whose gradients are cheap. */
export const Pow: Import = call => {
  if (call.folds) return zipConstants(call.constants(), (a, b) => a ** b);
  const base = call.tensor(0);
  const exponent = call.known(1);
  const x = base.cast('float32');
  const n = exponent?.size === 1 && exponent.rank <= base.rank ? exponent.values[0] : undefined;
  const y =
    n === 2
      ? x.mul(x)
      : n === 3
        ? x.mul(x).mul(x)
        : n === 1
          ? x
          : n === 0.5
            ? x.sqrt()
            : n === -1
              ? x.reciprocal()
              : x.pow(call.tensor(1).cast('float32'));
  return y.cast(base.dtype);
};

export const Min = variadic(Math.min, ops.minimum);
export const Max = variadic(Math.max, ops.maximum);
export const Sum = variadic((a, b) => a + b, ops.add);
export const Mean: Import = call => {
  const n = call.inputs.length;
  const total = Sum(call);
  return total instanceof HostConstant ? total.map(v => v / n) : (total as Tensor).div(n);
};

/** Comparisons of bool go through int32, for which the runtime has kernels. */
const comparison = (host: (a: number, b: number) => boolean, device: Tensors): Import =>
  binary(
    (a, b) => Number(host(a, b)),
    (a, b) => (a.dtype === 'bool' ? device(a.cast('int32'), b.cast('int32')) : device(a, b)),
    'bool',
  );
export const Equal = comparison((a, b) => a === b, ops.eq);
export const Less = comparison((a, b) => a < b, ops.lt);
export const LessOrEqual = comparison((a, b) => a <= b, ops.le);
export const Greater = comparison((a, b) => a > b, ops.gt);
export const GreaterOrEqual = comparison((a, b) => a >= b, ops.ge);

export const And = binary((a, b) => a & b, ops.logicalAnd, 'bool');
export const Or = binary((a, b) => a | b, ops.logicalOr, 'bool');
export const Xor = binary((a, b) => a ^ b, ops.logicalXor, 'bool');
export const Not: Import = call => (call.folds ? call.constants()[0].map(v => 1 - v, 'bool') : call.tensor(0).not());

export const Where: Import = call => {
  if (call.folds && call.constants().length === 3) {
    return zipConstants(call.constants(), (c, a, b) => (c ? a : b), call.value(1).dtype);
  }
  const [c, a, b] = [call.tensor(0), call.tensor(1), call.tensor(2)];
  if (a.dtype === 'bool') return c.and(a).or(c.not().and(b));
  if (a.dtype === 'int8') return c.where(a.cast('int32'), b.cast('int32')).cast('int8');
  return c.where(a, b);
};

const unary =
  (host: ((v: number) => number) | undefined, device: (x: Tensor) => Tensor): Import =>
  call =>
    call.folds && host ? call.constants()[0].map(host) : device(call.tensor(0));

export const Neg = unary(v => -v, ops.neg);
export const Abs = unary(Math.abs, ops.abs);
export const Sign = unary(Math.sign, ops.sign);
export const Floor = unary(Math.floor, ops.floor);
export const Ceil = unary(Math.ceil, ops.ceil);
/** Half to even. */
export const Round = unary(v => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v)), ops.round);
export const Sqrt = unary(Math.sqrt, ops.sqrt);
export const Reciprocal = unary(v => 1 / v, ops.reciprocal);
export const Exp = unary(Math.exp, ops.exp);
export const Log = unary(Math.log, ops.log);
export const Sin = unary(undefined, ops.sin);
export const Cos = unary(undefined, ops.cos);
export const Tan = unary(undefined, ops.tan);
export const Asin = unary(undefined, ops.asin);
export const Acos = unary(undefined, ops.acos);
export const Atan = unary(undefined, ops.atan);
export const Erf = unary(undefined, ops.erf);
export const Sinh = unary(undefined, x => x.exp().sub(x.neg().exp()).mul(0.5));
export const Cosh = unary(undefined, x => x.exp().add(x.neg().exp()).mul(0.5));
/** By symmetry, since x + √(x² + 1) cancels for large negative x. */
export const Asinh = unary(undefined, x => {
  const positive = x.abs().add(x.mul(x).add(1).sqrt()).log();
  return ops.where(x.lt(0), positive.neg(), positive);
});
export const Acosh = unary(undefined, x => x.add(x.mul(x).sub(1).sqrt()).log());
export const Atanh = unary(undefined, x => x.add(1).div(x.neg().add(1)).log().mul(0.5));
export const IsNaN = unary(undefined, x => x.ne(x));
export const IsInf: Import = call => {
  const x = call.tensor(0);
  const [positive, negative] = [call.flag('detect_positive', true), call.flag('detect_negative', true)];
  if (positive && negative) return x.abs().eq(Infinity);
  if (positive) return x.eq(Infinity);
  return negative ? x.eq(-Infinity) : full(x.shape, 0, 'bool');
};

const castTo = (call: Call, to: DType): Value => {
  call.ignore('saturate', 'round_mode'); // about float8 only
  const x = call.value(0);
  return x instanceof HostConstant ? x.cast(to) : x.cast(computeDtype(to));
};
export const Cast: Import = call => castTo(call, call.dtype('to') ?? call.fail('attribute to is missing'));
export const CastLike: Import = call => castTo(call, call.value(1).dtype);

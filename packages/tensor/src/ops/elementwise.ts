import type { DType } from '../dtype.ts';
import { isFloat } from '../dtype.ts';
import { check } from '../errors.ts';
import type { Spec } from '../graph.ts';
import type { GradientCall } from '../operator.ts';
import { broadcastShapes, formatShape, operator, sameDtype } from '../operator.ts';
import { Tensor } from '../tensor.ts';
import { constant, full } from './constant.ts';

export type Operand = Tensor | number;

/** Numbers become constants of the other operand's dtype. */
function operands(a: Operand, b: Operand): [Tensor, Tensor] {
  const dtype = a instanceof Tensor ? a.dtype : b instanceof Tensor ? b.dtype : 'float32';
  return [a instanceof Tensor ? a : constant(a, dtype), b instanceof Tensor ? b : constant(b, dtype)];
}

/** Sums a gradient over the axes along which an operand of `shape` was broadcast. */
export function unbroadcast(grad: Tensor, shape: readonly number[]): Tensor {
  const lead = grad.rank - shape.length;
  const axes: number[] = [];
  for (let i = 0; i < grad.rank; i++) {
    if (i < lead || (shape[i - lead] === 1 && grad.shape[i] !== 1)) axes.push(i);
  }
  return (axes.length > 0 ? grad.sum(axes, true) : grad).reshape(shape);
}

// ---- one operand

type UnaryGradient = (x: Tensor, y: Tensor, grad: Tensor) => Tensor;

/** Which elements an operator takes, and how to call them in an error. */
interface Accepts {
  readonly what: string;
  readonly test: (dtype: DType) => boolean;
}
const FLOATS: Accepts = { what: 'a float dtype', test: isFloat };
const NUMBERS: Accepts = { what: 'a numeric dtype', test: dtype => dtype !== 'bool' };
const TRUTHS: Accepts = { what: 'bool', test: dtype => dtype === 'bool' };

/** An elementwise function that is one ONNX operator. `gradient` absent: the derivative is zero almost everywhere. */
function unary(
  name: string,
  onnx: string,
  gradient?: UnaryGradient,
  { accepts = FLOATS, attributes = {} }: { accepts?: Accepts; attributes?: Record<string, number | string> } = {},
) {
  const op = operator<object>({
    name,
    infer: ([x]) => {
      check(accepts.test(x.dtype), () => `${name}: the tensor is ${x.dtype}, expected ${accepts.what}; cast it first`);
      return x;
    },
    gradient: ({ inputs: [x], outputs: [y], grads: [g] }) => [gradient?.(x, y, g)],
    emit: (b, [x]) => b.node(onnx, [x], attributes),
  });
  return (x: Tensor): Tensor => op([x], {});
}

export const neg = unary('neg', 'Neg', (_x, _y, g) => g.neg(), { accepts: NUMBERS });
export const abs = unary('abs', 'Abs', (x, _y, g) => g.mul(x.sign()), { accepts: NUMBERS });
export const sign = unary('sign', 'Sign', undefined, { accepts: NUMBERS });
export const floor = unary('floor', 'Floor');
export const ceil = unary('ceil', 'Ceil');
/** Rounds half to even. */
export const round = unary('round', 'Round');
export const exp = unary('exp', 'Exp', (_x, y, g) => g.mul(y));
export const log = unary('log', 'Log', (x, _y, g) => g.div(x));
export const sqrt = unary('sqrt', 'Sqrt', (_x, y, g) => g.mul(0.5).div(y));
export const reciprocal = unary('reciprocal', 'Reciprocal', (_x, y, g) => g.mul(y).mul(y).neg());
export const sin = unary('sin', 'Sin', (x, _y, g) => g.mul(x.cos()));
export const cos = unary('cos', 'Cos', (x, _y, g) => g.mul(x.sin()).neg());
export const tan = unary('tan', 'Tan', (_x, y, g) => g.mul(y.mul(y).add(1)));
export const asin = unary('asin', 'Asin', (x, _y, g) => g.div(constant(1, x.dtype).sub(x.mul(x)).sqrt()));
export const acos = unary('acos', 'Acos', (x, _y, g) => g.div(constant(1, x.dtype).sub(x.mul(x)).sqrt()).neg());
export const atan = unary('atan', 'Atan', (x, _y, g) => g.div(x.mul(x).add(1)));
export const tanh = unary('tanh', 'Tanh', (_x, y, g) => g.mul(constant(1, y.dtype).sub(y.mul(y))));
export const sigmoid = unary('sigmoid', 'Sigmoid', (_x, y, g) => g.mul(y).mul(constant(1, y.dtype).sub(y)));
export const erf = unary('erf', 'Erf', (x, _y, g) =>
  g.mul(
    x
      .mul(x)
      .neg()
      .exp()
      .mul(2 / Math.sqrt(Math.PI)),
  ),
);
export const softplus = unary('softplus', 'Softplus', (x, _y, g) => g.mul(x.sigmoid()));
// Two casts and a product take half the time of Greater and Where.
export const relu = unary('relu', 'Relu', (_x, y, g) => g.mul(y.cast('bool').cast(y.dtype)), { accepts: NUMBERS });

const NORMAL = 1 / Math.sqrt(2 * Math.PI);
/** x·Φ(x), the exact form with erf (Hendrycks & Gimpel 2016). */
export const gelu = unary('gelu', 'Gelu', (x, _y, g) => {
  const cdf = x.mul(Math.SQRT1_2).erf().add(1).mul(0.5);
  return g.mul(cdf.add(x.mul(x.mul(x).mul(-0.5).exp()).mul(NORMAL)));
});

const C = Math.sqrt(2 / Math.PI);
/** GELU by the tanh approximation, as GPT-2 uses it. */
export const geluTanh = unary(
  'geluTanh',
  'Gelu',
  (x, _y, g) => {
    const t = x.add(x.mul(x).mul(x).mul(0.044715)).mul(C).tanh();
    const slope = x
      .mul(x)
      .mul(3 * 0.044715)
      .add(1)
      .mul(C);
    return g.mul(
      t
        .add(1)
        .mul(0.5)
        .add(
          x
            .mul(0.5)
            .mul(constant(1, x.dtype).sub(t.mul(t)))
            .mul(slope),
        ),
    );
  },
  { attributes: { approximate: 'tanh' } },
);

/** x·σ(x), also called swish. */
export const silu = (x: Tensor): Tensor => x.mul(x.sigmoid());
export const square = (x: Tensor): Tensor => x.mul(x);
export const rsqrt = (x: Tensor): Tensor => x.sqrt().reciprocal();

const log1pOp = operator<object>({
  name: 'log1p',
  infer: ([x]) => x,
  gradient: ({ inputs: [x], grads: [g] }) => [g.div(x.add(1))],
  emit: (b, [x], { inputs: [{ dtype }] }) => {
    const number = (value: number) => b.scalar(value, dtype);
    // Near 0, 1 + x would drop the digits of x: 2·artanh(x / (2 + x)) keeps them.
    const ratio = b.node('Div', [x, b.node('Add', [x, number(2)])]);
    const small = b.node('Less', [b.node('Abs', [x]), number(0.5)]);
    const near = b.node('Mul', [b.node('Atanh', [ratio]), number(2)]);
    return b.node('Where', [small, near, b.node('Log', [b.node('Add', [x, number(1)])])]);
  },
});
/** log(1 + x), accurate near 0. */
export const log1p = (x: Tensor): Tensor => log1pOp([x], {});

const expm1Op = operator<object>({
  name: 'expm1',
  infer: ([x]) => x,
  gradient: ({ inputs: [x], grads: [g] }) => [g.mul(x.exp())],
  // tanh(x/2)·(eˣ + 1), which does not subtract two numbers near 1.
  emit: (b, [x], { inputs: [{ dtype }] }) =>
    b.node('Mul', [
      b.node('Tanh', [b.node('Mul', [x, b.scalar(0.5, dtype)])]),
      b.node('Add', [b.node('Exp', [x]), b.scalar(1, dtype)]),
    ]),
});
/** eˣ − 1, accurate near 0. */
export const expm1 = (x: Tensor): Tensor => expm1Op([x], {});
export const mish = (x: Tensor): Tensor => x.mul(x.softplus().tanh());
/** log σ(x), stable for large |x|. */
export const logSigmoid = (x: Tensor): Tensor => x.neg().softplus().neg();
export const hardSigmoid = (x: Tensor): Tensor => x.div(6).add(0.5).clamp(0, 1);
export const hardSwish = (x: Tensor): Tensor => x.mul(hardSigmoid(x));

const leakyReluOp = operator<{ alpha: number }>({
  name: 'leakyRelu',
  infer: ([x]) => x,
  gradient: ({ inputs: [x], grads: [g], attributes: { alpha } }) => [where(x.gt(0), g, g.mul(alpha))],
  emit: (b, [x], { attributes: { alpha } }) => b.node('LeakyRelu', [x], { alpha: b.float(alpha) }),
});
export const leakyRelu = (x: Tensor, alpha = 0.01): Tensor => leakyReluOp([x], { alpha });

const eluOp = operator<{ alpha: number }>({
  name: 'elu',
  infer: ([x]) => x,
  gradient: ({ inputs: [x], outputs: [y], grads: [g], attributes: { alpha } }) => [
    where(x.gt(0), g, g.mul(y.add(alpha))),
  ],
  emit: (b, [x], { attributes: { alpha } }) => b.node('Elu', [x], { alpha: b.float(alpha) }),
});
export const elu = (x: Tensor, alpha = 1): Tensor => eluOp([x], { alpha });

const clampOp = operator<{ low: number; high: number }>({
  name: 'clamp',
  infer: ([x]) => x,
  // Inside, borders included, the result is the input.
  gradient: ({ inputs: [x], outputs: [y], grads: [g] }) => [g.mul(x.eq(y).cast(g.dtype))],
  emit: (b, [x], { attributes: { low, high }, inputs: [{ dtype }] }) =>
    b.node('Clip', [
      x,
      Number.isFinite(low) ? b.scalar(low, dtype) : '',
      Number.isFinite(high) ? b.scalar(high, dtype) : '',
    ]),
});
/** Limits values to [low, high]; either may be infinite. The gradient is 1 inside, borders included, and 0 outside. */
export const clamp = (x: Tensor, low = -Infinity, high = Infinity): Tensor => {
  check(low <= high, () => `clamp: low ${low} is above high ${high}`);
  return Number.isFinite(low) || Number.isFinite(high) ? clampOp([x], { low, high }) : x;
};
export const relu6 = (x: Tensor): Tensor => x.clamp(0, 6);

/** Rounds down in the forward pass; the gradient passes straight through. */
export const floorSTE = (x: Tensor): Tensor => straightThrough(x, x.floor());
/** Rounds in the forward pass; the gradient passes straight through (Bengio et al. 2013). */
export const roundSTE = (x: Tensor): Tensor => straightThrough(x, x.round());
/** Sign in the forward pass; the gradient passes straight through. */
export const signSTE = (x: Tensor): Tensor => straightThrough(x, x.sign());
/** The value of `forward`, the gradient of `x`: the straight-through estimator for any replacement of x. */
export const straightThrough = (x: Tensor, forward: Tensor): Tensor => straightThroughOp([x, forward], {});
const straightThroughOp = operator<object>({
  name: 'straightThrough',
  infer: ([x, f]) => {
    check(
      formatShape(x.shape) === formatShape(f.shape) && x.dtype === f.dtype,
      () => `straightThrough: ${x.dtype}${formatShape(x.shape)} and ${f.dtype}${formatShape(f.shape)} differ`,
    );
    return f;
  },
  gradient: ({ grads: [g] }) => [g, undefined],
  emit: (b, [_, f]) => b.node('Identity', [f]),
});

const stopGradientOp = operator<object>({
  name: 'stopGradient',
  infer: ([x]) => x,
  gradient: () => [undefined],
  emit: (b, [x]) => b.node('Identity', [x]),
});
/** The same values; gradients do not pass. */
export const stopGradient = (x: Tensor): Tensor => stopGradientOp([x], {});

const castOp = operator<{ to: DType }>({
  name: 'cast',
  infer: ([x], { to }) => ({ shape: x.shape, dtype: to }),
  gradient: ({ inputs: [x], grads: [g], attributes: { to } }) => [
    isFloat(x.dtype) && isFloat(to) ? g.cast(x.dtype) : undefined,
  ],
  emit: (b, [x], { attributes: { to } }) => b.cast(x, to),
});
export const cast = (x: Tensor, to: DType): Tensor => (x.dtype === to ? x : castOp([x], { to }));

// ---- two operands

type BinaryGradient = (call: { a: Tensor; b: Tensor; y: Tensor; g: Tensor }) => [() => Tensor, () => Tensor];

function binary(name: string, onnx: string, gradient?: BinaryGradient, result?: DType, accepts?: Accepts) {
  const op = operator<object>({
    name,
    infer: inputs => {
      const dtype = sameDtype(name, inputs);
      check(!accepts || accepts.test(dtype), () => `${name}: the operands are ${dtype}, expected ${accepts!.what}`);
      return { shape: broadcastShapes(name, inputs[0].shape, inputs[1].shape), dtype: result ?? dtype };
    },
    gradient: gradient && (call => broadcastGradient(call, gradient)),
    emit: (b, inputs) => b.node(onnx, inputs),
  });
  return (a: Operand, b: Operand): Tensor => op(operands(a, b), {});
}

function broadcastGradient(call: GradientCall<object>, gradient: BinaryGradient) {
  const [a, b] = call.inputs;
  return gradient({ a, b, y: call.outputs[0], g: call.grads[0] }).map((make, i) =>
    call.needs(i) ? unbroadcast(make(), call.inputs[i].shape) : undefined,
  );
}

export const add = binary('add', 'Add', ({ g }) => [() => g, () => g]);
export const sub = binary('sub', 'Sub', ({ g }) => [() => g, () => g.neg()]);
export const mul = binary('mul', 'Mul', ({ a, b, g }) => [() => g.mul(b), () => g.mul(a)]);
export const div = binary('div', 'Div', ({ b, y, g }) => [() => g.div(b), () => g.mul(y).div(b).neg()]);
const power = binary('pow', 'Pow', ({ a, b, y, g }) => [
  () => g.mul(b).mul(pow(a, oneLess(b))),
  // 0^b has derivative 0 with respect to b; log(0) would give NaN.
  () => g.mul(y).mul(where(a.gt(0), a, 1).log()),
]);
/** b − 1, as a number where b is one. Where b is 0, any exponent does: the derivative 0·aᵇ⁻¹ is 0, at a = 0 too. */
function oneLess(b: Tensor): Operand {
  if (b.node.op.name !== 'constant') return where(b.eq(0), 0, b.sub(1));
  const { value } = b.node.attributes as { value: number };
  return value === 0 ? 0 : value - 1;
}
/** aᵇ. Small whole exponents and ½ become products and roots, which are much faster. */
export const pow = (a: Operand, b: Operand): Tensor => {
  if (!(a instanceof Tensor) || b instanceof Tensor) return power(a, b);
  if (b === 0) return full(a.shape, 1, a.dtype);
  if (b === 1) return a;
  if (b === 2) return a.mul(a);
  if (b === 3) return a.mul(a).mul(a);
  if (b === 0.5 && isFloat(a.dtype)) return a.sqrt();
  if (b === -1 && isFloat(a.dtype)) return a.reciprocal();
  return power(a, b);
};
/** Ties send half of the gradient to each side. */
export const minimum = binary('minimum', 'Min', ({ a, b, g }) => extremum(a.lt(b), a.eq(b), g));
export const maximum = binary('maximum', 'Max', ({ a, b, g }) => extremum(a.gt(b), a.eq(b), g));
function extremum(first: Tensor, tie: Tensor, g: Tensor): [() => Tensor, () => Tensor] {
  const share = where(tie, 0.5, first.cast(g.dtype));
  return [() => g.mul(share), () => g.mul(constant(1, g.dtype).sub(share))];
}
/** Remainder with the sign of the divisor, as in Python; the gradient passes to the dividend. */
export const mod = (a: Operand, b: Operand): Tensor => {
  const [x, y] = operands(a, b);
  return isFloat(x.dtype) ? x.sub(x.div(y).floor().mul(y)) : integerMod(x, y);
};
const integerMod = binary('mod', 'Mod');

export const eq = binary('eq', 'Equal', undefined, 'bool');
export const lt = binary('lt', 'Less', undefined, 'bool');
export const le = binary('le', 'LessOrEqual', undefined, 'bool');
export const gt = binary('gt', 'Greater', undefined, 'bool');
export const ge = binary('ge', 'GreaterOrEqual', undefined, 'bool');
export const logicalAnd = binary('and', 'And', undefined, 'bool', TRUTHS);
export const logicalOr = binary('or', 'Or', undefined, 'bool', TRUTHS);
export const logicalXor = binary('xor', 'Xor', undefined, 'bool', TRUTHS);
export const logicalNot = unary('not', 'Not', undefined, { accepts: TRUTHS });
export const ne = (a: Operand, b: Operand): Tensor => logicalNot(eq(a, b));

const whereOp = operator<object>({
  name: 'where',
  infer: ([c, a, b]) => {
    check(c.dtype === 'bool', () => `where: the condition is ${c.dtype}, expected bool`);
    return {
      shape: broadcastShapes('where', c.shape, a.shape, b.shape),
      dtype: sameDtype('where', [a, b] as Spec[]),
    };
  },
  gradient: ({ inputs: [c, a, b], grads: [g], needs }) => [
    undefined,
    needs(1) ? unbroadcast(where(c, g, constant(0, g.dtype)), a.shape) : undefined,
    needs(2) ? unbroadcast(where(c, constant(0, g.dtype), g), b.shape) : undefined,
  ],
  emit: (b, [c, x, y], { outputs: [{ dtype }] }) => {
    if (dtype !== 'bool') return b.node('Where', [c, x, y]);
    // For which the runtime has no kernel.
    return b.cast(b.node('Where', [c, b.cast(x, 'uint8'), b.cast(y, 'uint8')]), 'bool');
  },
});
/** `a` where `condition` holds, else `b`; all three broadcast. */
export const where = (condition: Tensor, a: Operand, b: Operand): Tensor => whereOp([condition, ...operands(a, b)], {});

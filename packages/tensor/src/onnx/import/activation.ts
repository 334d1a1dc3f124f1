/** Activation functions and what else maps elements with constants of its own. */
import { sizeOf } from '../../dtype.ts';
import { full } from '../../ops/constant.ts';
import * as ops from '../../ops/elementwise.ts';
import { maximum, minimum, where } from '../../ops/elementwise.ts';
import { bernoulli } from '../../ops/random.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';

const unary =
  (fn: (x: Tensor, call: Call) => Tensor): Import =>
  call =>
    fn(call.tensor(0), call);

export const Relu = unary(ops.relu);
export const Sigmoid = unary(ops.sigmoid);
export const Tanh = unary(ops.tanh);
export const Softplus = unary(ops.softplus);
export const Softsign = unary(x => x.div(x.abs().add(1)));
export const HardSwish = unary(ops.hardSwish);
export const Mish = unary(ops.mish);
export const Gelu = unary((x, call) =>
  call.choice('approximate', 'none', 'tanh') === 'tanh' ? ops.geluTanh(x) : ops.gelu(x),
);
export const Swish = unary((x, call) => x.mul(x.mul(call.float('alpha', 1)).sigmoid()));
export const LeakyRelu = unary((x, call) => ops.leakyRelu(x, call.float('alpha', 0.01)));
export const Elu = unary((x, call) => ops.elu(x, call.float('alpha', 1)));
export const Celu = unary((x, call) => {
  const alpha = call.float('alpha', 1);
  return ops.elu(x.div(alpha)).mul(alpha);
});
/** Klambauer et al. 2017, with the constants of ONNX. */
export const Selu = unary((x, call) =>
  ops.elu(x, call.float('alpha', 1.6732631921768188)).mul(call.float('gamma', 1.0507010221481323)),
);
export const HardSigmoid = unary((x, call) => x.mul(call.float('alpha', 0.2)).add(call.float('beta', 0.5)).clamp(0, 1));
export const ThresholdedRelu = unary((x, call) => where(x.gt(call.float('alpha', 1)), x, 0));
export const PRelu: Import = call => {
  const [x, slope] = [call.tensor(0), call.tensor(1)];
  return where(x.ge(0), x, x.mul(slope));
};
export const Shrink = unary((x, call) => {
  const [bias, lambda] = [call.float('bias', 0), call.float('lambd', 0.5)];
  return where(x.gt(lambda), x.sub(bias), where(x.lt(-lambda), x.add(bias), 0));
});

/** Bounds are attributes up to operator set 10, inputs from 11 on. A lower bound above the upper one loses. */
export const Clip: Import = call => {
  const bound = (i: number, name: string, none: number): number | Tensor => {
    if (call.opset < 11) return call.float(name, none);
    if (!call.has(i)) return none;
    const known = call.known(i);
    return known && known.size === 1 ? known.values[0] : call.tensor(i);
  };
  const [low, high] = [bound(1, 'min', -Infinity), bound(2, 'max', Infinity)];
  const x = call.tensor(0);
  const y = x.dtype === 'float32' ? x : x.cast('int32');
  if (typeof low === 'number' && typeof high === 'number') return y.clamp(Math.min(low, high), high).cast(x.dtype);
  const limit = (bound: number | Tensor) => (typeof bound === 'number' ? bound : bound.cast(y.dtype));
  const raised = low === -Infinity ? y : maximum(y, limit(low));
  return (high === Infinity ? raised : minimum(raised, limit(high))).cast(x.dtype);
};

/**
 * The identity, unless the graph is being trained and the ratio is known. The mask, where somebody reads it, tells
 * which elements were kept.
 */
export const Dropout: Import = call => {
  call.ignore('seed');
  const x = call.tensor(0);
  const ratio = call.opset < 12 ? call.float('ratio', 0.5) : call.has(1) ? call.constant(1, 'ratio').values[0] : 0.5;
  const { training } = call;
  if (!training || ratio === 0) return [call.value(0), call.wants(1) ? full(x.shape, 1, 'bool') : undefined];
  if (!(ratio > 0 && ratio < 1)) call.fail(`its ratio ${ratio} is not in [0, 1)`);
  const kept = bernoulli(training.random, x.shape, 1 - ratio);
  return [x.mul(kept).mul(1 / (1 - ratio)), kept.cast('bool')];
};

/** 1 at the first largest element along an axis (before operator set 13: along all axes from `axis` on), else 0. */
const flattening = (fallback: (opset: number) => number, fn: (x: Tensor, axis: number) => Tensor): Import =>
  unary((x, call) => {
    const axis = call.int('axis', fallback(call.opset));
    if (call.opset >= 13) return fn(x, axis);
    const a = axis < 0 ? axis + x.rank : axis;
    if (!(a >= 0 && a <= x.rank)) call.fail(`attribute axis ${axis} is out of range for a tensor of rank ${x.rank}`);
    return fn(x.reshape([sizeOf(x.shape.slice(0, a)), sizeOf(x.shape.slice(a))]), 1).reshape(x.shape);
  });
const axisDefault = (opset: number): number => (opset < 13 ? 1 : -1);
export const Softmax = flattening(axisDefault, (x, axis) => x.softmax(axis));
export const LogSoftmax = flattening(axisDefault, (x, axis) => x.logSoftmax(axis));
export const Hardmax = flattening(axisDefault, (x, axis) => {
  const largest = x.eq(x.max(axis, true)).cast('int32');
  return largest.cumsum(axis).mul(largest).eq(1).cast('float32');
});
export const Identity: Import = call => call.value(0);

/** Reductions. */
import { normalizeAxes } from '../../operator.ts';
import * as ops from '../../ops/reduce.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import, Value } from './call.ts';
import type { HostConstant } from './host-constant.ts';

type Reduce = (x: Tensor, axes: readonly number[], keep: boolean) => Tensor;
type HostReduce = (x: HostConstant, axes: readonly number[]) => HostConstant;

/** Axes are an attribute before operator set `since`, an input from then on. No axes mean all, or none if asked for. */
const reduction =
  (device: Reduce, { since = 18, host }: { since?: number; host?: HostReduce } = {}): Import =>
  call => {
    const x = call.value(0);
    const given = call.axes(1, since) ?? [];
    const keep = call.flag('keepdims', true);
    const none = call.flag('noop_with_empty_axes') && given.length === 0;
    const axes = none ? [] : normalizeAxes('axes', given.length > 0 ? given : undefined, x.rank);
    if (call.folds && host) return finish(host(call.constants()[0], axes), axes, keep);
    return reduced(call, device, axes, keep);
  };

const finish = (y: Value, axes: readonly number[], keep: boolean): Value =>
  keep ? y : y.reshape(y.shape.filter((_, i) => !axes.includes(i)));

/** 8-bit integers and bool are reduced as int32, for which the runtime has kernels. */
function reduced(call: Call, fn: Reduce, axes: readonly number[], keep: boolean): Tensor {
  const x = call.tensor(0);
  if (x.dtype === 'float32' || x.dtype === 'int32') return fn(x, axes, keep);
  const y = fn(x.cast('int32'), axes, keep);
  // Over no elements the largest and smallest are the limits of int32, which stand for false and true.
  return x.dtype === 'bool' ? y.gt(0) : y.cast(x.dtype);
}

const count = (x: HostConstant, axes: readonly number[]): number => axes.reduce((n, a) => n * x.shape[a], 1);
/** Functions of floats, as the runtime has them, for integers too. */
const throughFloat =
  (fn: Reduce): Reduce =>
  (x, axes, keep) =>
    fn(x.cast('float32'), axes, keep).cast(x.dtype);

export const ReduceSum = reduction(ops.sum, { since: 13, host: (x, axes) => x.reduce(axes, (a, b) => a + b, 0) });
export const ReduceMean = reduction(ops.mean, {
  host: (x, axes) => x.reduce(axes, (a, b) => a + b, 0).map(v => v / count(x, axes)),
});
export const ReduceProd = reduction(ops.prod, { host: (x, axes) => x.reduce(axes, (a, b) => a * b, 1) });
export const ReduceMax = reduction(ops.max, {
  host: (x, axes) => x.reduce(axes, Math.max, x.dtype === 'bool' ? 0 : -Infinity),
});
export const ReduceMin = reduction(ops.min, {
  host: (x, axes) => x.reduce(axes, Math.min, x.dtype === 'bool' ? 1 : Infinity),
});
export const ReduceL1 = reduction((x, axes, keep) => x.abs().sum(axes, keep));
export const ReduceL2 = reduction(throughFloat((x, axes, keep) => ops.norm(x, 2, axes, keep)));
export const ReduceSumSquare = reduction((x, axes, keep) => x.mul(x).sum(axes, keep));
export const ReduceLogSum = reduction(throughFloat((x, axes, keep) => x.sum(axes, keep).log()));
export const ReduceLogSumExp = reduction(throughFloat(ops.logsumexp));

/** Pooling. */
import { ones } from '../../ops/constant.ts';
import { conv } from '../../ops/conv.ts';
import { averagePool, globalAveragePool, globalMaxPool, maxPool, type PoolOptions } from '../../ops/pool.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';
import { list, windowAttributes } from './window.ts';

function pool(call: Call): { x: Tensor; kernel: readonly number[]; options: PoolOptions } {
  const x = call.tensor(0);
  const rank = Math.max(0, x.rank - 2);
  const kernel = list(call, 'kernel_shape', rank, Number.NaN);
  if (kernel.some(Number.isNaN)) call.fail('attribute kernel_shape is missing');
  return { x, kernel, options: { ...windowAttributes(call, rank), ceilMode: call.flag('ceil_mode') } };
}

export const MaxPool: Import = call => {
  call.ignore('storage_order'); // about the indices only
  if (call.wants(1)) call.fail('its second output (the indices of the maxima) is not supported');
  const { x, kernel, options } = pool(call);
  return maxPool(x.cast('float32'), kernel, options).cast(x.dtype);
};

export const AveragePool: Import = call => {
  const { x, kernel, options } = pool(call);
  return averagePool(x, kernel, { ...options, countIncludePad: call.flag('count_include_pad') });
};

export const GlobalAveragePool: Import = call => globalAveragePool(call.tensor(0));
export const GlobalMaxPool: Import = call => globalMaxPool(call.tensor(0));

/** (Σ |x|^p)^(1/p) over each window: a convolution of every channel with ones. */
export const LpPool: Import = call => {
  const { x, kernel, options } = pool(call);
  const p = call.int('p', 2);
  if (options.ceilMode) call.fail('attribute ceil_mode 1 is not supported');
  const { ceilMode: _, ...window } = options;
  const [batch, channels, ...size] = x.shape;
  const sums = conv(power(x, p).reshape([batch * channels, 1, ...size]), ones([1, 1, ...kernel]), window);
  return sums.pow(1 / p).reshape([batch, channels, ...sums.shape.slice(2)]);
};

export const GlobalLpPool: Import = call => {
  const x = call.tensor(0);
  const p = call.int('p', 2);
  const space = x.shape.flatMap((_, i) => (i < 2 ? [] : [i]));
  return power(x, p)
    .sum(space, true)
    .pow(1 / p);
};

const power = (x: Tensor, p: number): Tensor => (p === 1 ? x.abs() : p === 2 ? x.mul(x) : x.abs().pow(p));

/** Linear quantisation: integers that stand for (q − zero point) · scale. */
import type { DType } from '../../dtype.ts';
import { check } from '../../errors.ts';
import { formatShape } from '../../operator.ts';
import { maximum, minimum } from '../../ops/elementwise.ts';
import type { Tensor } from '../../tensor.ts';
import type { Call, Import } from './call.ts';
import { computeDtype } from './host-constant.ts';

const ranges: Partial<Record<DType, readonly [number, number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
};

/** One number for all of `x`, one for each position along `axis`, or one for each block along it. */
function spread(p: Tensor, x: Tensor, axis: number, block: number): Tensor {
  if (p.size === 1) return p.reshape([]);
  if (p.rank === 1) return p.reshape(x.shape.map((_, i) => (i === axis ? p.size : 1)));
  check(
    block > 0 && p.rank === x.rank && x.shape.every((d, i) => p.shape[i] === (i === axis ? Math.ceil(d / block) : d)),
    () => `scale or zero point ${formatShape(p.shape)} does not fit ${formatShape(x.shape)} in blocks of ${block}`,
  );
  const inner = p.unsqueeze(axis + 1);
  return inner
    .expand(inner.shape.map((d, i) => (i === axis + 1 ? block : d)))
    .reshape(p.shape.map((d, i) => (i === axis ? d * block : d)))
    .slice(axis, 0, x.shape[axis]);
}

function parameters(call: Call, x: Tensor): { scale: Tensor; zero: Tensor | undefined } {
  const axis = x.rank > 0 ? (call.int('axis', 1) + x.rank) % x.rank : 0;
  const block = call.int('block_size', 0);
  const zero = call.optional(2);
  return { scale: spread(call.tensor(1), x, axis, block), zero: zero && spread(zero.cast('float32'), x, axis, block) };
}

/** Nearest integers (half to even) of x / scale + zero, kept within the range of the type. */
function quantized(x: Tensor, scale: Tensor, zero: Tensor | undefined, dtype: DType): Tensor {
  const range = ranges[dtype];
  check(range, () => `quantising to ${dtype} is not supported; to ${Object.keys(ranges).join(', ')} it is`);
  const steps = x.cast('float32').div(scale).round();
  return (zero ? steps.add(zero) : steps).clamp(...range).cast(computeDtype(dtype));
}

export const QuantizeLinear: Import = call => {
  call.ignore('saturate', 'precision');
  const x = call.tensor(0);
  const { scale, zero } = parameters(call, x);
  const dtype = call.has(2)
    ? call.value(2).dtype
    : (call.int('output_dtype', 0) && call.dtype('output_dtype')) || 'uint8';
  call.ignore('output_dtype');
  return quantized(x, scale, zero, dtype);
};

export const DequantizeLinear: Import = call => {
  call.ignore('output_dtype');
  const x = call.tensor(0);
  const { scale, zero } = parameters(call, x);
  const steps = x.cast('float32');
  return (zero ? steps.sub(zero) : steps).mul(scale);
};

/** To uint8, with scale and zero point from the smallest and largest element, 0 included. */
export const DynamicQuantizeLinear: Import = call => {
  const x = call.tensor(0);
  const low = minimum(x.min(), 0);
  const scale = maximum(x.max(), 0).sub(low).div(255);
  const zero = low.neg().div(scale).round().clamp(0, 255);
  return [quantized(x, scale, zero, 'uint8'), scale, zero.cast('uint8')];
};

/** Normalisations. */
import { formatShape, normalizeAxes } from '../../operator.ts';
import { batchNorm, batchNormInference } from '../../ops/batchNorm.ts';
import * as ops from '../../ops/norms.ts';
import { Parameter } from '../../parameter.ts';
import type { Tensor } from '../../tensor.ts';
import type { Import } from './call.ts';

const sameShape = (a: readonly number[], b: readonly number[]): boolean => formatShape(a) === formatShape(b);

/** Over all axes from `axis` on; mean and 1/σ of each row where somebody reads them. */
export const LayerNormalization: Import = call => {
  call.ignore('stash_type');
  const x = call.tensor(0);
  const axis = call.axis(-1, x.rank);
  const eps = call.float('epsilon', 1e-5);
  const y = layerNorm(x, axis, eps, call.optional(1), call.optional(2));
  if (!call.wants(1) && !call.wants(2)) return y;
  const axes = x.shape.flatMap((_, i) => (i < axis ? [] : [i]));
  return [y, x.mean(axes, true), x.variance(axes, true).add(eps).rsqrt()];
};

/** Scale and bias may have any shape that broadcasts to the input's. */
function layerNorm(x: Tensor, axis: number, eps: number, scale?: Tensor, bias?: Tensor): Tensor {
  const row = x.shape.slice(axis);
  const fits = (t: Tensor | undefined) => !t || sameShape(t.shape, row);
  if (fits(scale) && fits(bias)) return ops.layerNorm(x, { axis, eps, weight: scale, bias });
  let y = ops.layerNorm(x, { axis, eps });
  if (scale) y = y.mul(scale);
  return bias ? y.add(bias) : y;
}

export const RMSNormalization: Import = call => {
  call.ignore('stash_type');
  const x = call.tensor(0);
  const axis = call.axis(-1, x.rank);
  const [eps, scale] = [call.float('epsilon', 1e-5), call.optional(1)];
  if (!scale || sameShape(scale.shape, x.shape.slice(axis))) return ops.rmsNorm(x, { axis, eps, weight: scale });
  return ops.rmsNorm(x, { axis, eps }).mul(scale);
};

/**
 * With the running statistics of the file; in training with those of the batch, towards which the running ones then
 * move. As everywhere, they estimate the variance with n − 1; ONNX's own training mode (an attribute) uses n.
 */
export const BatchNormalization: Import = call => {
  const [x, scale, bias, mean, variance] = [0, 1, 2, 3, 4].map(i => call.tensor(i));
  const [eps, momentum] = [call.float('epsilon', 1e-5), call.float('momentum', 0.9)];
  if (!call.flag('spatial', true)) call.fail('attribute spatial 0 (statistics for every position) is not supported');
  const exported = call.flag('training_mode');
  const fineTuned = call.training?.batchStatistics === true;
  if (!exported && !fineTuned) return batchNormInference(x, scale, bias, mean, variance, { eps });
  const batch = batchNorm(x, scale, bias, { eps });
  const moved = (running: Tensor, now: Tensor) => running.mul(momentum).add(now.detach().mul(1 - momentum));
  if (!fineTuned) return [batch.y, moved(mean, batch.mean), moved(variance, batch.variance)];
  const n = x.size / x.shape[1];
  if (n < 2) call.fail(`${formatShape(x.shape)} has one value a channel, which has no variance: use larger batches`);
  const after = [moved(mean, batch.mean), moved(variance, batch.variance.mul(n / (n - 1)))];
  [mean, variance].forEach((running, i) => {
    if (running instanceof Parameter) running.assign(after[i]);
  });
  return [batch.y, ...after];
};

export const InstanceNormalization: Import = call =>
  ops.instanceNorm(call.tensor(0), {
    weight: call.tensor(1),
    bias: call.tensor(2),
    eps: call.float('epsilon', 1e-5),
  });

/** Scale and bias belong to groups in operator set 18 to 20, to channels from 21 on. */
export const GroupNormalization: Import = call => {
  call.ignore('stash_type');
  const x = call.tensor(0);
  const groups = call.int('num_groups') ?? call.fail('attribute num_groups is missing');
  const eps = call.float('epsilon', 1e-5);
  const [scale, bias] = [call.tensor(1), call.tensor(2)];
  if (call.opset >= 21) return ops.groupNorm(x, groups, { weight: scale, bias, eps });
  const width = x.shape[1] / groups;
  const perChannel = (t: Tensor) =>
    t
      .reshape([groups, 1])
      .expand([groups, width])
      .reshape([groups * width]);
  return ops.groupNorm(x, groups, { weight: perChannel(scale), bias: perChannel(bias), eps });
};

/** x / (bias + α/size · Σ x²)^β over a window of `size` channels (Krizhevsky et al. 2012). */
export const LRN: Import = call => {
  const x = call.tensor(0);
  const size = call.int('size') ?? call.fail('attribute size is missing');
  const [alpha, beta, bias] = [call.float('alpha', 1e-4), call.float('beta', 0.75), call.float('bias', 1)];
  if (x.rank < 2 || size < 1) call.fail(`size ${size} does not fit ${formatShape(x.shape)}`);
  const before = Math.floor((size - 1) / 2);
  const squares = x.mul(x).pad([[1, before, size - 1 - before]]);
  const channels = x.shape[1];
  let sum = squares.slice(1, 0, channels);
  for (let i = 1; i < size; i++) sum = sum.add(squares.slice(1, i, i + channels));
  return x.div(
    sum
      .mul(alpha / size)
      .add(bias)
      .pow(beta),
  );
};

export const LpNormalization: Import = call => {
  const x = call.tensor(0);
  const axis = call.axis(-1, x.rank);
  const p = call.int('p', 2);
  if (p !== 1 && p !== 2) call.fail(`attribute p is ${p}, expected 1 or 2`);
  const norm = x.norm(p as 1 | 2, [axis], true);
  // A zero row stays zero.
  return norm.eq(0).where(0, x.div(norm.eq(0).where(1, norm)));
};

export const MeanVarianceNormalization: Import = call => {
  const x = call.tensor(0);
  const axes = normalizeAxes('attribute axes', call.intList('axes') ?? [0, 2, 3], x.rank);
  const centred = x.sub(x.mean(axes, true));
  return centred.div(x.std(axes, true).add(1e-9));
};

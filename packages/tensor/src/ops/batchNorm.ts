import { check } from '../errors.ts';
import { formatShape, operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';
import { channelAffine, exceptChannels } from './channel-affine.ts';
import { ones } from './constant.ts';

export interface BatchNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

function checkVectors(name: string, x: Tensor, vectors: Record<string, Tensor>): void {
  check(x.rank >= 2, () => `${name}: input ${formatShape(x.shape)}, expected [batch, channels, ...space]`);
  for (const [what, v] of Object.entries(vectors)) {
    check(
      v.rank === 1 && v.shape[0] === x.shape[1],
      () =>
        `${name}: ${what} ${formatShape(v.shape)}, expected [${x.shape[1]}], the channels of ${formatShape(x.shape)}`,
    );
  }
}

/**
 * y = gamma·centred·rstd + beta, where `centred` and `rstd` were computed from x by ordinary operators. Its gradient gives
 * x the whole derivative, through the statistics too, in the closed form (Ioffe & Szegedy 2015, section 3), and none to
 * `centred` and `rstd`. Second derivatives reach x through those.
 */
const normalizeOp = operator<object>({
  name: 'batchNorm',
  infer: ([x]) => x,
  gradient: ({ inputs: [x, gamma, , centred, rstd], grads: [g] }) => {
    const axes = exceptChannels(x);
    const n = x.size / x.shape[1];
    const total = g.sum(axes);
    const slope = g.mul(centred).sum(axes).mul(rstd);
    const scale = gamma.mul(rstd);
    const straight = channelAffine(g, scale, scale.mul(total).mul(-1 / n));
    const dx = straight.add(
      channelAffine(
        centred,
        scale
          .mul(rstd)
          .mul(slope)
          .mul(-1 / n),
      ),
    );
    return [dx, slope, total, undefined, undefined];
  },
  emit: (b, [, gamma, beta, centred, rstd], { inputs: [spec] }) => {
    const kernel = new Array<number>(spec.shape.length - 2).fill(1);
    const scale = b.node('Mul', [gamma, rstd]);
    const vector = (v: string, lead: readonly number[]) => b.reshape(v, [...lead, ...kernel]);
    const channels = spec.shape[1];
    if (kernel.length >= 1 && kernel.length <= 3) {
      const attributes = { kernel_shape: kernel, group: channels };
      return b.node('Conv', [centred, vector(scale, [channels, 1]), beta], attributes);
    }
    return b.node('Add', [b.node('Mul', [centred, vector(scale, [channels])]), vector(beta, [channels])]);
  },
});

/**
 * Batch normalisation with the statistics of the batch: each channel (axis 1) gets mean 0 and variance 1 over batch and
 * space, then `gamma` and `beta`.
 *
 * @param x [batch, channels, ...space]
 * @param gamma [channels]
 * @param beta [channels]
 * @returns y; and the batch's mean and (population) variance, [channels], for running averages
 */
export function batchNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  { eps = 1e-5 }: BatchNormOptions = {},
): { y: Tensor; mean: Tensor; variance: Tensor } {
  checkVectors('batchNorm', x, { gamma, beta });
  const axes = exceptChannels(x);
  const mean = x.mean(axes);
  const centred = channelAffine(x, ones([x.shape[1]]), mean.neg());
  const variance = centred.mul(centred).mean(axes);
  const rstd = variance.add(eps).rsqrt();
  return { y: normalizeOp([x, gamma, beta, centred, rstd], {}), mean, variance };
}

const inferenceOp = operator<{ eps: number }>({
  name: 'batchNormInference',
  infer: ([x]) => x,
  gradient: ({ inputs: [x, gamma, , mean, variance], grads: [g], attributes: { eps }, needs }) => {
    const axes = exceptChannels(x);
    const rstd = variance.add(eps).rsqrt();
    const scale = gamma.mul(rstd);
    const total = g.sum(axes);
    const slope = [1, 4].some(needs) ? g.mul(x).sum(axes).sub(mean.mul(total)).mul(rstd) : undefined;
    return [
      needs(0) ? channelAffine(g, scale) : undefined,
      slope,
      total,
      needs(3) ? scale.mul(total).neg() : undefined,
      slope && needs(4) ? slope.mul(scale).mul(rstd).mul(-0.5) : undefined,
    ];
  },
  emit: (b, inputs, { attributes: { eps } }) => b.node('BatchNormalization', inputs, { epsilon: b.float(eps) }),
});

/**
 * Batch normalisation with given statistics (ONNX `BatchNormalization`): gamma·(x − mean) / √(variance + eps) + beta.
 *
 * @param x [batch, channels, ...space]; the vectors are [channels]
 */
export function batchNormInference(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  mean: Tensor,
  variance: Tensor,
  { eps = 1e-5 }: BatchNormOptions = {},
): Tensor {
  checkVectors('batchNormInference', x, { gamma, beta, mean, variance });
  return inferenceOp([x, gamma, beta, mean, variance], { eps });
}

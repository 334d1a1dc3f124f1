import { constant, type Parameter, type Tensor, where } from '@gossamer/tensor';
import { type Group, Optimizer, type OptimizerOptions, type Rule } from './optimizer.ts';
import { lerp, shrink } from './sgd.ts';

interface Moments {
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Weight decay as part of the gradient (Adam) instead of apart from it (AdamW, LAMB). */
  readonly coupled: boolean;
  /** LAMB: scales each parameter's step by ‖w‖ / ‖direction‖. */
  readonly trust: boolean;
}

/** 1 − βᵗ as 2u / (1 + u), u = tanh(−t·ln β / 2), which keeps its digits while βᵗ is close to 1. */
function correction(beta: number, count: Tensor): Tensor {
  if (beta === 0) return constant(1);
  const u = count.mul(-Math.log(beta) / 2).tanh();
  return u.mul(2).div(u.add(1));
}

/** Adam, AdamW and LAMB are one algorithm: normalised momentum; they differ in where weight decay and step length enter. */
function moments({ betas: [beta1, beta2], eps, coupled, trust }: Moments): Rule {
  return {
    state: ['exp_avg', 'exp_avg_sq'],
    update: ({ value, grad, state: [m, v], rate, weightDecay, count }) => {
      const g = coupled && weightDecay > 0 ? grad.add(value.mul(weightDecay)) : grad;
      const mean = lerp(m, g, 1 - beta1);
      const square = v.mul(beta2).add(g.mul(g).mul(1 - beta2));
      // m̂ / (√v̂ + ε) with the corrections on scalars: m / (√v + ε√c₂) · √c₂ / c₁.
      const root = correction(beta2, count).sqrt();
      const direction = mean.div(square.sqrt().add(root.mul(eps)));
      const scale = root.div(correction(beta1, count));
      const next = trust
        ? value.sub(trusted(value, direction.mul(scale).add(value.mul(weightDecay))).mul(rate))
        : shrink(value, rate, coupled ? 0 : weightDecay).sub(direction.mul(scale.mul(rate)));
      return { value: next, state: [mean, square] };
    },
  };
}

/** The direction, as long as the weights themselves; unchanged where either is zero. */
function trusted(value: Tensor, direction: Tensor): Tensor {
  const own = value.norm();
  const length = direction.norm();
  return direction.mul(where(own.mul(length).gt(0), own.div(length), 1));
}

export interface AdamOptions extends OptimizerOptions {
  /** Decays of the running means of gradient and squared gradient; default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8 (LAMB 1e-6). */
  readonly eps?: number;
}

/** Kingma & Ba 2015; weight decay, if any, is part of the gradient. Learning rate 0.001. */
export class Adam extends Optimizer {
  constructor(
    parameters: readonly Parameter[] | readonly Group[],
    { betas = [0.9, 0.999], eps = 1e-8, ...options }: AdamOptions = {},
  ) {
    super(parameters, moments({ betas, eps, coupled: true, trust: false }), options);
  }
}

/** Adam with decoupled weight decay (default 0.01): Loshchilov & Hutter 2019. Learning rate 0.001. */
export class AdamW extends Optimizer {
  constructor(
    parameters: readonly Parameter[] | readonly Group[],
    { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, ...options }: AdamOptions = {},
  ) {
    super(parameters, moments({ betas, eps, coupled: false, trust: false }), { weightDecay, ...options });
  }
}

/** Layer-wise step lengths for large batches: You et al. 2020, algorithm 2 with φ(z) = z. Learning rate 0.001, decay 0.01. */
export class LAMB extends Optimizer {
  constructor(
    parameters: readonly Parameter[] | readonly Group[],
    { betas = [0.9, 0.999], eps = 1e-6, weightDecay = 0.01, ...options }: AdamOptions = {},
  ) {
    super(parameters, moments({ betas, eps, coupled: false, trust: true }), { weightDecay, ...options });
  }
}

import { constant, type Parameter, type Tensor, where } from '@gossamer/tensor';
import { type Group, Optimizer, type OptimizerOptions, type Rule } from './optimizer.ts';

interface Descent {
  readonly momentum: number;
  readonly dampening: number;
  readonly nesterov: boolean;
  /** RMSprop: divides the gradient by the root of its running mean square. */
  readonly rms?: { readonly alpha: number; readonly eps: number; readonly centered: boolean };
}

/** Gradient descent with momentum, on the plain gradient (SGD) or on the normalised one (RMSprop). */
function descent({ momentum, dampening, nesterov, rms }: Descent): Rule {
  const names: string[] = [];
  if (rms) names.push('square_avg');
  if (rms?.centered) names.push('grad_avg');
  if (momentum > 0) names.push('momentum_buffer');
  return {
    state: names,
    update: ({ value, grad, state, rate, weightDecay, count }) => {
      const next: Tensor[] = [];
      let g = weightDecay > 0 ? grad.add(value.mul(weightDecay)) : grad;
      if (rms) {
        const square = state[0].mul(rms.alpha).add(g.mul(g).mul(1 - rms.alpha));
        next.push(square);
        let spread = square;
        if (rms.centered) {
          const mean = lerp(state[1], g, 1 - rms.alpha);
          next.push(mean);
          spread = square.sub(mean.mul(mean));
        }
        g = g.div(spread.sqrt().add(rms.eps));
      }
      if (momentum > 0) {
        // PyTorch's first step takes the gradient undamped.
        const fresh = dampening === 0 ? g : g.mul(where(count.eq(1), constant(1), 1 - dampening));
        const velocity = state.at(-1)!.mul(momentum).add(fresh);
        next.push(velocity);
        g = nesterov ? g.add(velocity.mul(momentum)) : velocity;
      }
      return { value: value.sub(g.mul(rate)), state: next };
    },
  };
}

/** a moved towards b by a share: a + share·(b − a). */
export const lerp = (a: Tensor, b: Tensor, share: number): Tensor => a.add(b.sub(a).mul(share));

export interface SGDOptions extends OptimizerOptions {
  /** Default 0. */
  readonly momentum?: number;
  /** Share of the gradient that momentum leaves out; default 0. */
  readonly dampening?: number;
  /** Nesterov's momentum (Sutskever et al. 2013); default false. */
  readonly nesterov?: boolean;
}

/** Stochastic gradient descent; momentum, dampening and (coupled) weight decay as in PyTorch. Learning rate 0.01. */
export class SGD extends Optimizer {
  constructor(
    parameters: readonly Parameter[] | readonly Group[],
    { momentum = 0, dampening = 0, nesterov = false, learningRate = 0.01, ...options }: SGDOptions = {},
  ) {
    super(parameters, descent({ momentum, dampening, nesterov }), { learningRate, ...options });
  }
}

export interface RMSpropOptions extends OptimizerOptions {
  /** Decay of the running mean square; default 0.99. */
  readonly alpha?: number;
  /** Default 1e-8. */
  readonly eps?: number;
  readonly momentum?: number;
  /** Divides by the standard deviation instead of the root mean square (Graves 2013); default false. */
  readonly centered?: boolean;
}

/** Hinton's RMSprop (Coursera, lecture 6e), with PyTorch's details. Learning rate 0.01. */
export class RMSprop extends Optimizer {
  constructor(
    parameters: readonly Parameter[] | readonly Group[],
    { alpha = 0.99, eps = 1e-8, momentum = 0, centered = false, learningRate = 0.01, ...options }: RMSpropOptions = {},
  ) {
    const rule = descent({ momentum, dampening: 0, nesterov: false, rms: { alpha, eps, centered } });
    super(parameters, rule, { learningRate, ...options });
  }
}

export interface LionOptions extends OptimizerOptions {
  /** Shares of the old momentum in the direction and in the next momentum; default [0.9, 0.99]. */
  readonly betas?: readonly [number, number];
}

/** Sign momentum with decoupled weight decay: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms". Learning rate 1e-4. */
export class Lion extends Optimizer {
  constructor(
    parameters: readonly Parameter[] | readonly Group[],
    { betas: [beta1, beta2] = [0.9, 0.99], learningRate = 1e-4, ...options }: LionOptions = {},
  ) {
    const rule: Rule = {
      state: ['exp_avg'],
      update: ({ value, grad, state: [m], rate, weightDecay }) => ({
        value: shrink(value, rate, weightDecay).sub(
          lerp(m, grad, 1 - beta1)
            .sign()
            .mul(rate),
        ),
        state: [lerp(m, grad, 1 - beta2)],
      }),
    };
    super(parameters, rule, { learningRate, ...options });
  }
}

/** Decoupled weight decay (Loshchilov & Hutter 2019): the weight shrinks by rate · decay of itself. */
export const shrink = (value: Tensor, rate: Tensor, weightDecay: number): Tensor =>
  weightDecay > 0 ? value.mul(rate.mul(-weightDecay).add(1)) : value;

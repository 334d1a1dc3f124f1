import { check, constant, Parameter, type Spec, type Tensor } from '@gossamer/tensor';
import type { Module } from '../nn/module.ts';
import type { Mask } from './mask.ts';
import { followingNorms } from './norm-scales.ts';
import { sampleOf } from './score-data.ts';
import type { Sparsifier, SparsifierState, Training } from './sparsifier.ts';

/**
 * R of a penalty λ·Σ R(γ) and its derivative, a function of γ and of the learning rate α:
 *
 * - `l1`: |γ|, sign(γ)
 * - `l2`: ½γ², γ
 * - `smooth-l1`: as L1, but quadratic where |γ| < α·λ — the reach of one plain step — so that γ settles at 0 instead of
 *   jumping over it
 */
export type ScalePenaltyKind = 'l1' | 'l2' | 'smooth-l1';

/** 1 for each channel whose scale is penalised, by the name of the scale; what is not named is not penalised. */
export type ScaleMask = ReadonlyMap<string, Uint8Array>;

export interface ScalePenaltyOptions {
  /** Strength λ > 0; default 5e-4. */
  readonly lambda?: number;
  /** Default `l1`. */
  readonly kind?: ScalePenaltyKind;
  /** Default: the scales of all batch normalisations behind weights, as in network slimming (Liu et al. 2017). */
  readonly only?: ScaleMask;
  /** Sets a penalised scale that changes its sign to 0 (it may leave again); default false. */
  readonly clamp?: boolean;
}

/**
 * Sparse regularisation of scale factors: adds λ·R′(γ) to the gradient of the scales γ of batch normalisations before the
 * optimiser's step, for all channels or for some. The other channels' gradients are left bit for bit.
 *
 * Weight decay on scales is a penalty, too; switch it off with the optimiser's `decayVectors: false`.
 */
export class ScalePenalty implements Sparsifier {
  readonly name = 'scale-penalty';
  readonly mask: Mask | undefined = undefined;
  readonly #o: Required<Omit<ScalePenaltyOptions, 'only'>>;
  #only: ScaleMask | undefined;
  /** The 0/1 tensor of each penalised parameter. */
  readonly #chosen = new Map<Parameter, Parameter>();
  #rate: Tensor | undefined;

  constructor({ lambda = 5e-4, kind = 'l1', clamp = false, only }: ScalePenaltyOptions = {}) {
    check(lambda > 0, () => `scale-penalty: λ ${lambda}; expected a number above 0`);
    check(['l1', 'l2', 'smooth-l1'].includes(kind), () => `scale-penalty: kind ${kind}; expected l1, l2 or smooth-l1`);
    this.#o = { lambda, kind, clamp };
    this.#only = only;
  }

  async prepare({ model, data, optimizer }: Training): Promise<void> {
    const parameters = model.stateDict();
    this.#only ??= await allScales(model, sampleOf(await data.batchAt(0, 0)));
    this.#chosen.clear();
    for (const [name, chosen] of this.#only) {
      const parameter = parameters.get(name);
      check(
        parameter,
        () => `scale-penalty: the model has no parameter ${name}; it has ${[...parameters.keys()].join(', ')}`,
      );
      check(
        parameter.rank === 1 && chosen.length === parameter.size,
        () =>
          `scale-penalty: the mask of ${name} has ${chosen.length} channels, the parameter has shape [${parameter.shape.join(', ')}]`,
      );
      const data = Float32Array.from(chosen);
      const mask = new Parameter(
        { dtype: 'float32', shape: parameter.shape, data },
        { name: `penalised.${name}`, trainable: false },
      );
      this.#chosen.set(parameter, mask);
    }
    this.#rate = optimizer.learningRate;
  }

  /** Changes which of the scales are penalised from here on; those not named are not. */
  setOnly(only: ScaleMask): void {
    this.#only = only;
    for (const [parameter, mask] of this.#chosen) {
      const chosen = only.get(parameter.name);
      mask.set(chosen ? Float32Array.from(chosen) : new Float32Array(parameter.size));
    }
  }

  gradient(parameter: Parameter, gradient: Tensor): Tensor {
    const chosen = this.#chosen.get(parameter);
    if (!chosen) return gradient;
    // Selecting rather than adding zeros: −0 + 0 would change a bit.
    return chosen.gt(0).where(gradient.add(this.#slope(parameter)), gradient);
  }

  /** λ·R′(γ). */
  #slope(gamma: Tensor): Tensor {
    const { lambda, kind } = this.#o;
    if (kind === 'l2') return gamma.mul(lambda);
    if (kind === 'l1') return gamma.sign().mul(lambda);
    const reach = this.#rate!.mul(lambda);
    // A learning rate of 0 leaves the plain sign.
    const inside = gamma.div(reach.eq(0).where(constant(1), reach));
    return gamma.abs().lt(reach).where(inside, gamma.sign()).mul(lambda);
  }

  settle(parameter: Parameter, before: Tensor): void {
    const chosen = this.#o.clamp ? this.#chosen.get(parameter) : undefined;
    if (!chosen) return;
    const crossed = chosen.gt(0).and(parameter.mul(before).lt(0));
    parameter.assign(crossed.where(0, parameter));
  }

  state(): SparsifierState {
    const arrays = Array.from(
      this.#only ?? [],
      ([name, data]) => [name, { dtype: 'uint8', shape: [data.length], data }] as const,
    );
    return { arrays: Object.fromEntries(arrays), json: null };
  }

  restore({ arrays }: SparsifierState): void {
    this.setOnly(new Map(Object.entries(arrays).map(([name, { data }]) => [name, data as Uint8Array])));
  }
}

async function allScales(model: Module, input: Spec): Promise<ScaleMask> {
  const norms = await followingNorms(model, [input]);
  check(norms.size > 0, 'scale-penalty: the model has no batch normalisation behind its weights');
  return new Map(Array.from(norms.values(), ({ gamma }) => [gamma.name, new Uint8Array(gamma.size).fill(1)]));
}

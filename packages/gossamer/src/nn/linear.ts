import { check, linear, Parameter, Random, type Tensor } from '@gossamer/tensor';
import { fanUniform } from './init.ts';
import { Module } from './module.ts';

/** Options of every layer that draws its parameters. */
export interface LayerOptions {
  /** Whether there is a bias; default true. */
  readonly bias?: boolean;
  /** Where the parameters are drawn from; default `new Random(0)`. Give each layer its own fork: `random.fork('fc1')`. */
  readonly random?: Random;
}

/** y = x·Wᵀ + b for x [.., in], W [out, in], b [out]. */
export class Linear extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Parameter;
  bias: Parameter | undefined;

  constructor(inFeatures: number, outFeatures: number, { bias = true, random = new Random(0) }: LayerOptions = {}) {
    super();
    check(
      [inFeatures, outFeatures].every(n => Number.isInteger(n) && n > 0),
      () => `Linear: ${inFeatures} inputs, ${outFeatures} outputs: expected positive integers`,
    );
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new Parameter(fanUniform(random.fork('weight'), [outFeatures, inFeatures], inFeatures));
    this.bias = bias ? new Parameter(fanUniform(random.fork('bias'), [outFeatures], inFeatures)) : undefined;
  }

  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

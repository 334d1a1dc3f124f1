import { check } from '@gossamer/tensor';
import { type PruningCurve, tokenCurve } from './pretraining-schedule.ts';
import { type Law, predict } from './scaling-law.ts';

export interface PlanOptions extends Omit<PruningCurve, 'sparsity'> {
  /** n_f: parameters that are left at the end. */
  readonly finalSize: number;
  /** C: floating-point operations of the training. */
  readonly compute: number;
  /** Final sparsities to look at; default 0 (dense), 0.2, 0.4, 0.6, 0.8. */
  readonly sparsities?: readonly number[];
}

/** A way to spend the compute that ends at the wanted size. */
export interface PlanRow {
  readonly sparsity: number;
  /** N_0. */
  readonly initialSize: number;
  /** N̄: also the size of the dense model with the same predicted loss for the same compute. */
  readonly averageSize: number;
  /** D. */
  readonly tokens: number;
  readonly loss: number;
  /** Operations a token at inference, 2·n_f. */
  readonly inference: number;
  /** The same of the dense model of equal predicted loss, 2·N̄. */
  readonly denseInference: number;
}

/**
 * For a final size n_f and compute C: N_0 = n_f / (1 − S_f), N̄ by the schedule, D = C / (6·N̄), and the law's loss; one
 * row for each sparsity. The model that ends sparse costs 2·n_f a token, its dense equal 2·N̄.
 */
export function planPretraining(law: Law, options: PlanOptions): PlanRow[] {
  const { finalSize, compute, sparsities = [0, 0.2, 0.4, 0.6, 0.8], ...curve } = options;
  check(finalSize > 0, () => `plan: a final size of ${finalSize} parameters; expected more than 0`);
  check(compute > 0, () => `plan: ${compute} operations; expected more than 0`);
  return sparsities.map(sparsity => {
    const { average } = tokenCurve({ ...curve, sparsity }, { prunable: 1 });
    const initialSize = finalSize / (1 - sparsity);
    const averageSize = average * initialSize;
    const tokens = compute / (6 * averageSize);
    return {
      sparsity,
      initialSize,
      averageSize,
      tokens,
      loss: predict(law, averageSize, tokens),
      inference: 2 * finalSize,
      denseInference: 2 * averageSize,
    };
  });
}

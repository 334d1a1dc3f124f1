import { check } from '@gossamer/tensor';
import { formatGranularity, type Layer, layoutOf, type NM, type PruneOptions } from '../../sparsity/index.ts';

/** What one layer is pruned to during a part of the training: an N:M pattern, or a share of the whole tensor. */
export type Frame = Pick<PruneOptions, 'granularity' | 'sparsity'>;

/** Share of the weights that a frame keeps. */
export const densityOf = ({ granularity, sparsity }: Frame): number =>
  granularity ? (granularity as NM).n / (granularity as NM).m : 1 - (sparsity as number);

const log2 = (ratio: number): number | undefined => {
  const power = Math.round(Math.log2(ratio));
  return power >= 1 && Math.abs(ratio / 2 ** power - 1) < 1e-9 ? power : undefined;
};

/**
 * SDGF-stepwise: (M−1):M, then M/2:M, M/4:M, … down to N:M; log2(M/N) + 1 frames. With a share s of the whole tensor,
 * M is its number of weights. Refuses an M/N that is no power of two.
 */
export function stepwise(layer: Layer, target: Frame): Frame[] {
  const power = log2(1 / densityOf(target));
  const halvings = Array.from({ length: power ?? 0 }, (_, i) => 2 ** -(i + 1));
  if (target.granularity) {
    const pattern = target.granularity as NM;
    const { n, m } = pattern;
    check(
      power !== undefined,
      () =>
        `sdgf-stepwise: ${formatGranularity(pattern)} of layer ${layer.name} halves ${m / n} times over, which is no power of two; choose n = m/2, m/4, m/8, …, or another recipe`,
    );
    return [m - 1, ...halvings.map(h => m * h)].map(kept => ({ granularity: { ...pattern, n: kept } }));
  }
  check(
    power !== undefined,
    () =>
      `sdgf-stepwise: sparsity ${target.sparsity} keeps a share that is no power of ½; choose 0.5, 0.75, 0.875, …, or another recipe`,
  );
  return [1 / layer.values.length, ...halvings.map(h => 1 - h)].map(sparsity => ({ sparsity }));
}

/**
 * SDGF-geometric: kN:kM, the same density in smaller and smaller groups; k of `blocks` (such as 16, 8, 4, 2, 1), as far
 * as groups of kM fit the layer.
 */
export function geometric(layer: Layer, target: Frame, blocks: readonly number[]): Frame[] {
  const pattern = target.granularity as NM | undefined;
  check(pattern, 'sdgf-geometric: shrinks groups of weights and needs an N:M pattern; choose another recipe');
  const { n, m, axis = 'in' } = pattern;
  const extent = layoutOf(layer)[axis];
  const fitting = blocks.filter(k => k === 1 || extent % (k * m) === 0);
  return fitting.map(k => ({ granularity: { ...pattern, n: k * n, m: k * m } }));
}

/** The three parts of a training of `steps` steps: dense until `from`, decaying until `to`, then binary. */
export interface Phases {
  readonly from: number;
  readonly to: number;
}

/** @param dense @param fineTune shares of the training, 0…1, at its start and at its end */
export function phasesOf(steps: number, dense: number, fineTune: number): Phases {
  const from = Math.round(dense * steps);
  const to = steps - Math.round(fineTune * steps);
  check(
    from < to || steps === 0,
    () => `n:m gradient flow: ${steps} steps leave no decay between ${from} dense and ${steps - to} fine-tuning steps`,
  );
  return { from, to };
}

/** Number of the frame, of `count` equal ones that fill the decay phase without gap; the last one goes on behind it. */
export const frameAt = (step: number, { from, to }: Phases, count: number): number =>
  step >= to ? count - 1 : Math.max(0, Math.floor(((step - from) * count) / (to - from)));

/** D below this is 0: the pruned weights are gone. */
const gone = 1e-3;

/**
 * D_t in a decay phase, t steps after its beginning: max(1 − β·t, 0) or exp(−β·t); 0 from the end of the phase on.
 *
 * @param coefficient β a step; default 1/length (linear) and ln(1000)/length (exponential)
 */
export function decayAt(
  kind: 'linear' | 'exponential',
  step: number,
  { from, to }: Phases,
  coefficient?: number,
): number {
  if (step >= to) return 0;
  const t = Math.max(0, step - from);
  const beta = coefficient ?? (kind === 'linear' ? 1 : Math.log(1000)) / (to - from);
  const decay = kind === 'linear' ? Math.max(1 - beta * t, 0) : Math.exp(-beta * t);
  return decay < gone ? 0 : decay;
}

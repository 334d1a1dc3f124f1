import { check, GossamerError } from '@gossamer/tensor';
import { constantSchedule, linearSchedule, type RateSchedule } from '../../optim/index.ts';
import type { Layer, Mask } from '../../sparsity/index.ts';
import type { Sparsifier } from '../../sparsity/sparsifier.ts';

// How the copies of a soup are retrained: Zimmer, Spiegel & Pokutta 2023, "How I Learned to Stop Worrying and Love
// Retraining" (LLR, ALLR), and what differs between copies.

/** What differs between the copies; everything else is the same, also the order of the batches. */
export type Vary = 'seed' | 'weight_decay' | 'retrain_length' | 'retrain_schedule';

/**
 * Learning rate of a retraining.
 * - `LLR`: linear from the initial rate of the pretraining to 0
 * - `ALLR`: the same from d times that rate, d = max(d₁, d₂); see {@link adaptiveRate}
 * - `FT`: constant at the last rate of the pretraining
 * - `LRW`: what the pretraining's linear schedule did in its last epochs, as many as the retraining has
 */
export type RetrainingSchedule = 'LLR' | 'ALLR' | 'FT' | 'LRW';

/** One retraining that the procedure asks for. */
export interface Retraining {
  /** 1 … phases. */
  readonly phase: number;
  /** 0 … copies − 1. */
  readonly copy: number;
  /** Decides the order of the batches. */
  readonly seed: number;
  readonly epochs: number;
  /** Of the first step; the optimiser's rate is this times the schedule's factor. */
  readonly learningRate: number;
  readonly schedule: (steps: number) => RateSchedule;
  readonly weightDecay: number;
  readonly mask: Mask;
  /** To be given to the trainer: they keep pruned weights at zero. */
  readonly sparsifiers: readonly Sparsifier[];
}

export interface RetrainingOptions {
  /** Default `seed`. */
  readonly vary?: Vary;
  /** Default `LLR`. */
  readonly schedule?: RetrainingSchedule;
  /** Epochs of each retraining; may be fractions. */
  readonly epochs: number;
  /** Epochs of the pretraining; needed by ALLR and LRW. */
  readonly pretrainEpochs?: number;
  /** Rate that the pretraining began with; default 0.1. */
  readonly learningRate?: number;
  /** The rate of FT, the last of the pretraining; default a hundredth of `learningRate`. */
  readonly lastLearningRate?: number;
  /** Default 1e-4. */
  readonly weightDecay?: number;
  /** Default 0. */
  readonly seed?: number;
}

/** The last copy has this many times the factor of the first one. */
const spread: Record<Exclude<Vary, 'seed'>, readonly [first: number, last: number]> = {
  weight_decay: [0.5, 2],
  retrain_length: [0.5, 1.5],
  // A higher rate than that of the pretraining would leave the basin that the copies share.
  retrain_schedule: [0.5, 1],
};

/**
 * The plan of one copy. `seed` gives each (phase, copy) an order of batches of its own; the other three factors are spread
 * over the copies in equal ratios — weight decay from half to double, epochs from 0.5 to 1.5, the first learning rate
 * from half to all of what it would be — and all copies of a phase see the batches in the same order.
 */
export function retraining(
  options: RetrainingOptions,
  {
    phase,
    copy,
    copies,
    rate,
  }: { readonly phase: number; readonly copy: number; readonly copies: number; readonly rate: number },
): Pick<Retraining, 'phase' | 'copy' | 'seed' | 'epochs' | 'learningRate' | 'schedule' | 'weightDecay'> {
  const { vary = 'seed', schedule = 'LLR', epochs, weightDecay = 1e-4, seed = 0 } = options;
  check(
    vary === 'seed' || Object.hasOwn(spread, vary),
    () => `soup: vary '${vary}'; expected seed, ${Object.keys(spread).join(', ')}`,
  );
  const factor = (what: Vary): number => {
    if (what !== vary || what === 'seed') return 1;
    const [first, last] = spread[what];
    return copies === 1 ? 1 : first * (last / first) ** (copy / (copies - 1));
  };
  return {
    phase,
    copy,
    seed: 1000 * (seed + 1) + 100 * phase + (vary === 'seed' ? copy : 0),
    epochs: epochs * factor('retrain_length'),
    learningRate: rate * factor('retrain_schedule'),
    schedule: steps => (schedule === 'FT' ? constantSchedule() : linearSchedule({ steps })),
    weightDecay: weightDecay * factor('weight_decay'),
  };
}

/**
 * The learning rate that retraining begins with.
 *
 * @param change d₁; see {@link relativeChange}
 */
export function initialRate(options: RetrainingOptions, change: number): number {
  const { schedule = 'LLR', epochs, pretrainEpochs, learningRate = 0.1 } = options;
  const { lastLearningRate = learningRate / 100 } = options;
  check(epochs > 0, () => `soup: ${epochs} epochs of retraining; expected more than 0`);
  const length = (): number => {
    check(
      pretrainEpochs !== undefined && pretrainEpochs > 0,
      () => `soup: schedule ${schedule} needs pretrainEpochs, the length of the pretraining`,
    );
    return Math.min(1, epochs / pretrainEpochs);
  };
  switch (schedule) {
    case 'LLR':
      return learningRate;
    case 'ALLR':
      return learningRate * Math.max(change, length());
    case 'FT':
      return lastLearningRate;
    case 'LRW':
      return learningRate * length();
    default:
      throw new GossamerError(`soup: schedule '${schedule}'; expected LLR, ALLR, FT or LRW`);
  }
}

/**
 * d₁ = ‖W − W_pruned‖₂ / (‖W‖₂·√s), s the share of the live weights that went: 0…1 for magnitude pruning, 1 where
 * all weights are of one magnitude. 0 if nothing went.
 *
 * @param layers with the weights before
 */
export function relativeChange(layers: readonly Layer[], mask: Mask): number {
  let [all, gone, live, pruned] = [0, 0, 0, 0];
  for (const { name, values } of layers) {
    const keep = mask.get(name);
    for (let i = 0; i < keep.length; i++) {
      const w = values[i];
      if (w === 0) continue;
      all += w * w;
      live++;
      if (keep[i] === 1) continue;
      gone += w * w;
      pruned++;
    }
  }
  return pruned === 0 ? 0 : Math.sqrt(gone / all / (pruned / live));
}

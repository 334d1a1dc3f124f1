import { check } from '@gossamer/tensor';

/** Progress 0…1 → share of the way gone 0…1. A number p is the polynomial law 1 − (1 − x)^p: 1 linear, 3 cubic. */
export type Law = 'linear' | 'cubic' | 'cosine' | number;

const laws: Record<Exclude<Law, number>, (x: number) => number> = {
  linear: x => x,
  cubic: x => 1 - (1 - x) ** 3,
  cosine: x => (1 - Math.cos(Math.PI * x)) / 2,
};

/**
 * A value that moves from `from` to `to` along a law between two steps: exactly `from` up to `start`, exactly `to` from
 * `end` on. Serves sparsities, drop fractions (cosine, from 0.3 to 0), decaying mask values and penalties alike.
 */
export function anneal(
  { from, to, start = 0, end, law = 'linear' }: { from: number; to: number; start?: number; end: number; law?: Law },
  step: number,
): number {
  check(end >= start, () => `anneal: its end ${end} lies before its start ${start}`);
  if (step >= end) return to;
  if (step <= start) return from;
  const x = (step - start) / (end - start);
  const share = typeof law === 'number' ? 1 - (1 - x) ** law : laws[law](x);
  return from + (to - from) * share;
}

/** Kinds of schedules, see {@link ScheduleOptions.kind}. */
export const scheduleKinds = ['cubic', 'linear', 'cosine', 'iterative', 'one-shot', 'constant'] as const;

export interface ScheduleOptions {
  /**
   * - `cubic` (default), Zhu & Gupta 2017, eq. 1: s_f + (s_i − s_f)(1 − (t − t₀)/(nΔt))³; `exponent` replaces the 3
   * - `linear`, `cosine`: the same ends, other laws
   * - `iterative`: every `every` steps the share `rate` of the remaining weights goes (Frankle & Carbin 2019: 20 %),
   *   until `final`; the first round is at `start`
   * - `one-shot`: `final` from `start` on
   * - `constant`: `final` from the beginning, with updates between `start` and `end` (dynamic sparse training)
   */
  readonly kind?: (typeof scheduleKinds)[number];
  /** Sparsity before and at `start`; default 0. */
  readonly initial?: number;
  /** Sparsity from `end` on. */
  readonly final: number;
  /** Steps t₀ of the first and t₀ + nΔt of the last update; default start 0. `iterative` computes its own end. */
  readonly start?: number;
  readonly end?: number;
  /** Steps Δt between updates; default 100, cut to end − start in a shorter window. */
  readonly every?: number;
  readonly exponent?: number;
  readonly rate?: number;
  /** Length of the training; a window that ends later is refused. */
  readonly trainingSteps?: number;
}

/** Sparsity as a function of the training step, and the steps at which masks change. */
export interface SparsitySchedule {
  readonly start: number;
  readonly end: number;
  readonly initial: number;
  readonly final: number;
  /** Non-decreasing; exactly `final` from `end` on. */
  at(step: number): number;
  isUpdate(step: number): boolean;
  /** All updates in order: start, start + every, …, and always exactly end. */
  updateSteps(): number[];
}

export function sparsitySchedule(options: ScheduleOptions): SparsitySchedule {
  const { kind = 'cubic', initial = 0, final, start = 0, exponent = 3, rate = 0.2, trainingSteps } = options;
  check(initial >= 0 && initial <= 1, () => `schedule: initial sparsity ${initial} is outside 0…1`);
  check(final < 1, () => `schedule: final sparsity ${final} would leave no weight; expected less than 1`);
  check(final >= initial, () => `schedule: final sparsity ${final} is below the initial ${initial}`);
  check(Number.isInteger(start) && start >= 0, () => `schedule: start step ${start} is not a whole number from 0`);
  check(exponent > 0, () => `schedule: exponent ${exponent} is not positive`);
  check(rate > 0 && rate < 1, () => `schedule: rate ${rate} is not between 0 and 1`);

  const rounds = Math.max(1, Math.ceil(Math.log((1 - final) / (1 - initial)) / Math.log(1 - rate) - 1e-9));
  let end = start;
  let every = 1;
  if (kind === 'iterative') {
    every = options.every ?? 100;
    end = start + (rounds - 1) * every;
    check(
      options.end === undefined || options.end >= end,
      () => `schedule: ${rounds} rounds of ${every} steps from step ${start} end at ${end}, after end ${options.end}`,
    );
  } else if (kind !== 'one-shot') {
    check(options.end !== undefined, `schedule ${kind}: needs the step of its last update, \`end\``);
    end = options.end;
    check(
      Number.isInteger(end) && end > start,
      () => `schedule: end step ${end} is not a whole number after start ${start}`,
    );
    every = options.every ?? Math.min(100, end - start);
    check(every <= end - start, () => `schedule: ${every} steps between updates do not fit into ${start}…${end}`);
  }
  check(Number.isInteger(every) && every >= 1, () => `schedule: ${every} steps between updates; expected at least 1`);
  check(
    trainingSteps === undefined || end <= trainingSteps,
    () => `schedule: last update at step ${end} lies beyond the ${trainingSteps} training steps`,
  );

  const law: Law = kind === 'cubic' ? exponent : kind === 'cosine' ? 'cosine' : 'linear';
  const at = (step: number): number => {
    if (kind === 'constant') return final;
    if (kind === 'one-shot') return step < start ? initial : final;
    if (kind === 'iterative') {
      if (step < start) return initial;
      const round = Math.floor((step - start) / every) + 1;
      return round >= rounds ? final : 1 - (1 - initial) * (1 - rate) ** round;
    }
    return Math.min(final, anneal({ from: initial, to: final, start, end, law }, step));
  };
  return {
    start,
    end,
    initial: kind === 'constant' ? final : initial,
    final,
    at,
    isUpdate: step => step === end || (step >= start && step < end && (step - start) % every === 0),
    updateSteps: () => {
      const steps: number[] = [];
      for (let step = start; step < end; step += every) steps.push(step);
      return [...steps, end];
    },
  };
}

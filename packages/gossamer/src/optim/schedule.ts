import { check } from '@gossamer/tensor';

/** Factor on the initial learning rate at a step 0, 1, …: `optimizer.setLearningRate(initial * schedule(step))`. */
export type RateSchedule = (step: number) => number;

export const constantSchedule =
  (factor = 1): RateSchedule =>
  () =>
    factor;

/** gamma (default 0.1) to the number of `every` steps gone. */
export function stepSchedule({ every, gamma = 0.1 }: { every: number; gamma?: number }): RateSchedule {
  check(every > 0, () => `stepSchedule: every ${every}: expected a positive number of steps`);
  return step => gamma ** Math.floor(step / every);
}

/** gamma (default 0.1) to the number of milestones reached. */
export const multiStepSchedule =
  ({ milestones, gamma = 0.1 }: { milestones: readonly number[]; gamma?: number }): RateSchedule =>
  step =>
    gamma ** milestones.filter(m => step >= m).length;

/** gammaˢ. */
export const exponentialSchedule =
  (gamma: number): RateSchedule =>
  step =>
    gamma ** step;

/** From `from` (default 1) to `to` (default 0) in `steps` steps, to the power `power` of what is left (default 1, linear). */
export function polynomialSchedule({
  steps,
  from = 1,
  to = 0,
  power = 1,
}: {
  steps: number;
  from?: number;
  to?: number;
  power?: number;
}): RateSchedule {
  checkSteps('polynomialSchedule', steps);
  return step => to + (from - to) * (1 - Math.min(1, step / steps)) ** power;
}

/** A straight line from `from` (default 1) to `to` (default 0) in `steps` steps. */
export const linearSchedule = (options: { steps: number; from?: number; to?: number }): RateSchedule =>
  polynomialSchedule(options);

/**
 * Half a cosine from 1 to `to` (default 0) in `steps` steps; with `restarts` it starts again, each time over a period
 * `restarts` times as long (1: equal periods). Loshchilov & Hutter 2017.
 */
export function cosineSchedule({
  steps,
  to = 0,
  restarts,
}: {
  steps: number;
  to?: number;
  restarts?: number;
}): RateSchedule {
  checkSteps('cosineSchedule', steps);
  check(restarts === undefined || restarts >= 1, () => `cosineSchedule: restarts ${restarts}: expected a factor ≥ 1`);
  return step => {
    let period = steps;
    if (restarts !== undefined) {
      while (step >= period) {
        step -= period;
        period *= restarts;
      }
    }
    return cosineBetween(1, to, Math.min(1, step / period));
  };
}

/** A straight line from `from` (default 0) that reaches `then(0)` at step `steps`, and `then` from there on. */
export function warmUp(steps: number, then: RateSchedule = constantSchedule(), from = 0): RateSchedule {
  check(steps >= 0, () => `warmUp: ${steps} steps: expected a number ≥ 0`);
  return step => (step < steps ? then(0) * (from + (1 - from) * (step / steps)) : then(step - steps));
}

/**
 * Smith & Topin 2018, with PyTorch's defaults: cosine up from 1/25 to 1 in the first 30 % of `steps`, cosine down to
 * 1/25 · 1e-4 at the last step. The factor 1 is the largest rate.
 */
export function oneCycle({
  steps,
  rise = 0.3,
  start = 1 / 25,
  end = start * 1e-4,
}: {
  steps: number;
  rise?: number;
  start?: number;
  end?: number;
}): RateSchedule {
  checkSteps('oneCycle', steps);
  const peak = rise * steps - 1;
  check(
    peak > 0 && rise < 1,
    () => `oneCycle: a rise over ${rise} of ${steps} steps: expected at least 2 steps, and a fall`,
  );
  return step =>
    step <= peak
      ? cosineBetween(start, 1, step / peak)
      : cosineBetween(1, end, Math.min(1, (step - peak) / (steps - 1 - peak)));
}

/** Schedules one after the other, each for its number of steps and counted from its own 0; the last goes on. */
export function inSequence(...parts: readonly (readonly [schedule: RateSchedule, steps: number])[]): RateSchedule {
  check(parts.length > 0, 'inSequence: no schedules given');
  return step => {
    for (const [schedule, steps] of parts.slice(0, -1)) {
      if (step < steps) return schedule(step);
      step -= steps;
    }
    return parts.at(-1)![0](step);
  };
}

const cosineBetween = (from: number, to: number, share: number): number =>
  to + ((from - to) * (1 + Math.cos(Math.PI * share))) / 2;

const checkSteps = (name: string, steps: number): void =>
  check(steps > 0, () => `${name}: ${steps} steps: expected a positive number`);

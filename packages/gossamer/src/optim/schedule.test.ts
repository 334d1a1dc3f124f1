import { expect, it } from 'vitest';
import {
  constantSchedule,
  cosineSchedule,
  exponentialSchedule,
  inSequence,
  linearSchedule,
  multiStepSchedule,
  oneCycle,
  polynomialSchedule,
  type RateSchedule,
  stepSchedule,
  warmUp,
} from './schedule.ts';

/** Learning rates of PyTorch's schedulers with base (or maximal) rate 1. */
const reference = {
  cosine: [1.0, 0.93971143, 0.775, 0.55, 0.325, 0.16028857, 0.1],
  restarts: [1.0, 0.5, 1.0, 0.85355339, 0.5, 0.14644661, 1.0, 0.96193977, 0.85355339],
  oneCycle: [0.04, 0.52, 1.0, 0.95048463, 0.81174565, 0.61126202, 0.38874198, 0.18825835, 0.049519368, 4e-6],
  multiStep: [1.0, 1.0, 0.5, 0.5, 0.25, 0.25],
  polynomial: [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0],
};

const schedules: Record<keyof typeof reference, RateSchedule> = {
  cosine: cosineSchedule({ steps: 6, to: 0.1 }),
  restarts: cosineSchedule({ steps: 2, restarts: 2 }),
  oneCycle: oneCycle({ steps: 10 }),
  multiStep: multiStepSchedule({ milestones: [2, 4], gamma: 0.5 }),
  polynomial: polynomialSchedule({ steps: 4, power: 2 }),
};

for (const [name, expected] of Object.entries(reference)) {
  it(`${name} agrees with PyTorch`, () => {
    const schedule = schedules[name as keyof typeof reference];
    for (const [step, rate] of expected.entries()) expect(schedule(step), `step ${step}`).toBeCloseTo(rate, 6);
  });
}

const sampled = (schedule: RateSchedule, n: number): number[] =>
  Array.from({ length: n }, (_, i) => Number(schedule(i).toFixed(6)));

it('has steps, lines and powers', () => {
  expect(sampled(constantSchedule(0.3), 3)).toEqual([0.3, 0.3, 0.3]);
  expect(sampled(stepSchedule({ every: 2 }), 5)).toEqual([1, 1, 0.1, 0.1, 0.01]);
  expect(sampled(exponentialSchedule(0.5), 4)).toEqual([1, 0.5, 0.25, 0.125]);
  expect(sampled(linearSchedule({ steps: 4, from: 1, to: 0.2 }), 7)).toEqual([1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2]);
});

it('stays at its end', () => {
  expect(cosineSchedule({ steps: 6, to: 0.1 })(1000)).toBeCloseTo(0.1, 12);
  expect(oneCycle({ steps: 10 })(1000)).toBeCloseTo(4e-6, 12);
});

it('warms up to what follows', () => {
  const schedule = warmUp(4, stepSchedule({ every: 2 }));
  expect(sampled(schedule, 8)).toEqual([0, 0.25, 0.5, 0.75, 1, 1, 0.1, 0.1]);
  expect(sampled(warmUp(2, constantSchedule(), 0.5), 4)).toEqual([0.5, 0.75, 1, 1]);
  expect(warmUp(0)(0)).toBe(1);
});

it('joins schedules', () => {
  const schedule = inSequence(
    [linearSchedule({ steps: 2, from: 0, to: 1 }), 2],
    [constantSchedule(1), 1],
    [exponentialSchedule(0.5), 9],
  );
  expect(sampled(schedule, 6)).toEqual([0, 0.5, 1, 1, 0.5, 0.25]);
  expect(schedule(3 + 12)).toBe(0.5 ** 12);
});

it('refuses senseless options', () => {
  expect(() => cosineSchedule({ steps: 0 })).toThrow('0 steps');
  expect(() => cosineSchedule({ steps: 2, restarts: 0.5 })).toThrow('restarts 0.5');
  expect(() => oneCycle({ steps: 2 })).toThrow('oneCycle');
  expect(() => stepSchedule({ every: 0 })).toThrow('every 0');
  expect(() => inSequence()).toThrow('no schedules');
});

import { describe, expect, it } from 'vitest';
import { anneal, type ScheduleOptions, sparsitySchedule } from './schedule.ts';

const kinds: ScheduleOptions[] = [
  { kind: 'cubic', initial: 0.1, final: 0.95, start: 100, end: 1030, every: 100 },
  { kind: 'cubic', final: 0.9, start: 0, end: 7, every: 3 },
  { kind: 'cubic', final: 0.7, end: 1000, exponent: 1.7 },
  { kind: 'linear', initial: 0.5, final: 0.9, start: 3, end: 50, every: 10 },
  { kind: 'cosine', final: 0.8, start: 10, end: 500, every: 49 },
  { kind: 'iterative', final: 0.9, start: 20, every: 30 },
  { kind: 'one-shot', final: 0.9, start: 40 },
  { kind: 'constant', final: 0.9, start: 5, end: 405 },
  { kind: 'cubic', final: 0, end: 100 },
];

describe('sparsitySchedule', () => {
  it.each(kinds)('is exact at both ends, monotone, and its last update is the end: %o', options => {
    const schedule = sparsitySchedule(options);
    const steps = schedule.updateSteps();
    expect(schedule.at(schedule.end)).toBe(options.final);
    expect(schedule.at(1e9)).toBe(options.final);
    if (schedule.start > 0) expect(schedule.at(schedule.start - 1)).toBe(schedule.initial);
    if (options.kind === 'cubic') expect(schedule.at(schedule.start)).toBe(options.initial ?? 0);
    expect(steps[0]).toBe(schedule.start);
    expect(steps.at(-1)).toBe(schedule.end);
    let previous = 0;
    for (let step = 0; step <= schedule.end + 5; step++) {
      expect(schedule.isUpdate(step)).toBe(steps.includes(step));
      expect(schedule.at(step)).toBeGreaterThanOrEqual(previous);
      previous = schedule.at(step);
    }
    expect(new Set(steps).size).toBe(steps.length);
  });

  it('cubic is Zhu and Gupta’s formula', () => {
    const [si, sf, t0, dt, n] = [0.1, 0.9, 200, 50, 8];
    const schedule = sparsitySchedule({ initial: si, final: sf, start: t0, end: t0 + n * dt, every: dt });
    for (const t of schedule.updateSteps()) {
      expect(schedule.at(t)).toBeCloseTo(sf + (si - sf) * (1 - (t - t0) / (n * dt)) ** 3, 14);
    }
    expect(schedule.updateSteps()).toHaveLength(n + 1);
  });

  it('iterative takes its share of the remaining weights each round', () => {
    const schedule = sparsitySchedule({ kind: 'iterative', final: 0.9, every: 10 });
    const densities = schedule.updateSteps().map(t => 1 - schedule.at(t));
    expect(densities).toHaveLength(11);
    densities.slice(0, -1).forEach((d, round) => {
      expect(d).toBeCloseTo(0.8 ** (round + 1), 12);
    });
    const even = sparsitySchedule({ kind: 'iterative', final: 1 - 0.8 ** 5, every: 10 });
    expect(even.updateSteps()).toEqual([0, 10, 20, 30, 40]);
  });

  it('cosine passes the middle half way', () => {
    expect(sparsitySchedule({ kind: 'cosine', final: 0.8, end: 100 }).at(50)).toBeCloseTo(0.4, 12);
  });

  it('refuses impossible windows and sparsities', () => {
    const refused: [ScheduleOptions, string][] = [
      [{ final: 1, end: 10 }, 'final sparsity 1'],
      [{ final: Number.NaN, end: 10 }, 'final sparsity NaN'],
      [{ final: 0.5, initial: 0.6, end: 10 }, 'below the initial 0.6'],
      [{ final: 0.5, initial: -0.1, end: 10 }, 'initial sparsity -0.1'],
      [{ final: 0.5 }, '`end`'],
      [{ final: 0.5, start: 10, end: 10 }, 'end step 10'],
      [{ final: 0.5, end: 10.5 }, 'end step 10.5'],
      [{ final: 0.5, start: -1, end: 10 }, 'start step -1'],
      [{ final: 0.5, end: 10, every: 0 }, '0 steps between'],
      [{ final: 0.5, end: 10, every: 11 }, '11 steps between updates do not fit into 0…10'],
      [{ final: 0.5, end: 101, trainingSteps: 100 }, 'step 101 lies beyond the 100 training steps'],
      [{ kind: 'iterative', final: 0.9, every: 10, trainingSteps: 90 }, 'beyond the 90'],
      [{ kind: 'iterative', final: 0.9, every: 10, end: 90 }, '11 rounds of 10 steps'],
      [{ kind: 'iterative', final: 0.9, rate: 1 }, 'rate 1'],
      [{ final: 0.5, end: 10, exponent: 0 }, 'exponent 0'],
    ];
    for (const [options, message] of refused) expect(() => sparsitySchedule(options), message).toThrow(message);
  });
});

describe('anneal', () => {
  it('falls as well as it rises', () => {
    const drop = { from: 0.3, to: 0, end: 1000, law: 'cosine' } as const;
    for (const t of [0, 1, 250, 500, 999, 1000, 2000]) {
      expect(anneal(drop, t)).toBeCloseTo(t >= 1000 ? 0 : 0.15 * (1 + Math.cos((Math.PI * t) / 1000)), 14);
    }
    expect(anneal({ from: 1, to: 0, start: 5, end: 5 }, 5)).toBe(0);
    expect(() => anneal({ from: 1, to: 0, start: 6, end: 5 }, 5)).toThrow('end 5 lies before its start 6');
  });
});

import { describe, expect, it } from 'vitest';
import { distance, f32, numbers, random, run } from '../../test/operators.ts';
import type { Value } from '../values.ts';

const x = random([2, 4, 3, 2], 1);
const xs = Array.from(x.data as Float32Array);

/** Normalises the elements that share a key, then scales and shifts by functions of the flat index. */
function byKey(
  key: (i: number) => number,
  epsilon: number,
  gain: (i: number) => number,
  shift: (i: number) => number,
): number[] {
  const groups = Map.groupBy(xs.keys(), key);
  const out = new Array(xs.length);
  for (const members of groups.values()) {
    const mean = members.reduce((sum, i) => sum + xs[i], 0) / members.length;
    const variance = members.reduce((sum, i) => sum + (xs[i] - mean) ** 2, 0) / members.length;
    for (const i of members) out[i] = ((xs[i] - mean) / Math.sqrt(variance + epsilon)) * gain(i) + shift(i);
  }
  return out;
}

const channel = (i: number) => Math.floor(i / 6) % 4;
const get = (v: Value, i: number) => Number(v.data[i]);

describe('normalisations', () => {
  const [scale, bias] = [random([4], 2), random([4], 3)];
  const perChannel = [(i: number) => get(scale, channel(i)), (i: number) => get(bias, channel(i))] as const;

  it('InstanceNormalization: every map', () => {
    const y = numbers(run('InstanceNormalization', [x, scale, bias]));
    expect(
      distance(
        y,
        byKey(i => Math.floor(i / 6), 1e-5, ...perChannel),
      ),
    ).toBeLessThan(1e-5);
  });

  it('GroupNormalization: parameters for channels since version 21, for groups before', () => {
    const attributes = { num_groups: 2, epsilon: 0.1 };
    const group = (i: number) => Math.floor(i / 12);
    const y = numbers(run('GroupNormalization', [x, scale, bias], { attributes, version: 21 }));
    expect(distance(y, byKey(group, 0.1, ...perChannel))).toBeLessThan(1e-5);
    const [few, shifts] = [random([2], 4), random([2], 5)];
    const z = numbers(run('GroupNormalization', [x, few, shifts], { attributes, version: 18 }));
    const own = (v: Value) => (i: number) => get(v, Math.floor(channel(i) / 2));
    expect(distance(z, byKey(group, 0.1, own(few), own(shifts)))).toBeLessThan(1e-5);
  });

  it('LayerNormalization: from an axis on, with statistics', () => {
    const [gain, shift] = [random([3, 2], 6), random([2], 7)];
    const [y, mean, inverse] = run('LayerNormalization', [x, gain, shift], { attributes: { axis: -2 }, outputs: 3 });
    const expected = byKey(
      i => Math.floor(i / 6),
      1e-5,
      i => get(gain, i % 6),
      i => get(shift, i % 2),
    );
    expect(distance(numbers([y]), expected)).toBeLessThan(1e-5);
    expect([mean.dims, inverse.dims]).toEqual([
      [2, 4, 1, 1],
      [2, 4, 1, 1],
    ]);
    const first = xs.slice(0, 6);
    const average = first.reduce((a, b) => a + b) / 6;
    expect(get(mean, 0)).toBeCloseTo(average, 6);
    expect(get(inverse, 0)).toBeCloseTo(
      1 / Math.sqrt(first.reduce((sum, v) => sum + (v - average) ** 2, 0) / 6 + 1e-5),
      5,
    );
  });

  it('RMSNormalization does not centre', () => {
    const row = f32([1, 2], [3, 4]);
    const y = numbers(run('RMSNormalization', [row, f32([2], [1, 2])], { version: 23, attributes: { epsilon: 0 } }));
    expect(distance(y, [3 / Math.sqrt(12.5), 8 / Math.sqrt(12.5)])).toBeLessThan(1e-6);
  });

  it('MeanVarianceNormalization: any axes', () => {
    const y = numbers(run('MeanVarianceNormalization', [x], { attributes: { axes: [0, -1] } }));
    expect(
      distance(
        y,
        byKey(
          i => Math.floor(i / 2) % 12,
          0,
          () => 1,
          () => 0,
        ),
      ),
    ).toBeLessThan(1e-4);
  });

  it('LpNormalization leaves a row of zeros', () => {
    const rows = f32([2, 2], [3, 4, 0, 0]);
    expect(distance(numbers(run('LpNormalization', [rows])), [0.6, 0.8, 0, 0])).toBeLessThan(1e-6);
    expect(
      distance(numbers(run('LpNormalization', [rows], { attributes: { p: 1, axis: 0 } })), [1, 1, 0, 0]),
    ).toBeLessThan(1e-6);
  });

  it('LRN sums squares over neighbouring channels, one more after than before for an even size', () => {
    const line = f32([1, 4, 1], [1, 2, 3, 4]);
    const y = numbers(run('LRN', [line], { attributes: { size: 2, alpha: 2, beta: 1, bias: 0 } }));
    expect(distance(y, [1 / 5, 2 / 13, 3 / 25, 4 / 16])).toBeLessThan(1e-6);
  });
});

describe('BatchNormalization', () => {
  const [scale, bias, mean] = [random([4], 2), random([4], 3), random([4], 4)];
  const variance = f32([4], [0.5, 1, 1.5, 2]);

  it('uses the given statistics', () => {
    const y = numbers(run('BatchNormalization', [x, scale, bias, mean, variance], { attributes: { epsilon: 0 } }));
    const expected = xs.map((v, i) => {
      const c = channel(i);
      return ((v - get(mean, c)) / Math.sqrt(get(variance, c))) * get(scale, c) + get(bias, c);
    });
    expect(distance(y, expected)).toBeLessThan(1e-5);
  });

  it('takes them from the batch in training, and blends the running ones', () => {
    const [y, runningMean] = run('BatchNormalization', [x, scale, bias, mean, variance], {
      attributes: { training_mode: 1, momentum: 0.75 },
      outputs: 3,
    });
    const expected = byKey(
      channel,
      1e-5,
      i => get(scale, channel(i)),
      i => get(bias, channel(i)),
    );
    expect(distance(numbers([y]), expected)).toBeLessThan(1e-5);
    const own = xs.filter((_, i) => channel(i) === 0);
    expect(get(runningMean, 0)).toBeCloseTo(0.75 * get(mean, 0) + (0.25 * own.reduce((a, b) => a + b)) / own.length, 5);
    const old = run('BatchNormalization', [x, scale, bias, mean, variance], { version: 9, outputs: 5 });
    expect(numbers([old[3]])[0]).toBeCloseTo(own.reduce((a, b) => a + b) / own.length, 5);
  });

  it('has statistics for every feature when it is not spatial', () => {
    const full = (seed: number) => random([4, 3, 2], seed);
    const ones = f32([4, 3, 2], [1]);
    const zeros = f32([4, 3, 2], [0]);
    const centre = full(8);
    const y = run('BatchNormalization', [x, ones, zeros, centre, ones], {
      version: 7,
      attributes: { spatial: 0, epsilon: 0 },
    });
    expect(
      distance(
        numbers(y),
        xs.map((v, i) => v - get(centre, i % 24)),
      ),
    ).toBeLessThan(1e-6);
  });
});

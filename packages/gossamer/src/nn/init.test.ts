import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import * as init from './init.ts';

const shape = [64, 32, 3, 3];
const random = () => new Random(1);

function moments({ data }: init.Values): { mean: number; std: number; low: number; high: number } {
  const mean = data.reduce((a, b) => a + b, 0) / data.length;
  const std = Math.sqrt(data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length);
  return { mean, std, low: data.reduce((a, b) => Math.min(a, b)), high: data.reduce((a, b) => Math.max(a, b)) };
}

describe('fans and gains', () => {
  it('follow PyTorch’s conventions', () => {
    expect(init.fans(shape)).toEqual({ fanIn: 288, fanOut: 576 });
    expect(init.fans([10, 20])).toEqual({ fanIn: 20, fanOut: 10 });
    expect(() => init.fans([3])).toThrow('rank ≥ 2');
    expect(init.gain('relu')).toBe(Math.SQRT2);
    expect(init.gain('tanh')).toBe(5 / 3);
    expect(init.gain('leakyRelu', Math.sqrt(5))).toBeCloseTo(1 / Math.sqrt(3), 12);
    expect(init.gain('selu')).toBe(0.75);
    expect(init.gain('linear')).toBe(1);
  });
});

describe('distributions have the standard deviation of their formula', () => {
  const cases: [string, init.Values, number][] = [
    ['kaimingNormal', init.kaimingNormal(random(), shape), Math.sqrt(2 / 288)],
    ['kaimingNormal fanOut', init.kaimingNormal(random(), shape, { mode: 'fanOut' }), Math.sqrt(2 / 576)],
    ['kaimingUniform', init.kaimingUniform(random(), shape), Math.sqrt(2 / 288)],
    ['kaimingUniform tanh', init.kaimingUniform(random(), shape, { nonlinearity: 'tanh' }), 5 / 3 / Math.sqrt(288)],
    ['xavierNormal', init.xavierNormal(random(), shape), Math.sqrt(2 / 864)],
    ['xavierUniform', init.xavierUniform(random(), shape, 2), 2 * Math.sqrt(2 / 864)],
    ['lecunNormal', init.lecunNormal(random(), shape), Math.sqrt(1 / 288)],
    ['lecunUniform', init.lecunUniform(random(), shape), Math.sqrt(1 / 288)],
    ['fanUniform', init.fanUniform(random(), shape, 27), 1 / 9],
    // Var of a normal cut at two standard deviations: 0.7737413.
    ['truncatedNormal', init.truncatedNormalOf(random(), shape, 0, 0.02), 0.02 * Math.sqrt(0.7737413)],
  ];
  for (const [name, values, std] of cases) {
    it(name, () => {
      const m = moments(values);
      expect(values.shape).toEqual(shape);
      expect(m.std / std).toBeCloseTo(1, 1.7);
      expect(Math.abs(m.mean) / std).toBeLessThan(0.03);
    });
  }

  it('uniform and truncated ones keep their bounds', () => {
    const bound = Math.sqrt(6 / 288);
    const uniform = moments(init.kaimingUniform(random(), shape));
    expect(Math.max(-uniform.low, uniform.high)).toBeLessThanOrEqual(Math.fround(bound));
    expect(uniform.high).toBeGreaterThan(0.99 * bound);
    expect(moments(init.truncatedNormalOf(random(), shape, 0, 0.02)).high).toBeLessThanOrEqual(Math.fround(0.04));
  });
});

it('fills with constants', () => {
  expect([...init.constantOf([2, 2], 3).data]).toEqual([3, 3, 3, 3]);
  expect([...init.zerosOf([2]).data, ...init.onesOf([2]).data]).toEqual([0, 0, 1, 1]);
});

for (const size of [
  [3, 5],
  [5, 3],
  [4, 2, 3, 1],
]) {
  it(`orthogonal [${size}]: the shorter side is orthonormal times the scale`, () => {
    const { data } = init.orthogonal(random(), size, 2);
    const rows = size[0];
    const columns = data.length / rows;
    const at = (r: number, c: number) => data[r * columns + c];
    const n = Math.min(rows, columns);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let dot = 0;
        for (let k = 0; k < Math.max(rows, columns); k++) {
          dot += rows <= columns ? at(i, k) * at(j, k) : at(k, i) * at(k, j);
        }
        expect(dot).toBeCloseTo(i === j ? 4 : 0, 5);
      }
    }
  });
}

it('gives the same values for the same seed, others for another', () => {
  expect(init.kaimingNormal(new Random(3), [4, 4]).data).toEqual(init.kaimingNormal(new Random(3), [4, 4]).data);
  expect(init.kaimingNormal(new Random(3), [4, 4]).data).not.toEqual(init.kaimingNormal(new Random(4), [4, 4]).data);
});

import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, type Options, random, run, value } from '../../test/operators.ts';

const x = random([2, 3, 4], 1);
const xs = Array.from(x.data as Float32Array);

function softmaxBy(key: (i: number) => number): number[] {
  const sums = new Map<number, number>();
  for (const [i, v] of xs.entries()) sums.set(key(i), (sums.get(key(i)) ?? 0) + Math.exp(v));
  return xs.map((v, i) => Math.exp(v) / sums.get(key(i))!);
}

describe('Softmax', () => {
  it.each([
    // axis, version, what shares a row
    [undefined, 13, (i: number) => Math.floor(i / 4)],
    [0, 13, (i: number) => i % 12],
    [1, 13, (i: number) => Math.floor(i / 12) * 4 + (i % 4)],
    [undefined, 11, (i: number) => Math.floor(i / 12)],
    [0, 11, () => 0],
    [-1, 11, (i: number) => Math.floor(i / 4)],
    [3, 11, (i: number) => i],
  ])('axis %s in version %i', (axis, version, key) => {
    const options: Options = { version, attributes: axis === undefined ? {} : { axis } };
    const expected = softmaxBy(key);
    expect(distance(numbers(run('Softmax', [x], options)), expected)).toBeLessThan(1e-6);
    expect(distance(numbers(run('LogSoftmax', [x], options)), expected.map(Math.log))).toBeLessThan(1e-5);
  });

  it('does not overflow, and allows −∞', () => {
    const y = numbers(run('Softmax', [f32([3], [1e4, 1e4, -Infinity])]));
    expect(y).toEqual([0.5, 0.5, 0]);
    expect(run('Softmax', [f32([2, 0], [])])[0].dims).toEqual([2, 0]);
  });

  it('refuses an axis outside the value', () => {
    expect(() => run('Softmax', [x], { attributes: { axis: 3 } })).toThrow(/axis 3 is outside a value of 3 dimensions/);
  });
});

describe('Hardmax', () => {
  it('marks the first maximum', () => {
    expect(numbers(run('Hardmax', [f32([2, 3], [1, 3, 3, 2, 0, 1])]))).toEqual([0, 1, 0, 1, 0, 0]);
    expect(numbers(run('Hardmax', [f32([2, 2], [1, 4, 3, 2])], { version: 11, attributes: { axis: 0 } }))).toEqual([
      0, 1, 0, 0,
    ]);
  });
});

describe('losses', () => {
  const scores = f32([2, 3, 2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2]);
  const target = i64([2, 2], [0, 2, 1, -1]);
  const weight = f32([3], [1, 2, 3]);
  const loss = (reduction: string) =>
    numbers(
      run('NegativeLogLikelihoodLoss', [scores, target, weight], { attributes: { reduction, ignore_index: -1 } }),
    );

  it('weight, ignore and reduce', () => {
    const each = [-0.1, -1.8, -1.8, 0];
    expect(distance(loss('none'), each)).toBeLessThan(1e-6);
    expect(distance(loss('sum'), [-3.7])).toBeLessThan(1e-6);
    expect(distance(loss('mean'), [-3.7 / 6])).toBeLessThan(1e-6);
    expect(() => run('NegativeLogLikelihoodLoss', [scores, target])).toThrow(/target -1 at 3: there are 3 classes/);
  });

  it('take the logarithm of softmax over classes', () => {
    const labels = value('int32', [2, 2], [0, 2, 1, 1]);
    const [y, logs] = run('SoftmaxCrossEntropyLoss', [scores, labels], { outputs: 2 });
    const expected = run('LogSoftmax', [scores], { attributes: { axis: 1 } });
    expect(distance(numbers([logs]), numbers(expected))).toBeLessThan(1e-6);
    expect(distance(numbers([y]), numbers(run('NegativeLogLikelihoodLoss', [expected[0], labels])))).toBeLessThan(1e-6);
  });
});

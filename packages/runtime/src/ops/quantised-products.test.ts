import { describe, expect, it } from 'vitest';
import { f32, numbers, run, value } from '../../test/operators.ts';

describe('integer convolutions', () => {
  const x = value('uint8', [1, 1, 3], [100, 101, 103]);
  const w = value('int8', [2, 1, 2], [1, -2, 3, 4]);

  it('subtract zero points', () => {
    expect(numbers(run('ConvInteger', [x, w, value('uint8', [], [100])]))).toEqual([-2, -5, 4, 15]);
    const perMap = value('int8', [2], [1, 3]);
    expect(numbers(run('ConvInteger', [x, w, value('uint8', [], [100]), perMap]))).toEqual([-3, -9, 1, 3]);
  });

  it('round to even and saturate', () => {
    const inputs = [
      x,
      f32([], [0.5]),
      value('uint8', [], [100]),
      w,
      f32([2], [1, 100]),
      value('int8', [], [0]),
      f32([], [1]),
      value('uint8', [], [4]),
    ];
    // Products −2, −5 and 4, 15 become −1, −2.5 and 200, 750.
    expect(numbers(run('QLinearConv', inputs))).toEqual([3, 2, 204, 255]);
  });
});

describe('integer matrix products', () => {
  const a = value('uint8', [2, 2], [1, 2, 3, 4]);
  const b = value('int8', [2, 2], [-1, 2, 3, -4]);

  it('MatMulInteger subtracts zero points of rows and columns', () => {
    expect(numbers(run('MatMulInteger', [a, b]))).toEqual([5, -6, 9, -10]);
    const rows = value('uint8', [2], [1, 3]);
    const columns = value('int8', [2], [-1, 2]);
    expect(numbers(run('MatMulInteger', [a, b, rows, columns]))).toEqual([4, -6, 4, -6]);
  });

  it('QLinearMatMul rounds ties to even and saturates', () => {
    const one = f32([], [1]);
    const zero = value('uint8', [], [0]);
    const inputs = (scale: number, offset: number) => [
      a,
      one,
      zero,
      b,
      f32([], [scale]),
      value('int8', [], [0]),
      one,
      value('uint8', [], [offset]),
    ];
    expect(numbers(run('QLinearMatMul', inputs(0.5, 10)))).toEqual([12, 7, 14, 5]);
    expect(numbers(run('QLinearMatMul', inputs(100, 10)))).toEqual([255, 0, 255, 0]);
  });
});

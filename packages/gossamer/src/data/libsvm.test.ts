import { describe, expect, it } from 'vitest';
import { readLibsvm } from './libsvm.ts';
import { toDense } from './sparse.ts';

describe('readLibsvm', () => {
  it('reads labels and sparse rows', () => {
    const { inputs, labels } = readLibsvm('+1 1:2 3:-0.5\n-1 2:1e2\n\n0\n');
    expect(labels.data).toEqual(Float32Array.from([1, -1, 0]));
    expect(inputs.shape).toEqual([3, 3]);
    expect(toDense(inputs).data).toEqual(Float32Array.from([2, 0, -0.5, 0, 100, 0, 0, 0, 0]));
    expect(readLibsvm('1 2:1', 5).inputs.shape).toEqual([1, 5]);
  });

  it.each([
    ['x 1:1', 'label "x"'],
    ['1 0:1', 'index 0 follows 0'],
    ['1 2:1 2:1', 'index 2 follows 2'],
    ['1 2:', '"2:" is not index:value'],
    ['1 2:1 a', '"a" is not index:value'],
    ['1 6:1', 'index 6 of 5 features'],
  ])('refuses %s', (text, message) => {
    expect(() => readLibsvm(text, 5, 'f')).toThrow(`f: line 1: ${message}`);
  });
});

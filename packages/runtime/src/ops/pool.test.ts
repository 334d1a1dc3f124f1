import { describe, expect, it } from 'vitest';
import { distance, f32, numbers, random, run, value } from '../../test/operators.ts';
import type { Attribute } from '../load/graph.ts';

const line = f32([1, 1, 5], [1, 5, 2, 4, 3]);
const pool = (op: string, attributes: Record<string, Attribute>, version = 22) =>
  numbers(run(op, [line], { attributes: { kernel_shape: [2], ...attributes }, version }));

describe('poolings of a line', () => {
  it.each([
    ['MaxPool', {}, [5, 5, 4, 4]],
    ['MaxPool', { strides: [2], ceil_mode: 1 }, [5, 4, 3]],
    ['MaxPool', { dilations: [2] }, [2, 5, 3]],
    ['MaxPool', { auto_pad: 'SAME_LOWER' }, [1, 5, 5, 4, 4]],
    ['AveragePool', {}, [3, 3.5, 3, 3.5]],
    ['AveragePool', { pads: [1, 1] }, [1, 3, 3.5, 3, 3.5, 3]],
    ['AveragePool', { pads: [1, 1], count_include_pad: 1 }, [0.5, 3, 3.5, 3, 3.5, 1.5]],
    // What lies beyond the padding never counts.
    ['AveragePool', { strides: [2], ceil_mode: 1, count_include_pad: 1 }, [3, 3, 3]],
    ['AveragePool', { dilations: [3] }, [2.5, 4]],
  ])('%s %j', (op, attributes, expected) => {
    expect(distance(pool(op, attributes), expected)).toBeLessThan(1e-6);
  });

  it('keep integers, pass NaN on, and let −∞ be a maximum', () => {
    const bytes = run('MaxPool', [value('int8', [1, 1, 3], [-128, -7, -9])], { attributes: { kernel_shape: [2] } });
    expect([bytes[0].type, numbers(bytes)]).toEqual(['int8', [-7, -7]]);
    expect(
      numbers(run('MaxPool', [f32([1, 1, 3], [1, Number.NaN, -Infinity])], { attributes: { kernel_shape: [1] } })),
    ).toEqual([1, Number.NaN, -Infinity]);
  });

  it('of whole maps', () => {
    const x = f32([1, 2, 1, 3], [1, 2, 6, -3, -4, 0]);
    expect(numbers(run('GlobalMaxPool', [x]))).toEqual([6, 0]);
    expect(distance(numbers(run('GlobalAveragePool', [x])), [3, -7 / 3])).toBeLessThan(1e-6);
  });
});

describe('indices', () => {
  const x = random([2, 2, 3, 4], 7);
  const attributes = { kernel_shape: [2, 2], strides: [1, 2] };

  it('point at the maxima, row-major over the whole input', () => {
    const [y, at] = run('MaxPool', [x], { attributes, outputs: 2 });
    expect(Array.from(at.data as BigInt64Array, i => x.data[Number(i)])).toEqual([...(y.data as Float32Array)]);
  });

  it('count column by column within a map when asked', () => {
    const [, rows] = run('MaxPool', [x], { attributes, outputs: 2 });
    const [, columns] = run('MaxPool', [x], { attributes: { ...attributes, storage_order: 1 }, outputs: 2 });
    const expected = numbers([rows]).map(i => Math.floor(i / 12) * 12 + (i % 4) * 3 + Math.floor((i % 12) / 4));
    expect(numbers([columns])).toEqual(expected);
  });
});

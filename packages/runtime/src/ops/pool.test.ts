import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, random, run, value } from '../../test/operators.ts';
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
    ['LpPool', { p: 1 }, [6, 7, 6, 7]],
    ['LpPool', { strides: [3] }, [Math.sqrt(26), 5]],
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
    expect(distance(numbers(run('GlobalLpPool', [x], { attributes: { p: 2 } })), [Math.sqrt(41), 5])).toBeLessThan(
      1e-6,
    );
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

  it('put maxima back', () => {
    const kernel = { kernel_shape: [2, 2], strides: [2, 2] };
    const even = random([1, 2, 4, 4], 8);
    const [y, at] = run('MaxPool', [even], { attributes: kernel, outputs: 2 });
    const back = run('MaxUnpool', [y, at], { attributes: kernel });
    const kept = new Set(numbers([at]));
    expect(numbers(back)).toEqual(Array.from(even.data as Float32Array, (v, i) => (kept.has(i) ? v : 0)));
    const [larger] = run('MaxUnpool', [y, at, i64([4], [1, 2, 5, 6])], { attributes: kernel });
    expect(larger.dims).toEqual([1, 2, 5, 6]);
    expect(numbers([larger]).filter(v => v !== 0)).toEqual(numbers(back).filter(v => v !== 0));
    expect(() => run('MaxUnpool', [y, at, i64([4], [1, 2, 3, 4])], { attributes: kernel })).toThrow(
      /smaller than the unpooled/,
    );
  });
});

describe('regions', () => {
  const x = f32(
    [1, 1, 4, 4],
    Array.from({ length: 16 }, (_, i) => i),
  );

  it('MaxRoiPool divides a rounded box', () => {
    const rois = f32([1, 5], [0, 0.4, 0.6, 3.4, 2.6]);
    expect(numbers(run('MaxRoiPool', [x, rois], { attributes: { pooled_shape: [1, 2] } }))).toEqual([13, 15]);
  });

  it('RoiAlign of a linear image is the image at the centre of each bin', () => {
    const rois = f32([1, 4], [1, 1, 3, 3]);
    const attributes = { output_height: 2, output_width: 2, sampling_ratio: 2 };
    // Bins of one element; without half-pixel shifts their centres lie half an element further.
    expect(numbers(run('RoiAlign', [x, rois, i64([1], [0])], { attributes }))).toEqual([5, 6, 9, 10]);
    expect(numbers(run('RoiAlign', [x, rois, i64([1], [0])], { attributes, version: 10 }))).toEqual([
      7.5, 8.5, 11.5, 12.5,
    ]);
  });
});

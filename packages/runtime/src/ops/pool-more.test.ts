import { expect, it } from 'vitest';
import { distance, f32, i64, numbers, random, run } from '../../test/operators.ts';

it('LpPool and GlobalLpPool take norms', () => {
  const line = f32([1, 1, 5], [1, 5, 2, 4, 3]);
  const pool = (attributes: Record<string, number | number[]>) =>
    numbers(run('LpPool', [line], { attributes: { kernel_shape: [2], ...attributes } }));
  expect(distance(pool({ p: 1 }), [6, 7, 6, 7])).toBeLessThan(1e-6);
  expect(distance(pool({ strides: [3] }), [Math.sqrt(26), 5])).toBeLessThan(1e-6);
  const x = f32([1, 2, 1, 3], [1, 2, 6, -3, -4, 0]);
  expect(distance(numbers(run('GlobalLpPool', [x], { attributes: { p: 2 } })), [Math.sqrt(41), 5])).toBeLessThan(1e-6);
});

it('MaxUnpool puts maxima back', () => {
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

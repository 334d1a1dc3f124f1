import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import { realize } from '../realize.ts';
import { tensor } from '../tensor.ts';
import { constant, full, ones, zeros } from './constant.ts';

describe('constants', () => {
  it('hold special values apart', async () => {
    const list = [0, -0, NaN, Infinity, -Infinity, 1e-40, 0.1].map(v => constant(v));
    await realize(...list);
    const values = await Promise.all(list.map(t => t.item()));
    expect(values.slice(0, 5)).toEqual([0, -0, NaN, Infinity, -Infinity]);
    expect(values[6]).toBe(Math.fround(0.1));
  });

  it.each(['int32', 'int64', 'uint8', 'bool', 'float64', 'float16'] as const)('come in %s', async dtype => {
    const t = full([2], 1, dtype);
    expect(t.dtype).toBe(dtype);
    expect(await t.cast('float32').tolist()).toEqual([1, 1]);
  });

  it('fill shapes, empty ones too', async () => {
    expect(await zeros([2, 1]).tolist()).toEqual([[0], [0]]);
    expect(await ones([]).item()).toBe(1);
    expect((await ones([0, 3]).data()).length).toBe(0);
  });

  it('take no part in gradients', async () => {
    const x = tensor([1, 2]);
    const [g] = gradients(
      x
        .mul(full([2], 3))
        .add(1)
        .sum(),
      [x],
    );
    expect(await g.tolist()).toEqual([3, 3]);
  });
});

import { describe, expect, it } from 'vitest';
import { elements, f32, i64, iota, run, scalar, value } from '../../test/tables.ts';

describe('quantisation', () => {
  it('rounds halves to even and saturates', () => {
    const x = f32([0.5, 1.5, 2.5, -0.5, 1000, -1000]);
    const unit = scalar('float32', 1);
    expect(elements('QuantizeLinear', [x, unit])).toEqual([0, 2, 2, 0, 255, 0]);
    expect(elements('QuantizeLinear', [x, unit, scalar('int8', 1)])).toEqual([1, 3, 3, 1, 127, -128]);
    expect(elements('QuantizeLinear', [x, unit], { attributes: { output_dtype: 5 } })).toEqual([
      0, 2, 2, 0, 1000, -1000,
    ]);
  });

  it('has scales of one number, one an axis index, one a block', () => {
    const x = value('int8', [1, 2, 3, 4, 5, 6], [2, 3]);
    const dequantize = (scale: number[], dims: number[], attributes: Record<string, number> = {}) =>
      elements('DequantizeLinear', [x, f32(scale, dims)], { attributes });
    expect(dequantize([2], [])).toEqual([2, 4, 6, 8, 10, 12]);
    expect(dequantize([1, 10, 100], [3])).toEqual([1, 20, 300, 4, 50, 600]);
    expect(dequantize([1, 10], [2], { axis: -2 })).toEqual([1, 2, 3, 40, 50, 60]);
    // Blocks of two along the last axis; the last block is shorter.
    expect(dequantize([1, 10, 2, 20], [2, 2], { axis: 1, block_size: 2 })).toEqual([1, 2, 30, 8, 10, 120]);
    expect(dequantize([1, 10, 100], [1, 3], { axis: 0, block_size: 2 })).toEqual([1, 20, 300, 4, 50, 600]);
    expect(() => dequantize([1, 2], [2])).toThrow(
      'scale has shape [2], which does not fit an input of shape [2,3] along axis 1',
    );
  });

  it('subtracts zero points, of int32 too, and takes the type of the scale', () => {
    const inputs = [value('uint8', [3, 200]), scalar('float16', 0.5), scalar('uint8', 128)];
    const [y] = run('DequantizeLinear', inputs);
    expect([y.type, ...elements('DequantizeLinear', inputs)]).toEqual(['float16', -62.5, 36]);
    expect(elements('DequantizeLinear', [value('int32', [2 ** 30]), scalar('float32', 2)])).toEqual([2 ** 31]);
  });

  it('finds its own scale, whose range always holds zero', () => {
    const [y, scale, zero] = run('DynamicQuantizeLinear', [f32([2, 5.1])], { outputs: 3 });
    expect([...(y.data as Uint8Array)]).toEqual([100, 255]);
    expect([scale.data[0], zero.data[0]]).toEqual([Math.fround(Math.fround(5.1) / 255), 0]);
    expect(run('DynamicQuantizeLinear', [f32([0, 0])], { outputs: 3 }).map(v => v.data[0])).toEqual([0, 1, 0]);
  });

  it('round trips within half a step', () => {
    const x = iota(3, 4);
    const scale = f32([0.3, 0.5, 0.07]);
    const settings = { attributes: { axis: 0 } };
    const [q] = run('QuantizeLinear', [x, scale, value('uint8', [3, 0, 9])], settings);
    const back = elements('DequantizeLinear', [q, scale, value('uint8', [3, 0, 9])], settings) as number[];
    back.forEach((y, i) => {
      expect(Math.abs(y - i)).toBeLessThanOrEqual([0.15, 0.25, 0.035][i >> 2] + 1e-6);
    });
  });

  it('refuses int64', () => {
    expect(() => run('QuantizeLinear', [f32([1]), scalar('float32', 1), i64([0], [])])).toThrow(
      'does not quantise to int64',
    );
  });
});

import { describe, expect, it } from 'vitest';
import { elements, f32, i64, run, scalar, value } from '../../test/tables.ts';
import { loadOperators } from './index.ts';

const operators = await loadOperators();

describe('random draws', () => {
  const draw = (op: string, attributes: Record<string, number | number[]>) =>
    elements(op, [], { attributes: { shape: [20000], ...attributes } }) as number[];
  const moments = (x: number[]) => {
    const mean = x.reduce((a, b) => a + b, 0) / x.length;
    return [mean, Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length)];
  };

  it('draws the same with a seed, anew without', () => {
    expect(draw('RandomUniform', { seed: 1.5 })).toEqual(draw('RandomUniform', { seed: 1.5 }));
    expect(draw('RandomUniform', { seed: 1.5 })).not.toEqual(draw('RandomUniform', { seed: 2.5 }));
    expect(draw('RandomNormal', {})).not.toEqual(draw('RandomNormal', {}));
  });

  it('has the moments asked for', () => {
    const [mean, deviation] = moments(draw('RandomNormal', { seed: 1, mean: 3, scale: 2 }));
    expect(mean).toBeCloseTo(3, 1);
    expect(deviation).toBeCloseTo(2, 1);
    const uniform = draw('RandomUniform', { seed: 1, low: -1, high: 3 });
    expect(moments(uniform)[0]).toBeCloseTo(1, 1);
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(-1);
    expect(Math.max(...uniform)).toBeLessThan(3);
  });

  it('takes shape and type from an input', () => {
    const [y] = run('RandomNormalLike', [value('float16', [0, 0])]);
    expect([y.type, y.dims]).toEqual(['float16', [2]]);
    expect(run('RandomUniformLike', [i64([0])], { attributes: { dtype: 11 } })[0].type).toBe('float64');
    expect(() => run('RandomUniformLike', [i64([0])])).toThrow('cannot draw int64');
  });

  it('Bernoulli and Multinomial follow their probabilities', () => {
    const seed = { seed: 3 };
    const coins = elements('Bernoulli', [f32(new Array(20000).fill(0.3))], { attributes: seed }) as number[];
    expect(moments(coins)[0]).toBeCloseTo(0.3, 1);
    const logits = f32(
      [Math.log(0.2), -Infinity, Math.log(0.8)].map(x => x + 500),
      [1, 3],
    );
    const classes = elements('Multinomial', [logits], { attributes: { ...seed, sample_size: 5000, dtype: 7 } });
    expect(classes.filter(k => k === 2n).length / 5000).toBeCloseTo(0.8, 1);
    expect(classes).not.toContain(1n);
  });

  it('Dropout passes on, and drops only in training mode', () => {
    const x = f32(new Array(4000).fill(1));
    const [half, training] = [scalar('float32', 0.5), scalar('bool', 1)];
    expect(elements('Dropout', [x, half])).toEqual([...x.data]);
    const [y, mask] = run('Dropout', [x, half, training], { attributes: { seed: 1 }, outputs: 2 });
    expect([...new Set(y.data as Float32Array)].sort()).toEqual([0, 2]);
    expect([...(mask.data as Uint8Array)].map(kept => kept * 2)).toEqual([...y.data]);
    expect(moments([...(mask.data as Uint8Array)])[0]).toBeCloseTo(0.5, 1);
    expect(run('Dropout', [x], { version: 7, outputs: 2 })[1].type).toBe('float32');
    expect(run('Dropout', [x], { version: 10, attributes: { ratio: 0.1 }, outputs: 2 })[1].type).toBe('bool');
  });

  it('is never folded', () => {
    for (const name of [
      'RandomNormal',
      'RandomNormalLike',
      'RandomUniform',
      'RandomUniformLike',
      'Bernoulli',
      'Multinomial',
    ]) {
      expect(operators[name].dynamic).toBe(true);
    }
  });
});

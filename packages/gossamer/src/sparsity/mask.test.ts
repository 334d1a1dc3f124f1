import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { layer } from './layer.ts';
import { Mask } from './mask.ts';

const of = (...keeps: number[][]) =>
  new Mask(keeps.map((k, i) => [`l${i}`, { shape: [k.length], keep: Uint8Array.from(k) }] as const));

describe('Mask', () => {
  it('counts', () => {
    const mask = of([1, 0, 1, 1], [0, 0]);
    expect([mask.kept(), mask.kept('l0'), mask.size(), mask.size('l1')]).toEqual([3, 3, 6, 2]);
    expect([mask.density(), mask.density('l0'), mask.sparsity('l1')]).toEqual([0.5, 0.75, 1]);
    expect(mask.names).toEqual(['l0', 'l1']);
  });

  it('sets dead weights to +0, whatever they were, and no other', () => {
    const values = Float32Array.of(-1, -0, Number.NaN, Infinity, -0, 5);
    of([0, 0, 0, 0, 1, 1]).apply('l0', values);
    expect(new Uint32Array(values.buffer)).toEqual(new Uint32Array(Float32Array.of(0, 0, 0, 0, -0, 5).buffer));
    expect(() => of([1]).apply('l0', values)).toThrow('mask of l0 has 1 elements, the values 6');
  });

  it('combines element by element', () => {
    const [a, b] = [of([1, 1, 0, 0], [1]), of([1, 0, 1, 0], [1])];
    expect(a.and(b).equals(of([1, 0, 0, 0], [1]))).toBe(true);
    expect(a.or(b).equals(of([1, 1, 1, 0], [1]))).toBe(true);
    expect(a.minus(b).equals(of([0, 1, 0, 0], [0]))).toBe(true);
    expect(a.overlap(b)).toBe(2 / 4);
    expect(of([0]).overlap(of([0]))).toBe(1);
  });

  it('knows nesting and equality', () => {
    const [small, large] = [of([1, 0, 0]), of([1, 1, 0])];
    expect([small.isWithin(large), large.isWithin(small), small.isWithin(small)]).toEqual([true, false, true]);
    expect([small.equals(large), small.equals(of([1, 0, 0])), small.equals(of([1, 0, 0], [1]))]).toEqual([
      false,
      true,
      false,
    ]);
  });

  it('survives its arrays', () => {
    const keep = new Random(1).bernoulli(60, 0.3);
    const mask = new Mask([['conv', { shape: [5, 4, 3, 1], keep }]]);
    const arrays = mask.toArrays();
    expect(arrays.get('conv')).toMatchObject({ dtype: 'bool', shape: [5, 4, 3, 1] });
    expect(Mask.fromArrays(arrays).equals(mask)).toBe(true);
    const wrong = [['w', { dtype: 'float32', shape: [1], data: Float32Array.of(1) }]] as const;
    expect(() => Mask.fromArrays(wrong)).toThrow('mask of w: element type float32');
  });

  it('starts dense or from the zeros of the weights', () => {
    const layers = [layer('w', [2, 2], Float32Array.of(0, -0, 2, Number.NaN))];
    expect([...Mask.ones(layers).get('w')]).toEqual([1, 1, 1, 1]);
    expect([...Mask.ofNonzeros(layers).get('w')]).toEqual([0, 0, 1, 1]);
  });

  it('refuses what is no mask', () => {
    expect(() => of([1, 2])).toThrow('mask of l0: element 1 is 2');
    expect(() => new Mask([['w', { shape: [3], keep: new Uint8Array(2) }]])).toThrow('shape [3]');
    expect(() => of([1]).get('w')).toThrow('mask has no layer w; it has l0');
    expect(() => of([1]).and(of([1], [1]))).toThrow('different models');
    expect(() => of([1]).and(of([1, 1]))).toThrow('1 and 2 elements');
    const twice = ['w', { shape: [1], keep: Uint8Array.of(1) }] as const;
    expect(() => new Mask([twice, twice])).toThrow('layer w appears twice');
  });
});

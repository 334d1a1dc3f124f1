import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { fewShot } from './few-shot.ts';

const labels = new Random(1).integers(200, 0, 5);

describe('fewShot', () => {
  it('draws as many of every class, without repeats, other ones for other seeds', () => {
    const draw = fewShot(labels, 5, 8, 3);
    expect(new Set(draw).size).toBe(40);
    for (let c = 0; c < 5; c++) expect(draw.filter(i => labels[i] === c)).toHaveLength(8);
    expect(fewShot(labels, 5, 8, 3)).toEqual(draw);
    expect(fewShot(labels, 5, 8, 4)).not.toEqual(draw);
  });

  it('is nested: more shots keep the fewer', () => {
    const many = new Set(fewShot(labels, 5, 16));
    expect(fewShot(labels, 5, 4).every(i => many.has(i))).toBe(true);
  });

  it('refuses classes that are too rare, and labels out of range', () => {
    expect(() => fewShot([0, 0, 1], 2, 2)).toThrow('class 1 has 1 samples, 2 of each');
    expect(() => fewShot([0, 1], 3, 1)).toThrow('class 2 has 0 samples');
    expect(() => fewShot([0, 7], 2, 1)).toThrow('label 7');
    expect(() => fewShot([0], 1, 0)).toThrow('0 samples of each');
  });
});

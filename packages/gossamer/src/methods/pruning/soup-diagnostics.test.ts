import { describe, expect, it } from 'vitest';
import { ensemble, interpolate, spreadOf } from './soup-diagnostics.ts';

const at = (...w: number[]) =>
  new Map([
    ['w', Float32Array.from(w)],
    ['running_mean', Float32Array.of(w[0] * 100)],
  ]);

describe('spreadOf', () => {
  it('measures pairs and the distance to the mean on the named tensors', () => {
    const { distances, angles, barycentre } = spreadOf([at(1, 0), at(0, 1), at(-1, 0)], ['w']);
    [Math.SQRT2, 2, Math.SQRT2].forEach((d, i) => {
      expect(distances[i]).toBeCloseTo(d, 6);
    });
    [90, 180, 90].forEach((a, i) => {
      expect(angles[i]).toBeCloseTo(a, 6);
    });
    expect(barycentre).toBeCloseTo(Math.hypot(1, 1 / 3), 6);
    expect(() => spreadOf([at(1), at(2)], ['v'])).toThrow("no 'v'");
  });
});

it('interpolates linearly', () => {
  expect(interpolate(at(1, 2), at(3, 6)).get('w')).toEqual(Float32Array.of(2, 4));
  expect(interpolate(at(1, 2), at(3, 6), 0.25).get('w')).toEqual(Float32Array.of(1.5, 3));
});

it('averages probabilities, not logits', () => {
  const logits = (...data: number[]) => ({ dtype: 'float32', shape: [1, 2], data: Float32Array.from(data) }) as const;
  const [p] = ensemble([logits(100, 0), logits(0, 1)]).data;
  expect(p).toBeCloseTo((1 + 1 / (1 + Math.E)) / 2, 6);
  expect(() => ensemble([])).toThrow('no predictions');
  expect(() => ensemble([logits(1, 2), { dtype: 'float32', shape: [2, 2], data: new Float32Array(4) }])).toThrow(
    '[2,2]',
  );
});

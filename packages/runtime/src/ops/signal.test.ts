import { describe, expect, it } from 'vitest';
import { distance, f32, i64, numbers, random, run, value } from '../../test/operators.ts';
import { fourier } from './signal.ts';

/** Σ x[n] · exp(∓2πi·kn / N). */
function direct(re: ArrayLike<number>, im: ArrayLike<number>, inverse = false): [number[], number[]] {
  const n = re.length;
  const sign = inverse ? 1 : -1;
  const out: [number[], number[]] = [[], []];
  for (let k = 0; k < n; k++) {
    let [a, b] = [0, 0];
    for (let t = 0; t < n; t++) {
      const angle = (sign * 2 * Math.PI * k * t) / n;
      a += re[t] * Math.cos(angle) - im[t] * Math.sin(angle);
      b += re[t] * Math.sin(angle) + im[t] * Math.cos(angle);
    }
    out[0].push(a);
    out[1].push(b);
  }
  return out;
}

describe('fourier', () => {
  it.each([1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 100])('of length %i, both ways', length => {
    const [re, im] = [1, 2].map(seed => Float64Array.from(random([length], seed).data as Float32Array));
    for (const inverse of [false, true]) {
      const [x, y] = [re.slice(), im.slice()];
      fourier(length)(x, y, inverse);
      const expected = direct(re, im, inverse);
      expect(Math.max(distance(x, expected[0]), distance(y, expected[1]))).toBeLessThan(1e-9);
    }
  });
});

describe('DFT', () => {
  const x = random([2, 6, 3, 1], 3);

  it('along any axis: an attribute before version 20, an input afterwards', () => {
    const [old] = run('DFT', [x], { version: 17, attributes: { axis: 1 } });
    const [now] = run('DFT', [x, undefined, i64([], [-3])], { version: 20 });
    expect(old.dims).toEqual([2, 6, 3, 2]);
    expect(numbers([now])).toEqual(numbers([old]));
    const column = Array.from({ length: 6 }, (_, t) => Number(x.data[t * 3 + 1]));
    const [re, im] = direct(column, new Array(6).fill(0));
    const got = Array.from({ length: 6 }, (_, t) => [0, 1].map(part => Number(old.data[(t * 3 + 1) * 2 + part])));
    expect(
      distance(
        got.map(v => v[0]),
        re,
      ),
    ).toBeLessThan(1e-5);
    expect(
      distance(
        got.map(v => v[1]),
        im,
      ),
    ).toBeLessThan(1e-5);
  });

  it.each([6, 7])('one-sided of length %i and back', length => {
    const signal = random([1, length, 1], 4);
    const size = i64([], [length]);
    const [half] = run('DFT', [signal], { version: 20, attributes: { onesided: 1 } });
    expect(half.dims).toEqual([1, Math.floor(length / 2) + 1, 2]);
    const back = run('DFT', [half, size], { version: 20, attributes: { onesided: 1, inverse: 1 } });
    expect(back[0].dims).toEqual([1, length, 1]);
    expect(distance(numbers(back), numbers([signal]))).toBeLessThan(1e-6);
  });

  it('pads or cuts to the given length', () => {
    const y = run('DFT', [f32([1, 2, 1], [1, 2]), i64([], [4])], { version: 20 });
    expect(distance(numbers(y), [3, 0, 1, -2, -1, 0, 1, 2])).toBeLessThan(1e-6);
    const z = run('DFT', [f32([1, 3, 1], [1, 2, 9]), i64([], [2])], { version: 20 });
    expect(distance(numbers(z), [3, 0, -1, 0])).toBeLessThan(1e-6);
    expect(() => run('DFT', [f32([1, 3, 1], [1])], { version: 17, attributes: { axis: 2 } })).toThrow(/last axis/);
  });
});

describe('STFT', () => {
  it('is the DFT of windowed frames', () => {
    const signal = random([1, 10, 1], 5);
    const window = random([4], 6);
    const [y] = run('STFT', [signal, i64([], [3]), window]);
    expect(y.dims).toEqual([1, 3, 3, 2]);
    const frame = Array.from({ length: 4 }, (_, t) => Number(signal.data[6 + t]) * Number(window.data[t]));
    const [re] = direct(frame, new Array(4).fill(0));
    expect([0, 1, 2].map(k => Number(y.data[(2 * 3 + k) * 2]))).toEqual(re.slice(0, 3).map(v => expect.closeTo(v, 5)));
    const full = run('STFT', [signal, i64([], [5]), undefined, i64([], [5])], { attributes: { onesided: 0 } });
    expect(full[0].dims).toEqual([1, 2, 5, 2]);
  });
});

describe('windows and filters', () => {
  const size = value('int32', [], [4]);

  it.each([
    ['HannWindow', [0, 0.5, 1, 0.5], [0, 0.75, 0.75, 0]],
    ['HammingWindow', [4 / 46, 25 / 46, 1, 25 / 46], undefined],
    ['BlackmanWindow', [0, 0.34, 1, 0.34], undefined],
  ])('%s', (op, periodic, symmetric) => {
    expect(distance(numbers(run(op, [size])), periodic)).toBeLessThan(1e-6);
    if (symmetric)
      expect(distance(numbers(run(op, [size], { attributes: { periodic: 0 } })), symmetric)).toBeLessThan(1e-6);
    expect(run(op, [size], { attributes: { output_datatype: 11 } })[0].type).toBe('float64');
  });

  it('mel filters are triangles that meet their neighbours', () => {
    const inputs = [
      value('int64', [], [4]),
      value('int64', [], [64]),
      value('int64', [], [8000]),
      f32([], [0]),
      f32([], [4000]),
    ];
    const [y] = run('MelWeightMatrix', inputs);
    expect(y.dims).toEqual([33, 4]);
    for (let band = 0; band < 4; band++) {
      const column = Array.from({ length: 33 }, (_, row) => Number(y.data[row * 4 + band]));
      expect(Math.max(...column)).toBe(1);
      const peak = column.indexOf(1);
      expect(column.slice(0, peak + 1)).toEqual(column.slice(0, peak + 1).sort((a, b) => a - b));
      expect(column.slice(peak)).toEqual(column.slice(peak).sort((a, b) => b - a));
    }
  });
});

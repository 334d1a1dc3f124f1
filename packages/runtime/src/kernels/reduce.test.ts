import { describe, expect, it } from 'vitest';
import { groupNorm, layerNorm, localResponse, type Reduce, reduce, softmax } from './reduce.ts';
import { type Bench, bench } from './testing.ts';

const wave = (length: number, phase = 1) => Float32Array.from({ length }, (_, i) => Math.sin(1.7 * i + phase) * 2);
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

const PLAIN: Record<Reduce, (values: number[]) => number> = {
  sum: v => v.reduce((a, b) => a + b, 0),
  mean,
  sumSquare: v => v.reduce((a, b) => a + b * b, 0),
  l2: v => Math.hypot(...v),
  l1: v => v.reduce((a, b) => a + Math.abs(b), 0),
  max: v => Math.max(...v),
  min: v => Math.min(...v),
  prod: v => v.reduce((a, b) => a * b, 1),
};

/** Runs `emit` on outputs with a guard behind them; returns the outputs. */
function outputs(e: Bench, length: number, emit: (y: number) => void): number[] {
  const y = e.put(new Float32Array(length + 4).fill(7));
  emit(y);
  const all = [...e.view(y, length + 4)];
  expect(all.slice(length)).toEqual([7, 7, 7, 7]);
  return all.slice(0, length);
}

function expectClose(actual: number[], expected: number[], tolerance = 1e-5): void {
  expect(actual.length).toBe(expected.length);
  const worst = Math.max(0, ...actual.map((v, i) => Math.abs(v - expected[i]) / (1 + Math.abs(expected[i]))));
  expect(worst).toBeLessThan(tolerance);
}

/** [outer][n][inner] as vectors along n. */
const vectors = (x: Float32Array, outer: number, n: number, inner: number): number[][] =>
  Array.from({ length: outer * inner }, (_, at) => {
    const [row, column] = [Math.floor(at / inner), at % inner];
    return Array.from({ length: n }, (_, i) => x[(row * n + i) * inner + column]);
  });

for (const build of ['simd', 'relaxed'] as const) {
  for (const threads of [1, 3]) {
    describe(`${build}, ${threads} threads`, () => {
      it('reduce: every length modulo the tiles', async () => {
        const e = await bench(build, threads);
        for (const name of Object.keys(PLAIN) as Reduce[]) {
          for (const n of [1, 2, 3, 4, 5, 7, 16, 21, 35]) {
            for (const inner of [1, 2, 5, 16, 37]) {
              const x = wave(5 * n * inner);
              const y = outputs(e, 5 * inner, y => reduce(e, name, { x: e.put(x), y, outer: 5, n, inner }));
              expectClose(y, vectors(x, 5, n, inner).map(PLAIN[name]));
            }
          }
        }
      });

      it('softmax and its logarithm, in place', async () => {
        const e = await bench(build, threads);
        for (const n of [1, 2, 3, 4, 5, 8, 11, 29]) {
          for (const inner of [1, 3, 4, 9]) {
            for (const logarithm of [false, true]) {
              const x = wave(4 * n * inner).map(v => v * 20);
              const at = e.put(x);
              softmax(e, { x: at, y: at, outer: 4, n, inner, logarithm });
              const y = vectors(e.view(at, x.length), 4, n, inner);
              for (const [i, v] of vectors(x, 4, n, inner).entries()) {
                const top = Math.max(...v);
                const total = v.reduce((sum, item) => sum + Math.exp(item - top), 0);
                const expected = v.map(item => item - top - Math.log(total));
                expectClose(y[i], logarithm ? expected : expected.map(Math.exp));
              }
            }
          }
        }
      });

      it('layer and RMS norm, with a residual', async () => {
        const e = await bench(build, threads);
        for (const n of [1, 3, 4, 6, 8, 13, 32]) {
          const [x, r, scale, bias] = [wave(5 * n), wave(5 * n, 3), wave(n, 5), wave(n, 7)];
          const parameters = { scale: e.put(scale), bias: e.put(bias) };
          for (const rms of [false, true]) {
            for (const residual of [false, true]) {
              const v = x.map((value, i) => value + (residual ? r[i] : 0));
              const expected = vectors(v, 5, n, 1).flatMap(row => {
                const m = rms ? 0 : mean(row);
                const factor = 1 / Math.sqrt(mean(row.map(item => (item - m) ** 2)) + 0.01);
                return row.map((item, i) => (item - m) * factor * scale[i] + bias[i]);
              });
              const common = { rows: 5, n, epsilon: 0.01, rms, ...parameters };
              const skip = residual ? e.put(r) : undefined;
              const from = e.put(x);
              expectClose(
                outputs(e, 5 * n, y => layerNorm(e, { x: from, y, residual: skip, ...common })),
                expected,
              );
              layerNorm(e, { x: from, y: from, residual: skip, sum: skip, ...common });
              expectClose([...e.view(from, 5 * n)], expected);
              if (skip) expectClose([...e.view(skip, 5 * n)], [...v], 1e-6);
            }
          }
        }
      });

      it('group and instance norm', async () => {
        const e = await bench(build, threads);
        for (const inner of [1, 3, 4, 9]) {
          for (const groups of [1, 2, 6]) {
            const [x, scale, bias] = [wave(2 * 6 * inner), wave(6, 5), wave(6, 7)];
            const parameters = { scale: e.put(scale), bias: e.put(bias) };
            const y = outputs(e, x.length, y =>
              groupNorm(e, { x: e.put(x), y, batch: 2, channels: 6, inner, groups, ...parameters }),
            );
            const size = (6 / groups) * inner;
            const expected = vectors(x, 2 * groups, size, 1).flatMap((row, g) => {
              const m = mean(row);
              const factor = 1 / Math.sqrt(mean(row.map(item => (item - m) ** 2)) + 1e-5);
              return row.map((item, i) => {
                const c = ((g % groups) * 6) / groups + Math.floor(i / inner);
                return (item - m) * factor * scale[c] + bias[c];
              });
            });
            expectClose(y, expected, 1e-4);
          }
        }
      });

      it('local response normalisation', async () => {
        const e = await bench(build, threads);
        for (const size of [1, 2, 3, 5]) {
          const [channels, inner] = [7, 6];
          const x = wave(2 * channels * inner);
          const settings = { batch: 2, channels, inner, size, alpha: 0.5, beta: 0.75, bias: 2 };
          const y = outputs(e, x.length, y => localResponse(e, { x: e.put(x), y, ...settings }));
          const expected = [...x].map((v, at) => {
            const c = Math.floor(at / inner) % channels;
            let total = 0;
            for (let i = -Math.floor((size - 1) / 2); i <= Math.ceil((size - 1) / 2); i++) {
              if (c + i >= 0 && c + i < channels) total += x[at + i * inner] ** 2;
            }
            return v / (2 + (0.5 / size) * total) ** 0.75;
          });
          expectClose(y, expected);
        }
      });
    });
  }
}

import { describe, expect, it } from 'vitest';
import { attention, headsFirst, rotary, rowsFirst } from './attention.ts';
import { type Bench, bench } from './testing.ts';

const wave = (length: number, phase: number) => Float32Array.from({ length }, (_, i) => Math.sin(1.3 * i + phase) * 2);

interface Shape {
  batch?: number;
  heads?: number;
  kvHeads?: number;
  queries: number;
  keys: number;
  depth: number;
  valueDepth?: number;
  causal?: boolean;
  masked?: boolean;
  layout?: typeof headsFirst;
}

function difference(e: Bench, shape: Shape): number {
  const { batch = 2, heads = 4, kvHeads = heads, queries, keys, depth, valueDepth = depth } = shape;
  const { causal = false, masked = false, layout = headsFirst } = shape;
  const q = wave(batch * heads * queries * depth, 1);
  const k = wave(batch * kvHeads * keys * depth, 2);
  const v = wave(batch * kvHeads * keys * valueDepth, 3);
  const mask = wave(heads * queries * keys, 4);
  const length = batch * heads * queries * valueDepth;
  const y = e.put(new Float32Array(length + 8).fill(7));
  const [qs, ks] = [layout(heads, queries, depth), layout(kvHeads, keys, depth)];
  const [vs, ys] = [layout(kvHeads, keys, valueDepth), layout(heads, queries, valueDepth)];
  attention(e, {
    q: { at: e.put(q), strides: qs },
    k: { at: e.put(k), strides: ks },
    v: { at: e.put(v), strides: vs },
    y: { at: y, strides: ys },
    mask: masked ? { at: e.put(mask), strides: [0, queries * keys, keys] } : undefined,
    ...{ batch, heads, kvHeads, queries, keys, depth, valueDepth, causal, scale: 0.3 },
  });
  const result = e.view(y, length + 8);
  if (!result.subarray(length).every(value => value === 7)) return Infinity;
  let worst = 0;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads));
      for (let t = 0; t < queries; t++) {
        const seen = causal ? t + keys - queries + 1 : keys;
        const weights = Array.from({ length: seen }, (_, l) => {
          let dot = 0;
          for (let i = 0; i < depth; i++) {
            dot += q[b * qs[0] + h * qs[1] + t * qs[2] + i] * k[b * ks[0] + kv * ks[1] + l * ks[2] + i];
          }
          return 0.3 * dot + (masked ? mask[(h * queries + t) * keys + l] : 0);
        });
        const top = Math.max(...weights);
        const powers = weights.map(w => Math.exp(w - top));
        const total = powers.reduce((a, w) => a + w, 0);
        for (let i = 0; i < valueDepth; i++) {
          const expected = powers.reduce((a, w, l) => a + (w / total) * v[b * vs[0] + kv * vs[1] + l * vs[2] + i], 0);
          worst = Math.max(worst, Math.abs(expected - result[b * ys[0] + h * ys[1] + t * ys[2] + i]));
        }
      }
    }
  }
  return worst;
}

for (const build of ['simd', 'relaxed'] as const) {
  for (const threads of [1, 3]) {
    describe(`attention, ${build}, ${threads} threads`, () => {
      it('queries, keys and depths modulo the tiles', async () => {
        const e = await bench(build, threads);
        for (const queries of [1, 2, 3, 4, 5, 6, 7, 12, 25, 50]) {
          for (const [keys, depth, valueDepth] of [
            [1, 4, 4],
            [7, 8, 5],
            [8, 16, 8],
            [19, 13, 20],
            [33, 6, 17],
          ]) {
            expect(difference(e, { queries, keys, depth, valueDepth })).toBeLessThan(1e-5);
            expect(difference(e, { queries, keys, depth, valueDepth, masked: true, heads: 3, batch: 1 })).toBeLessThan(
              1e-5,
            );
          }
        }
      });

      it('causal, with earlier keys', async () => {
        const e = await bench(build, threads);
        for (const queries of [1, 3, 4, 13, 30, 49]) {
          for (const past of [0, 1, 9]) {
            const shape = { queries, keys: queries + past, depth: 8, causal: true };
            expect(difference(e, shape)).toBeLessThan(1e-5);
            expect(difference(e, { ...shape, masked: true, batch: 1, heads: 1 })).toBeLessThan(1e-5);
          }
        }
      });

      it('shared key and value heads, rows before heads', async () => {
        const e = await bench(build, threads);
        for (const queries of [1, 6, 17]) {
          for (const kvHeads of [1, 2]) {
            const shape = { queries, keys: 21, depth: 12, kvHeads, layout: rowsFirst };
            expect(difference(e, shape)).toBeLessThan(1e-5);
            expect(difference(e, { ...shape, causal: true, masked: true })).toBeLessThan(1e-5);
          }
        }
      });
    });

    describe(`rotary, ${build}, ${threads} threads`, () => {
      it('rotates halves or neighbours, at given positions, in place', async () => {
        const e = await bench(build, threads);
        const [batch, heads, rows] = [2, 3, 4];
        for (const [depth, rotated] of [
          [8, 8],
          [10, 6],
          [20, 18],
        ]) {
          for (const interleaved of [false, true]) {
            for (const given of [undefined, [3, 1, 0, 2, 5, 5, 4, 6]]) {
              const x = wave(batch * heads * rows * depth, 1);
              const angles = wave((rotated / 2) * 10, 2);
              const at = e.put(x);
              rotary(e, {
                ...{
                  x: at,
                  y: at,
                  strides: rowsFirst(heads, rows, depth),
                  batch,
                  heads,
                  rows,
                  depth,
                  rotated,
                  interleaved,
                },
                ...{ cosines: e.put(angles.map(Math.cos)), sines: e.put(angles.map(Math.sin)), offset: 2 },
                positions: given && e.put(BigInt64Array.from(given, BigInt)),
              });
              const y = e.view(at, x.length);
              let worst = 0;
              for (let row = 0; row < batch * rows * heads; row++) {
                const t = Math.floor(row / heads);
                const position = 2 + (given?.[t] ?? t % rows);
                for (let i = 0; i < depth; i++) {
                  const pair = interleaved ? i >> 1 : i % (rotated / 2);
                  const [first, second] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + rotated / 2];
                  const angle = angles[(position * rotated) / 2 + pair];
                  const [u, v] = [x[row * depth + first], x[row * depth + second]];
                  const turned =
                    i === first ? u * Math.cos(angle) - v * Math.sin(angle) : v * Math.cos(angle) + u * Math.sin(angle);
                  worst = Math.max(worst, Math.abs(y[row * depth + i] - (i < rotated ? turned : x[row * depth + i])));
                }
              }
              expect(worst).toBeLessThan(1e-6);
            }
          }
        }
      });
    });
  }
}

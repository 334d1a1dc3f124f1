import { describe, expect, it } from 'vitest';
import { convolution, convTranspose, type Geometry } from './dense-convolution.ts';
import { pool } from './dense-pool.ts';
import { type Bench, bench } from './testing.ts';

let seed = 7;
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
};
const normal = (length: number) => Float32Array.from({ length }, random);

type Given = Partial<Geometry> & { outChannels: number };

/** Fills in what a test leaves out; output sizes by ONNX's rule. */
function geometry(given: Given): Geometry {
  const g = {
    ...{ batch: 1, channels: 3, height: 9, width: 8, kernel: [3, 3], strides: [1, 1], dilations: [1, 1] },
    ...{ pads: [0, 0, 0, 0], groups: 1 },
    ...given,
  } as Geometry;
  const out = (axis: 0 | 1) =>
    Math.floor(
      ((axis ? g.width : g.height) + g.pads[axis] + g.pads[axis + 2] - g.dilations[axis] * (g.kernel[axis] - 1) - 1) /
        g.strides[axis],
    ) + 1;
  return { ...g, outHeight: given.outHeight ?? out(0), outWidth: given.outWidth ?? out(1) };
}

/** Visits the input positions under the window of one output. */
function visit(
  g: Geometry,
  y: number,
  x: number,
  see: (tap: number, at: number, iy: number, ix: number) => void,
): void {
  for (let ky = 0; ky < g.kernel[0]; ky++) {
    for (let kx = 0; kx < g.kernel[1]; kx++) {
      const iy = y * g.strides[0] + ky * g.dilations[0] - g.pads[0];
      const ix = x * g.strides[1] + kx * g.dilations[1] - g.pads[1];
      const inside = iy >= 0 && iy < g.height && ix >= 0 && ix < g.width;
      see(ky * g.kernel[1] + kx, inside ? iy * g.width + ix : -1, iy, ix);
    }
  }
}

function difference(e: Bench, given: Given, { residual = false, lo = -Infinity, hi = Infinity } = {}): number {
  const g = geometry(given);
  const { batch, channels, outChannels, groups, height, width, kernel, outHeight, outWidth } = g;
  const x = normal(batch * channels * height * width);
  const size = kernel[0] * kernel[1];
  const weight = normal(outChannels * (channels / groups) * size);
  const bias = normal(outChannels);
  const length = batch * outChannels * outHeight * outWidth;
  const extra = normal(length);
  const y = e.put(new Float32Array(length + 16).fill(7));
  const maps = { x: e.put(x), y, residual: residual ? e.put(extra) : undefined, lo, hi };
  convolution(e, { data: weight, key: `w${seed}`, bias }, g, maps);
  const result = e.view(y, length + 16);
  if (!result.subarray(length).every(v => v === 7)) return Infinity;
  let worst = 0;
  let at = 0;
  for (let n = 0; n < batch; n++) {
    for (let o = 0; o < outChannels; o++) {
      const group = Math.floor(o / (outChannels / groups));
      for (let r = 0; r < outHeight; r++) {
        for (let c = 0; c < outWidth; c++, at++) {
          let sum = bias[o] + (residual ? extra[at] : 0);
          for (let i = 0; i < channels / groups; i++) {
            const plane = (n * channels + group * (channels / groups) + i) * height * width;
            const filter = (o * (channels / groups) + i) * size;
            visit(g, r, c, (tap, from) => {
              if (from >= 0) sum += weight[filter + tap] * x[plane + from];
            });
          }
          worst = Math.max(worst, Math.abs(result[at] - Math.min(Math.max(sum, lo), hi)));
        }
      }
    }
  }
  return worst;
}

for (const build of ['simd', 'relaxed'] as const) {
  for (const threads of [1, 3]) {
    describe(`convolution, ${build}, ${threads} threads`, () => {
      const clamped = { residual: true, lo: -0.5, hi: 0.75 };

      it('1×1 is a product over the pixels', async () => {
        const e = await bench(build, threads);
        for (const width of [1, 2, 7, 8, 13]) {
          const shape = { kernel: [1, 1] as const, width, batch: 2, outChannels: 29 };
          expect(difference(e, shape)).toBeLessThan(1e-5);
          expect(difference(e, { ...shape, channels: 8, groups: 2, outChannels: 10 }, clamped)).toBeLessThan(1e-5);
        }
      });

      it('windows of any stride, dilation and padding', async () => {
        const e = await bench(build, threads);
        for (const stride of [1, 2, 3]) {
          for (const dilation of [1, 2]) {
            for (const pads of [
              [0, 0, 0, 0],
              [1, 1, 1, 1],
              [0, 2, 1, 3],
            ] as const) {
              const shape: Given = {
                ...{ strides: [stride, stride], dilations: [dilation, 1], pads, batch: 2, outChannels: 7 },
                ...{ kernel: [3, 2] },
              };
              expect(difference(e, shape)).toBeLessThan(1e-5);
              expect(difference(e, { ...shape, groups: 3, outChannels: 6 }, clamped)).toBeLessThan(1e-5);
              expect(difference(e, { ...shape, channels: 4, groups: 2, outChannels: 6 }, clamped)).toBeLessThan(1e-5);
            }
          }
        }
        expect(difference(e, { kernel: [1, 1], strides: [2, 2], outChannels: 5 })).toBeLessThan(1e-5);
        expect(
          difference(e, { kernel: [1, 5], height: 1, width: 40, pads: [0, 2, 0, 2], outChannels: 5 }),
        ).toBeLessThan(1e-5);
        expect(difference(e, { channels: 90, outChannels: 30, pads: [1, 1, 1, 1] })).toBeLessThan(5e-5);
      });

      it('depthwise: every output size modulo the tiles', async () => {
        const e = await bench(build, threads);
        for (let size = 1; size <= 16; size++) {
          for (const stride of [1, 2]) {
            for (const kernel of [3, 5]) {
              const pad = kernel >> 1;
              const shape: Given = {
                ...{ channels: 4, groups: 4, outChannels: 4, height: size, width: (size * 5) % 17 || 1 },
                ...{ kernel: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad] },
              };
              expect(difference(e, shape, { lo: 0, hi: 2 })).toBeLessThan(1e-5);
              expect(difference(e, { ...shape, pads: [0, 2, 2, 1], height: size + 4, width: size + 4 })).toBeLessThan(
                1e-5,
              );
            }
          }
        }
      });

      it('depthwise with multiplier, dilation, large strides, batch and residual', async () => {
        const e = await bench(build, threads);
        const shape = { batch: 2, channels: 3, groups: 3, outChannels: 6, pads: [2, 2, 2, 2] as const };
        expect(difference(e, shape, clamped)).toBeLessThan(1e-5);
        expect(difference(e, { ...shape, dilations: [2, 2] }, clamped)).toBeLessThan(1e-5);
        expect(difference(e, { ...shape, dilations: [1, 3], strides: [1, 2], width: 21 })).toBeLessThan(1e-5);
        expect(difference(e, { ...shape, strides: [4, 3], kernel: [2, 7], width: 30 })).toBeLessThan(1e-5);
      });
    });

    it(`transposed convolution, ${build}, ${threads} threads`, async () => {
      const e = await bench(build, threads);
      for (const [kernel, stride, dilation, pad, groups] of [
        [3, 1, 1, 1, 1],
        [2, 2, 1, 0, 1],
        [3, 2, 2, 1, 2],
        [4, 3, 1, 2, 2],
      ]) {
        const [batch, channels, outChannels, height, width] = [2, 4, 6, 3, 7];
        const out = (size: number) => (size - 1) * stride + (kernel - 1) * dilation + 1 - 2 * pad + 1;
        const [outHeight, outWidth] = [out(height), out(width)];
        const g: Geometry = {
          ...{ batch, channels, outChannels, height, width, outHeight, outWidth, groups },
          ...{ kernel: [kernel, kernel], strides: [stride, stride], dilations: [dilation, dilation] },
          pads: [pad, pad, pad, pad],
        };
        const x = normal(batch * channels * height * width);
        const share = outChannels / groups;
        const weight = normal(channels * share * kernel * kernel);
        const bias = normal(outChannels);
        const expected = Array.from(
          { length: batch * outChannels * outHeight * outWidth },
          (_, i) => bias[Math.floor(i / (outHeight * outWidth)) % outChannels],
        );
        for (const [i, value] of x.entries()) {
          const [ix, iy] = [i % width, Math.floor(i / width) % height];
          const c = Math.floor(i / (width * height)) % channels;
          const n = Math.floor(i / (width * height * channels));
          const group = Math.floor(c / (channels / groups));
          for (let w = 0; w < share * kernel * kernel; w++) {
            const oy = iy * stride + (Math.floor(w / kernel) % kernel) * dilation - pad;
            const ox = ix * stride + (w % kernel) * dilation - pad;
            if (oy < 0 || oy >= outHeight || ox < 0 || ox >= outWidth) continue;
            const o = group * share + Math.floor(w / (kernel * kernel));
            expected[((n * outChannels + o) * outHeight + oy) * outWidth + ox] +=
              value * weight[c * share * kernel * kernel + w];
          }
        }
        const y = e.put(new Float32Array(expected.length + 4).fill(7));
        convTranspose(e, { data: weight, key: `t${seed}`, bias }, g, { x: e.put(x), y, lo: -1.5 });
        const result = e.view(y, expected.length + 4);
        const worst = Math.max(...expected.map((v, i) => Math.abs(Math.max(v, -1.5) - result[i])));
        expect(worst).toBeLessThan(1e-5);
        expect([...result.subarray(expected.length)]).toEqual([7, 7, 7, 7]);
      }
    });

    describe(`pool, ${build}, ${threads} threads`, () => {
      it('maximum and averages, with and without the pads', async () => {
        const e = await bench(build, threads);
        for (let size = 4; size <= 13; size++) {
          for (const stride of [1, 2, 3]) {
            for (const pads of [
              [0, 0, 0, 0],
              [1, 1, 1, 1],
              [0, 1, 1, 0],
            ] as const) {
              // One more output where ceil_mode would give it.
              for (const more of [0, 1]) {
                const base = geometry({
                  ...{ batch: 2, channels: 3, outChannels: 3, height: size, width: size + 3 },
                  ...{ strides: [stride, stride], kernel: [3, 2], pads },
                });
                const end = base.outWidth * stride - pads[1] < base.width;
                const g = { ...base, outWidth: base.outWidth + (end ? more : 0) };
                const x = normal(6 * g.height * g.width);
                const [outputs, from] = [6 * g.outHeight * g.outWidth, e.put(x)];
                const pooled = (kind: 'max' | 'average', countIncludePad: boolean) => {
                  const y = e.put(new Float32Array(outputs + 8).fill(7));
                  pool(e, kind, { ...g, countIncludePad }, { x: from, y });
                  const result = e.view(y, outputs + 8).slice();
                  expect([...result.subarray(outputs)]).toEqual(new Array(8).fill(7));
                  return result;
                };
                const [most, inside, padded] = [
                  pooled('max', false),
                  pooled('average', false),
                  pooled('average', true),
                ];
                let worst = 0;
                for (let at = 0; at < outputs; at++) {
                  const plane = Math.floor(at / (g.outHeight * g.outWidth)) * g.height * g.width;
                  let [top, sum, cells, all] = [-Infinity, 0, 0, 0];
                  visit(g, Math.floor(at / g.outWidth) % g.outHeight, at % g.outWidth, (_, i, iy, ix) => {
                    if (iy < g.height + pads[2] && ix < g.width + pads[3]) all++;
                    if (i < 0) return;
                    top = Math.max(top, x[plane + i]);
                    sum += x[plane + i];
                    cells++;
                  });
                  worst = Math.max(worst, Math.abs(inside[at] - sum / cells), Math.abs(padded[at] - sum / all));
                  if (most[at] !== top) worst = Infinity;
                }
                expect(worst).toBeLessThan(1e-6);
              }
            }
          }
        }
      });
    });
  }
}

import { describe, expect, it } from 'vitest';
import { copy, copyBlocks, depthToSpace, gather, pad, spaceToDepth, transpose } from './movement.ts';
import { resize } from './movement-resize.ts';
import { type Bench, bench } from './testing.ts';

const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const count = (length: number) => Float32Array.from({ length }, (_, i) => i + 1);

/** Runs `emit` on `length` outputs with a guard behind them. */
function outputs(e: Bench, length: number, emit: (y: number) => void): number[] {
  const y = e.put(new Float32Array(length + 4).fill(-7));
  emit(y);
  const all = [...e.view(y, length + 4)];
  expect(all.slice(length)).toEqual([-7, -7, -7, -7]);
  return all.slice(0, length);
}

/** y[i] at every index of `dims`, innermost last. */
function* indices(dims: readonly number[]): Generator<number[]> {
  for (let i = 0; i < product(dims); i++) {
    let rest = i;
    yield dims
      .map((_, d) => d)
      .reverse()
      .map(d => {
        const at = rest % dims[d];
        rest = Math.floor(rest / dims[d]);
        return at;
      })
      .reverse();
  }
}

const offset = (index: readonly number[], dims: readonly number[]) => index.reduce((at, i, d) => at * dims[d] + i, 0);

function permutations(values: number[]): number[][] {
  if (values.length < 2) return [values];
  return values.flatMap(v => permutations(values.filter(other => other !== v)).map(rest => [v, ...rest]));
}

for (const threads of [1, 3]) {
  describe(`${threads} threads`, () => {
    it('transposes in every order', async () => {
      const e = await bench('simd', threads);
      const cases: [number[], number[][]][] = [
        [[5, 7], permutations([0, 1])],
        [[33, 18], [[1, 0]]],
        [[3, 4, 9], permutations([0, 1, 2])],
        [[2, 3, 4, 5], permutations([0, 1, 2, 3])],
        [
          [2, 3, 2, 2, 3, 5],
          [
            [5, 3, 1, 0, 2, 4],
            [0, 3, 4, 1, 5, 2],
            [4, 5, 0, 1, 2, 3],
          ],
        ],
        [[1, 4, 1, 3], permutations([0, 1, 2, 3])],
        [[0, 2], [[1, 0]]],
      ];
      for (const [dims, orders] of cases) {
        const x = e.put(count(product(dims)));
        for (const perm of orders) {
          const yDims = perm.map(axis => dims[axis]);
          const expected = [...indices(yDims)].map(index => {
            const from: number[] = [];
            for (const [d, axis] of perm.entries()) from[axis] = index[d];
            return offset(from, dims) + 1;
          });
          expect(outputs(e, product(dims), y => transpose(e, { x, y, dims, perm }))).toEqual(expected);
        }
      }
    });

    it('copies elements of every size by any strides', async () => {
      const e = await bench('simd', threads);
      for (const size of [1, 2, 4, 8]) {
        const bytes = Uint8Array.from({ length: 24 * size }, (_, i) => i);
        const y = e.put(new Uint8Array(24 * size));
        // The rows of a [4, 6] array backwards, every second column.
        copy(e, { x: e.put(bytes) + 18 * size, y, dims: [4, 3], xStrides: [-6, 2], yStrides: [3, 1], size });
        const expected = [3, 2, 1, 0].flatMap(r =>
          [0, 2, 4].flatMap(c => [...bytes.slice((r * 6 + c) * size, (r * 6 + c + 1) * size)]),
        );
        expect([...new Uint8Array(e.memory.buffer, y, 12 * size)]).toEqual(expected);
      }
      const row = e.put(Float32Array.of(1, 2, 3));
      const spread = outputs(e, 6, y => copy(e, { x: row, y, dims: [2, 3], xStrides: [0, 1], yStrides: [3, 1] }));
      expect(spread).toEqual([1, 2, 3, 1, 2, 3]);
    });

    it('copies blocks: a concatenation', async () => {
      const e = await bench('simd', threads);
      for (const [a, b] of [
        [1, 2],
        [3, 5],
        [40, 200],
      ]) {
        const y = outputs(e, 3 * (a + b), y => {
          copyBlocks(e, { x: e.put(count(3 * a)), y, blocks: 3, length: a, xStep: a, yStep: a + b });
          copyBlocks(e, { x: e.put(count(3 * b)), y: y + a * 4, blocks: 3, length: b, xStep: b, yStep: a + b });
        });
        expect(y).toEqual(
          [0, 1, 2].flatMap(r => [
            ...count(3 * a).slice(r * a, (r + 1) * a),
            ...count(3 * b).slice(r * b, (r + 1) * b),
          ]),
        );
      }
    });

    it('depth to space, and back', async () => {
      const e = await bench('simd', threads);
      const x = e.put(count(2 * 8 * 3 * 2));
      for (const mode of ['DCR', 'CRD'] as const) {
        const y = outputs(e, 96, y => depthToSpace(e, { x, y, dims: [2, 8, 3, 2], block: 2, mode }));
        const expected = [...indices([2, 2, 6, 4])].map(([n, c, h, w]) => {
          const [i, j] = [h % 2, w % 2];
          const channel = mode === 'DCR' ? (i * 2 + j) * 2 + c : c * 4 + i * 2 + j;
          return offset([n, channel, h >> 1, w >> 1], [2, 8, 3, 2]) + 1;
        });
        expect(y).toEqual(expected);
        if (mode === 'DCR') {
          const wide = e.put(Float32Array.from(y));
          const back = outputs(e, 96, z => spaceToDepth(e, { x: wide, y: z, dims: [2, 2, 6, 4], block: 2 }));
          expect(back).toEqual([...count(96)]);
        }
      }
    });

    it('pads by every mode', async () => {
      const e = await bench('simd', threads);
      const [planes, h, w] = [3, 4, 5];
      const data = count(planes * h * w);
      const x = e.put(data);
      const fold = (at: number, size: number, mode: string): number => {
        if (at >= 0 && at < size) return at;
        if (mode === 'constant') return NaN;
        if (mode === 'edge') return at < 0 ? 0 : size - 1;
        if (mode === 'wrap') return (at + size * 10) % size;
        return fold(at < 0 ? -at : 2 * (size - 1) - at, size, mode);
      };
      for (const mode of ['constant', 'edge', 'reflect', 'wrap'] as const) {
        for (const pads of [
          [0, 0, 0, 0],
          [1, 2, 3, 0],
          [3, 4, 2, 9],
        ] as const) {
          const [rows, columns] = [h + pads[0] + pads[2], w + pads[1] + pads[3]];
          const y = outputs(e, planes * rows * columns, y =>
            pad(e, { x, y, planes, height: h, width: w, pads, mode, value: 0.5 }),
          );
          const expected = [...indices([planes, rows, columns])].map(([p, r, c]) => {
            const [i, j] = [fold(r - pads[0], h, mode), fold(c - pads[1], w, mode)];
            return Number.isNaN(i + j) ? 0.5 : data[(p * h + i) * w + j];
          });
          expect(y).toEqual(expected);
        }
      }
    });

    it('gathers rows by int32 and int64 indices', async () => {
      const e = await bench('simd', threads);
      for (const inner of [1, 3, 200]) {
        const x = e.put(count(2 * 4 * inner));
        const wanted = [3, 0, -1, -4, 2];
        for (const wide of [false, true]) {
          const at = e.put(wide ? BigInt64Array.from(wanted, BigInt) : Int32Array.from(wanted));
          const y = outputs(e, 10 * inner, y =>
            gather(e, { x, indices: at, y, outer: 2, axis: 4, inner, count: 5, wide }),
          );
          const expected = [...indices([2, 5, inner])].map(
            ([o, i, k]) => (o * 4 + ((wanted[i] + 4) % 4)) * inner + k + 1,
          );
          expect(y).toEqual(expected);
        }
      }
    });
  });

  describe(`resize, ${threads} threads`, () => {
    const run = (e: Bench, x: number[][], out: [number, number], rest: Partial<Parameters<typeof resize>[1]>) => {
      const at = e.put(Float32Array.from(x.flat()));
      const sizes = { planes: 1, height: x.length, width: x[0].length, outHeight: out[0], outWidth: out[1] };
      return outputs(e, out[0] * out[1], y => resize(e, { x: at, y, ...sizes, mode: 'linear', ...rest }));
    };
    // Expected values: the examples of the ONNX operator specification.
    it('linear as in the specification of Resize', async () => {
      const e = await bench('simd', threads);
      const two = [
        [1, 2],
        [3, 4],
      ];
      expect(run(e, two, [4, 4], {})).toEqual([
        ...[1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4],
      ]);
      const corners = run(e, two, [4, 4], { coordinates: 'align_corners' });
      for (const [i, v] of corners.entries()) expect(v).toBeCloseTo(1 + (i % 4) / 3 + (Math.floor(i / 4) * 2) / 3, 5);
      const down = [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
      ];
      const scales = [0.6, 0.6] as const;
      expect(run(e, down, [1, 2], { scales }).map(v => +v.toFixed(5))).toEqual([2.66667, 4.33333]);
      expect(run(e, down, [1, 2], { scales, coordinates: 'align_corners' })[0]).toBe(1);
    });

    it('nearest as in the specification of Resize', async () => {
      const e = await bench('simd', threads);
      const two = [
        [1, 2],
        [3, 4],
      ];
      expect(run(e, two, [4, 6], { mode: 'nearest' })).toEqual([
        ...[1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 3, 3, 3, 4, 4, 4],
      ]);
      const four = [0, 4, 8, 12].map(r => [1, 2, 3, 4].map(c => r + c));
      const options = { mode: 'nearest', nearest: 'floor', coordinates: 'align_corners' } as const;
      expect(run(e, four, [8, 8], options).slice(0, 16)).toEqual([1, 1, 1, 2, 2, 3, 3, 4, 1, 1, 1, 2, 2, 3, 3, 4]);
      const asymmetric = run(e, four, [8, 8], { mode: 'nearest', nearest: 'ceil', coordinates: 'asymmetric' });
      expect(asymmetric.slice(0, 8)).toEqual([1, 2, 2, 3, 3, 4, 4, 4]);
    });

    it('treats planes alike', async () => {
      const e = await bench('simd', threads);
      const x = e.put(Float32Array.from({ length: 2 * 3 * 5 }, (_, i) => Math.sin(i % 15)));
      for (const mode of ['linear', 'nearest'] as const) {
        const y = outputs(e, 2 * 7 * 9, y =>
          resize(e, { x, y, planes: 2, height: 3, width: 5, outHeight: 7, outWidth: 9, mode }),
        );
        expect(y.slice(0, 63)).toEqual(y.slice(63));
      }
    });
  });
}

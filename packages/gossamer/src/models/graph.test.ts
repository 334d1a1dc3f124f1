import { type NDArray, Random, type Tensor, tensor } from '@gossamer/tensor';
import { randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { denseAdjacency, edges, normalizedEdges, propagate, withSelfLoops } from './graph.ts';
import { expectClose } from './testing.ts';

/** A path 0 — 1 — 2 and a node 3 of its own. */
const path: NDArray<Int32Array> = { dtype: 'int32', shape: [2, 4], data: Int32Array.of(0, 1, 1, 2, 1, 0, 2, 1) };

describe('graph', () => {
  it('sums over neighbours, along edges and by matrix', async () => {
    const x = tensor([
      [1, 10],
      [2, 20],
      [4, 40],
      [8, 80],
    ]);
    const expected = [
      [2, 20],
      [5, 50],
      [2, 20],
      [0, 0],
    ];
    expect(await propagate(edges(path), x).tolist()).toEqual(expected);
    expect(await propagate(await denseAdjacency(edges(path), 4), x).tolist()).toEqual(expected);
  });

  it('follows the direction of edges, with weights and repeats', async () => {
    const list: NDArray = { dtype: 'int32', shape: [2, 3], data: Int32Array.of(0, 0, 2, 1, 1, 0) };
    const weighted = edges(list, Float32Array.of(2, 3, -1));
    const x = tensor([[1], [10], [100]]);
    expect(await propagate(weighted, x).tolist()).toEqual([[-100], [5], [0]]);
    expect(await propagate(await denseAdjacency(weighted, 3), x).tolist()).toEqual([[-100], [5], [0]]);
  });

  it('adds self loops where there are none', () => {
    const once = withSelfLoops(path, 4);
    expect([...once.data]).toEqual([0, 1, 1, 2, 0, 1, 2, 3, 1, 0, 2, 1, 0, 1, 2, 3]);
    expect(withSelfLoops(once, 4)).toEqual(once);
  });

  it('normalises as Kipf & Welling', async () => {
    const matrix = (await (await denseAdjacency(normalizedEdges(path, 4), 4)).data()) as Float32Array;
    const a = [
      [1, 1, 0, 0],
      [1, 1, 1, 0],
      [0, 1, 1, 0],
      [0, 0, 0, 1],
    ];
    const degree = [2, 3, 2, 1];
    expectClose(
      matrix,
      a.flatMap((row, i) => row.map((v, j) => v / Math.sqrt(degree[i] * degree[j]))),
      1e-6,
    );
  });

  it('has the same gradients along edges as by matrix', async () => {
    const random = new Random(1);
    const data = random.integers(60, 0, 12);
    const list = edges({ dtype: 'int32', shape: [2, 30], data }, random.normal(30));
    const x = randn([12, 5]);
    const { gradients } = await import('@gossamer/tensor');
    const slope = (y: Tensor): Tensor => gradients(y.mul(randn([12, 5], 9)).sum(), [x])[0];
    const dense = await denseAdjacency(list, 12);
    expectClose(await slope(propagate(list, x)).data(), await slope(propagate(dense, x)).data(), 1e-5);
  });

  it('refuses a matrix of another size', () => {
    expect(() => propagate(tensor([[1]]), tensor([[1], [2]]))).toThrow('expected [2, 2]');
    expect(() => edges({ dtype: 'int32', shape: [3, 2], data: new Int32Array(6) })).toThrow('[2, edges]');
  });
});

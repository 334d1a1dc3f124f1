import { gradients, type NDArray, Random, realize, tensor } from '@gossamer/tensor';
import { randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { GAT, GATConv } from './gat.ts';
import { denseAdjacency, edges, withSelfLoops } from './graph.ts';
import { checkExport, checkSeeds, expectClose, shapesOf } from './testing.ts';

const list: NDArray<Int32Array> = withSelfLoops(
  { dtype: 'int32', shape: [2, 7], data: Int32Array.of(0, 1, 2, 3, 4, 0, 1, 1, 2, 3, 4, 0, 2, 4) },
  5,
);
const make = (random: Random): GAT => new GAT({ inputs: 6, classes: 3, hidden: 4, heads: 2, outputHeads: 2, random });

describe('GAT', () => {
  it('has the names of PyTorch Geometric', () => {
    expect(shapesOf(make(new Random(1)))).toEqual({
      'convs.0.att_src': '1×2×4',
      'convs.0.att_dst': '1×2×4',
      'convs.0.bias': '8',
      'convs.0.lin.weight': '8×6',
      'convs.1.att_src': '1×2×3',
      'convs.1.att_dst': '1×2×3',
      'convs.1.bias': '3',
      'convs.1.lin.weight': '6×8',
    });
  });

  it('is the mathematics of the paper: one head, edge by edge', async () => {
    const conv = new GATConv(6, 2, { random: new Random(2) }).eval();
    const x = randn([5, 6]);
    const h = (await conv.lin.forward(x).tolist()) as number[][];
    const [aSrc, aDst] = await Promise.all([conv.attSrc.data(), conv.attDst.data()]);
    const dot = (a: ArrayLike<number>, b: number[]) => b.reduce((s, v, i) => s + v * a[i], 0);
    const expected: number[] = [];
    for (let i = 0; i < 5; i++) {
      const from = [...list.data.subarray(0, list.shape[1])].filter((_, e) => list.data[list.shape[1] + e] === i);
      const scores = from.map(j => {
        const e = dot(aSrc, h[j]) + dot(aDst, h[i]);
        return Math.exp(e > 0 ? e : 0.2 * e);
      });
      const sum = scores.reduce((a, b) => a + b);
      for (const c of [0, 1]) expected.push(from.reduce((s, j, n) => s + (scores[n] / sum) * h[j][c], 0));
    }
    expectClose(await conv.forward(x, edges(list)).data(), expected, 1e-5);
  });

  it('gives the same along edges and by matrix, and stays finite for huge scores', async () => {
    const model = make(new Random(3)).eval();
    const dense = await denseAdjacency(edges(list), 5);
    for (const scale of [1, 1000]) {
      const x = randn([5, 6]).mul(scale);
      const y = await model.forward(x, edges(list)).data();
      expect(y.every(Number.isFinite)).toBe(true);
      expectClose(y, await model.forward(x, dense).data(), 1e-5);
    }
  });

  it('sends gradients to every parameter, and its seed decides the weights', async () => {
    const model = make(new Random(1)).eval();
    const loss = model
      .forward(randn([5, 6]), edges(list))
      .mul(randn([5, 3], 1))
      .sum();
    const sizes = gradients(loss, model.parameters()).map(g => g.abs().max());
    await realize(...sizes);
    for (const [i, size] of sizes.entries()) expect(await size.item(), String(i)).toBeGreaterThan(0);
    await checkSeeds(make, model);
  });

  it('exports: the graph is part of the file, or an input', async () => {
    const model = make(new Random(1)).eval();
    const [x, graph] = [randn([5, 6]), edges(list)];
    await checkExport(model, [{ x, adjacency: await denseAdjacency(graph, 5) }], { batch: null });
    await checkExport(model, [{ x }], { batch: null, forward: t => model.forward(t, graph) });
  });

  it('scales attention by the weights of edges, along edges and by matrix', async () => {
    const conv = new GATConv(6, 2, { heads: 2, random: new Random(2) }).eval();
    const x = randn([5, 6]);
    const plain = await conv.forward(x, edges(list)).data();
    const halved = edges(list, new Float32Array(list.shape[1]).fill(0.5));
    const y = await conv.forward(x, halved).data();
    expectClose(
      y,
      plain.map(v => v / 2),
      1e-6,
    );
    expectClose(await conv.forward(x, await denseAdjacency(halved, 5)).data(), y, 1e-6);
  });

  it('gives a node without edges its bias', async () => {
    const conv = new GATConv(2, 2).eval();
    conv.bias.set(Float32Array.of(3, 4));
    const one: NDArray = { dtype: 'int32', shape: [2, 1], data: Int32Array.of(0, 0) };
    const y = (await conv
      .forward(
        tensor([
          [1, 2],
          [3, 4],
        ]),
        edges(one),
      )
      .tolist()) as number[][];
    expect(y[1]).toEqual([3, 4]);
  });
});

import { gradients, type NDArray, Random, realize } from '@gossamer/tensor';
import { randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { GCN } from './gcn.ts';
import { type Adjacency, denseAdjacency, normalizedEdges } from './graph.ts';
import { checkExport, checkSeeds, expectClose, shapesOf } from './testing.ts';

const list: NDArray<Int32Array> = {
  dtype: 'int32',
  shape: [2, 10],
  data: Int32Array.of(0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 0, 2, 1, 3, 2, 4, 3, 0, 4),
};
const make = (random: Random): GCN => new GCN({ sizes: [6, 4, 3], random });

describe('GCN', () => {
  it('has the names of PyTorch Geometric', () => {
    expect(shapesOf(make(new Random(1)))).toEqual({
      'convs.0.lin.weight': '4×6',
      'convs.0.bias': '4',
      'convs.1.lin.weight': '3×4',
      'convs.1.bias': '3',
    });
  });

  it('is the mathematics of the paper, Â ReLU(Â X W₀) W₁, along edges and by matrix', async () => {
    const model = make(new Random(1)).eval();
    const x = randn([5, 6]);
    const sparse = normalizedEdges(list, 5);
    const a = await denseAdjacency(sparse, 5);
    const [w0, w1] = model.convs.map(conv => conv.lin.weight.transpose());
    const expected = await a.matmul(a.matmul(x.matmul(w0)).relu().matmul(w1)).data();
    for (const adjacency of [sparse, a] satisfies Adjacency[]) {
      expectClose(await model.forward(x, adjacency).data(), expected, 1e-6);
    }
  });

  it('sends gradients to every parameter, and its seed decides the weights', async () => {
    const model = make(new Random(1)).eval();
    const loss = model
      .forward(randn([5, 6]), normalizedEdges(list, 5))
      .mul(randn([5, 3], 1))
      .sum();
    const sizes = gradients(loss, model.parameters()).map(g => g.abs().max());
    await realize(...sizes);
    for (const size of sizes) expect(await size.item()).toBeGreaterThan(0);
    await checkSeeds(make, model);
  });

  it('exports: the graph is part of the file, or an input', async () => {
    const model = make(new Random(1)).eval();
    const x = randn([5, 6]);
    const graph = normalizedEdges(list, 5);
    await checkExport(model, [{ x, adjacency: await denseAdjacency(graph, 5) }], { batch: null });
    await checkExport(model, [{ x }], { batch: null, forward: t => model.forward(t, graph) });
  });

  it('drops features in training only', async () => {
    const model = make(new Random(1));
    const [x, a] = [randn([5, 6]), normalizedEdges(list, 5)];
    const plain = await model.eval().forward(x, a).data();
    expect(await model.train().forward(x, a).data()).not.toEqual(plain);
    expect(await model.eval().forward(x, a).data()).toEqual(plain);
  });
});

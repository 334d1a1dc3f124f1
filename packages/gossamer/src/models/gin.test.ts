import { concat, gradients, type NDArray, Random, realize, type Tensor, tensor } from '@gossamer/tensor';
import { randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { GIN } from './gin.ts';
import { edges } from './graph.ts';
import { checkExport, checkSeeds, expectClose, shapesOf } from './testing.ts';

const make = (random: Random): GIN => new GIN({ inputs: 4, classes: 2, hidden: 5, layers: 2, random });
const undirected = (pairs: [number, number][], shift = 0): NDArray => {
  const from = pairs.flatMap(([a, b]) => [a + shift, b + shift]);
  const to = pairs.flatMap(([a, b]) => [b + shift, a + shift]);
  return { dtype: 'int32', shape: [2, from.length], data: Int32Array.from([...from, ...to]) };
};
const triangle: [number, number][] = [
  [0, 1],
  [1, 2],
  [2, 0],
];
const path: [number, number][] = [
  [0, 1],
  [1, 2],
];

describe('GIN', () => {
  it('has the names of powerful-gnns', () => {
    const shapes = shapesOf(make(new Random(1)));
    expect(Object.keys(shapes).filter(name => !name.includes('running'))).toEqual([
      'eps',
      ...[0, 1].flatMap(l => [
        ...[0, 1].flatMap(i => [`mlps.${l}.linears.${i}.weight`, `mlps.${l}.linears.${i}.bias`]),
        `mlps.${l}.batch_norms.0.weight`,
        `mlps.${l}.batch_norms.0.bias`,
      ]),
      ...[0, 1].flatMap(i => [`batch_norms.${i}.weight`, `batch_norms.${i}.bias`]),
      ...[0, 1, 2].flatMap(i => [`linears_prediction.${i}.weight`, `linears_prediction.${i}.bias`]),
    ]);
    expect(shapes['linears_prediction.0.weight']).toBe('2×4');
    expect(shapes['mlps.1.linears.0.weight']).toBe('5×5');
  });

  it('treats the graphs of a batch one by one, and their nodes as a set', async () => {
    const model = make(new Random(1)).eval();
    const [x, y] = [randn([3, 4], 1), randn([3, 4], 2)];
    const zeros = tensor(new Int32Array(3));
    const alone = await Promise.all([
      model.forward(x, edges(undirected(triangle)), zeros, 1).data(),
      model.forward(y, edges(undirected(path)), zeros, 1).data(),
    ]);
    const a = undirected(triangle);
    const b = undirected(path, 3);
    const half = (e: NDArray, i: number) =>
      [...(e.data as Int32Array)].slice((i * e.data.length) / 2, ((i + 1) * e.data.length) / 2);
    const joined: NDArray = {
      dtype: 'int32',
      shape: [2, a.shape[1] + b.shape[1]],
      data: Int32Array.from([...half(a, 0), ...half(b, 0), ...half(a, 1), ...half(b, 1)]),
    };
    const graphOf = tensor(Int32Array.of(0, 0, 0, 1, 1, 1));
    const both = await model.forward(concat([x, y]), edges(joined), graphOf, 2).data();
    expectClose(both, [...alone[0], ...alone[1]], 1e-5);
    const turned = concat([x.slice(0, 2), x.slice(0, 0, 2)]);
    expectClose(await model.forward(turned, edges(undirected(triangle)), zeros, 1).data(), alone[0], 1e-5);
  });

  it('tells a triangle from a path, which means cannot with equal features', async () => {
    const model = make(new Random(1)).eval();
    const x = tensor(new Float32Array(12).fill(1), [3, 4]);
    const graphOf = tensor(new Int32Array(3));
    const a = await model.forward(x, edges(undirected(triangle)), graphOf, 1).data();
    const b = await model.forward(x, edges(undirected(path)), graphOf, 1).data();
    expect(Math.abs(a[0] - b[0])).toBeGreaterThan(1e-3);
  });

  it('sends gradients to every parameter, and its seed decides the weights', async () => {
    const model = make(new Random(1)).eval();
    const y = model.forward(randn([3, 4]), edges(undirected(path)), tensor(Int32Array.of(0, 0, 1)), 2);
    const sizes = gradients(y.mul(randn([2, 2], 5)).sum(), model.parameters()).map(g => g.abs().max());
    await realize(...sizes);
    for (const [i, size] of sizes.entries()) expect(await size.item(), String(i)).toBeGreaterThan(0);
    await checkSeeds(make, model);
  });

  it('exports with its graphs', async () => {
    const model = make(new Random(1)).eval();
    const [graph, graphOf] = [edges(undirected(path)), tensor(Int32Array.of(0, 0, 1))];
    const forward = (x: Tensor): Tensor => model.forward(x, graph, graphOf, 2);
    await checkExport(model, [{ x: randn([3, 4]) }], { batch: null, forward });
  });
});

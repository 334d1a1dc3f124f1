import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  compile,
  exportOnnx,
  gradients,
  type OnnxModel,
  Parameter,
  type Tensor,
  tensor,
  writeOnnx,
} from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { GraphModule } from './graph-module.ts';
import { Module } from './module.ts';

const x = tensor([1, 2, 3, 6, 5, -1], [3, 2]);

/** A linear layer and batch normalisation, as a file would hold them. */
async function model(): Promise<OnnxModel> {
  const weight = new Parameter(
    { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, -1, 1) },
    { name: 'fcOne.weight' },
  );
  const exported = await exportOnnx(t => ({ y: t.matmul(weight) }), { x: { dtype: 'float32', shape: [1, 2] } });
  const vector = (...values: number[]) => ({ dtype: 'float32' as const, shape: [2], data: Float32Array.from(values) });
  const { graph } = exported;
  for (const [name, values] of Object.entries({ g: [1, 2], b: [0, 1], mean: [0, 1], var: [1, 4] })) {
    graph.initializers.set(name, vector(...values));
  }
  const inputs = ['y', 'g', 'b', 'mean', 'var'];
  graph.nodes.push({ name: 'bn', opType: 'BatchNormalization', domain: '', inputs, outputs: ['z'], attributes: {} });
  return { ...exported, graph: { ...graph, outputs: [{ name: 'z', dtype: 'float32', shape: ['batch', 2] }] } };
}

describe('GraphModule', () => {
  it('is a part of other modules like any other', async () => {
    class Wrapped extends Module {
      readonly backbone: GraphModule;
      constructor(onnx: OnnxModel) {
        super();
        this.backbone = new GraphModule(onnx);
      }
      override forward(t: Tensor): unknown {
        return this.backbone.forward(t);
      }
    }
    const names = [...new Wrapped(await model()).stateDict().keys()];
    expect(names).toContain('backbone.fcOne.weight');
    expect([...new Wrapped(await model()).namedGenerators()].map(([n]) => n)).toEqual(['backbone.random']);
  });

  it('has the names of the file and starts in evaluation mode', async () => {
    const m = new GraphModule(await model());
    expect(m.training).toBe(false);
    expect([...m.stateDict().keys()]).toEqual(['fcOne.weight', 'g', 'b', 'mean', 'var']);
    expect(m.parameters().map(p => p.name)).toEqual(['fcOne.weight', 'g', 'b']);
    expect(m.inputs.map(i => i.name)).toEqual(['x']);
    expect(m.outputs.map(o => o.name)).toEqual(['z']);
    expect([...m.namedGenerators()].map(([name]) => name)).toEqual(['random']);
  });

  it('loads from a file and gives its single output', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'graph-module-'));
    try {
      await writeOnnx(join(folder, 'm.onnx'), await model());
      const m = await GraphModule.load(join(folder, 'm.onnx'));
      const y = await (m.forward(tensor([[1, 2]])) as typeof x).tolist();
      // [1, 2]·W = [−1, 4]; (−1 − 0)/1 and 2·(4 − 1)/2 + 1
      const [[a, b]] = y as number[][];
      expect(a).toBeCloseTo(-1, 4);
      expect(b).toBeCloseTo(4, 4);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('train() uses and moves statistics; frozen ones stay', async () => {
    for (const batchNorm of ['batch', 'frozen'] as const) {
      const m = new GraphModule(await model(), { batchNorm }).train();
      const columns = (await m.run({ x }).z.tolist()) as number[][];
      const mean = columns.reduce((s, row) => s + row[0], 0) / 3;
      const running = (await m.stateDict().get('mean')!.tolist()) as number[];
      if (batchNorm === 'batch') {
        expect(mean).toBeCloseTo(0, 4);
        expect(running[0]).toBeCloseTo(0.1 * ((-1 - 3 + 6) / 3), 4);
      } else {
        expect(Math.abs(mean)).toBeGreaterThan(0.1);
        expect(running).toEqual([0, 1]);
      }
    }
  });

  it('can be fine-tuned, saved and loaded', async () => {
    const m = new GraphModule(await model());
    const parameters = m.parameters();
    const step = compile((input: typeof x) => {
      const y = m.run({ x: input }).z;
      const loss = y.mul(y).mean();
      for (const [i, g] of gradients(loss, parameters).entries()) parameters[i].assign(parameters[i].sub(g.mul(0.01)));
      return loss;
    });
    const first = await (await step(x)).item();
    for (let i = 0; i < 50; i++) await step(x);
    expect(await (await step(x)).item()).toBeLessThan(first / 2);
    await step.dispose();

    const saved = await Promise.all([...m.stateDict()].map(async ([name, p]) => [name, await p.array()] as const));
    const copy = new GraphModule(await model()).loadStateDict(saved);
    expect(await copy.run({ x }).z.tolist()).toEqual(await m.run({ x }).z.tolist());
  });

  it('says which inputs it expects', async () => {
    const m = new GraphModule(await model());
    expect(() => m.forward()).toThrow('GraphModule: 0 inputs given, expected x');
  });
});

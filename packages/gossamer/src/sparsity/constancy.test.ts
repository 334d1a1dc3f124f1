import {
  concat,
  maxPool,
  type Node,
  type Parameter,
  Random,
  realize,
  sizeOf,
  Tensor,
  tensor,
  traceGraph,
} from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { BatchNorm2d, Conv2d, Linear, type Module, Sequential, Sigmoid } from '../nn/index.ts';
import { follow } from './channels.ts';
import { constancy, Known } from './constancy.ts';
import { sliceGraph } from './graph-slices.ts';
import { traceModel } from './model.ts';
import { Branches, image, SharedKeys, sample, worn } from './shrink-testing.ts';

const random = (name: string) => new Random(7).fork(name);
const input = image(2, 5);

/** What is known of the channels (axis 1) of a network's output. */
async function channels(model: Module): Promise<number[]> {
  const traced = await traceModel(model.eval(), [input], 'test');
  const values = new Map<Parameter, Float32Array>();
  for (const p of traced.parameters.values()) values.set(p, await p.data());
  return [...constancy(traced, values).get(traced.outputs[0].node)![0][1]];
}

async function zero(p: Parameter, ...rows: number[]): Promise<void> {
  const width = p.size / p.shape[0];
  p.set((await p.data()).map((v, e) => (rows.includes(Math.floor(e / width)) ? 0 : v)));
}

class Fn extends Sequential {
  #fn: (h: Tensor) => Tensor;
  constructor(layer: Module, fn: (h: Tensor) => Tensor) {
    super(layer);
    this.#fn = fn;
  }
  override forward(x: Tensor): Tensor {
    return this.#fn(super.forward(x));
  }
}

const { varies, constant, zero: nothing } = Known;

describe('constancy', () => {
  it('follows dead filters through what handles them', async () => {
    const conv = new Conv2d(2, 4, 3, { random: random('a') });
    await zero(conv.weight, 0, 2);
    await zero(conv.bias!, 2);
    expect(await channels(conv)).toEqual([constant, varies, nothing, varies]);
    const after = async (fn: (h: Tensor) => Tensor) => channels(new Fn(conv, fn));
    expect(await after(h => maxPool(h.relu(), 3, { padding: 1 }))).toEqual([constant, varies, nothing, varies]);
    expect(await after(h => h.sigmoid())).toEqual([constant, varies, constant, varies]);
    expect(await after(h => h.mul(h.mean([2, 3], true).sigmoid()))).toEqual([constant, varies, nothing, varies]);
    expect(await after(h => h.add(h.slice(1, 0, 1)))).toEqual([constant, varies, constant, varies]);
    expect(await after(h => concat([h.slice(1, 2, 4), h], 1))).toEqual([
      nothing,
      varies,
      constant,
      varies,
      nothing,
      varies,
    ]);
    // Zeros at the border of a constant are no constant any more.
    expect(await after(h => h.pad([[2, 1, 1]]))).toEqual([varies, varies, nothing, varies]);
    expect(await after(h => h.flatten())).toEqual(
      [constant, varies, nothing, varies].flatMap(k => new Array<number>(9).fill(k)),
    );
  });

  it('knows normalisations without scale, and depthwise filters behind them', async () => {
    const norm = new BatchNorm2d(2);
    await zero(norm.weight!, 0, 1);
    norm.bias!.set(Float32Array.of(0, 0.5));
    const depthwise = (padding: number) =>
      new Sequential(norm, new Conv2d(2, 2, 3, { groups: 2, padding, bias: false, random: random('d') }));
    expect(await channels(norm)).toEqual([nothing, constant]);
    expect(await channels(new Sequential(norm, new Sigmoid()))).toEqual([constant, constant]);
    expect(await channels(depthwise(0))).toEqual([nothing, constant]);
    expect(await channels(depthwise(1))).toEqual([nothing, varies]);
  });

  it('never calls something constant that changes with the input', async () => {
    for (const [model, spec] of [
      [worn(new Branches()), image(3, 8)],
      [worn(new SharedKeys()), { dtype: 'float32', shape: [1, 5, 10] } as const],
    ] as const) {
      const layers = [...model.namedParameters()].filter(([name]) => name.endsWith('weight'));
      for (const [i, [, p]] of layers.entries()) if (p.rank > 1 && p.shape[0] > 4) await zero(p, i % 3, 4);
      const traced = await traceModel(model, [spec], 'test');
      const values = new Map<Parameter, Float32Array>();
      for (const p of traced.parameters.values()) values.set(p, await p.data());
      const known = constancy(traced, values);
      const nodes = traced.nodes.filter(n => !n.parts && n.dtype === 'float32' && !n.isLeaf);
      const evaluate = async (seed: number) => {
        const x = tensor(random(`x${seed}`).normal(sample(spec, 1).size), spec.shape);
        const leaf = (n: Node) => (n === traced.inputs[0] ? x : n.isLeaf ? new Tensor(n) : undefined);
        const { tensor: of } = sliceGraph(traced, { ...follow(traced, { use: 'removal' }), axes: new Map() }, { leaf });
        const tensors = nodes.map(of);
        await realize(...tensors);
        return Promise.all(tensors.map(t => t.data()));
      };
      const [first, second] = [await evaluate(1), await evaluate(2)];
      let claims = 0;
      for (const [i, node] of nodes.entries()) {
        const axes = known.get(node)![0];
        node.shape.forEach((length, axis) => {
          const inner = sizeOf(node.shape.slice(axis + 1));
          first[i].forEach((v, e) => {
            const k = axes[axis][Math.floor(e / inner) % length];
            // +0 and −0 are the same.
            if (k !== varies) expect(Math.abs(v - second[i][e]), node.op.name).toBe(0);
            if (k === nothing) expect(Math.abs(v)).toBe(0);
            claims += k === varies ? 0 : 1;
          });
        });
      }
      expect(claims).toBeGreaterThan(100);
    }
  });

  it('takes a linear layer without weights for its bias', async () => {
    const fc = new Linear(4, 3, { random: random('fc') });
    await zero(fc.weight, 1);
    const traced = traceGraph(x => fc.forward(x).relu(), [{ dtype: 'float32', shape: [1, 4] }]);
    const values = new Map([[fc.weight, await fc.weight.data()]]);
    expect([...constancy(traced, values).get(traced.outputs[0].node)![0][1]]).toEqual([varies, constant, varies]);
  });
});

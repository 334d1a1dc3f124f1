import { Parameter, Random, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { CifarResNet } from '../models/resnet-cifar.ts';
import { MLP } from '../nn/container.ts';
import { findCollapse } from './collapse.ts';
import { linearize } from './linearize.ts';
import { Mask } from './mask.ts';
import { modelLayers } from './model.ts';
import { synapticFlow } from './synaptic-flow.ts';

const spec = (...shape: number[]) => [{ dtype: 'float32' as const, shape }];
const mlp = (sizes: readonly number[], seed = 0) => new MLP(sizes, { random: new Random(seed) });

/** |W_L| ⋯ |W_1| 1 by loops, and the share of each weight by leaving it out. */
function pathSums(layers: readonly { values: Float32Array; shape: readonly number[] }[], mask: Mask): number[][] {
  const total = (skip?: [layer: number, index: number]) => {
    let x = new Array<number>(layers[0].shape[1]).fill(1);
    layers.forEach(({ values, shape: [out, inputs] }, l) => {
      const keep = [...mask.entries()][l][1].keep;
      x = Array.from({ length: out }, (_, o) =>
        x.reduce((sum, v, i) => {
          const e = o * inputs + i;
          return sum + (keep[e] === 0 || (skip?.[0] === l && skip[1] === e) ? 0 : Math.abs(values[e]) * v);
        }, 0),
      );
    });
    return x.reduce((a, b) => a + b);
  };
  const all = total();
  return layers.map((l, k) => Array.from(l.values, (_, e) => (all - total([k, e])) / all));
}

describe('synapticFlow', () => {
  it('sums the products of |w| along all paths, with and without a mask', async () => {
    const model = mlp([4, 5, 3, 2]);
    const found = await modelLayers(model, spec(1, 4));
    const flow = await synapticFlow(model, spec(1, 4), found);
    const sparse = new Mask(
      found.layers.map(l => [
        l.name,
        { shape: l.shape, keep: new Random(9).fork(l.name).bernoulli(l.values.length, 0.7) },
      ]),
    );
    for (const mask of [Mask.ones(found.layers), sparse]) {
      const shares = await flow(mask);
      const expected = pathSums(found.layers, mask);
      found.layers.forEach((l, i) => {
        const actual = shares!.get(l.name)!;
        expect(actual.reduce((a, b) => a + b)).toBeCloseTo(1, 5);
        for (const [j, e] of expected[i].entries()) expect(actual[j]).toBeCloseTo(e, 5);
      });
    }
  });

  it('stays exact where the flow leaves the range of float32', async () => {
    for (const factor of [1e12, 1e-12]) {
      const model = mlp([3, 4, 4, 4, 4, 2]);
      const plain = await modelLayers(model, spec(1, 3));
      const expected = await (await synapticFlow(model, spec(1, 3), plain))();
      for (const l of model.layers) l.weight.set((await l.weight.data()).map(w => w * factor));
      const huge = await modelLayers(model, spec(1, 3));
      const actual = await (await synapticFlow(model, spec(1, 3), huge))();
      for (const [name, shares] of expected!) {
        for (const [i, s] of shares.entries()) expect(actual!.get(name)![i]).toBeCloseTo(s, 5);
      }
    }
  });

  it('takes out biases, scales, shifts, normalisations and activations', async () => {
    const parameter = (name: string, ...shape: number[]) =>
      new Parameter(
        { dtype: 'float32', shape, data: new Random(name).normal(shape.reduce((a, b) => a * b, 1)) },
        { name },
      );
    const [w, v] = [parameter('w', 4, 3), parameter('v', 2, 4)];
    const [scale, shift, mean] = [parameter('scale', 4), parameter('shift', 4), parameter('mean', 4)];
    const decorated = (x: Tensor) => {
      const h = x.matmul(w.transpose()).sub(mean).mul(scale.abs().add(1).rsqrt()).add(shift).gelu();
      return h.add(h.tanh()).matmul(v.transpose()).clamp(-1, 1);
    };
    const plain = (x: Tensor) => {
      const h = x.matmul(w.transpose());
      return h.add(h).matmul(v.transpose());
    };
    const found = await modelLayers(decorated, spec(1, 3));
    expect(found.layers.map(l => l.name)).toEqual(['w', 'v']);
    const weights = new Map([...found.parameters].map(([n, p]) => [n, p.abs()]));
    const [x] = [new Parameter({ dtype: 'float32', shape: [1, 3], data: Float32Array.of(1, 1, 1) })];
    const results = await Promise.all(
      [decorated, plain].map(async f => (await linearize(f, spec(1, 3), found.parameters))(weights, [x])[0].tolist()),
    );
    expect(results[0]).toEqual(results[1]);
  });
});

describe('findCollapse', () => {
  const masked = async (keeps: readonly (readonly number[])[]) => {
    const model = mlp([2, 2, 2]);
    const found = await modelLayers(model, spec(1, 2));
    const mask = new Mask(found.layers.map((l, i) => [l.name, { shape: l.shape, keep: Uint8Array.from(keeps[i]) }]));
    return findCollapse(model, spec(1, 2), found, mask);
  };
  const [first, second] = ['layers.0.weight', 'layers.1.weight'];

  it('is silent about connected networks and counts the weights on paths', async () => {
    // Hidden unit 1 has an input but no output.
    const found = await masked([[1, 0, 0, 1], [1, 0, 0, 0]]); // biome-ignore format: matrices
    expect(found).toEqual({ connected: true, empty: [], severed: [], alive: 2, kept: 3 });
  });

  it('names empty layers, and layers whose weights lead nowhere', async () => {
    const empty = await masked([[0, 0, 0, 0], [1, 1, 1, 1]]); // biome-ignore format: matrices
    expect(empty).toEqual({ connected: false, empty: [first], severed: [second], alive: 0, kept: 4 });
    const broken = await masked([[1, 1, 0, 0], [0, 1, 0, 1]]); // biome-ignore format: matrices
    expect(broken).toEqual({ connected: false, empty: [], severed: [first, second], alive: 0, kept: 4 });
  });
});

describe('convolutional networks', () => {
  it('flow is conserved from layer to layer, with batch normalisation as the identity', async () => {
    const model = new CifarResNet({ depth: 8, width: 4, random: new Random(2) });
    for (const [name, p] of model.namedParameters()) {
      if (/bn\d\./.test(name)) p.set(new Random(name).uniform(p.size, 0.1, 3));
    }
    const found = await modelLayers(model, spec(1, 3, 16, 16));
    const flow = (await (await synapticFlow(model, spec(1, 3, 16, 16), found))())!;
    const total = (name: string) => flow.get(name)!.reduce((a, b) => a + b);
    // All paths lead through the first and the last layer, the others have a shortcut beside them.
    expect(total('conv1.weight')).toBeCloseTo(1, 5);
    expect(total('linear.weight')).toBeCloseTo(1, 5);
    expect(total('layer2.0.conv1.weight')).toBeCloseTo(total('layer2.0.conv2.weight'), 5);
    expect(total('layer2.0.conv1.weight')).toBeLessThan(1);
    const plain = new CifarResNet({ depth: 8, width: 4, random: new Random(2) });
    const same = await synapticFlow(plain, spec(1, 3, 16, 16), await modelLayers(plain, spec(1, 3, 16, 16)));
    expect(await same()).toEqual(flow);
  });
});

import { bernoulli, type NDArray, Parameter, Random, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { Linear } from './linear.ts';
import { Lambda, Module } from './module.ts';

const parameter = (...values: number[]) => new Parameter(tensor(values));

class Block extends Module {
  readonly weight: Parameter;
  readonly runningMean = new Parameter(tensor([0]), { trainable: false });
  readonly random = new Random(1);
  constructor(weight = parameter(1, 2)) {
    super();
    this.weight = weight;
  }
  override forward(x: Tensor): Tensor {
    return this.training ? x.mul(bernoulli(this.random, x.shape)) : x.mul(this.weight);
  }
}

class Net extends Module {
  readonly tokenEmbedding = parameter(5, 6);
  readonly layers = [new Block(), new Block()];
  readonly head = new Block(this.tokenEmbedding);
  readonly width = 2;
  override forward(x: Tensor): Tensor {
    return this.layers.reduce((h, l) => l.forward(h), x);
  }
}

const f32 = (...values: number[]): NDArray => ({
  dtype: 'float32',
  shape: [values.length],
  data: Float32Array.from(values),
});

describe('Module', () => {
  it('names parameters by the paths of fields, in snake_case, shared ones once', () => {
    const net = new Net();
    expect([...net.stateDict().keys()]).toEqual([
      'token_embedding',
      'layers.0.weight',
      'layers.0.running_mean',
      'layers.1.weight',
      'layers.1.running_mean',
      'head.running_mean',
    ]);
    expect(net.parameters().map(p => p.name)).toEqual(['token_embedding', 'layers.0.weight', 'layers.1.weight']);
    expect([...net.namedGenerators()].map(([name]) => name)).toEqual([
      'layers.0.random',
      'layers.1.random',
      'head.random',
    ]);
    expect([...net.namedModules()].map(([path]) => path)).toEqual(['', 'layers.0', 'layers.1', 'head']);
  });

  it('switches all parts between training and evaluation', () => {
    const net = new Net();
    net.eval();
    expect([...net.namedModules()].map(([, m]) => m.training)).toEqual([false, false, false, false]);
    expect(net.train().layers[1].training).toBe(true);
  });

  it('takes over values by name, of other float types too, as copies', async () => {
    const source = new Net();
    source.layers[1].weight.set(Float32Array.of(7, 8));
    const state = [...source.stateDict()].map(
      ([name, p]) => [name, { ...f32(), shape: p.shape, data: p.node.data! }] as const,
    );
    const net = new Net().loadStateDict(state);
    source.layers[1].weight.node.data![0] = 99;
    expect(await net.layers[1].weight.tolist()).toEqual([7, 8]);
    const half = { dtype: 'float16', shape: [2], data: Uint16Array.of(0x3c00, 0xc000) } as const;
    net.loadStateDict({ 'layers.0.weight': half }, { strict: false });
    expect(await net.layers[0].weight.tolist()).toEqual([1, -2]);
  });

  it('refuses a state that does not fit before it changes anything', async () => {
    const layer = new Linear(2, 1, { random: new Random(3) });
    const before = await layer.weight.tolist();
    const weight: NDArray = { dtype: 'float32', shape: [1, 2], data: Float32Array.of(1, 2) };
    expect(() => layer.loadStateDict({ weight })).toThrow('loadStateDict: missing bias; not in the model: nothing');
    expect(() => layer.loadStateDict({ weight, bias: f32(1), scale: f32(1) })).toThrow('not in the model: scale');
    expect(() => layer.loadStateDict({ weight, bias: f32(1, 2) })).toThrow('loadStateDict: bias is [2], expected [1]');
    expect(await layer.weight.tolist()).toEqual(before);
    layer.loadStateDict({ weight, bias: f32(3), 'bn.num_batches_tracked': f32(0) });
    expect(await layer.forward(tensor([[1, 1]])).tolist()).toEqual([[6]]);
  });

  it('is made of a function by Lambda', async () => {
    const negative = new Lambda(x => x.neg());
    expect([await negative.forward(tensor([1])).tolist(), negative.parameters()]).toEqual([[-1], []]);
  });
});

import { Random, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { GELU, ReLU } from './activation.ts';
import { MLP, Sequential } from './container.ts';
import { Linear } from './linear.ts';
import { wave } from './testing.ts';

describe('Sequential', () => {
  it('applies its modules in order and names them by position', async () => {
    const [a, b] = [new Linear(2, 3), new Linear(3, 1)];
    const model = new Sequential(a, new ReLU(), b);
    expect([...model.stateDict().keys()]).toEqual(['0.weight', '0.bias', '2.weight', '2.bias']);
    expect([...model]).toEqual([model[0], model[1], model[2]]);
    expect(model.length).toBe(3);
    const x = wave([4, 2], 0.3);
    expect(await model.forward(x).tolist()).toEqual(await b.forward(a.forward(x).relu()).tolist());
  });

  it('nests, switches modes, and lets a module be replaced', async () => {
    const model = new Sequential(new Sequential(new Linear(2, 2)), new ReLU());
    expect([...model.stateDict().keys()]).toEqual(['0.0.weight', '0.0.bias']);
    model.eval();
    expect([...model.namedModules()].every(([, m]) => !m.training)).toBe(true);
    model[1] = new GELU();
    const x = tensor([[-1, 0.5]]);
    expect(await model.forward(x).tolist()).toEqual(await model[0].forward(x).gelu().tolist());
  });
});

describe('MLP', () => {
  it('is linear layers with an activation between them', async () => {
    const model = new MLP([4, 8, 6, 2]);
    expect([...model.stateDict()].map(([n, p]) => `${n} ${p.shape}`)).toEqual([
      'layers.0.weight 8,4',
      'layers.0.bias 8',
      'layers.1.weight 6,8',
      'layers.1.bias 6',
      'layers.2.weight 2,6',
      'layers.2.bias 2',
    ]);
    const x = wave([3, 4], 0.1);
    const [a, b, c] = model.layers;
    expect(await model.forward(x).tolist()).toEqual(await c.forward(b.forward(a.forward(x).relu()).relu()).tolist());
  });

  it('draws every layer differently and the whole reproducibly', async () => {
    const [first, second] = new MLP([4, 4, 4]).layers;
    expect(await first.weight.tolist()).not.toEqual(await second.weight.tolist());
    const again = new MLP([4, 4, 4], { random: new Random(0) });
    expect(await again.layers[1].weight.tolist()).toEqual(await second.weight.tolist());
  });

  it('drops hidden units in training, by generators of their own', async () => {
    const model = new MLP([4, 64, 64, 2], { dropout: 0.5 });
    expect([...model.namedGenerators()].map(([n]) => n)).toEqual(['dropouts.0.random', 'dropouts.1.random']);
    const x = wave([3, 4], 0.1);
    const trained = await model.forward(x).tolist();
    const still = await model.eval().forward(x).tolist();
    expect(trained).not.toEqual(still);
    expect(await model.forward(x).tolist()).toEqual(still);
  });

  it('refuses fewer than two sizes', () => {
    expect(() => new MLP([4])).toThrow('at least inputs and outputs');
  });
});

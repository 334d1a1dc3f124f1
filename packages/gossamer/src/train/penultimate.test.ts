import { Random, type Tensor, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { ConvNet } from '../experiments/small-models.ts';
import { exportModel } from '../nn/export.ts';
import { GraphModule } from '../nn/graph-module.ts';
import { Conv2d, Lambda, Linear, Sequential, Softmax } from '../nn/index.ts';
import { headOf } from './penultimate.ts';

const random = new Random(1);
const x = tensor({ dtype: 'float32', shape: [2, 1, 8, 8], data: random.normal(128) });
const close = async (a: Tensor, b: Tensor) => {
  expect(a.shape).toEqual(b.shape);
  const [u, v] = [await a.data(), await b.data()];
  for (let i = 0; i < u.length; i++) expect(u[i]).toBeCloseTo(v[i], 4);
};

describe('headOf', () => {
  const model = new ConvNet(1, [4, 8], random).eval();

  it('finds what the last linear layer reads, in modules and imported files', async () => {
    const imported = new GraphModule(
      await exportModel(model as ConvNet, { x: { dtype: 'float32', shape: [1, 1, 8, 8] } }),
    );
    for (const m of [model, imported]) {
      const { features, logits } = headOf(m.forward(x), x);
      await close(features, (model as ConvNet).features(x));
      await close(logits, model.forward(x));
    }
  });

  it('gives logits where the model ends in a softmax', async () => {
    const body = new Linear(64, 3, { random });
    const whole = new Sequential(new Lambda(t => t.flatten()), body, new Softmax());
    const { logits, features } = headOf(whole.forward(x), x);
    await close(logits, body.forward(x.flatten()));
    await close(features, x.flatten());
  });

  it('refuses a model without a linear head and says where it stopped', () => {
    const model = new Sequential(new Conv2d(1, 3, 8, { random }), new Lambda(t => t.flatten()));
    expect(() => headOf(model.forward(x), x)).toThrow("ends at operator '");
    const two = new Lambda(t => t.add(t.relu()));
    expect(() => headOf(two.forward(x), x)).toThrow("operator 'add'");
  });
});

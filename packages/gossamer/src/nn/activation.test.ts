import { expect, it } from 'vitest';
import * as activation from './activation.ts';
import type { Module } from './module.ts';
import { expectNear, wave } from './testing.ts';

const x = wave([2, 5], 0.2, 8);
const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
const softplus = (v: number) => Math.log1p(Math.exp(-Math.abs(v))) + Math.max(v, 0);
const tanhGelu = (v: number) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));

const cases: [Module, (v: number) => number][] = [
  [new activation.Identity(), v => v],
  [new activation.ReLU(), v => Math.max(v, 0)],
  [new activation.ReLU6(), v => Math.min(Math.max(v, 0), 6)],
  [new activation.LeakyReLU(), v => (v > 0 ? v : 0.01 * v)],
  [new activation.LeakyReLU(0.2), v => (v > 0 ? v : 0.2 * v)],
  [new activation.ELU(1.5), v => (v > 0 ? v : 1.5 * Math.expm1(v))],
  [new activation.GELU({ approximate: 'tanh' }), tanhGelu],
  [new activation.SiLU(), v => v * sigmoid(v)],
  [new activation.Mish(), v => v * Math.tanh(softplus(v))],
  [new activation.HardSigmoid(), v => Math.min(Math.max(v / 6 + 0.5, 0), 1)],
  [new activation.HardSwish(), v => v * Math.min(Math.max(v / 6 + 0.5, 0), 1)],
  [new activation.Sigmoid(), sigmoid],
  [new activation.Tanh(), Math.tanh],
  [new activation.Softplus(), softplus],
];

for (const [module, formula] of cases) {
  it(`${module.constructor.name} is its formula and has no parameters`, async () => {
    await expectNear(module.forward(x), [...(await x.data())].map(formula), 2e-6);
    expect(module.parameters()).toEqual([]);
  });
}

it('GELU is exact by default: it differs from the tanh form by less than 1e-3', async () => {
  await expectNear(new activation.GELU().forward(x), [...(await x.data())].map(tanhGelu), 1e-3);
});

it('Softmax and LogSoftmax act along their axis', async () => {
  await expectNear(new activation.Softmax().forward(x).sum(1), [1, 1]);
  await expectNear(new activation.Softmax(0).forward(x).sum(0), [1, 1, 1, 1, 1]);
  await expectNear(new activation.LogSoftmax(0).forward(x).exp().sum(0), [1, 1, 1, 1, 1]);
});

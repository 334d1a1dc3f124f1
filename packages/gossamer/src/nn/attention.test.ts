import { gradients, realize, rotaryTables, tensor } from '@gossamer/tensor';
import { expect, it } from 'vitest';
import { MultiheadAttention } from './attention.ts';
import { expectNear, fill, wave } from './testing.ts';

/** PyTorch's nn.MultiheadAttention(8, 2), causal on [2, 3, 8]; gradients of a weighted sum; `cross`: keys [2, 4, 8]. */
const reference = {
  names: ['in_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias'],
  y: [
    -0.96710181, 2.2593899, 4.4754748, 4.692008, 2.812983, -0.32193094, -3.3125207, -4.8232708, -1.1839182, 1.9181156,
    4.16293, 4.5484843, 2.9029033, -0.038928851, -2.9634674, -4.5648451, -1.8325961, 0.83330423, 3.1289225, 4.0294132,
    3.1317639, 0.83513486, -1.83654, -3.6908958, -2.8804142, -4.5371108, -4.1534805, -1.8961387, 1.2228556, 3.7997181,
    4.6708279, 3.4383056, -2.4641883, -4.3533788, -4.2847142, -2.2834311, 0.75334752, 3.4587414, 4.6114359, 3.6871583,
    -1.4044845, -3.6792736, -4.2987919, -2.9793725, -0.31207207, 2.5020773, 4.1929431, 3.9946849,
  ],
  dx: [
    8.6754656, 12.59417, 10.589637, 3.6046338, -5.0756855, -11.368831, -12.315038, -7.4692888, 0.74437106, 0.49763709,
    0.016856726, -0.47185177, -0.73864096, -0.6580357, -0.26794598, 0.2481627, 0.39489731, 0.78559607, 0.80681682,
    0.44857889, -0.12063264, -0.63310885, -0.84782386, -0.66379428, -8.4692945, -5.7509041, -0.32777324, 5.2495146,
    8.357873, 7.5353942, 3.168901, -2.6879759, -3.2291038, -3.2293911, -1.710845, 0.61233807, 2.6475291, 3.437546,
    2.6108308, 0.55620158, -0.90891546, -0.62680763, -0.049902309, 0.55047286, 0.8919518, 0.81393212, 0.35310736,
    -0.27378935,
  ],
  sums: [1.931682, 3.617344, 3.832803, 2.58736],
  cross: [
    -0.21068726, 3.0183349, 4.8962846, 4.5857935, 2.2274213, -1.1240001, -3.9710739, -5.0427046, -0.61248004, 2.5064006,
    4.5039997, 4.4892426, 2.4699426, -0.65126663, -3.4803233, -4.7542181, -1.656424, 1.0323875, 3.2615547, 4.0360603,
    3.0094419, 0.6387502, -2.0188365, -3.7772768, -1.5692359, -3.9069602, -4.4872122, -3.043951, -0.22382113, 2.7035444,
    4.4171944, 4.1410608, -1.590848, -4.003191, -4.6148667, -3.1457295, -0.25403813, 2.7584522, 4.5325809, 4.2651329,
    -0.99628401, -3.4408879, -4.3372245, -3.2773724, -0.73587644, 2.1427007, 4.0593071, 4.1467743,
  ],
};

it('agrees with PyTorch: names, causal self-attention, gradients, cross-attention', async () => {
  const module = new MultiheadAttention(8, 2);
  expect([...module.stateDict().keys()]).toEqual(reference.names);
  const parameters = fill(module);
  const x = wave([2, 3, 8], 0.2);
  const y = module.forward(x, { causal: true });
  const [dx, ...dw] = gradients(y.mul(wave([2, 3, 8], 0.8)).sum(), [x, ...parameters]);
  const sums = dw.map(d => d.sum());
  const cross = module.forward(x, { key: wave([2, 4, 8], 0.5) });
  await realize(y, dx, cross, ...sums);
  await expectNear(y, reference.y);
  await expectNear(dx, reference.dx, 5e-5);
  await expectNear(cross, reference.cross);
  for (const [i, s] of sums.entries()) await expectNear(s, [reference.sums[i]], 2e-4);
});

it('takes masks: bool, or added to the scores', async () => {
  const module = new MultiheadAttention(8, 2);
  const x = wave([2, 3, 8], 0.2);
  const seen = [1, 0, 0, 1, 1, 0, 1, 1, 1];
  const causal = await module.forward(x, { causal: true }).data();
  await expectNear(module.forward(x, { mask: tensor(Uint8Array.from(seen), [3, 3], 'bool') }), [...causal], 1e-6);
  const added = tensor(
    Float32Array.from(seen, s => (s ? 0 : -1e9)),
    [3, 3],
  );
  await expectNear(module.forward(x, { mask: added }), [...causal], 1e-6);
});

it('shares key heads: the same as full heads with their rows repeated', async () => {
  const shared = new MultiheadAttention(8, 4, { keyHeads: 2 });
  const full = new MultiheadAttention(8, 4);
  expect(shared.inProjWeight.shape).toEqual([16, 8]);
  const w = await shared.inProjWeight.data();
  // Heads of width 2 are 16 numbers each: 4 of queries, then 2 of keys and 2 of values.
  const heads = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7].flatMap(h => [...w.slice(16 * h, 16 * (h + 1))]);
  full.inProjWeight.set(Float32Array.from(heads));
  const x = wave([2, 3, 8], 0.2);
  await expectNear(shared.forward(x, { causal: true }), [...(await full.forward(x, { causal: true }).data())], 1e-6);
  await expectNear(shared.forward(x, { key: x.mul(1) }), [...(await full.forward(x).data())], 1e-6);
});

it('rotates queries and keys: scores depend on distance only', async () => {
  const module = new MultiheadAttention(8, 2);
  const x = wave([1, 4, 8], 0.2);
  const near = module.forward(x, { causal: true, rotary: rotaryTables(4, 4) });
  const far = module.forward(x, { causal: true, rotary: rotaryTables(4, 4, { start: 100 }) });
  const plain = await module.forward(x, { causal: true }).data();
  await expectNear(far, [...(await near.data())], 1e-4);
  expect([...(await near.data())]).not.toEqual([...plain]);
});

it('drops attention weights in training only', async () => {
  const module = new MultiheadAttention(8, 2, { dropout: 0.5 });
  const x = wave([1, 4, 8], 0.2);
  const still = await new MultiheadAttention(8, 2).forward(x).data();
  expect([...(await module.forward(x).data())]).not.toEqual([...still]);
  expect([...(await module.eval().forward(x).data())]).toEqual([...still]);
  expect([...module.namedGenerators()].map(([n]) => n)).toEqual(['dropout.random']);
});

it('refuses widths that do not fit', () => {
  expect(() => new MultiheadAttention(8, 3)).toThrow('width 8, 3 heads');
  expect(() => new MultiheadAttention(8, 4, { keyHeads: 3 })).toThrow('3 key heads');
  expect(() => new MultiheadAttention(8, 2).forward(wave([2, 3, 4], 0))).toThrow('[batch, positions, 8]');
});

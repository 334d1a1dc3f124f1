import { gradients, realize, type Tensor } from '@gossamer/tensor';
import { checkGradients, randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import { GRU, LSTM } from './recurrent.ts';
import { expectNear, fill, wave } from './testing.ts';

/**
 * PyTorch's nn.LSTM(3, 2, num_layers=2, bidirectional=True) and nn.GRU likewise on 4 steps of a batch of 2, with a given
 * state: names, outputs, last states, the gradient of a weighted sum by x, by weight_hh_l0, and its sum by each parameter.
 */
const reference = {
  lstm: {
    names: [
      'weight_ih_l0',
      'weight_hh_l0',
      'bias_ih_l0',
      'bias_hh_l0',
      'weight_ih_l0_reverse',
      'weight_hh_l0_reverse',
      'bias_ih_l0_reverse',
      'bias_hh_l0_reverse',
      'weight_ih_l1',
      'weight_hh_l1',
      'bias_ih_l1',
      'bias_hh_l1',
      'weight_ih_l1_reverse',
      'weight_hh_l1_reverse',
      'bias_ih_l1_reverse',
      'bias_hh_l1_reverse',
    ],
    y: [
      -0.032798827, 0.18007058, -0.046237752, -0.2829406, 0.25948262, 0.24703836, -0.051983975, -0.28622454,
      -0.017274333, 0.12017432, -0.031641908, -0.26586661, 0.11746625, 0.15780737, -0.033865925, -0.30774912,
      -0.041149922, 0.11250678, 0.0066037024, -0.24551898, 0.027722972, 0.13276812, -0.042711515, -0.29479721,
      -0.053847987, 0.10511015, 0.041757215, -0.21897745, -0.035996668, 0.13043575, -0.02010504, -0.29125854,
    ],
    states: [
      [
        -0.4487446, -0.37130129, -0.22401285, -0.26928049, 0.076132782, 0.027369471, 0.1212129, 0.035220813,
        -0.053847987, 0.10511015, -0.035996668, 0.13043575, -0.046237752, -0.2829406, -0.051983975, -0.28622454,
      ],
      [
        -0.68605024, -0.58513075, -0.47382718, -0.35883248, 0.43702963, 0.066715054, 0.36136127, 0.15588547,
        -0.073070817, 0.16813038, -0.050884344, 0.2013513, -0.1912913, -0.98273784, -0.20978591, -1.1279712,
      ],
    ],
    dx: [
      -0.25936863, -0.26030579, -0.13881713, 0.067455828, 0.0378161, -0.0096091479, -0.032556295, -0.13320604,
      -0.17120692, 0.139099, 0.14324614, 0.08002238, -0.10860898, -0.18719441, -0.1777394, 0.076845229, 0.045314636,
      -0.007528143, -0.050870981, -0.20492104, -0.26259357, 0.1724768, 0.15698501, 0.067660704,
    ],
    dw: [
      0.043494701, 0.022011172, 0.014386708, 0.017064, 0.033892456, 0.027737681, 0.036168292, 0.063239284, -0.090967767,
      0.095423631, 0.15150344, 0.15564941, 0.033913635, -0.0022589592, 0.027389644, 0.027533701,
    ],
    sums: [
      -0.006164633, 0.656181, 0.3450791, 0.3450791, -0.7972978, -0.1671898, -1.520297, -1.520297, -1.715088, 0.2891518,
      3.932477, 3.932477, 0.2306498, 0.5714955, -1.68709, -1.68709,
    ],
  },
  gru: {
    names: [
      'weight_ih_l0',
      'weight_hh_l0',
      'bias_ih_l0',
      'bias_hh_l0',
      'weight_ih_l0_reverse',
      'weight_hh_l0_reverse',
      'bias_ih_l0_reverse',
      'bias_hh_l0_reverse',
      'weight_ih_l1',
      'weight_hh_l1',
      'bias_ih_l1',
      'bias_hh_l1',
      'weight_ih_l1_reverse',
      'weight_hh_l1_reverse',
      'bias_ih_l1_reverse',
      'bias_hh_l1_reverse',
    ],
    y: [
      -0.053172391, -0.010465309, -0.0087073296, -0.37314299, 0.54176527, 0.34255257, -0.075751275, -0.61810279,
      -0.032456856, -0.064291254, 0.10696688, -0.38486329, 0.19393702, 0.059187293, -0.044655189, -0.67110866,
      -0.13794225, -0.025177358, 0.30875444, -0.38070804, -0.058600239, 0.085260242, -0.11188251, -0.78595573,
      -0.21546549, -0.031474814, 0.45714363, -0.29508317, -0.42631403, 0.22655633, -0.27262014, -0.89028156,
    ],
    states: [
      [
        -0.6124779, -0.56927836, -0.35596457, -0.3710587, 0.35847551, 0.17309888, 0.27954933, 0.13101241, -0.21546549,
        -0.031474814, -0.42631403, 0.22655633, -0.0087073296, -0.37314299, -0.075751275, -0.61810279,
      ],
    ],
    dx: [
      -0.20258017, -0.24489214, -0.17202753, -0.14859089, -0.19586831, -0.15102582, 0.14497234, 0.024699327,
      -0.10719017, 0.10488176, 0.067052521, -0.0023125596, -0.1239473, -0.18379211, -0.15719663, -0.24249828,
      -0.22746831, -0.10545644, -0.12052903, -0.22734971, -0.22724427, 0.15316714, 0.085144155, -0.022923455,
    ],
    dw: [
      0.035120443, 0.0032907848, 0.083607629, 0.04691992, 0.027808355, -0.035108801, 0.0015903227, 0.0052934363,
      -0.15575138, 0.14039804, 0.17050013, 0.13424698,
    ],
    sums: [
      2.029258, 0.4579158, 2.832634, 1.915274, 0.1268893, -0.0529966, -1.184584, -0.5125315, -4.016121, 0.04534093,
      5.012382, 2.386556, -0.9852718, 1.205882, 0.480297, 1.043511,
    ],
  },
};

const x = wave([4, 2, 3], 0.2);
const state: [Tensor, Tensor] = [wave([4, 2, 2], 0.4), wave([4, 2, 2], 0.6)];
const options = { layers: 2, bidirectional: true };

async function compare(
  model: LSTM | GRU,
  expected: (typeof reference)['lstm' | 'gru'],
  output: Tensor,
  states: readonly Tensor[],
): Promise<void> {
  expect([...model.stateDict().keys()]).toEqual(expected.names);
  const parameters = model.parameters();
  const loss = [output, ...states]
    .map((t, i) => t.mul(wave(t.shape, i === 0 ? 0.8 : i)).sum())
    .reduce((a, b) => a.add(b));
  const [dx, ...dw] = gradients(loss, [x, ...parameters]);
  const sums = dw.map(d => d.sum());
  await realize(output, ...states, dx, ...dw, ...sums);
  await expectNear(output, expected.y);
  for (const [i, s] of states.entries()) await expectNear(s, expected.states[i]);
  await expectNear(dx, expected.dx);
  await expectNear(dw[1], expected.dw);
  for (const [i, s] of sums.entries()) await expectNear(s, [expected.sums[i]], 3e-5);
}

describe('LSTM', () => {
  it('agrees with PyTorch: names, outputs, states, gradients', async () => {
    const model = new LSTM(3, 2, options);
    fill(model);
    const [output, states] = model.forward(x, state);
    await compare(model, reference.lstm, output, states);
  });

  it('starts from zeros, and batch first is a transposition', async () => {
    const plain = new LSTM(3, 2);
    const first = new LSTM(3, 2, { batchFirst: true });
    const zero = wave([1, 2, 2], 0, 0);
    const [y] = plain.forward(x, [zero, zero]);
    const [z, [h]] = first.forward(x.transpose([1, 0, 2]));
    expect(z.shape).toEqual([2, 4, 2]);
    await realize(y, z, h);
    await expectNear(z.transpose([1, 0, 2]), [...(await y.data())], 1e-7);
    await expectNear(z.slice(1, 3, 4), [...(await h.data())], 1e-7);
  });

  it('continues from its state as if it had run in one piece', async () => {
    const model = new LSTM(3, 2, { layers: 2 });
    const [whole] = model.forward(x);
    const [, middle] = model.forward(x.slice(0, 0, 3));
    const [end] = model.forward(x.slice(0, 3), middle);
    await expectNear(end, [...(await whole.data())].slice(12), 1e-6);
  });

  it('has exact gradients, of gradients too', async () => {
    const model = new LSTM(2, 2, { bias: false });
    await checkGradients(t => model.forward(t)[0], [randn([3, 1, 2], 1)]);
  });

  it('refuses inputs and states that do not fit', () => {
    const model = new LSTM(3, 2);
    expect(() => model.forward(wave([4, 2, 5], 0))).toThrow('LSTM: input [4, 2, 5]: expected [time, batch, 3]');
    expect(() => model.forward(x, state)).toThrow('state [4, 2, 2]');
    expect(() => new LSTM(0, 2)).toThrow('0 inputs');
  });

  it('drops units between layers in training only', async () => {
    const model = new LSTM(3, 2, { layers: 2, dropout: 0.9 });
    const [noisy] = model.forward(x);
    const [plain] = model.eval().forward(x);
    const [same] = new LSTM(3, 2, { layers: 2 }).forward(x);
    expect(await noisy.tolist()).not.toEqual(await plain.tolist());
    expect(await same.tolist()).toEqual(await plain.tolist());
  });
});

describe('GRU', () => {
  it('agrees with PyTorch: names, outputs, states, gradients', async () => {
    const model = new GRU(3, 2, options);
    fill(model);
    const [output, last] = model.forward(x, state[0]);
    await compare(model, reference.gru, output, [last]);
  });

  it('has exact gradients, of gradients too', async () => {
    const model = new GRU(2, 2, { bias: false });
    await checkGradients(t => model.forward(t)[0], [randn([3, 1, 2], 1)]);
  });
});

it('draws the same parameters from the same seed, within ±1/√hidden', async () => {
  const a = new GRU(3, 4);
  const b = new GRU(3, 4);
  for (const [name, p] of a.stateDict()) {
    expect(await p.tolist()).toEqual(await b.stateDict().get(name)!.tolist());
    expect(Math.max(...(await p.data()).map(Math.abs))).toBeLessThanOrEqual(0.5);
  }
  expect(await a.weightIhL0!.tolist()).not.toEqual(await a.weightHhL0!.tolist());
});

import { constant, gradients, realize, type Tensor, tensor } from '@gossamer/tensor';
import { checkGradients, randn } from '@gossamer/tensor/testing';
import { describe, expect, it } from 'vitest';
import * as loss from './loss.ts';
import { expectNear, wave } from './testing.ts';

/** PyTorch's values, and gradients by the first input (of a weighted sum where the loss is not a scalar). */
const reference = {
  ce: {
    value: [1.8027536],
    grad: [
      -0.22277218, 0.087667786, 0.1351044, 0.18162772, 0.054205842, -0.23583356, 0.05317514, -0.19401041, 0.14083526,
      0.02785201, 0.088588387, -0.1164404,
    ],
  },
  ceNone: {
    value: [2.2172217, 2.8705845, 1.4962951, 0.62691313],
    grad: [
      -0.26333472, 0.10363041, 0.15970433, 0.61133778, 0.18245056, -0.79378831, 0.21092767, -0.76957321, 0.55864549,
      0.075252034, 0.23935278, -0.31460482,
    ],
  },
  ceSum: {
    value: [7.2110143],
    grad: [
      -0.89108872, 0.35067114, 0.54041761, 0.72651088, 0.21682337, -0.94333422, 0.21270056, -0.77604163, 0.56334102,
      0.11140804, 0.35435355, -0.4657616,
    ],
  },
  ceSmooth: {
    value: [1.7564471],
    grad: [
      -0.20610552, 0.079334453, 0.12677106, 0.17329438, 0.045872509, -0.21916689, 0.044841807, -0.17734374, 0.13250192,
      0.019518677, 0.080255054, -0.099773735,
    ],
  },
  ceIgnore: {
    value: [1.4468101],
    grad: [
      -0.29702958, 0.11689039, 0.18013921, 0.0, 0.0, 0.0, 0.070900187, -0.25868055, 0.18778035, 0.037136015, 0.11811785,
      -0.15525387,
    ],
  },
  ceAll: {
    value: [1.08933],
    grad: [
      -0.11570007, 0.047251515, 0.068448558, 0.0, 0.0, 0.0, 0.057022542, -0.20161209, 0.14458953, 0.05624726,
      0.18452694, -0.24077418,
    ],
  },
  ceAllNone: {
    value: [1.1106611, 0.0, 1.4605979, 1.2413957],
    grad: [
      -0.11967099, 0.048873227, 0.070797771, 0.0, 0.0, 0.0, 0.19791538, -0.69976062, 0.50184524, 0.13297534, 0.43624407,
      -0.56921941,
    ],
  },
  ceSoft: {
    value: [1.2479717],
    grad: [
      -0.0022958494, 0.010212051, -0.0079162037, 0.099885888, -0.021517392, -0.078368492, 0.048642319, 0.0081013376,
      -0.056743674, -0.0020169113, 0.010824382, -0.0088074794,
    ],
  },
  cePixels: {
    value: [1.0363182],
    grad: [
      -0.029795697, 0.079746053, 0.13206731, 0.0, 0.022959201, -0.10534199, 0.0026670163, 0.0, 0.0068364907,
      0.025595933, -0.13473435, 0.0, 0.081373513, 0.048028383, 0.011821816, -0.054055352, 0.002979032, 0.015234889,
      -0.055353809, 0.050726041, -0.084352545, -0.063263275, 0.043531992, 0.0033293136,
    ],
  },
  nll: {
    value: [-0.040629238],
    grad: [-0.090909094, 0.0, 0.0, 0.0, 0.0, -0.36363637, 0.0, -0.18181819, 0.0, 0.0, 0.0, -0.36363637],
  },
  mse: {
    value: [0.84306699],
    grad: [
      -0.092813633, 0.06261766, 0.1885989, 0.22587912, 0.15692484, 0.014166395, -0.13525476, -0.22106348, -0.20290259,
      -0.089313447, 0.066281214, 0.19070277,
    ],
  },
  l1: {
    value: [0.82325935],
    grad: [
      -0.083333336, 0.083333336, 0.083333336, 0.083333336, 0.083333336, 0.083333336, -0.083333336, -0.083333336,
      -0.083333336, -0.083333336, 0.083333336, 0.083333336,
    ],
  },
  huber: {
    value: [
      0.15505867, 0.07057748, 0.54711533, 0.70369226, 0.41408432, 0.0036123614, 0.32306996, 0.68346655, 0.60719079,
      0.14358406, 0.079077579, 0.55595154,
    ],
    grad: [
      -0.16456982, 0.31614566, 0.69416535, 0.47282425, 0.029106464, -0.052006923, 0.6842711, 0.61841828, 0.26171365,
      -0.16694899, 0.33820781, 0.69255078,
    ],
  },
  smoothL1: {
    value: [0.51029533],
    grad: [
      -0.066295452, 0.044726901, 0.083333336, 0.083333336, 0.083333336, 0.010118853, -0.083333336, -0.083333336,
      -0.083333336, -0.063795321, 0.047343723, 0.083333336,
    ],
  },
  bce: {
    value: [0.73844725],
    grad: [
      -0.04299913, 0.033551373, 0.11108589, 0.11867836, 0.072212838, 0.0069808136, -0.07793095, -0.12540418,
      -0.097919427, -0.041451443, 0.035659652, 0.11227932,
    ],
  },
  bceLogits: {
    value: [1.5967765],
    grad: [
      0.01598553, 0.077339217, 0.23235881, 0.070123479, 0.046843611, -0.24172124, -0.023747467, -0.13624808,
      -0.45925474, 0.01677157, 0.07852459, 0.23410085,
    ],
  },
  kl: {
    value: [0.15514833],
    grad: [
      -0.071959764, 0.0080553442, 0.06390442, 0.048890278, 0.0064506978, -0.055340968, 0.021926111, -0.014548192,
      -0.0073779346, -0.071867079, 0.0085093081, 0.063357756,
    ],
  },
  cosine: {
    value: [0.44985473, 0.10175142, -0.34515333, 0.44329673],
    grad: [
      0.15923625, 0.039087258, -0.09944509, -0.53463179, -0.61927193, -0.41265875, -0.32009703, 0.1815037, 0.59774035,
      0.36207959, 0.085877746, -0.23071375,
    ],
  },
  cosineEmbedding: {
    value: [0.53464884],
    grad: [
      -0.13470843, -0.033066481, 0.084127143, -0.0, 0.0, 0.0, 0.080696881, -0.045757316, -0.15069112, 0.1340116,
      0.031784758, -0.08539094,
    ],
  },
};

const ids = (values: number[], shape?: number[]) => tensor(Int32Array.from(values), shape);
const logits = wave([4, 3], 0.2, 2);
const target = ids([0, 2, 1, 2]);
const holed = ids([0, -100, 1, 2]);
const weight = tensor([0.5, 1, 2]);
const soft = wave([4, 3], 0.7).softmax();
const pixels = ids([0, 1, 2, -100, 2, 2, 1, 0], [2, 2, 2]);
const a = wave([4, 3], 0.4);
const b = wave([4, 3], 1.9);
const ignoreIndex = -100;

const cases: Record<keyof typeof reference, [Tensor, (x: Tensor) => Tensor]> = {
  ce: [logits, x => loss.crossEntropy(x, target)],
  ceNone: [logits, x => loss.crossEntropy(x, target, { reduction: 'none' })],
  ceSum: [logits, x => loss.crossEntropy(x, target, { reduction: 'sum' })],
  ceSmooth: [logits, x => loss.crossEntropy(x, target, { labelSmoothing: 0.1 })],
  ceIgnore: [logits, x => loss.crossEntropy(x, holed, { ignoreIndex })],
  ceAll: [logits, x => loss.crossEntropy(x, holed, { ignoreIndex, weight, labelSmoothing: 0.1 })],
  ceAllNone: [
    logits,
    x => loss.crossEntropy(x, holed, { ignoreIndex, weight, labelSmoothing: 0.1, reduction: 'none' }),
  ],
  ceSoft: [logits, x => loss.crossEntropy(x, soft, { weight, labelSmoothing: 0.1 })],
  cePixels: [wave([2, 3, 2, 2], 0.2, 2), x => loss.crossEntropy(x, pixels, { ignoreIndex, weight, axis: 1 })],
  nll: [logits, x => loss.nll(x, target, { weight })],
  mse: [a, x => loss.mse(x, b)],
  l1: [a, x => loss.l1(x, b)],
  huber: [a, x => loss.huber(x, b, { delta: 0.7, reduction: 'none' })],
  smoothL1: [a, x => loss.smoothL1(x, b, { beta: 0.7 })],
  bce: [a.sigmoid(), x => loss.bce(x, b.sigmoid())],
  bceLogits: [a, x => loss.bceWithLogits(x.mul(3), b.sigmoid(), { weight, positiveWeight: weight })],
  kl: [a, x => loss.klDivergence(x, b, { temperature: 2 })],
  cosine: [a, x => loss.cosineSimilarity(x, b)],
  cosineEmbedding: [a, x => loss.cosineEmbedding(x, b, ids([1, -1, 1, -1]), { margin: 0.2 })],
};

describe('losses agree with PyTorch, with their gradients', () => {
  for (const [name, { value, grad }] of Object.entries(reference)) {
    it(name, async () => {
      const [x, fn] = cases[name as keyof typeof reference];
      await realize(x);
      const y = fn(x);
      const [dx] = gradients(y.rank === 0 ? y : y.mul(wave(y.shape, 0.3)).sum(), [x]);
      await realize(y, dx);
      expect(y.size).toBe(value.length);
      await expectNear(y, value, 2e-6);
      await expectNear(dx, grad, 2e-6);
    });
  }
});

describe('extremes', () => {
  it('stay finite where probabilities are 0 and 1', async () => {
    const p = tensor([0, 1, 0, 1]);
    const y = tensor([0, 1, 1, 0]);
    const l = loss.bce(p, y, { reduction: 'none' });
    const [dp] = gradients(l.sum(), [p]);
    await realize(l, dp);
    expect((await l.data())[0] + (await l.data())[1]).toBeCloseTo(0, 6);
    await expectNear(l, [0, 0, 85.2, 85.2], 1e-3);
    for (const d of await dp.data()) expect(Number.isFinite(d)).toBe(true);
  });

  it('stay finite for large logits', async () => {
    const x = tensor([-200, 200, -200, 200]);
    const y = tensor([0, 1, 1, 0]);
    await expectNear(loss.bceWithLogits(x, y, { reduction: 'none' }), [0, 0, 200, 200]);
    await expectNear(loss.bceWithLogits(x, y, { positiveWeight: constant(2), reduction: 'none' }), [0, 0, 400, 200]);
  });

  it('cosine similarity of a zero vector is 0', async () => {
    expect(await loss.cosineSimilarity(tensor([0, 0]), tensor([1, 2])).item()).toBe(0);
  });
});

it('KL is zero between equal distributions, and T² keeps the gradient’s size', async () => {
  expect(await loss.klDivergence(a, a.add(3)).item()).toBeCloseTo(0, 6);
  // For high temperatures T²·KL tends to half the squared distance of centred logits over the classes (Hinton et al.).
  const centred = (t: Tensor) => t.sub(t.mean(-1, true));
  const limit = await centred(b)
    .sub(centred(a))
    .square()
    .sum(-1)
    .mean()
    .mul(1 / 6)
    .item();
  expect(await loss.klDivergence(a, b, { temperature: 50 }).item()).toBeCloseTo(limit, 2);
});

it('gradients of gradients', async () => {
  await checkGradients((x, y) => loss.klDivergence(x, y, { temperature: 2 }), [randn([2, 3], 1), randn([2, 3], 2)]);
  await checkGradients((x, y) => loss.cosineSimilarity(x, y), [randn([2, 3], 3), randn([2, 3], 4)]);
  await checkGradients(x => loss.crossEntropy(x, ids([0, 2]), { labelSmoothing: 0.1, weight }), [randn([2, 3], 5)]);
});

it('refuses what does not fit', () => {
  expect(() => loss.mse(tensor([1, 2]), tensor([1]))).toThrow('mse: prediction [2] and target [1] differ');
  expect(() => loss.huber(a, b, { delta: 0 })).toThrow('delta 0');
  expect(() => loss.klDivergence(a, b, { temperature: 0 })).toThrow('temperature 0');
  expect(() => loss.crossEntropy(logits, ids([0, 1]))).toThrow('crossEntropy');
});

import { describe, expect, it } from 'vitest';
import { gradients } from '../gradients.ts';
import { tensor } from '../tensor.ts';
import { checkGradients, randn } from '../testing.ts';
import { type CrossEntropyOptions, crossEntropy, nllLoss } from './cross-entropy.ts';

const classes = 4;
const logits = randn([5, classes], 'logits');
const targets = Int32Array.of(3, 0, 1, 1, 2);
const ids = tensor(targets);
const weights = [0.5, 2, 1, 0.25];
const weight = tensor(weights);

/** The definition, row by row in float64. */
async function reference({ labelSmoothing: e = 0, ignoreIndex, ...o }: CrossEntropyOptions): Promise<number[]> {
  const data = await logits.data();
  return [...targets].map((id, row) => {
    if (id === ignoreIndex) return 0;
    const z = [...data.subarray(row * classes, (row + 1) * classes)];
    const total = Math.log(z.reduce((a, v) => a + Math.exp(v), 0));
    const w = o.weight ? weights : [1, 1, 1, 1];
    return z.reduce((a, v, c) => a + (total - v) * w[c] * ((c === id ? 1 - e : 0) + e / classes), 0);
  });
}

describe('crossEntropy', () => {
  it.each<CrossEntropyOptions>([
    {},
    { labelSmoothing: 0.1 },
    { weight },
    { ignoreIndex: 1 },
    { weight, labelSmoothing: 0.2, ignoreIndex: 3 },
  ])('equals its definition %#', async options => {
    const rows = await reference(options);
    const counted = [...targets]
      .filter(id => id !== options.ignoreIndex)
      .reduce((a, id) => a + (options.weight ? weights[id] : 1), 0);
    const sum = rows.reduce((a, b) => a + b);
    const none = await crossEntropy(logits, ids, { ...options, reduction: 'none' }).data();
    rows.forEach((r, i) => {
      expect(none[i]).toBeCloseTo(r, 5);
    });
    expect(await crossEntropy(logits, ids, { ...options, reduction: 'sum' }).item()).toBeCloseTo(sum, 4);
    expect(await crossEntropy(logits, ids, options).item()).toBeCloseTo(sum / counted, 5);
    await checkGradients(x => crossEntropy(x, ids, options), [logits]);
  });

  it('takes probabilities, and agrees with ids on one-hot ones', async () => {
    for (const options of [{}, { labelSmoothing: 0.1 }] as const) {
      const soft = await crossEntropy(logits, ids.oneHot(classes), options).item();
      expect(soft).toBeCloseTo(await crossEntropy(logits, ids, options).item(), 5);
    }
    await checkGradients(
      (x, t) => crossEntropy(x, t.softmax(), { weight, labelSmoothing: 0.1 }),
      [logits, randn([5, classes], 1)],
    );
  });

  it('works on images of classes, sequences and single rows', async () => {
    const many = randn([2, 3, classes], 'many');
    const flat = crossEntropy(many.reshape([6, classes]), tensor(Int32Array.of(0, 1, 2, 3, 0, 1)));
    const shaped = crossEntropy(many, tensor(Int32Array.of(0, 1, 2, 3, 0, 1), [2, 3]));
    expect(await shaped.item()).toBe(await flat.item());
    await checkGradients(x => crossEntropy(x, tensor(Int32Array.of(2), [])), [randn([classes])]);
  });

  it('is stable for huge logits', async () => {
    const huge = tensor([
      [1e4, -1e4, 0],
      [-1e4, 1e4, 0],
    ]);
    const loss = crossEntropy(huge, tensor(Int32Array.of(0, 0)), { reduction: 'none' });
    const [g] = gradients(loss.sum(), [huge]);
    expect(await loss.tolist()).toEqual([0, 2e4]);
    expect(await g.tolist()).toEqual([
      [0, 0, 0],
      [-1, 1, 0],
    ]);
  });

  it('is 0 with zero gradient when every target is ignored', async () => {
    const loss = crossEntropy(logits, tensor(new Int32Array(5).fill(-100)), { ignoreIndex: -100 });
    const [g] = gradients(loss, [logits]);
    expect(await loss.item()).toBe(0);
    expect((await g.data()).every(v => v === 0)).toBe(true);
  });

  it('explains targets that do not fit', () => {
    expect(() => crossEntropy(logits, randn([5]))).toThrow(
      'crossEntropy: targets float32[5] do not fit [5, 4]; expected int32[5] class ids or probabilities shaped like the logits',
    );
    expect(() => crossEntropy(logits, tensor(Int32Array.of(1)))).toThrow('targets int32[1] do not fit [5, 4]');
    expect(() => crossEntropy(logits, ids, { weight: randn([3]) })).toThrow(
      'expected one number for each of 4 classes',
    );
    expect(() => crossEntropy(logits, ids, { labelSmoothing: 2 })).toThrow('labelSmoothing 2 is outside [0, 1]');
    expect(() => crossEntropy(logits, logits, { ignoreIndex: 0 })).toThrow('ignoreIndex needs class ids');
  });
});

describe('nllLoss', () => {
  it('is the cross entropy after a log softmax', async () => {
    for (const options of [{}, { weight }, { ignoreIndex: 0 }, { reduction: 'sum' }] as const) {
      const a = await nllLoss(logits.logSoftmax(), ids, options).item();
      expect(a).toBeCloseTo(await crossEntropy(logits, ids, options).item(), 5);
    }
    await checkGradients(x => nllLoss(x.logSoftmax(), ids), [logits]);
  });
});

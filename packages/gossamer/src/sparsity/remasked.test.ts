import { Parameter, Random, type Tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { Linear } from '../nn/linear.ts';
import { layer } from './layer.ts';
import { modelLayers } from './model.ts';
import { prune } from './prune.ts';
import { keepLargest, RemaskedSparsifier, type Remasking } from './remasked.ts';
import { magnitude } from './score.ts';
import type { Training } from './sparsifier.ts';

/** A fixed pattern and decay. */
class Fixed extends RemaskedSparsifier {
  readonly name = 'fixed';
  readonly #decay: number;

  constructor(decay: number, gradient: 'straight-through' | 'masked') {
    super({ gradient });
    this.#decay = decay;
  }

  protected override async remask(training: Training): Promise<Remasking> {
    return { mask: keepLargest(await this.maskedLayers(training), { granularity: '1:4' }), decay: this.#decay };
  }
}

async function effective(decay: number, gradient: 'straight-through' | 'masked' = 'masked') {
  const model = new Linear(16, 8, { random: new Random(1) });
  const layers = await modelLayers(model, [{ dtype: 'float32', shape: [1, 16] }]);
  const training = { model, layers, step: 0, steps: 1 } as unknown as Training;
  const sparsifier = new Fixed(decay, gradient);
  await sparsifier.prepare(training);
  await sparsifier.update(training);
  const tensor: Tensor = sparsifier.effective(model.weight, model.weight);
  return { sparsifier, model, tensor, w: await model.weight.data(), keep: sparsifier.mask!.get('weight') };
}

describe('RemaskedSparsifier', () => {
  it('computes with W bit for bit at D = 1, with the binary mask at 0, and in between with W ⊙ (m + (1 − m)·D)', async () => {
    for (const gradient of ['masked', 'straight-through'] as const) {
      const one = await effective(1, gradient);
      expect(await one.tensor.data()).toEqual(one.w);
      const zero = await effective(0, gradient);
      expect((await zero.tensor.data()).map(v => v + 0)).toEqual(zero.w.map((v, i) => (zero.keep[i] ? v : 0)));
      const half = await effective(0.5, gradient);
      expect(await half.tensor.data()).toEqual(half.w.map((v, i) => (half.keep[i] ? v : v / 2)));
    }
  });

  it('passes the gradient whole, or the share that the weight had', async () => {
    const { gradients } = await import('@gossamer/tensor');
    for (const decay of [0, 0.25, 1]) {
      const through = await effective(decay, 'straight-through');
      const [g] = gradients(through.tensor.sum(), [through.model.weight]);
      expect((await g.data()).every(v => v === 1)).toBe(true);
      const masked = await effective(decay, 'masked');
      const [h] = gradients(masked.tensor.sum(), [masked.model.weight]);
      expect(await h.data()).toEqual(Float32Array.from(masked.keep, k => (k ? 1 : decay)));
    }
  });

  it('leaves other parameters alone', async () => {
    const { sparsifier, model } = await effective(0);
    expect(sparsifier.effective(model.bias!, model.bias!)).toBe(model.bias);
    expect(sparsifier.gradient(model.bias!, new Parameter(model.bias!))).toBeInstanceOf(Parameter);
  });
});

describe('keepLargest', () => {
  const weights = layer('w', [12, 32], new Random(4).normal(12 * 32));

  it('is prune by magnitude', () => {
    for (const options of [
      { granularity: '2:4' },
      { granularity: '1:16' },
      { granularity: '1:4:out' },
      { granularity: { kind: 'nm', n: 3, m: 5, ragged: 'pad' } },
      { granularity: '2:4', sparsity: 0.25 },
      { sparsity: 0.8 },
      { granularity: 'filter', sparsity: 0.5 },
    ] as const) {
      const expected = prune([weights], l => magnitude(l.values), options);
      expect(keepLargest([weights], options).equals(expected)).toBe(true);
    }
  });

  it('has exactly n in every group, of equal weights those of the lowest index', () => {
    const flat = layer('flat', [2, 8], new Float32Array(16).fill(-1));
    expect([...keepLargest([flat], { granularity: '3:8' }).get('flat')].join('')).toBe('1110000011100000');
    const keep = keepLargest([weights], { granularity: '1:16' }).get('w');
    for (let g = 0; g < keep.length; g += 16) expect(keep.subarray(g, g + 16).reduce((a, b) => a + b)).toBe(1);
  });

  it('permuting rows permutes the mask', () => {
    const order = new Random(5).permutation(12);
    const values = new Float32Array(weights.values.length);
    order.forEach((from, to) => {
      values.set(weights.values.subarray(32 * from, 32 * from + 32), 32 * to);
    });
    const keep = keepLargest([weights], { granularity: '1:8' }).get('w');
    const permuted = keepLargest([layer('w', [12, 32], values)], { granularity: '1:8' }).get('w');
    order.forEach((from, to) => {
      expect(permuted.subarray(32 * to, 32 * to + 32)).toEqual(keep.subarray(32 * from, 32 * from + 32));
    });
  });
});

import { Random, tensor } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { GPT } from './gpt.ts';
import { checkModel, parameterCount, shapesOf } from './testing.ts';

const tiny = { vocab: 13, context: 40, layers: 2, heads: 2, dim: 12 };

/** Parameters of a GPT: embeddings, per block 12 d² + 13 d, last normalisation. */
const formula = ({ vocab, context, layers, dim: d }: typeof tiny): number =>
  (vocab + context) * d + layers * (12 * d * d + 13 * d) + 2 * d;

describe('GPT', () => {
  it('keeps what every model keeps', () =>
    checkModel(random => new GPT({ ...tiny, context: 7, random }), { input: [7], output: [7, 13], vocab: 13 }));

  it('has as many parameters as GPT-2 at its sizes', () => {
    expect(parameterCount(new GPT(tiny))).toBe(formula(tiny));
    expect(formula({ vocab: 50257, context: 1024, layers: 12, heads: 12, dim: 768 })).toBe(124_439_808);
  });

  it('has the names of nanoGPT, output layer tied', () => {
    expect(shapesOf(new GPT({ ...tiny, layers: 1 }))).toEqual({
      'transformer.wte.weight': '13×12',
      'transformer.wpe.weight': '40×12',
      'transformer.h.0.ln_1.weight': '12',
      'transformer.h.0.ln_1.bias': '12',
      'transformer.h.0.attn.c_attn.weight': '36×12',
      'transformer.h.0.attn.c_attn.bias': '36',
      'transformer.h.0.attn.c_proj.weight': '12×12',
      'transformer.h.0.attn.c_proj.bias': '12',
      'transformer.h.0.ln_2.weight': '12',
      'transformer.h.0.ln_2.bias': '12',
      'transformer.h.0.mlp.c_fc.weight': '48×12',
      'transformer.h.0.mlp.c_fc.bias': '48',
      'transformer.h.0.mlp.c_proj.weight': '12×48',
      'transformer.h.0.mlp.c_proj.bias': '12',
      'transformer.ln_f.weight': '12',
      'transformer.ln_f.bias': '12',
    });
    expect([...new GPT({ ...tiny, bias: false }).stateDict().keys()].some(name => name.endsWith('bias'))).toBe(false);
  });

  it('generates greedily with its cache what the whole forward pass gives, up to the end of its context', async () => {
    const model = new GPT({ ...tiny, random: new Random(4) }).eval();
    const ids = Array.from(new Random(1).integers(35, 0, 13));
    while (ids.length < 40) {
      const last = (await model.forward(tensor(Int32Array.from(ids), [1, ids.length])).data()).subarray(-13);
      ids.push(last.indexOf(Math.max(...last)));
    }
    expect(await model.generate(ids.slice(0, 35), { maxTokens: 5 })).toEqual(ids.slice(35));
  });

  it('starts near the loss of guessing', async () => {
    const log = await new GPT(tiny)
      .eval()
      .forward(tensor(Int32Array.of(1, 2, 3, 4), [1, 4]))
      .logSoftmax()
      .data();
    for (const value of log) expect(value).toBeCloseTo(-Math.log(13), 0);
  });
});

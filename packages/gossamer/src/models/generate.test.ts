import { Random } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { sampleToken } from './generate.ts';
import { Llama } from './llama.ts';

const logits = Float32Array.of(0.5, 2, -1, 1.5, 0);

/** How often each token is drawn. */
function shares(options: object, n = 4000): number[] {
  const random = new Random(1);
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < n; i++) counts[sampleToken(logits, random, options)]++;
  return counts.map(count => count / n);
}

const softmax = (values: number[]): number[] => {
  const sum = values.reduce((s, v) => s + Math.exp(v), 0);
  return values.map(v => Math.exp(v) / sum);
};

describe('sampleToken', () => {
  it('takes the first of the most likely at temperature 0', () => {
    expect(sampleToken(logits, new Random(0))).toBe(1);
    expect(sampleToken(Float32Array.of(1, 3, 3), new Random(0))).toBe(1);
  });

  it('draws from the softmax at its temperature', () => {
    const drawn = shares({ temperature: 0.8 });
    for (const [i, p] of softmax(Array.from(logits, v => v / 0.8)).entries()) expect(drawn[i]).toBeCloseTo(p, 1);
  });

  it('keeps to the topK, and to the nucleus of topP', () => {
    const two = softmax([2, 1.5]);
    for (const options of [
      { temperature: 1, topK: 2 },
      { temperature: 1, topP: 0.7 },
      { temperature: 1, topP: 0.999, topK: 2 },
    ]) {
      const drawn = shares(options);
      expect(drawn[1]).toBeCloseTo(two[0], 1);
      expect(drawn[1] + drawn[3]).toBe(1);
    }
    expect(shares({ temperature: 1, topP: 0.01 }, 50)[1]).toBe(1);
  });

  it('refuses impossible options', () => {
    expect(() => sampleToken(logits, new Random(0), { temperature: -1 })).toThrow('temperature -1');
    expect(() => sampleToken(logits, new Random(0), { temperature: 1, topP: 0 })).toThrow('topP 0');
    expect(() => sampleToken(logits, new Random(0), { temperature: 1, topK: 0 })).toThrow('topK 0');
  });
});

describe('generate', () => {
  const model = new Llama({ vocab: 7, dim: 8, layers: 1, heads: 2, context: 32 }).eval();

  it('is decided by its seed, tells each token, and stops where asked', async () => {
    const seen: number[] = [];
    const options = { maxTokens: 20, temperature: 5, seed: 3, stop: [] };
    const ids = await model.generate([1], { ...options, onToken: id => seen.push(id) });
    expect(ids).toHaveLength(20);
    expect(seen).toEqual(ids);
    expect(await model.generate([1], options)).toEqual(ids);
    expect(await model.generate([1], { ...options, seed: 4 })).not.toEqual(ids);
    const stop = ids[5];
    expect(await model.generate([1], { ...options, stop: [stop] })).toEqual(ids.slice(0, ids.indexOf(stop) + 1));
  });

  it('refuses an empty prompt', async () => {
    await expect(model.generate([])).rejects.toThrow('prompt is empty');
  });
});

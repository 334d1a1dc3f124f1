import { describe, expect, it } from 'vitest';
import { trainBpe } from './bpe.ts';
import { tokenizerFromJson } from './tokenizers.ts';

const text = 'low low low low low lower lower newest newest newest newest newest newest widest widest widest';

type Json = { model: { vocab: Record<string, number>; merges: [string, string][] } };

/** The definition, without any bookkeeping: count all pairs anew for every merge. */
function bruteForce(corpus: string, merges: number): [string, string][] {
  const words = (corpus.match(/ ?\p{L}+| ?[^\s\p{L}]+|\s+/gu) ?? []).map(word => [...word.replaceAll(' ', 'Ġ')]);
  const learnt: [string, string][] = [];
  while (learnt.length < merges) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const key = `${word[i - 1]} ${word[i]}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
    if (counts.size === 0) break;
    const [best] = [...counts].sort(([a, m], [b, n]) => {
      const [p, q] = [a.split(' '), b.split(' ')];
      return n - m || (p[0] === q[0] ? (p[1] < q[1] ? -1 : 1) : p[0] < q[0] ? -1 : 1);
    })[0];
    const [left, right] = best.split(' ');
    learnt.push([left, right]);
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++)
        if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
    }
  }
  return learnt;
}

describe('trainBpe', () => {
  it('merges the most frequent pair each time', () => {
    const rhyme = 'aaa aaaa abab the cat sat on the mat, the rat sat on the cat; banana bandana an ananas';
    for (const corpus of [text, rhyme]) {
      const { model } = trainBpe(corpus, { vocabSize: 286 }) as Json;
      expect(model.merges).toEqual(bruteForce(corpus, model.merges.length));
      expect(model.merges.length).toBeGreaterThanOrEqual(15);
    }
  });

  it('makes a tokenizer that round-trips any text and shortens its own', () => {
    const tokenizer = tokenizerFromJson(trainBpe(text, { vocabSize: 290 }));
    for (const sample of [text, "naïve 😀\n\t new  low , it is n't .", ''])
      expect(tokenizer.decode(tokenizer.encode(sample))).toBe(sample);
    expect(tokenizer.encode(' newest').length).toBe(1);
    expect(tokenizer.size).toBeLessThanOrEqual(290);
  });

  it('keeps special tokens whole and out of the merges', () => {
    const json = trainBpe(`${text}<|end|>${text}<|end|>`, { vocabSize: 280, special: ['<|end|>'] }) as Json;
    expect(json.model.vocab['<|end|>']).toBe(0);
    expect(json.model.merges.flat().some(token => token.includes('|'))).toBe(false);
    expect([...tokenizerFromJson(json).encode('<|end|>')]).toEqual([0]);
  });

  it('stops when nothing is left to merge, and needs room for the bytes', () => {
    const { model } = trainBpe('ab ab', { vocabSize: 1000 }) as Json;
    expect(model.merges).toEqual([
      ['a', 'b'],
      ['Ġ', 'ab'],
    ]);
    expect(() => trainBpe(text, { vocabSize: 255 })).toThrow('vocabSize 255');
  });
});

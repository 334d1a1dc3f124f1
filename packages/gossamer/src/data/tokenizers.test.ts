import { existsSync, readFileSync } from 'node:fs';
import { FormatError } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { CharTokenizer, tokenizerFromJson, WordTokenizer } from './tokenizers.ts';

describe('CharTokenizer', () => {
  it('numbers characters by code point and round-trips', () => {
    const text = 'héllo 😀\n';
    const tokenizer = CharTokenizer.of(text);
    expect(tokenizer.characters).toEqual(['\n', ' ', 'h', 'l', 'o', 'é', '😀']);
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(tokenizer.encode('lo')).toEqual(Int32Array.from([3, 4]));
  });

  it('refuses unknown characters, tokens and malformed vocabularies', () => {
    const tokenizer = CharTokenizer.of('abc');
    expect(() => tokenizer.encode('abd')).toThrow('"d" is not among the 3 characters');
    expect(() => tokenizer.decode([3])).toThrow('token 3 of 3');
    expect(() => new CharTokenizer(['a', 'a'])).toThrow('twice');
    expect(() => new CharTokenizer(['ab'])).toThrow('"ab" is not one character');
  });
});

describe('WordTokenizer', () => {
  it('keeps the most frequent words and marks lines', () => {
    const text = 'b a a c\nb a\n';
    const tokenizer = WordTokenizer.of(text, { maxSize: 4 });
    expect(tokenizer.words).toEqual(['<unk>', '<eos>', 'a', 'b']);
    expect([...tokenizer.encode(text)]).toEqual([3, 2, 2, 0, 1, 3, 2, 1]);
    expect(tokenizer.decode(tokenizer.encode(text))).toBe('b a a <unk>\nb a\n');
  });

  it('counts <unk> in the text as the special token', () => {
    expect(WordTokenizer.of('x <unk> <unk> <unk>').words).toEqual(['<unk>', '<eos>', 'x']);
  });

  it('can do without special tokens', () => {
    const tokenizer = WordTokenizer.of('x y', { unknown: '', endOfLine: '' });
    expect(tokenizer.words).toEqual(['x', 'y']);
    expect([...tokenizer.encode('y x\ny')]).toEqual([1, 0, 1]);
    expect(() => tokenizer.encode('z')).toThrow('"z" is not among the 2 words');
    expect(() => new WordTokenizer(['a'])).toThrow('<unk> is not among the words');
  });
});

describe('tokenizerFromJson', () => {
  it('refuses what is no tokenizer.json', () => {
    for (const json of [null, {}, { model: {} }, { model: { vocab: 3 } }, 'x']) {
      expect(() => tokenizerFromJson(json)).toThrow(FormatError);
    }
    expect(() => tokenizerFromJson({ model: { type: 'Nonsense', vocab: {} } })).toThrow(FormatError);
  });

  const folder = `${process.env.GOSSAMER_DATA}/../models/stories260K`;
  const real = existsSync(`${folder}/tokenizer.json`);
  if (!real) console.log('tokenizers: test of stories260K skipped: no ../models/stories260K beside GOSSAMER_DATA');

  it.skipIf(!real)('encodes as llama2.c does, by repeatedly merging the pair with the best score', () => {
    const tokenizer = tokenizerFromJson(JSON.parse(readFileSync(`${folder}/tokenizer.json`, 'utf8')));
    expect(tokenizer.size).toBe(512);
    const pieces = JSON.parse(readFileSync(`${folder}/vocab_scores.json`, 'utf8')) as [string, number][];
    const ids = new Map(pieces.map(([piece], id) => [piece, id]));
    const reference = (text: string): number[] => {
      const tokens = [...`▁${text.replaceAll(' ', '▁')}`];
      for (;;) {
        let [best, at] = [Number.NEGATIVE_INFINITY, -1];
        for (let i = 0; i + 1 < tokens.length; i++) {
          const id = ids.get(tokens[i] + tokens[i + 1]);
          if (id !== undefined && pieces[id][1] > best) [best, at] = [pieces[id][1], i];
        }
        // Token 3 + b is byte b.
        if (at < 0) return tokens.flatMap(token => ids.get(token) ?? [...Buffer.from(token)].map(byte => byte + 3));
        tokens.splice(at, 2, tokens[at] + tokens[at + 1]);
      }
    };
    const texts = [
      'Once upon a time, there was a little girl named Lily.',
      'She wanted to play with it, but it was too high.\n"Let\'s go!" she said.',
    ];
    for (const text of texts) {
      expect([...tokenizer.encode(text)]).toEqual(reference(text));
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
    const special = tokenizerFromJson(JSON.parse(readFileSync(`${folder}/tokenizer.json`, 'utf8')), { special: true });
    expect([...special.encode('a')].slice(0, 1)).toEqual([1]);
  });
});

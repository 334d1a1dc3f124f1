import { describe, expect, it } from 'vitest';
import { elements, f32, result, run, value } from '../../test/tables.ts';

const strings = (items: string[], dims?: number[]) => value('string', items, dims);

it('StringConcat broadcasts', () => {
  expect(result('StringConcat', [strings(['a', 'b'], [2, 1]), strings(['x', ''])])).toEqual([
    [2, 2],
    ['ax', 'a', 'bx', 'b'],
  ]);
  expect(() => run('StringConcat', [strings(['a']), f32([1])])).toThrow('input 1 is float32, expected strings');
});

describe('StringSplit', () => {
  const split = (items: string[], attributes: Record<string, string | number> = {}) =>
    run('StringSplit', [strings(items)], { attributes, outputs: 2 }).map(v => [...(v.data as string[])]);

  it.each<[string[], Record<string, string | number>, string[], bigint[]]>([
    [['a b', 'c'], { delimiter: ' ' }, ['a', 'b', 'c', ''], [2n, 1n]],
    [['  a \t b '], {}, ['a', 'b'], [2n]],
    [['a--b----c'], { delimiter: '--' }, ['a', 'b', '', 'c'], [4n]],
    [['a,b,c'], { delimiter: ',', maxsplit: 1 }, ['a', 'b,c'], [2n]],
    [[' a  b  c'], { maxsplit: 1 }, ['a', 'b  c'], [2n]],
    [['', 'a'], {}, ['', 'a'], [0n, 1n]],
    [[''], { delimiter: ',' }, [''], [1n]],
  ])('%j %j', (items, attributes, parts, counts) => expect(split(items, attributes)).toEqual([parts, counts]));
});

describe('StringNormalizer', () => {
  const normalize = (attributes: Record<string, string | number | string[]>) =>
    result('StringNormalizer', [strings(['Ab', 'the', 'THE'], [1, 3])], { attributes });

  it('removes stop words and changes case', () => {
    expect(normalize({ stopwords: ['the'] })).toEqual([[1, 1], ['Ab']]);
    expect(normalize({ stopwords: ['the'], is_case_sensitive: 1, case_change_action: 'UPPER' })).toEqual([
      [1, 2],
      ['AB', 'THE'],
    ]);
    expect(normalize({ case_change_action: 'LOWER', locale: 'en_US.UTF-8' })[1]).toEqual(['ab', 'the', 'the']);
  });

  it('leaves one empty string when nothing is left', () => {
    expect(result('StringNormalizer', [strings(['a'])], { attributes: { stopwords: ['A'] } })).toEqual([[1], ['']]);
    expect(() => run('StringNormalizer', [strings(['a', 'b'], [2, 1])])).toThrow('expected [c] or [1, c]');
  });
});

it('RegexFullMatch matches the whole string', () => {
  const match = (pattern: string) =>
    elements('RegexFullMatch', [strings(['ab', 'abc', 'x\nb'])], { attributes: { pattern } });
  expect(match('a|ab')).toEqual([1, 0, 0]);
  expect(match('.b.?')).toEqual([1, 1, 0]);
  expect(() => match('(')).toThrow('n (RegexFullMatch): cannot use the pattern (');
});

describe('TfIdfVectorizer', () => {
  const count = (mode: string, max_skip_count: number, min_gram_length = 1) =>
    result('TfIdfVectorizer', [value('int32', [1, 2, 3, 2, 2, 1], [2, 3])], {
      attributes: {
        ...{ mode, max_skip_count, min_gram_length, max_gram_length: 2, weights: [1, 10, 100] },
        ...{ ngram_counts: [0, 2], ngram_indexes: [2, 0, 3], pool_int64s: [1, 2, 2, 1] },
      },
    });

  it('counts n-grams, with gaps, and weighs them', () => {
    // Pool: (1) in column 2, (2) in column 0, (2, 1) in column 3.
    expect(count('TF', 0)).toEqual([
      [2, 4],
      [1, 0, 1, 0, 2, 0, 1, 1],
    ]);
    expect(count('TF', 1)[1]).toEqual([1, 0, 1, 0, 2, 0, 1, 2]);
    expect(count('TF', 1, 2)[1]).toEqual([0, 0, 0, 0, 0, 0, 0, 2]);
    expect(count('IDF', 1)[1]).toEqual([10, 0, 1, 0, 10, 0, 1, 100]);
    expect(count('TFIDF', 1)[1]).toEqual([10, 0, 1, 0, 20, 0, 1, 200]);
  });
});

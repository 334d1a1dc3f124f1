import type { ArrayDataset } from '../data/dataset.ts';
import { load } from '../data/registry.ts';
import type { Sequences } from '../data/sequences.ts';
import { tokenWindows } from '../data/sequences.ts';
import { CharTokenizer } from '../data/tokenizers.ts';

export interface Texts {
  readonly name: string;
  /** Different characters. */
  readonly vocab: number;
  /** Characters of the training part. */
  readonly characters: number;
  readonly train: ArrayDataset<Sequences>;
  readonly valid: ArrayDataset<Sequences>;
  readonly test: ArrayDataset<Sequences>;
}

/** Sonnet 18 (Shakespeare 1609), for smoke runs without any data. */
const sonnet = `Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee.
`;

/**
 * Windows of `length` characters of a text in three parts; training windows begin every `length` characters, shuffled by
 * the loader. `sonnet` is 14 lines, the same in all parts.
 */
export async function texts(name: 'tiny-shakespeare' | 'wikitext-2' | 'sonnet', length: number): Promise<Texts> {
  const { train, valid, test } = name === 'sonnet' ? { train: sonnet, valid: sonnet, test: sonnet } : await load(name);
  const tokenizer = CharTokenizer.of(train + valid + test);
  const windows = (text: string) => tokenWindows(tokenizer.encode(text), length);
  return {
    name,
    vocab: tokenizer.size,
    characters: train.length,
    train: windows(train),
    valid: windows(valid),
    test: windows(test),
  };
}

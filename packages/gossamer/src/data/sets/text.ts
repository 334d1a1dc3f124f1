import { FormatError } from '@gossamer/tensor';
import { entryBytes, readArchive } from '../archive.ts';
import { utf8 } from '../bytes.ts';
import { type DataFile, dataFile } from '../store.ts';
import { type Described, type Entry, entry } from './entry.ts';

/** Running text in three parts. */
export interface TextSet extends Described {
  readonly train: string;
  readonly valid: string;
  readonly test: string;
}

/**
 * Cuts a text at the given fractions, moved on to just after the next `separator` ('' for exactly there).
 * The last part takes the rest.
 */
export function cutText(text: string, fractions: readonly number[], separator = ''): string[] {
  const parts: string[] = [];
  let [start, share] = [0, 0];
  for (const fraction of fractions) {
    share += fraction;
    const at = Math.max(start, Math.round(share * text.length));
    const next = separator ? text.indexOf(separator, at) : at;
    const end = share > 1 - 1e-9 || next < 0 ? text.length : next + separator.length;
    parts.push(text.slice(start, end));
    start = end;
  }
  return parts;
}

/** A single text, cut here. */
function corpus(
  name: string,
  title: string,
  file: DataFile,
  fractions: readonly [number, number, number],
  separator: string,
): Entry<TextSet> {
  const shares = fractions.map(share => Math.round(share * 100)).join('/');
  return entry(name, title, [
    {
      files: [file],
      read: ([bytes]) => {
        const [train, valid, test] = cutText(utf8(bytes, file.path), fractions, separator);
        return { name, description: `${title}; cut ${shares} in this order`, train, valid, test };
      },
    },
  ]);
}

const wikitextSite = 'https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/';
const wikitextFile = (part: string) => dataFile(`text/wikitext-2/${part}.txt`, `${wikitextSite}${part}.txt`);

const wikitext2 = entry<TextSet>('wikitext-2', 'WikiText-2: Wikipedia articles, 2 million words (Merity et al. 2016)', [
  {
    files: ['train', 'valid', 'test'].map(wikitextFile),
    read: contents => {
      const [train, valid, test] = contents.map(bytes => utf8(bytes, 'wikitext-2'));
      return { name: 'wikitext-2', description: 'WikiText-2 with its own split', train, valid, test };
    },
  },
  {
    files: [{ ...wikitextFile('valid'), url: undefined }],
    read: ([bytes]) => {
      const [train, valid, test] = cutText(utf8(bytes, 'wikitext-2 valid'), [0.8, 0.1, 0.1], '\n');
      return {
        name: 'wikitext-2',
        description:
          'WikiText-2, validation split alone: its 214 thousand words are cut 80/10/10 in this order into `train`, ' +
          '`valid` and `test`, so perplexities are no published ones',
        train,
        valid,
        test,
      };
    },
  },
]);

const ptb = entry<TextSet>('ptb', 'Penn Treebank language-model text, 1 million words (Mikolov et al. 2010)', [
  {
    files: [dataFile('text/ptb.zip', 'http://d2l-data.s3-accelerate.amazonaws.com/ptb.zip')],
    read: async ([zip]) => {
      const entries = await readArchive(zip, 'ptb.zip');
      const [train, valid, test] = ['train', 'valid', 'test'].map(part => {
        const name = `ptb.${part}.txt`;
        return utf8(entryBytes(entries, name, 'ptb.zip'), name);
      });
      return {
        name: 'ptb',
        description: 'Penn Treebank, Mikolov preprocessing, with its own split',
        train,
        valid,
        test,
      };
    },
  },
]);

/** What ends a story in the TinyStories files. */
export const END_OF_STORY = '<|endoftext|>';

/** Sentences in two languages, line by line the same. */
export interface ParallelSet extends Described {
  readonly train: Readonly<Record<'en' | 'de', readonly string[]>>;
  readonly valid: Readonly<Record<'en' | 'de', readonly string[]>>;
  readonly test: Readonly<Record<'en' | 'de', readonly string[]>>;
}

const multiSite = 'https://github.com/multi30k/dataset/raw/master/data/task1/raw/';
const multiParts = ['train', 'val', 'test_2016_flickr'];

const multi30k = entry<ParallelSet>(
  'multi30k',
  'Multi30k: 31,014 image captions, English and German (Elliott et al. 2016)',
  [
    {
      files: multiParts.flatMap(part =>
        ['en', 'de'].map(language =>
          dataFile(`text/multi30k/${part}.${language}.gz`, `${multiSite}${part}.${language}.gz`),
        ),
      ),
      read: contents => {
        const lines = contents.map(bytes => utf8(bytes, 'multi30k').trimEnd().split('\n'));
        const [train, valid, test] = multiParts.map((part, i) => {
          const [en, de] = [lines[2 * i], lines[2 * i + 1]];
          if (en.length !== de.length) throw new FormatError(`multi30k ${part}: ${en.length} and ${de.length} lines`);
          return { en, de };
        });
        return {
          name: 'multi30k',
          description: 'Multi30k task 1; the test part is test_2016_flickr',
          train,
          valid,
          test,
        };
      },
    },
  ],
);

export const textSets = {
  'tiny-shakespeare': corpus(
    'tiny-shakespeare',
    'tiny-shakespeare: 1.1 million characters of his plays (Karpathy 2015)',
    dataFile(
      'text/tinyshakespeare.txt',
      'https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt',
    ),
    [0.9, 0.05, 0.05],
    '',
  ),
  'wikitext-2': wikitext2,
  ptb,
  tinystories: corpus(
    'tinystories',
    'TinyStories: the first 1.6 MB of its training text (Eldan & Li 2023)',
    dataFile('text/tinystories_1600k.txt.gz'),
    [0.9, 0.05, 0.05],
    `${END_OF_STORY}\n`,
  ),
  dubois: corpus(
    'dubois',
    'Writings of W. E. B. Du Bois, 2.8 MB (Project Gutenberg)',
    dataFile('text/dubois_project_gutenberg.txt.gz'),
    [0.9, 0.05, 0.05],
    '\n',
  ),
  multi30k,
};

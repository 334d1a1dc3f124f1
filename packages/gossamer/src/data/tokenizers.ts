import { check, FormatError, GossamerError } from '@gossamer/tensor';
import { Tokenizer as HuggingFace } from '@huggingface/tokenizers';

/** Text to token numbers 0 … size − 1 and back. */
export interface Tokenizer {
  /** Number of different tokens. */
  readonly size: number;
  encode(text: string): Int32Array;
  decode(ids: Iterable<number>): string;
}

/** One token a character (Unicode code point), numbered by the order of `characters`. */
export class CharTokenizer implements Tokenizer {
  readonly characters: readonly string[];
  readonly #ids: ReadonlyMap<string, number>;

  /** Throws a GossamerError if a character occurs twice or is not one code point. */
  constructor(characters: Iterable<string>) {
    this.characters = [...characters];
    this.#ids = new Map(this.characters.map((character, id) => [character, id]));
    check(this.#ids.size === this.characters.length, 'CharTokenizer: a character occurs twice');
    const bad = this.characters.find(character => [...character].length !== 1);
    check(bad === undefined, () => `CharTokenizer: ${JSON.stringify(bad)} is not one character`);
  }

  /** The characters of a text, sorted by code point. */
  static of(text: string): CharTokenizer {
    return new CharTokenizer([...new Set(text)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!));
  }

  get size(): number {
    return this.characters.length;
  }

  /** Throws a GossamerError for a character outside the vocabulary. */
  encode(text: string): Int32Array {
    const ids: number[] = [];
    for (const character of text) {
      const id = this.#ids.get(character);
      check(
        id !== undefined,
        () => `CharTokenizer: ${JSON.stringify(character)} is not among the ${this.size} characters`,
      );
      ids.push(id);
    }
    return Int32Array.from(ids);
  }

  decode(ids: Iterable<number>): string {
    return Array.from(ids, id => entry(this.characters, id, 'CharTokenizer')).join('');
  }
}

export interface WordOptions {
  /** Keep the most frequent words up to this many, the two special tokens included; default all. */
  maxSize?: number;
  /** Stands for every other word; default `<unk>`. */
  unknown?: string;
  /** Put at the end of each line; default `<eos>`, '' for none. */
  endOfLine?: string;
}

/** One token a word: text between white space, as the Penn Treebank and WikiText files are prepared for. */
export class WordTokenizer implements Tokenizer {
  readonly words: readonly string[];
  readonly unknown: string;
  readonly endOfLine: string;
  readonly #ids: ReadonlyMap<string, number>;

  /** @param words in the order of their numbers; must contain the special tokens that are used. */
  constructor(words: Iterable<string>, options: Omit<WordOptions, 'maxSize'> = {}) {
    this.words = [...words];
    this.unknown = options.unknown ?? '<unk>';
    this.endOfLine = options.endOfLine ?? '<eos>';
    this.#ids = new Map(this.words.map((word, id) => [word, id]));
    check(this.#ids.size === this.words.length, 'WordTokenizer: a word occurs twice');
    for (const special of [this.unknown, this.endOfLine]) {
      check(special === '' || this.#ids.has(special), () => `WordTokenizer: ${special} is not among the words`);
    }
  }

  /** The words of a text: special tokens first, then by falling frequency, equals in alphabetical order. */
  static of(text: string, options: WordOptions = {}): WordTokenizer {
    const { maxSize = Number.POSITIVE_INFINITY, unknown = '<unk>', endOfLine = '<eos>' } = options;
    const special = [...new Set([unknown, endOfLine])].filter(word => word !== '');
    const counts = countWords(text.split(/\s+/));
    for (const word of ['', ...special]) counts.delete(word);
    const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([word]) => word);
    return new WordTokenizer([...special, ...sorted].slice(0, maxSize), options);
  }

  get size(): number {
    return this.words.length;
  }

  /** Throws a GossamerError for an unknown word if there is no token for it. */
  encode(text: string): Int32Array {
    const unknown = this.#ids.get(this.unknown);
    const end = this.#ids.get(this.endOfLine);
    const ids: number[] = [];
    const lines = text.split('\n');
    // The text after the last line feed is a line only if there is some.
    if (lines.at(-1) === '') lines.pop();
    for (const line of lines) {
      for (const word of line.split(/\s+/)) {
        if (word === '') continue;
        const id = this.#ids.get(word) ?? unknown;
        check(id !== undefined, () => `WordTokenizer: ${JSON.stringify(word)} is not among the ${this.size} words`);
        ids.push(id);
      }
      if (end !== undefined) ids.push(end);
    }
    return Int32Array.from(ids);
  }

  /** Words joined by blanks, lines by line feeds. */
  decode(ids: Iterable<number>): string {
    const words = Array.from(ids, id => entry(this.words, id, 'WordTokenizer'));
    return words.join(' ').replaceAll(` ${this.endOfLine} `, '\n').replace(` ${this.endOfLine}`, '\n');
  }
}

/**
 * A tokenizer from a Hugging Face `tokenizer.json` (BPE, WordPiece, Unigram), run by `@huggingface/tokenizers`.
 *
 * @param json the parsed file; @param options.special whether `encode` adds tokens such as `<s>` (default false) and
 *   `decode` keeps them (default false); @param options.config the parsed `tokenizer_config.json`, if there is one
 */
export function tokenizerFromJson(json: unknown, options: { special?: boolean; config?: object } = {}): Tokenizer {
  const { special = false, config = {} } = options;
  const model = (json as { model?: { vocab?: unknown } } | null)?.model;
  if (typeof model?.vocab !== 'object' || model.vocab === null) {
    throw new FormatError('tokenizer.json: no model.vocab; expected the file that Hugging Face models come with');
  }
  let tokenizer: HuggingFace;
  try {
    tokenizer = new HuggingFace(json as object, config);
  } catch (error) {
    throw new FormatError(`tokenizer.json: cannot be used: ${(error as Error).message}`);
  }
  const size = 1 + Math.max(-1, ...tokenizer.get_vocab().values());
  return {
    size,
    encode: text => Int32Array.from(tokenizer.encode(text, { add_special_tokens: special }).ids),
    decode: ids => {
      const list = [...ids];
      const bad = list.find(id => !(Number.isInteger(id) && id >= 0 && id < size));
      if (bad !== undefined) throw new GossamerError(`tokenizer: token ${bad} of ${size}`);
      if (list.length === 0) return '';
      // The library's default would drop blanks before punctuation.
      return tokenizer.decode(list, { skip_special_tokens: !special, clean_up_tokenization_spaces: false });
    },
  };
}

/** Occurrences of each word. */
export function countWords(words: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

function entry(list: readonly string[], id: number, name: string): string {
  check(Number.isInteger(id) && id >= 0 && id < list.length, () => `${name}: token ${id} of ${list.length}`);
  return list[id];
}

import { check } from '@gossamer/tensor';
import { countWords } from './tokenizers.ts';

/** GPT-2's division of text into words; a word keeps the blank before it (Radford et al. 2019). */
const words = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

export interface BpeOptions {
  /** Number of tokens, at least 256 (the bytes) and the special ones; default 4096. Fewer if no pair is left to merge. */
  vocabSize?: number;
  /** Whole tokens such as `<|endoftext|>`, numbered first; default none. */
  special?: readonly string[];
}

/**
 * Learns byte-level byte-pair encoding (Sennrich et al., arXiv:1508.07909, on GPT-2's bytes and words): the most frequent
 * pair of neighbouring tokens is merged again and again; of equally frequent pairs the alphabetically first.
 * Returns the object of a Hugging Face `tokenizer.json`, for `tokenizerFromJson` and any other program that reads it.
 */
export function trainBpe(text: string, { vocabSize = 4096, special = [] }: BpeOptions = {}): object {
  check(vocabSize >= 256 + special.length, () => `trainBpe: vocabSize ${vocabSize} leaves no room for the 256 bytes`);
  for (const token of special) text = text.replaceAll(token, '\n');
  const corpus = [...countWords(text.match(words) ?? [])].map(([word, count]) => ({ tokens: byteTokens(word), count }));
  const merges: [string, string][] = [];
  const vocabulary = [...special, ...byteAlphabet];
  const pairs = new PairCounts();
  corpus.forEach(({ tokens, count }, word) => {
    for (let i = 1; i < tokens.length; i++) pairs.add(tokens[i - 1], tokens[i], count, word);
  });
  const known = new Set(vocabulary);
  while (vocabulary.length < vocabSize) {
    const best = pairs.popBest();
    if (!best) break;
    const [left, right] = best.pair;
    merges.push(best.pair);
    // Two different pairs may spell the same token.
    if (!known.has(left + right)) vocabulary.push(left + right);
    known.add(left + right);
    for (const word of best.words) {
      const entry = corpus[word];
      const merged = mergePair(entry.tokens, left, right);
      if (merged.length === entry.tokens.length) continue;
      for (let i = 1; i < entry.tokens.length; i++) pairs.add(entry.tokens[i - 1], entry.tokens[i], -entry.count, word);
      for (let i = 1; i < merged.length; i++) pairs.add(merged[i - 1], merged[i], entry.count, word);
      entry.tokens = merged;
    }
  }
  return tokenizerJson(vocabulary, merges, special);
}

function mergePair(tokens: readonly string[], left: string, right: string): string[] {
  const merged: string[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] === left && tokens[i + 1] === right) merged.push(left + tokens[++i]);
    else merged.push(tokens[i]);
  }
  return merged;
}

interface Pair {
  readonly pair: [string, string];
  /** Words it has occurred in; it may have left some of them. */
  readonly words: Set<number>;
  count: number;
}

/** Counts of pairs with a heap of them by count; an entry whose count has changed since is skipped when it surfaces. */
class PairCounts {
  readonly #pairs = new Map<string, Pair>();
  readonly #heap: { entry: Pair; count: number }[] = [];
  readonly #changed = new Set<Pair>();

  add(left: string, right: string, count: number, word: number): void {
    // No token holds a blank: the byte alphabet maps it away.
    const key = `${left} ${right}`;
    let entry = this.#pairs.get(key);
    if (!entry) this.#pairs.set(key, (entry = { pair: [left, right], words: new Set(), count: 0 }));
    entry.count += count;
    if (count > 0) entry.words.add(word);
    this.#changed.add(entry);
  }

  /** Takes out the most frequent pair; null when none occurs any more. */
  popBest(): Pair | null {
    for (const entry of this.#changed) if (entry.count > 0) this.#push({ entry, count: entry.count });
    this.#changed.clear();
    for (let top = this.#pop(); top; top = this.#pop()) if (top.count === top.entry.count) return top.entry;
    return null;
  }

  #before(i: number, j: number): boolean {
    const [a, b] = [this.#heap[i], this.#heap[j]];
    if (a.count !== b.count) return a.count > b.count;
    const [p, q] = [a.entry.pair, b.entry.pair];
    return p[0] === q[0] ? p[1] < q[1] : p[0] < q[0];
  }

  #swap(i: number, j: number): void {
    [this.#heap[i], this.#heap[j]] = [this.#heap[j], this.#heap[i]];
  }

  #push(item: { entry: Pair; count: number }): void {
    let i = this.#heap.push(item) - 1;
    for (let parent = (i - 1) >> 1; i > 0 && this.#before(i, parent); i = parent, parent = (i - 1) >> 1) {
      this.#swap(i, parent);
    }
  }

  #pop(): { entry: Pair; count: number } | undefined {
    const top = this.#heap[0];
    const last = this.#heap.pop();
    if (this.#heap.length === 0 || !last) return top;
    this.#heap[0] = last;
    for (let i = 0; ; ) {
      let best = i;
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < this.#heap.length && this.#before(child, best)) best = child;
      }
      if (best === i) return top;
      this.#swap(i, best);
      i = best;
    }
  }
}

/** GPT-2's visible character of each byte: printable Latin-1 ones stand for themselves, others for U+0100 and on. */
const byteAlphabet: readonly string[] = (() => {
  const visible = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(visible(byte) ? byte : next++));
})();

const byteTokens = (word: string): string[] => Array.from(new TextEncoder().encode(word), byte => byteAlphabet[byte]);

function tokenizerJson(vocabulary: string[], merges: [string, string][], special: readonly string[]): object {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges,
    },
  };
}

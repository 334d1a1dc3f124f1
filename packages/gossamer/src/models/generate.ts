import { check, compile, Random, type Tensor, tensor } from '@gossamer/tensor';
import { type CacheShape, KeyValueCache } from './kv-cache.ts';

/** A language model that can continue from cached keys and values. */
export interface CachedLanguageModel {
  readonly cacheShape: CacheShape;
  /** Most tokens it takes. */
  readonly context: number;
  /**
   * Hidden states of tokens `ids` (int32 [1, tokens]) at positions `start` (int32 scalar) and following, after those in
   * the cache, to which theirs are added; [1, tokens, dim].
   */
  continueFrom(ids: Tensor, start: Tensor, cache: KeyValueCache): Tensor;
  /** Logits of hidden states. */
  logits(hidden: Tensor): Tensor;
}

export interface SampleOptions {
  /** Divides the logits; 0 (default) takes the most likely token always. */
  readonly temperature?: number;
  /** Choose among this many most likely tokens; default all. */
  readonly topK?: number;
  /** Choose among the fewest most likely tokens whose probabilities reach this sum (Holtzman et al. 2020); default 1. */
  readonly topP?: number;
}

export interface GenerateOptions extends SampleOptions {
  /** Most tokens to generate; default 100. */
  readonly maxTokens?: number;
  /** Decides all choices; default 0. */
  readonly seed?: number;
  /** Tokens after which to stop (they are part of the result); default none. */
  readonly stop?: readonly number[];
  /** Called with each token as it is chosen. */
  readonly onToken?: (token: number) => void;
}

/** Tokens of the prompt that are read at once. */
const CHUNK = 32;

/**
 * The tokens that `model` puts behind those of `prompt` (at least one). The prompt is read in chunks, then one compiled
 * step of fixed shape runs for each new token.
 *
 * @throws if prompt and `maxTokens` together exceed the model's context
 */
export async function generate(
  model: CachedLanguageModel,
  prompt: ArrayLike<number>,
  { maxTokens = 100, seed = 0, stop = [], onToken, ...sampling }: GenerateOptions = {},
): Promise<number[]> {
  const total = prompt.length + maxTokens;
  check(Number.isInteger(maxTokens) && maxTokens >= 0, () => `generate: maxTokens ${maxTokens}: expected 0 or more`);
  check(prompt.length > 0, 'generate: the prompt is empty; start with the token for the beginning of a text');
  check(
    total <= model.context,
    () => `generate: ${prompt.length} tokens and ${maxTokens} new ones exceed the context of ${model.context}`,
  );
  const cache = new KeyValueCache(model.cacheShape, total);
  const read = compile((ids: Tensor, start: Tensor) => void model.continueFrom(ids, start, cache));
  const step = compile((ids: Tensor, start: Tensor) => model.logits(model.continueFrom(ids, start, cache)));
  const random = new Random(seed);
  const ids = Array.from(prompt);
  try {
    // The last token of the prompt is left to the first step, which needs its logits.
    for (let start = 0; start < prompt.length - 1; start += CHUNK) {
      // A chunk's unused places write rows that later tokens overwrite before any token attends to them.
      const chunk = new Int32Array(CHUNK);
      chunk.set(ids.slice(start, Math.min(start + CHUNK, prompt.length - 1)));
      await read(tensor(chunk, [1, CHUNK]), int32(start));
    }
    while (ids.length < total) {
      const logits = await step(tensor(Int32Array.of(ids.at(-1)!), [1, 1]), int32(ids.length - 1));
      const next = sampleToken(await logits.data(), random, sampling);
      ids.push(next);
      onToken?.(next);
      if (stop.includes(next)) break;
    }
  } finally {
    await Promise.all([read.dispose(), step.dispose()]);
  }
  return ids.slice(prompt.length);
}

const int32 = (value: number): Tensor => tensor(Int32Array.of(value), []);

/** Chooses a token by its logits. */
export function sampleToken(logits: Float32Array, random: Random, options: SampleOptions = {}): number {
  const { temperature = 0, topK = logits.length, topP = 1 } = options;
  check(temperature >= 0, () => `sampleToken: temperature ${temperature}: expected 0 or more`);
  check(Number.isInteger(topK) && topK > 0, () => `sampleToken: topK ${topK}: expected a positive integer`);
  check(topP > 0 && topP <= 1, () => `sampleToken: topP ${topP}: expected (0, 1]`);
  const top = logits.reduce((best, value, i) => (value > logits[best] ? i : best), 0);
  if (temperature === 0) return top;
  const scaled = logits.map(value => (value - logits[top]) / temperature);
  if (topK < logits.length || topP < 1) truncate(scaled, topK, topP);
  return random.categorical(scaled, 1, { logits: true })[0];
}

/** Sets the logits to −∞ of all but the `topK` highest and, of these, the fewest whose probabilities reach `topP`. */
function truncate(logits: Float32Array, topK: number, topP: number): void {
  const order = Uint32Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  const weights = Array.from(order.subarray(0, topK), i => Math.exp(logits[i]));
  let missing = topP * weights.reduce((a, b) => a + b, 0);
  let kept = 0;
  while (kept < weights.length && missing > 0) missing -= weights[kept++];
  for (const i of order.subarray(kept)) logits[i] = Number.NEGATIVE_INFINITY;
}

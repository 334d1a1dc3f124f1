import type { NDArray, TypedArray } from './dtype.ts';
import { exp, log, normalCdf, normalQuantile } from './elementary.ts';
import { check } from './errors.ts';
import { deriveKey, type Key, threefryFill } from './threefry.ts';

/** Everything that defines a stream's next number; survives `JSON.stringify`. */
export interface RandomState {
  /** Two unsigned 32-bit words, low word first. */
  readonly key: Key;
  /** Index of the next unused 64-bit block, at most 2⁵³ − 1. */
  readonly counter: number;
}

/** How many numbers to make, or the array to fill. */
export type Target = number | Float32Array;

/** Root of the keys made from text, so that `new Random('a')` is no fork of a numeric seed. */
const TEXT_ROOT: Key = [0x243f6a88, 0x85a308d3];
const CHUNK = 4096;
const scratch = new Uint32Array(CHUNK);

/**
 * Counter-based random numbers (Threefry-2x32-20): same seed, same bits, in Node and in every browser, because only
 * integer arithmetic and correctly rounded float64 operations are used.
 *
 * The whole state is `key` and `counter`. Block `counter` holds 64 bits; a call takes the blocks from `counter` on and
 * advances it by a number that depends on the count asked alone, never on the values drawn:
 * `⌈n / 2⌉` for n numbers of `bits`, `uniform`, `normal`, `truncatedNormal`, `exponential`, `gumbel`, `bernoulli`
 * (a word each), `n` for `integers`, `permutation`, `shuffle`, `choice`, `categorical` (a block each). Setting `counter`
 * back replays a stream.
 */
export class Random {
  readonly key: Key;
  /** Index of the next unused block. Assign it to replay or to skip. */
  counter: number;

  /**
   * @param seed an integer in [−2⁶³, 2⁶⁴) (a number must be a safe integer), any text (hashed), or a saved state.
   */
  constructor(seed: number | bigint | string | RandomState) {
    this.key = typeof seed === 'object' ? parseState(seed).key : keyOf(seed);
    this.counter = typeof seed === 'object' ? seed.counter : 0;
  }

  /** The state as plain data: `Random.fromJSON(JSON.parse(JSON.stringify(random)))` continues the stream. */
  toJSON(): RandomState {
    return { key: [this.key[0], this.key[1]], counter: this.counter };
  }

  static fromJSON(state: RandomState): Random {
    return new Random(parseState(state));
  }

  /**
   * An independent stream named by text or by an index ≥ 0. It depends on this stream's key alone: forking neither
   * advances the counter nor looks at it, so the order of forks and draws is free.
   */
  fork(name: string | number): Random {
    check(
      typeof name === 'string' || (Number.isSafeInteger(name) && name >= 0),
      () => `fork: name must be text or a safe integer ≥ 0, got ${name}`,
    );
    return new Random({ key: deriveKey(this.key, name), counter: 0 });
  }

  /** `n` words of 32 random bits. */
  bits(n: number): Uint32Array<ArrayBuffer> {
    const out = new Uint32Array(count('bits', n));
    const { low, high } = this.#take('bits', Math.ceil(n / 2));
    threefryFill(this.key, low, high, out);
    return out;
  }

  /** Float32 values uniform in [low, high), on a grid of 2²⁴ steps. */
  uniform<T extends Target>(target: T, low = 0, high = 1): Filled<T> {
    const span = (high - low) * 2 ** -24;
    const [bottom, top] = [leastAtLeast(low), greatestBelow(high)];
    check(
      bottom <= top && Number.isFinite(span),
      () => `uniform: [${low}, ${high}) holds no float32 or is not finite; expected low < high`,
    );
    return this.#fill('uniform', target, (out, start, words, length) => {
      for (let i = 0; i < length; i++) {
        const x = Math.fround(low + span * (words[i] >>> 8));
        out[start + i] = Math.min(Math.max(x, bottom), top);
      }
    });
  }

  /**
   * Float32 values of the normal distribution, by its quantile function at the centres of 2³² equal cells: exact to
   * rounding, and bounded by mean ± 6.24 std.
   */
  normal<T extends Target>(target: T, mean = 0, std = 1): Filled<T> {
    checkNormal('normal', mean, std);
    return this.#fill('normal', target, (out, start, words, length) => {
      for (let i = 0; i < length; i++) out[start + i] = mean + std * normalQuantile((words[i] + 0.5) * 2 ** -32);
    });
  }

  /** Normal values conditioned on `low` ≤ (x − mean) / std ≤ `high`: the bounds count standard deviations. */
  truncatedNormal<T extends Target>(target: T, mean = 0, std = 1, low = -2, high = 2): Filled<T> {
    checkNormal('truncatedNormal', mean, std);
    check(low < high, () => `truncatedNormal: bounds [${low}, ${high}]: expected low < high`);
    // In the upper tail the distribution function is too close to 1 to resolve: sample the mirror image there.
    const sign = low > 0 ? -1 : 1;
    const [a, b] = low > 0 ? [-high, -low] : [low, high];
    const base = normalCdf(a);
    const mass = (normalCdf(b) - base) * 2 ** -32;
    check(mass > 1e-290, () => `truncatedNormal: [${low}, ${high}] standard deviations has no measurable probability`);
    return this.#fill('truncatedNormal', target, (out, start, words, length) => {
      for (let i = 0; i < length; i++) {
        const z = normalQuantile(base + mass * (words[i] + 0.5));
        out[start + i] = mean + std * sign * Math.min(Math.max(z, a), b);
      }
    });
  }

  /** Float32 values of the exponential distribution with mean 1 / `rate`. */
  exponential<T extends Target>(target: T, rate = 1): Filled<T> {
    check(rate > 0 && rate < Number.POSITIVE_INFINITY, () => `exponential: rate must be positive, got ${rate}`);
    return this.#fill('exponential', target, (out, start, words, length) => {
      for (let i = 0; i < length; i++) out[start + i] = -log((words[i] + 0.5) * 2 ** -32) / rate;
    });
  }

  /** Float32 values of the standard Gumbel distribution, −log(−log u): argmax(logits + gumbel) samples a softmax. */
  gumbel<T extends Target>(target: T): Filled<T> {
    return this.#fill('gumbel', target, (out, start, words, length) => {
      for (let i = 0; i < length; i++) out[start + i] = -log(-log((words[i] + 0.5) * 2 ** -32));
    });
  }

  /** `n` values, 1 with `probability` (resolved to 2⁻³²), else 0. */
  bernoulli(n: number, probability = 0.5): Uint8Array<ArrayBuffer> {
    check(probability >= 0 && probability <= 1, () => `bernoulli: probability must be in [0, 1], got ${probability}`);
    const out = new Uint8Array(count('bernoulli', n));
    const threshold = probability * 2 ** 32;
    this.#words('bernoulli', n, (start, words, length) => {
      for (let i = 0; i < length; i++) out[start + i] = words[i] < threshold ? 1 : 0;
    });
    return out;
  }

  /**
   * `n` integers uniform in [low, high), both within int32 (high up to 2³¹). Each is a 64-bit fraction times the range:
   * the probabilities differ by less than one part in 2³² (Lemire 2019, without the rejection).
   */
  integers(n: number, low: number, high: number): Int32Array<ArrayBuffer> {
    check(
      Number.isInteger(low) && Number.isInteger(high) && low >= -(2 ** 31) && high <= 2 ** 31 && low < high,
      () => `integers: [${low}, ${high}): expected integers with −2³¹ ≤ low < high ≤ 2³¹`,
    );
    const out = new Int32Array(count('integers', n));
    this.#pairs('integers', n, (i, a, b) => {
      out[i] = low + bounded(a, b, high - low);
    });
    return out;
  }

  /** Puts `array` in random order, in place, and returns it (Fisher–Yates). */
  shuffle<T extends unknown[] | TypedArray>(array: T): T {
    const values = array as unknown[];
    const last = values.length - 1;
    this.#pairs('shuffle', values.length, (i, a, b) => {
      const j = i + bounded(a, b, last + 1 - i);
      const value = values[i];
      values[i] = values[j];
      values[j] = value;
    });
    return array;
  }

  /** The integers 0 … n − 1 in random order. */
  permutation(n: number): Int32Array<ArrayBuffer> {
    const order = new Int32Array(count('permutation', n));
    for (let i = 0; i < n; i++) order[i] = i;
    return this.shuffle(order);
  }

  /** `n` different integers of [0, population), in random order: the start of a permutation, in O(n) time and memory. */
  choice(n: number, population: number): Int32Array<ArrayBuffer> {
    check(
      Number.isInteger(population) && population <= 2 ** 31 && count('choice', n) <= population,
      () => `choice: ${n} different integers of ${population}: expected n ≤ population ≤ 2³¹`,
    );
    const out = new Int32Array(n);
    // Fisher–Yates on an array that exists only where it differs from the identity.
    const moved = new Map<number, number>();
    this.#pairs('choice', n, (i, a, b) => {
      const j = i + bounded(a, b, population - i);
      out[i] = moved.get(j) ?? j;
      moved.set(j, moved.get(i) ?? i);
    });
    return out;
  }

  /**
   * Draws class indices, with replacement. `weights` are non-negative and need not sum to 1; with `logits` they are
   * exponentiated first. A distribution [k] gives `n` indices; a matrix [rows, k] gives `n` for each row, [rows, n]
   * row-major. Inverse transform with 53 bits: a class of weight 0 is never drawn. O(rows · (k + n log k)).
   */
  categorical(
    weights: ArrayLike<number> | NDArray<Float32Array | Float64Array>,
    n = 1,
    options: { logits?: boolean } = {},
  ): Int32Array<ArrayBuffer> {
    const { data, shape } = 'shape' in weights ? weights : { data: weights, shape: [weights.length] };
    const k = shape.at(-1) ?? 0;
    const rows = shape.length === 2 ? shape[0] : 1;
    check(
      (shape.length === 1 || shape.length === 2) && k > 0 && data.length === rows * k,
      () => `categorical: weights of shape [${shape.join(', ')}]: expected [k] or [rows, k] with k > 0`,
    );
    const out = new Int32Array(rows * count('categorical', n));
    const cumulative = new Float64Array(k);
    for (let row = 0; row < rows; row++) {
      accumulate(data, row * k, cumulative, options.logits ?? false);
      const total = cumulative[k - 1];
      this.#pairs('categorical', n, (i, a, b) => {
        const u = ((a >>> 5) * 2 ** 26 + (b >>> 6)) * 2 ** -53;
        out[row * n + i] = firstAbove(cumulative, u * total);
      });
    }
    return out;
  }

  /** Reserves the next `blocks` blocks and returns the first one's counter in two words. */
  #take(what: string, blocks: number): { low: number; high: number } {
    const first = this.counter;
    check(
      Number.isSafeInteger(first) && first >= 0 && first + blocks <= Number.MAX_SAFE_INTEGER,
      () => `${what}: counter ${first} + ${blocks} blocks leaves [0, 2⁵³ − 1]; fork a new stream`,
    );
    this.counter = first + blocks;
    return { low: first % 2 ** 32, high: Math.floor(first / 2 ** 32) };
  }

  /** Hands out `n` words in chunks that stay in the first-level cache. */
  #words(what: string, n: number, use: (start: number, words: Uint32Array, length: number) => void): void {
    for (let start = 0; start < n; start += CHUNK) {
      const length = Math.min(CHUNK, n - start);
      const { low, high } = this.#take(what, Math.ceil(length / 2));
      threefryFill(this.key, low, high, scratch, length);
      use(start, scratch, length);
    }
  }

  /** Hands out `n` blocks, two words each. */
  #pairs(what: string, n: number, use: (i: number, a: number, b: number) => void): void {
    this.#words(what, 2 * n, (start, words, length) => {
      for (let i = 0; i < length; i += 2) use((start + i) / 2, words[i], words[i + 1]);
    });
  }

  #fill<T extends Target>(
    what: string,
    target: T,
    write: (out: Float32Array, start: number, words: Uint32Array, length: number) => void,
  ): Filled<T> {
    const out: Float32Array = typeof target === 'number' ? new Float32Array(count(what, target)) : target;
    this.#words(what, out.length, (start, words, length) => write(out, start, words, length));
    return out as Filled<T>;
  }
}

/** The array given, or a new one of the length given. */
type Filled<T extends Target> = T extends Float32Array ? T : Float32Array<ArrayBuffer>;

/** ⌊(a + b·2⁻³²) · range / 2³²⌋ exactly, for range ≤ 2³²: products are split so that none exceeds 2⁵³. */
function bounded(a: number, b: number, range: number): number {
  const high = Math.floor(range / 65536);
  const low = range - high * 65536;
  const carry = Math.floor((b * high + Math.floor((b * low) / 65536)) / 65536);
  return Math.floor((a * high + Math.floor((a * low + carry) / 65536)) / 65536);
}

function count(what: string, n: number): number {
  check(Number.isSafeInteger(n) && n >= 0, () => `${what}: expected a count (an integer ≥ 0), got ${n}`);
  return n;
}

function checkNormal(what: string, mean: number, std: number): void {
  check(
    Number.isFinite(mean) && Number.isFinite(std) && std >= 0,
    () => `${what}: mean ${mean}, std ${std}: expected finite numbers and std ≥ 0`,
  );
}

function keyOf(seed: number | bigint | string): Key {
  if (typeof seed === 'string') return deriveKey(TEXT_ROOT, seed);
  check(
    typeof seed === 'bigint' ? seed >= -(2n ** 63n) && seed < 2n ** 64n : Number.isSafeInteger(seed),
    () => `Random: seed ${seed}: expected a safe integer, a bigint of 64 bits or text`,
  );
  const bits = BigInt.asUintN(64, BigInt(seed));
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

function parseState(state: RandomState): RandomState {
  const isWord = (x: unknown) => Number.isInteger(x) && (x as number) >= 0 && (x as number) < 2 ** 32;
  const { key, counter } = state ?? {};
  check(
    Array.isArray(key) && key.length === 2 && key.every(isWord) && Number.isSafeInteger(counter) && counter >= 0,
    () => `Random: state ${JSON.stringify(state)}: expected { key: [uint32, uint32], counter: integer ≥ 0 }`,
  );
  return { key: [key[0], key[1]], counter };
}

/** Running sums of one row's weights; of exp(weight − largest) for logits. */
function accumulate(data: ArrayLike<number>, start: number, sums: Float64Array, logits: boolean): void {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < sums.length; i++) {
    const weight = data[start + i];
    check(
      weight < Number.POSITIVE_INFINITY && (logits || weight >= 0),
      () =>
        `categorical: weight [${start / sums.length}, ${i}] is ${weight}: expected ${logits ? 'a number' : 'a finite number ≥ 0'}`,
    );
    if (weight > largest) largest = weight;
  }
  let sum = 0;
  for (let i = 0; i < sums.length; i++) sums[i] = sum += logits ? exp(data[start + i] - largest) : data[start + i];
  check(
    sum > 0 && sum < Number.POSITIVE_INFINITY,
    () => `categorical: the weights of row ${start / sums.length} sum to ${sum}: expected a positive finite sum`,
  );
}

/** Index of the first running sum above `x`, which is below the last. */
function firstAbove(sums: Float64Array, x: number): number {
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sums[middle] > x) high = middle;
    else low = middle + 1;
  }
  return low;
}

const float = new Float32Array(1);
const pattern = new Int32Array(float.buffer);

/** The next float32 above (`direction` 1) or below (−1) a float32. */
function neighbour(x: number, direction: 1 | -1): number {
  if (x === 0) return direction * 2 ** -149;
  float[0] = x;
  pattern[0] += x > 0 ? direction : -direction;
  return float[0];
}

const leastAtLeast = (x: number) => (Math.fround(x) < x ? neighbour(Math.fround(x), 1) : Math.fround(x));
const greatestBelow = (x: number) => (Math.fround(x) >= x ? neighbour(Math.fround(x), -1) : Math.fround(x));

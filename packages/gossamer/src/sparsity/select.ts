import { check, GossamerError } from '@gossamer/tensor';

/** Scores of one layer's units; higher is more important. ±Infinity may stand for "keep" and "drop" first. */
export interface Scored {
  readonly name: string;
  readonly scores: Float32Array;
}

/**
 * Keeps the `keep` highest scores of all parts together: 0/1 arrays in the order of `parts`.
 *
 * Exact and deterministic: of equal scores (−0 equals +0) the one in the part whose name sorts first stays, within a
 * part the one of lower index; so the result does not depend on the order of `parts`. Linear time: a radix selection on
 * the bits of the floats, no sorting and no copy. NaN is refused with the part's name.
 */
export function keepHighest(parts: readonly Scored[], keep: number): Uint8Array[] {
  const total = parts.reduce((n, p) => n + p.scores.length, 0);
  check(
    Number.isInteger(keep) && keep >= 0 && keep <= total,
    () => `keepHighest: asked for ${keep} of ${total} scores; expected a whole number from 0 to ${total}`,
  );
  const masks = parts.map(p => new Uint8Array(p.scores.length));
  const keys = parts.map(p => bitsOf(p.scores));
  const { cut, ties } = selectCut(parts, keys, keep);
  let left = ties;
  for (const p of inNameOrder(parts)) {
    const bits = keys[p];
    const mask = masks[p];
    for (let i = 0; i < bits.length; i++) {
      const key = orderOf(bits[i]);
      mask[i] = key > cut ? 1 : 0;
      if (key === cut && left > 0) {
        mask[i] = 1;
        left--;
      }
    }
  }
  return masks;
}

/** The `count` highest (or lowest) scores among the positions where `among` is `wanted`, as a 0/1 array. */
export function pick(
  scores: Float32Array,
  count: number,
  order: 'highest' | 'lowest',
  among: Uint8Array,
  wanted: 0 | 1,
  name = 'scores',
): Uint8Array {
  let candidates = 0;
  for (let i = 0; i < among.length; i++) if (among[i] === wanted) candidates++;
  check(
    among.length === scores.length && Number.isInteger(count) && count >= 0 && count <= candidates,
    () =>
      `${name}: asked for ${count} of ${candidates} ${wanted ? 'live' : 'dead'} positions (${scores.length} scores)`,
  );
  const sign = order === 'highest' ? 1 : -1;
  const compact = new Float32Array(candidates);
  const where = new Uint32Array(candidates);
  for (let i = 0, c = 0; i < among.length; i++) {
    if (among[i] !== wanted) continue;
    where[c] = i;
    compact[c++] = sign * scores[i];
  }
  const [kept] = keepHighest([{ name, scores: compact }], count);
  const picked = new Uint8Array(scores.length);
  for (let c = 0; c < candidates; c++) picked[where[c]] = kept[c];
  return picked;
}

const bitsOf = (scores: Float32Array) => new Int32Array(scores.buffer, scores.byteOffset, scores.length);

/** Signed integers that sort as the floats of these bits do; both zeros give 0. */
function orderOf(bits: number): number {
  const key = bits ^ ((bits >> 31) & 0x7fffffff);
  return key === -1 ? 0 : key;
}

function inNameOrder(parts: readonly Scored[]): number[] {
  const order = parts.map((_, p) => p);
  return order.sort((a, b) => (parts[a].name < parts[b].name ? -1 : parts[a].name > parts[b].name ? 1 : a - b));
}

/** The order key of the `keep`-th highest score, and how many scores equal to it belong to the kept ones. */
function selectCut(parts: readonly Scored[], keys: readonly Int32Array[], keep: number): { cut: number; ties: number } {
  const counts = new Uint32Array(2048);
  keys.forEach((bits, p) => {
    for (let i = 0; i < bits.length; i++) {
      if ((bits[i] & 0x7fffffff) > 0x7f800000) {
        throw new GossamerError(`layer ${parts[p].name}: score ${i} is NaN; look for a diverged weight or gradient`);
      }
      counts[(orderOf(bits[i]) >> 21) + 1024]++;
    }
  });
  if (keep === 0) return { cut: 0x7fffffff, ties: 0 };
  let left = keep;
  const digitOfCut = (largest: number) => {
    let digit = largest;
    while (counts[digit] < left) left -= counts[digit--];
    return digit;
  };
  // Digits of 11, 11 and 10 bits from the top; a pass counts the next digit of the keys that share the cut's prefix.
  let prefix = digitOfCut(2047) - 1024;
  for (const [shift, width] of [
    [10, 11],
    [0, 10],
  ]) {
    counts.fill(0);
    const largest = (1 << width) - 1;
    const above = shift + width;
    for (const bits of keys) {
      for (let i = 0; i < bits.length; i++) {
        const key = orderOf(bits[i]);
        if (key >> above === prefix) counts[(key >> shift) & largest]++;
      }
    }
    prefix = (prefix << width) | digitOfCut(largest);
  }
  return { cut: prefix, ties: left };
}

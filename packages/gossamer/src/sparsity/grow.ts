import { check } from '@gossamer/tensor';
import { countOnes } from './mask.ts';
import { keepHighest, pick } from './select.ts';

/** A layer's 0/1 array after an exchange, and the positions that died and that were born (0/1 arrays, disjoint). */
export interface Exchange {
  readonly keep: Uint8Array;
  readonly died: Uint8Array;
  readonly born: Uint8Array;
}

/** Kills the `count` live positions of lowest score. Of equal scores the lower index lives. */
export function dropLowest(keep: Uint8Array, scores: Float32Array, count: number): Uint8Array {
  const live = countOnes(keep);
  check(count <= live, () => `dropLowest: asked to drop ${count} of ${live} live positions`);
  return pick(scores, live - count, 'highest', keep, 1, 'dropLowest');
}

/** Revives the `count` dead positions of highest score. Of equal scores the lower index is born. */
export function growHighest(keep: Uint8Array, scores: Float32Array, count: number): Uint8Array {
  const born = pick(scores, count, 'highest', keep, 0, 'growHighest');
  return keep.map((k, i) => k | born[i]);
}

/**
 * Drops the `count` live positions of lowest `dropScores`, then grows as many of highest `growScores` (SET with random,
 * RigL and GraNet with |gradient| scores): the number of live positions does not change.
 *
 * @param regrowDropped whether a position just dropped may be grown again (it then neither died nor was born), as in
 *   RigL and GraNet; default true
 */
export function exchange(
  keep: Uint8Array,
  count: number,
  dropScores: Float32Array,
  growScores: Float32Array,
  { regrowDropped = true }: { regrowDropped?: boolean } = {},
): Exchange {
  const rest = dropLowest(keep, dropScores, count);
  const born = pick(growScores, count, 'highest', regrowDropped ? rest : keep, 0, 'exchange: grow');
  return difference(
    keep,
    rest.map((k, i) => k | born[i]),
  );
}

/** A step towards the highest scores. */
export interface Move extends Exchange {
  /** Swaps q that would lead all the way. */
  readonly wanted: number;
}

/**
 * Moves a mask towards the highest `scores` of the same count by a `fraction` of the necessary swaps, ⌈fraction·q⌉:
 * the best dead positions replace the worst live ones (Zhang et al. 2022, Lottery Jackpots, "short restriction").
 * Fraction 1 gives the highest scores outright; of equal scores live positions stay, so equal scores change nothing.
 */
export function moveTowardsHighest(keep: Uint8Array, scores: Float32Array, fraction = 1): Move {
  check(fraction >= 0 && fraction <= 1, () => `moveTowardsHighest: fraction ${fraction} is outside 0…1`);
  const live = countOnes(keep);
  const [ideal] = keepHighest([{ name: 'moveTowardsHighest', scores }], live);
  let lowest = Infinity;
  for (let i = 0; i < ideal.length; i++) if (ideal[i] === 1 && scores[i] < lowest) lowest = scores[i];
  // All above the lowest score of the ideal must come in, all below it must go; positions at it make the counts equal.
  let [missing, surplus] = [0, 0];
  const [comers, goers] = [new Uint8Array(keep.length), new Uint8Array(keep.length)];
  for (let i = 0; i < keep.length; i++) {
    const score = scores[i];
    if (keep[i] === 0) {
      if (score > lowest) missing++;
      if (score >= lowest) comers[i] = 1;
    } else {
      if (score < lowest) surplus++;
      if (score <= lowest) goers[i] = 1;
    }
  }
  const wanted = Math.max(missing, surplus);
  const swaps = Math.ceil(fraction * wanted);
  const born = pick(scores, swaps, 'highest', comers, 1, 'moveTowardsHighest: born');
  const stay = pick(scores, countOnes(goers) - swaps, 'highest', goers, 1, 'moveTowardsHighest: stay');
  const died = new Uint8Array(keep.length);
  const after = new Uint8Array(keep.length);
  for (let i = 0; i < keep.length; i++) {
    died[i] = goers[i] & ~stay[i];
    after[i] = (keep[i] & ~died[i]) | born[i];
  }
  return { keep: after, died, born, wanted };
}

export function difference(before: Uint8Array, after: Uint8Array): Exchange {
  return { keep: after, died: before.map((k, i) => k & ~after[i]), born: after.map((k, i) => k & ~before[i]) };
}

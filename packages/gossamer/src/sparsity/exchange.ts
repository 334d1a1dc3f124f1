import { countOf, type Rounding } from './apportion.ts';
import {
  expandUnits,
  type Granularity,
  type GroupNorm,
  groupScores,
  type NM,
  parseGranularity,
  unitsOf,
} from './granularity.ts';
import { difference, dropLowest, type Exchange, exchange } from './grow.ts';
import type { Layer } from './layer.ts';
import { countOnes } from './mask.ts';
import { unitsAlive } from './prune.ts';

export interface ExchangeOptions {
  /** What dies and is born as one; default `'element'`. */
  readonly granularity?: Granularity | string;
  /** How element scores become those of a larger unit; default `l2`. */
  readonly norm?: GroupNorm;
  /** How share · live units becomes a count; default `round`. */
  readonly rounding?: Rounding;
  /** Whether what was just dropped may grow again (RigL, GraNet; default) or not (SET). */
  readonly regrowDropped?: boolean;
}

/**
 * Drops a share of a layer's live units, those of lowest `drop`, and grows as many dead ones, those of highest `grow`:
 * the number of live units does not change. Under an N:M pattern units are elements, and every run of m keeps to it: one
 * that has at most n live elements does not get more than n, one on the way there, with n or more, does not fall
 * below n. If too few other places are free, the best of the dropped ones stay after all.
 *
 * @param keep 0/1 for each element
 * @param share 0…1, of the live units
 * @param drop element scores; higher stays
 * @param grow element scores; higher is born
 */
export function exchangeLayer(
  l: Layer,
  keep: Uint8Array,
  share: number,
  drop: Float32Array,
  grow: Float32Array,
  { granularity = 'element', norm = 'l2', rounding = 'round', regrowDropped = true }: ExchangeOptions = {},
): Exchange {
  const kind = typeof granularity === 'string' ? parseGranularity(granularity) : granularity;
  if (kind.kind === 'nm') {
    const count = countOf(share, countOnes(keep), rounding);
    return exchangeInRuns(keep, count, drop, grow, runsOf(l, kind), kind.n, regrowDropped);
  }
  const units = unitsOf(l, kind);
  const alive = unitsAlive(keep, units);
  const live = countOnes(alive);
  const free = alive.length - live;
  const count = countOf(share, live, rounding);
  const moved = exchange(
    alive,
    regrowDropped ? count : Math.min(count, free),
    groupScores(drop, units, norm),
    groupScores(grow, units, norm),
    { regrowDropped },
  );
  return {
    keep: expandUnits(moved.keep, units),
    died: expandUnits(moved.died, units),
    born: expandUnits(moved.born, units),
  };
}

/** The run of each element: m neighbours along the pattern's axis, at one place of the kernel. */
function runsOf(l: Layer, { m, axis = 'in', ragged = 'refuse' }: NM): Uint32Array {
  const [out, inputs] = axis === 'in' ? [1, m] : [m, 1];
  return unitsOf(l, { kind: 'block', out, in: inputs, ragged }).of!;
}

function exchangeInRuns(
  keep: Uint8Array,
  count: number,
  drop: Float32Array,
  grow: Float32Array,
  runs: Uint32Array,
  n: number,
  regrowDropped: boolean,
): Exchange {
  const after = dropLowest(keep, drop, count).slice();
  const last = runs.reduce((a, b) => Math.max(a, b), 0);
  const [before, now] = [keep, after].map(alive => {
    const counts = new Uint32Array(last + 1);
    for (let i = 0; i < alive.length; i++) counts[runs[i]] += alive[i];
    return counts;
  });
  const isOnTheWay = before.some(live => live > n);
  const least = (run: number) => (isOnTheWay ? Math.min(n, before[run]) : 0);
  const most = isOnTheWay ? Number.POSITIVE_INFINITY : n;

  const places = Array.from(after.keys()).filter(i => after[i] === 0);
  // Dropped places come last where they are a last resort, ranked by what they were worth.
  const isLate = (i: number) => !regrowDropped && keep[i] === 1;
  places.sort((a, b) => {
    const [late, other] = [isLate(a), isLate(b)];
    if (late !== other) return late ? 1 : -1;
    const scores = late ? drop : grow;
    return scores[b] - scores[a] || a - b;
  });
  let left = count;
  const fill = (isOpen: (run: number) => boolean) => {
    for (const i of places) {
      if (left === 0) return;
      if (after[i] === 1 || !isOpen(runs[i])) continue;
      after[i] = 1;
      now[runs[i]]++;
      left--;
    }
  };
  fill(run => now[run] < least(run));
  fill(run => now[run] < most);
  return difference(keep, after);
}

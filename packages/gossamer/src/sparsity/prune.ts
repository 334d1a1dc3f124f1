import { check, GossamerError, type Random } from '@gossamer/tensor';
import { type AllocationOptions, allocate, budget, type Claimant, fixedCounts, minimumWeights } from './allocation.ts';
import { countOf } from './apportion.ts';
import {
  expandUnits,
  formatGranularity,
  type Granularity,
  type GroupNorm,
  groupScores,
  keepNM,
  parseGranularity,
  type Units,
  unitsOf,
} from './granularity.ts';
import { checkLayers, type Layer } from './layer.ts';
import { countOnes, Mask } from './mask.ts';
import { keepHighest } from './select.ts';

export interface PruneOptions extends AllocationOptions {
  /**
   * Share of the units that go, 0 ≤ s < 1, divided by `allocation`; or the sparsity of each layer by name, all of them.
   * With an N:M pattern it is by default what the full pattern gives, 1 − n/m. A lower one (on the way there) keeps at
   * least n of every m, a higher one at most n.
   */
  readonly sparsity?: number | Readonly<Record<string, number>>;
  /**
   * A {@link Granularity} or its text, such as `'2:4'`; default `'element'`. As a function it may be another one in each
   * layer; then units differ in size, and only `uniform` allocation and sparsities by layer mean what they say.
   */
  readonly granularity?: Granularity | string | ((layer: Layer) => Granularity | string);
  /** How element scores become those of a larger unit; default `l2`. */
  readonly norm?: GroupNorm;
  /** The previous mask: what is dead in it stays dead, so that masks are nested. Without it anything may return. */
  readonly within?: Mask;
}

/**
 * The mask that removes the lowest-scored units: score × granularity × allocation, with exact counts (see
 * {@link allocate} for the number in each layer) and a result that does not depend on the order of `layers`.
 * Sparsity counts units: with filters of different sizes, 50 % of the filters need not be 50 % of the weights.
 *
 * ```ts
 * prune(layers, l => magnitude(l.values), { sparsity: 0.9, allocation: 'global', minimum: '0.05%' });
 * ```
 *
 * @param score importance of each element of a layer, higher is kept; NaN and infinite scores are refused
 */
export function prune(layers: readonly Layer[], score: (layer: Layer) => Float32Array, options: PruneOptions): Mask {
  checkLayers(layers);
  const { norm = 'l2', within } = options;
  const granularities = granularitiesOf(layers, options);
  const minimum = minimumWeights(
    options.minimum,
    layers.reduce((n, l) => n + l.values.length, 0),
  );
  const candidates = layers.map((l, i) => candidate(l, score(l), granularities[i], norm, minimum, within));
  const keeps = decide(
    constrained(candidates, options),
    options,
    granularities.every(g => g.kind === 'nm'),
  );
  return new Mask(
    layers.map((l, i) => [l.name, { shape: l.shape, keep: expandUnits(keeps[i], candidates[i].division) }] as const),
  );
}

/** The granularity of each layer. Refuses several of them under an allocation that divides units among layers. */
function granularitiesOf(
  layers: readonly Layer[],
  { granularity = 'element', allocation }: PruneOptions,
): Granularity[] {
  const read = (g: Granularity | string) => (typeof g === 'string' ? parseGranularity(g) : g);
  const all = layers.map(l => read(typeof granularity === 'function' ? granularity(l) : granularity));
  const names = new Set(all.map(formatGranularity));
  check(
    names.size === 1 || (allocation ?? 'uniform') === 'uniform',
    () =>
      `prune: allocation ${allocation} divides units among layers, but they differ in size (${[...names].join(', ')}); use uniform, one granularity, or a sparsity for each layer`,
  );
  return all;
}

/** A layer's units with their scores; −∞ marks a unit that must stay dead, +∞ one that must stay alive. */
interface Candidate extends Claimant {
  readonly scores: Float32Array;
  readonly division: Units;
  /** The n best of every run, where there is a pattern. */
  readonly pattern?: Uint8Array;
}

function candidate(
  l: Layer,
  elementScores: Float32Array,
  granularity: Granularity,
  norm: GroupNorm,
  minimum: number,
  within: Mask | undefined,
): Candidate {
  check(
    elementScores.length === l.values.length,
    () => `layer ${l.name}: ${elementScores.length} scores for ${l.values.length} weights`,
  );
  const division = unitsOf(l, granularity);
  const raw = groupScores(elementScores, division, norm);
  for (let u = 0; u < raw.length; u++) {
    if (!Number.isFinite(raw[u])) {
      throw new GossamerError(`layer ${l.name}: score ${u} is ${raw[u]}; look for a diverged weight or gradient`);
    }
  }

  const units = division.count;
  // Counted by the smallest unit, so that ragged ones cannot undercut the minimum.
  const smallest =
    typeof division.sizes === 'number' ? division.sizes : division.sizes.reduce((a, b) => Math.min(a, b));
  const floor = Math.min(units, Math.ceil(minimum / smallest));
  const base = { name: l.name, shape: l.shape, outAxis: l.outAxis, inAxis: l.inAxis, units, division };
  if (!within && floor === 0 && granularity.kind !== 'nm') return { ...base, scores: raw };

  const scores = raw === elementScores ? raw.slice() : raw;
  let upper = units;
  if (within) {
    const previous = within.get(l.name);
    check(
      previous.length === l.values.length,
      () => `layer ${l.name}: the previous mask has ${previous.length} elements, the weight ${l.values.length}`,
    );
    const alive = unitsAlive(previous, division);
    for (let u = 0; u < units; u++) if (alive[u] === 0) scores[u] = -Infinity;
    upper = countOnes(alive);
  }
  if (granularity.kind === 'nm') {
    check(minimum === 0, `minimum: an N:M pattern keeps n of every m weights already; leave the minimum out`);
    return { ...base, scores, upper, pattern: keepNM(l, scores, granularity) };
  }
  const lower = floor > 0 ? protect(scores, keepHighest([{ name: l.name, scores }], floor)[0]) : 0;
  return { ...base, scores, lower, upper };
}

/** Marks the live units of `keep` as those that must stay, and counts them. */
function protect(scores: Float32Array, keep: Uint8Array): number {
  let count = 0;
  for (let u = 0; u < scores.length; u++) {
    if (keep[u] === 0 || scores[u] === -Infinity) continue;
    scores[u] = Infinity;
    count++;
  }
  return count;
}

/**
 * Applies N:M patterns. Where less than a pattern's sparsity is asked for, the n best of every run stay and the others
 * compete for the rest; from the pattern's sparsity on, only the n best compete.
 */
function constrained(candidates: readonly Candidate[], options: PruneOptions): Candidate[] {
  if (candidates.every(c => !c.pattern)) return [...candidates];
  const { sparsity, allocation = 'uniform', fixed, rounding } = options;
  check(
    allocation !== 'uniform+',
    "prune: allocation uniform+ leaves the first layer dense, which an N:M pattern does not; use uniform, and exclude 'first' for the same",
  );
  const most = ({ pattern, scores, upper, units }: Candidate) =>
    pattern ? pattern.reduce((n, k, u) => n + (k === 1 && scores[u] !== -Infinity ? 1 : 0), 0) : (upper ?? units);
  const alone = (c: Candidate, s: number) => c.units - countOf(s, c.units, rounding) <= most(c);
  let isBeyond: (c: Candidate) => boolean = () => false;
  if (typeof sparsity === 'number' && allocation === 'uniform' && !fixed) isBeyond = c => alone(c, sparsity);
  else if (typeof sparsity === 'number') {
    const { pinned, free, total } = budget(candidates, sparsity, options);
    const together = total <= free.reduce((n, c) => n + most(c), 0);
    isBeyond = c => (pinned.has(c.name) ? pinned.get(c.name)! <= most(c) : together);
  } else if (sparsity) isBeyond = c => alone(c, sparsity[c.name] ?? 0);
  return candidates.map(c => {
    if (!c.pattern) return c;
    const { pattern, scores } = c;
    if (!isBeyond(c)) return { ...c, lower: protect(scores, pattern) };
    const upper = most(c);
    for (let u = 0; u < scores.length; u++) if (pattern[u] === 0) scores[u] = -Infinity;
    return { ...c, upper };
  });
}

/** Units of which an element lives. */
export function unitsAlive(keep: Uint8Array, { of, count }: Units): Uint8Array {
  if (!of) return keep;
  const alive = new Uint8Array(count);
  for (let e = 0; e < keep.length; e++) if (keep[e] === 1) alive[of[e]] = 1;
  return alive;
}

/** The units that each candidate keeps. */
function decide(candidates: readonly Candidate[], options: PruneOptions, isPattern: boolean): Uint8Array[] {
  const { sparsity, allocation = 'uniform' } = options;
  if (sparsity === undefined) {
    check(isPattern, 'prune: needs a sparsity; only an N:M granularity has one of its own');
    return candidates.map(c => keepHighest([c], c.lower ?? 0)[0]);
  }
  if (typeof sparsity !== 'number') {
    const missing = candidates.filter(c => !(c.name in sparsity)).map(c => c.name);
    check(missing.length === 0, () => `prune: the sparsity list has no entry for ${missing.join(', ')}`);
    const counts = fixedCounts(candidates, sparsity, options.rounding);
    return candidates.map(c => keepHighest([c], counts.get(c.name)!)[0]);
  }
  if (allocation !== 'global') {
    const counts = allocate(candidates, sparsity, options);
    return candidates.map((c, i) => keepHighest([c], counts[i])[0]);
  }
  const { pinned, free, total } = budget(candidates, sparsity, options);
  const pooled = new Map(keepHighest(free, total).map((keep, i) => [free[i].name, keep]));
  return candidates.map(c => pooled.get(c.name) ?? keepHighest([c], pinned.get(c.name)!)[0]);
}

/**
 * Each element lives with its layer's probability, independently: counts vary by √(n·p·(1 − p)). For exact counts use
 * {@link prune} with random scores.
 *
 * @param density by layer name, 0…1
 */
export function bernoulliMask(
  layers: readonly Layer[],
  density: Readonly<Record<string, number>>,
  random: Random,
): Mask {
  checkLayers(layers);
  return new Mask(
    layers.map(l => {
      check(l.name in density, () => `bernoulliMask: no density for layer ${l.name}`);
      const keep = random.fork(l.name).bernoulli(l.values.length, density[l.name]);
      return [l.name, { shape: l.shape, keep }] as const;
    }),
  );
}

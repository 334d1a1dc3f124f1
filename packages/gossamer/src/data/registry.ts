import { GossamerError } from '@gossamer/tensor';
import { detectionSets } from './sets/detection.ts';
import type { Entry } from './sets/entry.ts';
import { graphSets } from './sets/graphs.ts';
import { imageSets } from './sets/images.ts';
import { sceneSets } from './sets/scenes.ts';
import { soundSets } from './sets/sounds.ts';
import { tableSets } from './sets/tables.ts';
import { textSets } from './sets/text.ts';
import type { LoadOptions } from './store.ts';

const sets = { ...imageSets, ...detectionSets, ...sceneSets, ...graphSets, ...textSets, ...tableSets, ...soundSets };

/** Names that {@link load} knows. */
export type SetName = keyof typeof sets;

/** What {@link load} returns for a name. */
export type LoadedSet<N extends SetName> = (typeof sets)[N] extends Entry<infer T> ? T : never;

/**
 * Loads a named data set from the data folder (`GOSSAMER_DATA`, default `~/.cache/gossamer`), and fetches it from its
 * canonical address if it is not there. Files are checked against known sha256 sums. What a copy lacks is said in the
 * `description` of the result. Throws a GossamerError that lists what to put where if the set cannot be had.
 *
 * ```ts
 * const { train, test, mean, std } = await load('mnist');
 * ```
 */
export async function load<N extends SetName>(name: N, options: LoadOptions = {}): Promise<LoadedSet<N>> {
  if (!Object.hasOwn(sets, name)) {
    throw new GossamerError(`load: no data set '${name}'; known are ${Object.keys(sets).join(', ')}`);
  }
  return (await sets[name].load(options)) as LoadedSet<N>;
}

/** All named data sets with a line about each, and whether {@link load} fetches it where it is missing. */
export const dataSets = (): { name: SetName; title: string; automatic: boolean }[] =>
  Object.entries(sets).map(([name, { title, automatic }]) => ({ name: name as SetName, title, automatic }));

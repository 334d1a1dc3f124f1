import { type LoadOptions, loadVariant, type Variant } from '../store.ts';

/** A named data set: what it is, and how to get it. */
export interface Entry<T> {
  readonly title: string;
  /** Whether it needs nothing put into the data folder by hand, given a network. */
  readonly automatic: boolean;
  load(options?: LoadOptions): Promise<T>;
}

/** What every loaded data set says of itself. */
export interface Described {
  readonly name: string;
  /** What was loaded, and how it differs from the published set if it does. */
  readonly description: string;
}

/** An entry that is read from files, stored in one of several ways. */
export const entry = <T>(name: string, title: string, variants: readonly Variant<T>[]): Entry<T> => ({
  title,
  automatic: variants.some(({ files }) => files.every(file => file.url)),
  load: options => loadVariant(name, variants, options),
});

/** The list with one thing done to each, one after the other: bounded memory for big files. */
export async function inOrder<T, U>(list: readonly T[], run: (item: T) => Promise<U>): Promise<U[]> {
  const results: U[] = [];
  for (const item of list) results.push(await run(item));
  return results;
}

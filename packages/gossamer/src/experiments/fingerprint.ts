import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

/** What a kept result came from. A result whose fingerprint still holds need not be made again. */
export interface Fingerprint {
  /** Hash of the experiment's source; see {@link codeHash}. */
  readonly code: string;
  readonly mode: 'smoke' | 'standard' | 'full';
  /** Number of seeds. */
  readonly seeds: number;
  /** GOSSAMER_THREADS, or `all`: with another number of threads sums round differently. */
  readonly threads: string;
}

/** The words experiments are written in; they compute no number. */
const vocabulary = /\/experiments\/experiment\.[jt]s$/;
const source = (folder: string) => new URL(`../${folder}/`, import.meta.url).href;

/**
 * Hash of a file and of everything that it imports, directly or not, from the folders given. Comments on lines of their own,
 * white space and imports of types alone do not count.
 *
 * @param folders default `experiments` and `methods`: what they stand on has tests of its own
 */
export async function codeHash(
  file: string,
  folders: readonly string[] = [source('experiments'), source('methods')],
): Promise<string> {
  const sources = new Map<string, string>();
  const visit = async (at: string): Promise<void> => {
    if (sources.has(at)) return;
    sources.set(at, '');
    const text = meaning(await readFile(new URL(at), 'utf8'));
    sources.set(at, text.replaceAll(/\s+|,(?=\s*[)\]}])/g, ''));
    const imports = [...text.matchAll(/\b(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g)];
    for (const [, path] of imports) {
      const found = new URL(path, at).href;
      if (folders.some(folder => found.startsWith(folder)) && !vocabulary.test(found)) await visit(found);
    }
  };
  await visit(file);
  const hash = createHash('sha256');
  for (const text of [...sources.values()].sort()) hash.update(`${text}\n`);
  return hash.digest('hex').slice(0, 16);
}

/** Source without comments on lines of their own and without imports of types. */
const meaning = (text: string): string =>
  text
    .replaceAll(/^[ \t]*\/\*[\s\S]*?\*\/[ \t]*$/gm, '')
    .replaceAll(/^[ \t]*\/\/.*$/gm, '')
    .replaceAll(/^import type [^;]*;$/gm, '');

/** Why a kept result is out of date, or nothing if it is not. */
export function outdated(kept: Fingerprint | undefined, now: Fingerprint): string | undefined {
  if (!kept) return 'the kept result does not say what it came from';
  if (kept.code !== now.code) return 'the code has changed';
  if (kept.mode !== now.mode) return `kept is a ${kept.mode} run`;
  if (kept.seeds !== now.seeds) return `kept are ${kept.seeds} seeds, not ${now.seeds}`;
  if (kept.threads !== now.threads) return `kept is a run with GOSSAMER_THREADS ${kept.threads}, not ${now.threads}`;
  return undefined;
}

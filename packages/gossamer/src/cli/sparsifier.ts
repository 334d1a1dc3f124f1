import { check } from '@gossamer/tensor';
import { findMethod, type RegisteredMethod } from '../methods/method.ts';
import type { Granularity } from '../sparsity/granularity.ts';
import { scorers } from '../sparsity/scorers.ts';
import type { Sparsifier } from '../sparsity/sparsifier.ts';

/** What the flags of `gossamer train` say about sparsity. */
export interface SparsifierFlags {
  readonly sparsifier?: string;
  readonly sparsity?: number;
  readonly pattern: Granularity;
  readonly allocation?: string;
  readonly exclude: readonly string[];
  readonly score?: string;
  readonly sparsitySchedule?: string;
  /** Other options of the method, by name. */
  readonly set?: Readonly<Record<string, unknown>>;
}

/** A method that can be named on the command line. `options` are the names that its constructor reads. */
export type SparsifierClass = (new (options: object) => Sparsifier) & { readonly options?: readonly string[] };

/** The class in a method's file that takes part in training, if it has one. */
export const sparsifierClass = ({ module }: RegisteredMethod): SparsifierClass | undefined =>
  Object.values(module).find(
    (value): value is SparsifierClass => typeof value === 'function' && typeof value.prototype?.prepare === 'function',
  );

/** Where the flags go, by the name of the option. */
const named = {
  granularity: '--pattern',
  allocation: '--allocation',
  exclude: '--exclude',
  score: '--score',
  kind: '--sparsity-schedule',
  sparsity: '--sparsity',
} as const;

/** The method of that name with all that was asked for; an option that it does not have is refused. */
export async function sparsifiersOf(flags: SparsifierFlags): Promise<Sparsifier[]> {
  const { sparsifier, sparsity, pattern, allocation, exclude, score, sparsitySchedule: kind, set } = flags;
  const asked = [sparsifier, sparsity, score, kind].some(flag => flag !== undefined) || pattern.kind !== 'element';
  if (!asked) {
    const idle = [
      ...(allocation === undefined ? [] : ['--allocation']),
      ...(exclude.length > 0 ? ['--exclude'] : []),
      ...Object.keys(set ?? {}).map(name => `--set ${name}`),
    ];
    check(idle.length === 0, () => `${idle.join(', ')}: nothing is to be sparse; give --sparsity or --sparsifier`);
    return [];
  }
  const general = score !== undefined || kind !== undefined;
  const method = await findMethod(sparsifier ?? (general ? 'scheduled-pruning' : 'gradual-magnitude-pruning'));
  const Class = sparsifierClass(method);
  check(Class, `--sparsifier ${method.slug}: is a ${method.kind} and takes no part in training; see gossamer methods`);
  const scorer = score === undefined ? undefined : (scorers as Record<string, unknown>)[score];
  check(
    score === undefined || scorer,
    () => `--score ${score}: no such score; there are ${Object.keys(scorers).join(', ')}`,
  );
  const options: Record<string, unknown> = {
    ...set,
    ...(sparsity !== undefined && { sparsity }),
    ...(pattern.kind !== 'element' && { granularity: pattern }),
    ...(allocation !== undefined && { allocation }),
    ...(exclude.length > 0 && { exclude }),
    ...(scorer !== undefined && { score: scorer }),
    ...(kind !== undefined && { kind }),
  };
  const known = Class.options ?? [];
  for (const name of Object.keys(options)) {
    const flag = name in named ? named[name as keyof typeof named] : `--set ${name}`;
    check(
      known.includes(name),
      () => `${flag}: ${method.slug} has no such option; it has ${known.join(', ') || 'none at all'}`,
    );
  }
  const self = sparsity !== undefined || pattern.kind === 'nm' || !known.includes('sparsity');
  check(self, `--sparsifier ${method.slug}: give --sparsity, such as 0.9`);
  // A pattern such as 2:4 has a sparsity of its own.
  const own = pattern.kind === 'nm' && known.includes('sparsity') ? { sparsity: 1 - pattern.n / pattern.m } : {};
  return [new Class({ ...own, ...options })];
}

/** Collects `--set name=value`; a value is JSON, or else a word. */
export function setting(text: string, before: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const at = text.indexOf('=');
  check(at > 0, () => `--set ${text}: expected name=value, such as interval=50`);
  const name = text.slice(0, at).replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
  const value = text.slice(at + 1);
  try {
    return { ...before, [name]: JSON.parse(value) };
  } catch {
    return { ...before, [name]: value };
  }
}

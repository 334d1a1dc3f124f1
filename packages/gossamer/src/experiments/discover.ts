import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { extname } from 'node:path';
import { check } from '@gossamer/tensor';
import type { Experiment } from './experiment.ts';

/** An experiment and the URL of the file that exports it. */
export type RegisteredExperiment = Experiment & { readonly file: string };

const folder = new URL('.', import.meta.url);

/** All experiments, found as files `experiments/<slug>.ts` that export `experiment`, sorted by slug. */
export async function discoverExperiments(): Promise<RegisteredExperiment[]> {
  const files = (await readdir(folder)).filter(f => /\.[jt]s$/.test(f) && !/\.(test|d)\.[jt]s$/.test(f));
  const found = await Promise.all(files.map(file => load(new URL(file, folder).href)));
  return found.flatMap(e => (e ? [e] : [])).sort((a, b) => a.slug.localeCompare(b.slug));
}

/** One experiment by slug, or an error that lists what there is. */
export async function findExperiment(slug: string): Promise<RegisteredExperiment> {
  const file = new URL(`${slug}${extname(import.meta.url)}`, folder);
  const found = /^[a-z0-9-]+$/.test(slug) && existsSync(file) ? await load(file.href) : undefined;
  if (found) return found;
  const all = await discoverExperiments();
  check(false, `no experiment '${slug}'; there are ${all.map(e => e.slug).join(', ')}`);
}

async function load(file: string): Promise<RegisteredExperiment | undefined> {
  const { experiment } = (await import(file)) as { experiment?: Experiment };
  if (!experiment) return undefined;
  const name = file.slice(file.lastIndexOf('/') + 1).replace(/\.[jt]s$/, '');
  check(experiment.slug === name, () => `${file} calls itself '${experiment.slug}'; file and slug must agree`);
  return { ...experiment, file };
}

import { check } from '@gossamer/tensor';

/** Where a published system stands in the registry. Every `methods/<family>/<slug>.ts` exports one as `method`. */
export interface MethodInfo {
  readonly slug: string;
  /** Name as the field says it. */
  readonly name: string;
  /** One sentence: what a user gets. */
  readonly summary: string;
  readonly paper: string;
  /** What it is in code: how it is applied. */
  readonly kind: 'one-shot pruner' | 'sparsifier' | 'rewriter' | 'layer' | 'procedure';
}

export interface RegisteredMethod extends MethodInfo {
  readonly family: string;
  /** Everything that the method's file exports. */
  readonly module: Readonly<Record<string, unknown>>;
}

/** All methods, found as files: a new method is a new file. Sorted by family and slug. Node only. */
export async function discoverMethods(): Promise<RegisteredMethod[]> {
  const { readdir } = await import('node:fs/promises');
  const root = new URL('.', import.meta.url);
  const found: RegisteredMethod[] = [];
  for (const family of (await readdir(root, { withFileTypes: true })).filter(e => e.isDirectory())) {
    const files = await readdir(new URL(`${family.name}/`, root));
    for (const file of files.filter(f => /\.[jt]s$/.test(f) && !/\.(test|d)\.[jt]s$/.test(f))) {
      const module = await import(new URL(`${family.name}/${file}`, root).href);
      if (!module.method) continue;
      check(
        module.method.slug === file.replace(/\.[jt]s$/, ''),
        () => `methods/${family.name}/${file} calls itself '${module.method.slug}'; file and slug must agree`,
      );
      found.push({ ...module.method, family: family.name, module });
    }
  }
  return found.sort((a, b) => a.family.localeCompare(b.family) || a.slug.localeCompare(b.slug));
}

/** One method by slug, or an error that lists what there is. */
export async function findMethod(slug: string): Promise<RegisteredMethod> {
  const all = await discoverMethods();
  const found = all.find(m => m.slug === slug);
  check(found, () => `no method '${slug}'; there are ${all.map(m => m.slug).join(', ')}`);
  return found;
}

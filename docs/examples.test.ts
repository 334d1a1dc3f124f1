import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');
const pagesOf = async (folder: string) =>
  (await readdir(join(root, folder))).filter(f => f.endsWith('.md')).map(f => `${folder}/${f}`);
const pages = ['README.md', ...(await pagesOf('docs')), ...(await pagesOf('docs/methods'))];

/** The TypeScript blocks of a page. */
async function examples(page: string): Promise<string[]> {
  const text = await readFile(join(root, page), 'utf8');
  return [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(m => m[1]);
}

// Each runs in a process of its own, so several may run at once.
describe.concurrent('every example in the documentation runs', { timeout: 120_000 }, async () => {
  // Inside the repository, so that package names resolve; not under node_modules, where Node strips no types.
  let folder: string;
  beforeAll(async () => {
    await mkdir(join(root, '.gossamer'), { recursive: true });
    folder = await mkdtemp(join(root, '.gossamer/examples-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  for (const page of pages) {
    for (const [i, code] of (await examples(page)).entries()) {
      it(`${page}, example ${i + 1}`, async () => {
        const name = `${page.replaceAll(/\W/g, '-')}-${i}`;
        // A folder of its own: some write files.
        await mkdir(join(folder, name));
        const file = join(folder, name, 'example.ts');
        await writeFile(file, code);
        const { stdout, stderr } = await run(process.execPath, [file], { cwd: join(folder, name) });
        expect(stderr).toBe('');
        // `// → text` says what the line prints.
        for (const [, wanted] of code.matchAll(/\/\/ → (.*)/g)) expect(stdout).toContain(wanted.trim());
      });
    }
  }
});

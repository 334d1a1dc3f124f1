import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');
const pages = [
  'README.md',
  ...(await readdir(import.meta.dirname)).filter(f => f.endsWith('.md')).map(f => `docs/${f}`),
];

/** The TypeScript blocks of a page. */
async function examples(page: string): Promise<string[]> {
  const text = await readFile(join(root, page), 'utf8');
  return [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(m => m[1]);
}

describe('every example in the documentation runs', async () => {
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
        const file = join(folder, `${page.replaceAll(/\W/g, '-')}-${i}.ts`);
        await writeFile(file, code);
        const { stdout, stderr } = await run(process.execPath, [file], { cwd: folder });
        expect(stderr).toBe('');
        // `// → text` says what the line prints.
        for (const [, wanted] of code.matchAll(/\/\/ → (.*)/g)) expect(stdout).toContain(wanted.trim());
      });
    }
  }
});

// Writes docs/methods.md and the README's table of methods from the kept results; `--check` only compares.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { methodsPage, methodsTable } from '../packages/gossamer/src/experiments/document.ts';
import type { Report } from '../packages/gossamer/src/experiments/run.ts';
import { discoverMethods } from '../packages/gossamer/src/methods/method.ts';

const root = new URL('../', import.meta.url);
const results = new URL('packages/gossamer/results/', root);
const files = (await readdir(results)).filter(f => f.endsWith('.json'));
const list = await Promise.all(files.map(async f => JSON.parse(await readFile(new URL(f, results), 'utf8')) as Report));
const reports = new Map(list.map(r => [r.slug, r]));
const methods = await discoverMethods();

const readme = await readFile(new URL('README.md', root), 'utf8');
const marks = /(<!-- methods -->\n)[\s\S]*?(<!-- \/methods -->)/;
const pages: [string, string][] = [
  ['docs/methods.md', methodsPage(methods, reports, '../packages/gossamer/results')],
  ['README.md', readme.replace(marks, (_, open, close) => `${open}${methodsTable(methods, reports)}\n${close}`)],
];
let stale = 0;
for (const [path, text] of pages) {
  const before = await readFile(new URL(path, root), 'utf8').catch(() => '');
  if (before === text) continue;
  if (process.argv.includes('--check')) {
    console.error(`${path} is not what the kept results give; run \`npm run docs\``);
    stale++;
  } else {
    await writeFile(new URL(path, root), text);
    console.log(`wrote ${path}`);
  }
}
process.exitCode = stale > 0 ? 1 : 0;

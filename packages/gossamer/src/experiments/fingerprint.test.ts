import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeHash, outdated } from './fingerprint.ts';

const root = mkdtempSync(join(tmpdir(), 'gossamer-fingerprint-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const write = (name: string, text: string) => writeFileSync(join(root, name), text);
const url = (name: string) => pathToFileURL(join(root, name)).href;
const hash = () => codeHash(url('in/main.ts'), [url('in/')]);

const main = `import type { T } from './types.ts';
import {
  a,
} from './a.ts';
export { b } from './b.ts';
const url = 'http://x.y'; // stays
export const f = () => import('../out/c.ts');
`;

beforeAll(() => {
  mkdirSync(join(root, 'in'));
  mkdirSync(join(root, 'out'));
  write('in/main.ts', main);
  write('in/a.ts', "import './main.ts';\nexport const a = 1;\n");
  write('in/b.ts', 'export const b = 1;\n');
  write('in/types.ts', 'export type T = 1;\n');
  write('out/c.ts', 'export const c = 1;\n');
});

describe('codeHash', () => {
  it('follows imports inside the folders, and changes with them', async () => {
    const seen = [await hash()];
    write('in/a.ts', "import './main.ts';\nexport const a = 2;\n");
    seen.push(await hash());
    write('in/b.ts', 'export const b = 2;\n');
    seen.push(await hash());
    write('in/main.ts', main.replace('http://x.y', 'http://x.z'));
    seen.push(await hash());
    expect(new Set(seen).size).toBe(4);
    write('out/c.ts', 'export const c = 2;\n');
    write('in/types.ts', 'export type T = 2;\n');
    expect(await hash()).toBe(seen[3]);
  });

  it('does not see comments, white space and trailing commas', async () => {
    write('in/b.ts', 'export const b = [1, 2];\n');
    const before = await hash();
    write('in/b.ts', '/**\n * What b is.\n */\n  // and more\nexport const b = [\n  1,\n  2,\n];\n\n');
    expect(await hash()).toBe(before);
    write('in/b.ts', 'export const b = [1, 3];\n');
    expect(await hash()).not.toBe(before);
  });
});

describe('outdated', () => {
  it('says what has changed', () => {
    const now = { code: 'a', mode: 'standard', seeds: 3, threads: '1' } as const;
    expect(outdated(now, { ...now })).toBeUndefined();
    expect(outdated(undefined, now)).toMatch('does not say');
    expect(outdated({ ...now, code: 'b' }, now)).toBe('the code has changed');
    expect(outdated({ ...now, mode: 'smoke' }, now)).toBe('kept is a smoke run');
    expect(outdated({ ...now, seeds: 5 }, now)).toBe('kept are 5 seeds, not 3');
    expect(outdated({ ...now, threads: 'all' }, now)).toBe('kept is a run with GOSSAMER_THREADS all, not 1');
  });
});

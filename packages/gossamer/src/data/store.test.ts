import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormatError, GossamerError } from '@gossamer/tensor';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { gzip } from './archive.ts';
import { type DataFile, dataFolder, fetchFile, loadVariant, readData, readStored, type Variant } from './store.ts';

const content = new TextEncoder().encode('content '.repeat(50));
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

let server: Server;
let site: string;
let requests: string[] = [];
let folder: string;

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(request.url!);
    if (request.url === '/good') response.writeHead(200, { 'content-length': content.length }).end(content);
    else if (request.url === '/short') {
      response.writeHead(200, { 'content-length': content.length + 10 });
      response.write(content);
      setTimeout(() => response.destroy(), 20);
    } else response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await new Promise(ready => server.once('listening', ready));
  site = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => void server.close());
beforeEach(() => {
  requests = [];
  folder = mkdtempSync(join(tmpdir(), 'gossamer-store-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const variant = (label: string, ...files: DataFile[]): Variant<string> => ({
  files,
  read: contents => `${label}: ${contents.map(text).join('|')}`,
});
const put = (path: string, bytes: Uint8Array | string): void => {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), bytes);
};

describe('dataFolder', () => {
  it('follows the environment', async () => {
    const { GOSSAMER_DATA, XDG_CACHE_HOME } = process.env;
    try {
      process.env.GOSSAMER_DATA = '/d';
      expect(await dataFolder()).toBe('/d');
      delete process.env.GOSSAMER_DATA;
      process.env.XDG_CACHE_HOME = '/c';
      expect(await dataFolder()).toBe(join('/c', 'gossamer'));
      delete process.env.XDG_CACHE_HOME;
      expect(await dataFolder()).toMatch(/\.cache.gossamer$/);
    } finally {
      if (GOSSAMER_DATA !== undefined) process.env.GOSSAMER_DATA = GOSSAMER_DATA;
      if (XDG_CACHE_HOME !== undefined) process.env.XDG_CACHE_HOME = XDG_CACHE_HOME;
    }
  });
});

describe('readStored', () => {
  it('accepts the sum of the file or of its content, and refuses others', async () => {
    const packed = await gzip(content);
    put('a.gz', packed);
    const path = join(folder, 'a.gz');
    for (const sum of [sha256(packed), sha256(content)]) {
      expect(text(await readStored({ path: 'a.gz', sha256: [sum] }, path))).toBe(text(content));
    }
    const wrong = readStored({ path: 'a.gz', url: 'http://x', sha256: ['00'] }, path);
    await expect(wrong).rejects.toThrow(FormatError);
    await expect(wrong).rejects.toThrow(/a\.gz: sha256 [0-9a-f]{64} is none of those known .* get http:\/\/x/);
  });
});

describe('fetchFile', () => {
  const file = (path: string, sum = sha256(content)): DataFile => ({ path: 'sub/a', url: site + path, sha256: [sum] });

  it('writes the whole file, reporting progress', async () => {
    const seen: number[] = [];
    const path = await fetchFile(file('/good'), folder, {
      onProgress: ({ file, received, total }) => {
        expect([file, total]).toEqual(['sub/a', content.length]);
        seen.push(received);
      },
    });
    expect(path).toBe(join(folder, 'sub/a'));
    expect(seen.at(-1)).toBe(content.length);
    expect(text(readFileSync(path))).toBe(text(content));
    expect(readdirSync(join(folder, 'sub'))).toEqual(['a']);
  });

  it('leaves nothing behind when something is wrong', async () => {
    await expect(fetchFile(file('/good', '00'), folder)).rejects.toThrow('none of those known');
    await expect(fetchFile(file('/none'), folder)).rejects.toThrow(`${site}/none: cannot be fetched: HTTP status 404`);
    await expect(fetchFile(file('/short'), folder)).rejects.toThrow('cannot be fetched');
    await expect(fetchFile({ path: 'a' }, folder)).rejects.toThrow('no address');
    expect(existsSync(join(folder, 'sub'))).toBe(false);
  });
});

describe('loadVariant', () => {
  it('takes the first variant that is complete, without any request', async () => {
    put('b', 'B');
    put('c', 'C');
    const variants = [
      variant('first', { path: 'a', url: `${site}/good` }, { path: 'b', url: `${site}/good` }),
      variant('second', { path: 'b' }, { path: 'c.gz' }),
      variant('third', { path: 'c' }),
    ];
    expect(await loadVariant('x', variants, { folder })).toBe('second: B|C');
    expect(requests).toEqual([]);
  });

  it('fetches what is missing of the first variant with addresses', async () => {
    put('b', 'B');
    const variants = [
      variant('local', { path: 'z' }),
      variant(
        'remote',
        { path: 'a', url: `${site}/good`, sha256: [sha256(content)] },
        { path: 'b', url: `${site}/bad` },
      ),
    ];
    expect(await loadVariant('x', variants, { folder })).toBe(`remote: ${text(content)}|B`);
    expect(requests).toEqual(['/good']);
    expect(await loadVariant('x', variants, { folder })).toBe(`remote: ${text(content)}|B`);
    expect(requests).toEqual(['/good']);
  });

  it('says what to put where', async () => {
    const variants = [variant('remote', { path: 'a', url: `${site}/none` }), variant('local', { path: 'z' })];
    const failed = loadVariant('x', variants, { folder });
    await expect(failed).rejects.toThrow(GossamerError);
    const { message } = (await failed.catch(error => error)) as Error;
    expect(message).toContain(`data set 'x' is not in ${folder} (${site}/none: cannot be fetched: HTTP status 404)`);
    expect(message).toContain(`  ${folder}/a  from ${site}/none\nor\n  ${folder}/z\n`);
    expect(message).toContain('GOSSAMER_DATA');
    requests = [];
    await expect(loadVariant('x', variants, { folder, download: false })).rejects.toThrow('fetching is switched off');
    await expect(loadVariant('x', [variants[1]], { folder })).rejects.toThrow('no address is known');
    expect(requests).toEqual([]);
  });
});

describe('readData', () => {
  it('reads any file of the folder, decompressed', async () => {
    put('x/a.gz', await gzip(content));
    expect(text(await readData('x/a.gz', { folder }))).toBe(text(content));
    await expect(readData('x/b', { folder })).rejects.toThrow(`${folder}/x/b`);
  });
});

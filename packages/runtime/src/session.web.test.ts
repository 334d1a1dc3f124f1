import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { build } from 'esbuild';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findChromium, launch } from '../test/chromium.ts';
import type { InferenceSession, SessionOptions, Tensor } from './index.ts';
import { InferenceSession as OwnSession } from './session.ts';
import { RandomModel } from './testing.ts';

const browser = findChromium('session.web.test.ts');

const SEEDS = [3, 7, 11, 19, 23, 42];

interface Case {
  readonly bytes: number[];
  readonly dims: number[];
  readonly data: number[];
}

interface Page {
  run(cases: Case[], options: SessionOptions): Promise<Record<string, number[]>[] | string>;
  isolated: boolean;
}

/** Runs in the page. */
const SCRIPT = `
import { InferenceSession, Tensor } from './index.ts';
globalThis.run = async (cases, options) => {
  const results = [];
  for (const { bytes, dims, data } of cases) {
    const session = await InferenceSession.create(new Uint8Array(bytes), options);
    const outputs = await session.run({ x: new Tensor('float32', Float32Array.from(data), dims) });
    results.push(Object.fromEntries(Object.entries(outputs).map(([name, t]) => [name, [...t.data]])));
    await session.release();
  }
  return results;
};`;

describe.skipIf(!browser)('sessions in headless Chromium', () => {
  let server: Server;
  let instance: Browser;
  const cases: Case[] = [];
  const expected: Record<string, number[]>[] = [];

  beforeAll(async () => {
    for (const seed of SEEDS) {
      const model = new RandomModel(seed);
      const { dims, data } = model.feed(model.batch ?? 2);
      cases.push({ bytes: [...model.bytes()], dims: [...dims], data: [...data] });
      const session: InferenceSession = await OwnSession.create(model.bytes(), { kernels: 'plain' });
      const outputs = await session.run({ x: { type: 'float32', dims, data } as unknown as Tensor });
      expected.push(Object.fromEntries(Object.entries(outputs).map(([n, t]) => [n, [...(t.data as Float32Array)]])));
    }
    const bundle = await build({
      stdin: { contents: SCRIPT, resolveDir: import.meta.dirname, loader: 'ts' },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      external: ['node:*'],
      logLevel: 'silent',
    });
    server = createServer(async (request, response) => {
      const [path] = request.url!.split('?');
      if (request.url!.endsWith('?isolated') || path.includes('.')) {
        response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
        response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      }
      if (path.endsWith('.wasm')) {
        response.setHeader('Content-Type', 'application/wasm');
        response.end(await readFile(join(import.meta.dirname, 'kernels', path.slice(1))));
        return;
      }
      const script = path === '/script.js';
      response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
      response.end(
        script ? bundle.outputFiles[0].text : '<!doctype html><script type="module" src="/script.js"></script>',
      );
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    instance = await launch(browser!);
  }, 120_000);
  afterAll(async () => {
    await instance?.close();
    await new Promise(resolve => server.close(resolve));
  });

  async function results(path: string, options: SessionOptions) {
    const page = await instance.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);
    await page.waitForFunction('globalThis.run !== undefined');
    try {
      return (await page.evaluate(
        ([given, chosen]) =>
          (globalThis as unknown as Page).run(given as Case[], chosen as SessionOptions).catch(error => String(error)),
        [cases, options] as const,
      )) as Record<string, number[]>[] | string;
    } finally {
      await page.close();
    }
  }

  function agree(given: Record<string, number[]>[]): void {
    given.forEach((outputs, i) => {
      for (const [name, values] of Object.entries(outputs)) {
        const wanted = expected[i][name];
        const largest = Math.max(1e-3, ...wanted.map(Math.abs));
        const worst = Math.max(0, ...values.map((v, k) => Math.abs(v - wanted[k])));
        expect(values.length).toBe(wanted.length);
        expect(worst / largest, `seed ${SEEDS[i]}, ${name}`).toBeLessThan(1e-4);
      }
    });
  }

  it('give the plain results on one thread, without isolation', async () => {
    const given = await results('/', { kernels: 'csr' });
    expect(given).toBeInstanceOf(Array);
    agree(given as Record<string, number[]>[]);
  }, 60_000);

  it('use threads where the page is isolated, and say what is missing where it is not', async () => {
    agree((await results('/?isolated', { threads: 2 })) as Record<string, number[]>[]);
    expect(await results('/', { threads: 2 })).toContain('not cross-origin isolated');
  }, 60_000);

  it('run products on WebGPU', async context => {
    const given = await results('/', { backend: 'webgpu' });
    if (typeof given === 'string' && given.includes('no GPU adapter')) return context.skip('no adapter');
    agree(given as Record<string, number[]>[]);
  }, 120_000);
});

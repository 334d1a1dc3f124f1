import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type StepResults, trainingSteps } from './training-step.ts';

const browser = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  p => p && existsSync(p),
);
if (!browser) console.warn('web.test.ts: skipped, no Chromium found (set CHROMIUM_PATH)');

describe.skipIf(!browser)('in headless Chromium', () => {
  let server: Server;
  let script: string;

  beforeAll(async () => {
    const bundle = await build({
      stdin: {
        contents: `
          import { configure } from '../index.ts';
          import { trainingSteps } from './training-step.ts';
          configure({ wasmPaths: '/wasm/' });
          globalThis.result = trainingSteps();`,
        resolveDir: import.meta.dirname,
        loader: 'ts',
      },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      external: ['node:*'],
      logLevel: 'silent',
    });
    script = bundle.outputFiles[0].text;
    const wasm = new URL('.', import.meta.resolve('onnxruntime-web/wasm'));
    server = createServer(async (request, response) => {
      const path = request.url ?? '/';
      const isolated = path.startsWith('/isolated');
      // Cross-origin isolation lets the runtime use threads; without it there is one.
      if (isolated || path.startsWith('/wasm')) {
        response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
        response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
      }
      if (path.startsWith('/wasm/')) {
        const name = path.slice(6);
        response.setHeader('Content-Type', name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript');
        response.end(await readFile(new URL(name, wasm)));
      } else if (path === '/script.js') {
        response.setHeader('Content-Type', 'text/javascript');
        if (request.headers.referer?.includes('isolated'))
          response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
        response.end(script);
      } else {
        response.setHeader('Content-Type', 'text/html');
        response.end('<!doctype html><script type="module" src="/script.js"></script>');
      }
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => new Promise(resolve => server.close(resolve)));

  it.each(['/plain', '/isolated'])('the same training steps give the same numbers as in Node (%s)', async path => {
    const wanted = await trainingSteps();
    const instance = await chromium.launch({
      executablePath: browser!,
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
    });
    try {
      const page = await instance.newPage();
      const problems: string[] = [];
      page.on('pageerror', error => problems.push(String(error)));
      const { port } = server.address() as AddressInfo;
      await page.goto(`http://127.0.0.1:${port}${path}`);
      await page.waitForFunction('globalThis.result !== undefined');
      const found = (await page.evaluate('globalThis.result')) as StepResults;
      expect(problems).toEqual([]);
      expect(await page.evaluate('crossOriginIsolated')).toBe(path === '/isolated');
      expect(found.random).toEqual(wanted.random);
      for (const [i, loss] of found.losses.entries()) expect(loss).toBeCloseTo(wanted.losses[i], 5);
      for (const [i, w] of found.weight.entries()) expect(w).toBeCloseTo(wanted.weight[i], 5);
    } finally {
      await instance.close();
    }
  });
});

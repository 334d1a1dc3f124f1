import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { build } from 'esbuild';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findChromium, launch } from '../../test/chromium.ts';
import { createGpu } from './gpu.ts';
import type { Pattern } from './pack.ts';
import type { report } from './testing.ts';

const browser = findChromium('gpu.test.ts');

const PATTERNS: readonly Pattern[] = [
  'dense',
  'csr',
  { block: 2 },
  { block: 4 },
  { block: 3 },
  { block: 16 },
  { n: 1, m: 4 },
  { n: 2, m: 4 },
  { n: 4, m: 8 },
  { n: 3, m: 5 },
];

it('is undefined where there is no WebGPU', async () => expect(await createGpu()).toBeUndefined());

describe.skipIf(!browser)('in headless Chromium with its software adapter', () => {
  let server: Server;
  let instance: Browser;
  let found: Awaited<ReturnType<typeof report>>;

  beforeAll(async () => {
    const bundle = await build({
      stdin: {
        contents: `import { report } from './testing.ts';
          globalThis.result = report(${JSON.stringify(PATTERNS)});`,
        resolveDir: import.meta.dirname,
        loader: 'ts',
      },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      logLevel: 'silent',
    });
    // WebGPU wants a secure context: a page from localhost is one.
    server = createServer((request, response) => {
      const script = request.url === '/script.js';
      response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
      response.end(
        script ? bundle.outputFiles[0].text : '<!doctype html><script type="module" src="/script.js"></script>',
      );
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    instance = await launch(browser!);
    const page = await instance.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction('globalThis.result !== undefined');
    found = (await page.evaluate('globalThis.result')) as typeof found;
    if (!found) console.warn('gpu.test.ts: skipped, this Chromium has no WebGPU adapter');
  }, 120_000);
  afterAll(async () => {
    await instance?.close();
    await new Promise(resolve => server.close(resolve));
  });

  const names = PATTERNS.map(pattern => JSON.stringify(pattern));
  it.for([...names, ...names.map(name => `${name} in pieces`), 'matmul', 'concurrent'])(
    '%s: products equal plain ones',
    (name, context) => {
      if (!found) return context.skip('no adapter');
      expect(found.cases[name].length).toBeGreaterThan(7);
      expect(found.cases[name].filter(({ error }) => !(error < 2e-5))).toEqual([]);
    },
  );

  it('says what is wrong', context => {
    if (!found) return context.skip('no adapter');
    expect(found.messages).toEqual({
      data: 'RuntimeError: webgpu: a weight of 3 × 3 has 6 values, expected 9',
      bias: 'RuntimeError: webgpu: the bias of a weight with 2 rows has 3 values',
      x: 'RuntimeError: webgpu: x has 5 values, expected 1 · 3 × 2',
      residual: 'RuntimeError: webgpu: the residual has 5 values, expected 1 · 2 × 2',
      matmul: 'RuntimeError: webgpu: matmul: a has 5 values, expected 1 × 4 or 4',
      large: expect.stringContaining('matmul of 40 × 40 and 40 × 40 exceeds the largest buffer, 6000 bytes'),
      wide: expect.stringContaining('1 rows of 2000 weights exceed the largest buffer, 6000 bytes'),
      released: 'RuntimeError: webgpu: this matrix was released',
      losing: expect.stringContaining('webgpu: the device was lost'),
      lost: expect.stringContaining('webgpu: the device was lost'),
      end: 'RuntimeError: webgpu: the device was released',
    });
  });
});

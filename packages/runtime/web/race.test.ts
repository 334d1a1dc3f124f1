import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random, writeOnnx } from '@gossamer/tensor';
import { ints, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findChromium } from '../test/chromium.ts';
import { type ServeOptions, serve } from './serve.ts';

const path = findChromium('race.test.ts');

interface Result {
  readonly isolated: boolean;
  readonly rows: readonly { runtime: string; threads: number; model: string; median: number; difference: number }[];
  readonly nodes: readonly { op: string; density?: number }[];
}

/** A 3×3 and a 1×1 convolution on [batch, 3, 32, 32]; in the second one weight in eight is not zero. */
async function writeNetwork(file: string): Promise<void> {
  const random = new Random(0);
  const weight = (shape: number[]) => ({
    dtype: 'float32' as const,
    shape,
    data: random.normal(shape.reduce((a, b) => a * b)),
  });
  const sparse = weight([32, 32, 1, 1]);
  for (let i = 0; i < sparse.data.length; i++) if (i % 8) sparse.data[i] = 0;
  const model = onnxModel({
    name: 'network',
    inputs: [onnxValue('x', 'float32', ['batch', 3, 32, 32])],
    outputs: [onnxValue('y', 'float32', ['batch', 32, 32, 32])],
    initializers: new Map([
      ['a', weight([32, 3, 3, 3])],
      ['b', sparse],
    ]),
    nodes: [
      onnxNode('Conv', ['x', 'a'], ['h'], { pads: ints([1, 1, 1, 1]) }),
      onnxNode('Relu', ['h'], ['r']),
      onnxNode('Conv', ['r', 'b'], ['y']),
    ],
  });
  await writeOnnx(file, model, { sparse: 1 / 3 });
}

describe.skipIf(!path)('the race page in headless Chromium', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gossamer-race-'));
  const models = ['sparse.onnx', 'other.onnx'].map(name => join(folder, name));
  let browser: Browser;
  beforeAll(async () => {
    for (const file of models) await writeNetwork(file);
    browser = await chromium.launch({
      executablePath: path!,
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
    });
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Serves the page, opens it and closes both behind `use`. */
  async function visit(options: ServeOptions, query: string, use: (page: Page) => Promise<void>): Promise<void> {
    const server: Server = await serve({ models, ...options });
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on('pageerror', error => problems.push(String(error)));
    try {
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${query}`);
      await use(page);
      expect(problems).toEqual([]);
    } finally {
      await page.close();
      server.closeAllConnections();
      server.close();
    }
  }

  async function finished(page: Page): Promise<Result> {
    await page.waitForFunction("globalThis.raceResult || document.documentElement.dataset.state === 'failed'");
    expect(await page.textContent('#status')).toBe('');
    return (await page.evaluate('globalThis.raceResult')) as Result;
  }

  it.each([true, false])('races two models; everyone agrees (isolated: %s)', async isolated => {
    await visit({ isolated }, '?model=files/sparse.onnx&vs=files/other.onnx&rounds=3', async page => {
      const result = await finished(page);
      const cores = (await page.evaluate('navigator.hardwareConcurrency')) as number;
      const threads = isolated ? Math.min(4, cores) : 1;
      expect(result.isolated).toBe(isolated);
      const wanted = [
        ['Gossamer', 1],
        ...(threads > 1 ? [['Gossamer', threads]] : []),
        ['Gossamer, dense kernels', 1],
        ['onnxruntime-web', threads],
      ];
      for (const model of ['sparse.onnx', 'other.onnx']) {
        const rows = result.rows.filter(r => r.model === model);
        expect(rows.map(r => [r.runtime, r.threads])).toEqual(wanted);
        for (const row of rows) {
          expect(row.median).toBeGreaterThan(0);
          expect(row.difference).toBeLessThan(1e-4);
        }
      }
      expect(result.nodes.filter(n => n.op === 'Conv').map(n => n.density)).toEqual([1, 1 / 8]);
      expect(await page.locator('.lane').count()).toBe(result.rows.length);
      expect(await page.locator('#table tr').count()).toBe(result.rows.length + 1);
    });
  });

  it('takes dropped files, asks for free sizes and gives the result as a file', async () => {
    await visit({}, '', async page => {
      await page.setInputFiles('#file', models[0]);
      await page.fill('#dims input[name=batch]', '2');
      await page.fill('#rounds', '3');
      await page.click('#start');
      const result = await finished(page);
      const downloading = page.waitForEvent('download');
      await page.click('#download');
      const chunks: Buffer[] = [];
      for await (const chunk of await (await downloading).createReadStream()) chunks.push(chunk as Buffer);
      expect(JSON.parse(Buffer.concat(chunks).toString())).toEqual(result);
      await page.click('summary');
      expect(await page.textContent('#node-table')).toContain('2×32×32×32');
    });
  });

  it('races alone where onnxruntime-web is not served, and says so', async () => {
    await visit({ onnxRuntime: null, isolated: false }, '?model=files/sparse.onnx&rounds=3', async page => {
      const result = await finished(page);
      expect(result.rows.map(r => r.runtime)).toEqual(['Gossamer', 'Gossamer, dense kernels']);
      expect(await page.textContent('#notes')).toContain('onnxruntime-web is not served here');
    });
  });

  it('says what is wrong with a file', async () => {
    await visit({}, '?model=files/nothing.onnx', async page => {
      await page.waitForFunction("document.documentElement.dataset.state === 'failed'");
      expect(await page.textContent('#status')).toBe('files/nothing.onnx: 404 Not Found');
    });
  });
});

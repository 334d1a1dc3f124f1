import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { encodeOnnx, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const BUILDS = ['simd', 'relaxed'];
const wasm = (name: string): string => join(import.meta.dirname, 'kernels', `${name}.wasm`);

interface Bundle {
  /** Name and text of each file; the first is the one that a page imports. */
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** Names of the files that are loaded with the first; the others are loaded when something needs them. */
  readonly start: ReadonlySet<string>;
}

/** What a page that uses the runtime is bundled to. */
async function bundle(): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    entryPoints: { runtime: join(import.meta.dirname, 'index.ts') },
    outdir: import.meta.dirname,
    outExtension: { '.js': '.mjs' },
    absWorkingDir: import.meta.dirname,
    bundle: true,
    splitting: true,
    minify: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    external: ['node:*'],
    logLevel: 'silent',
  });
  const start = new Set(['runtime.mjs']);
  // A set that grows is walked to its end.
  for (const name of start) {
    const { imports } = metafile.outputs[name];
    for (const { path, kind, external } of imports) if (kind === 'import-statement' && !external) start.add(path);
  }
  const files = outputFiles.map(({ path, text }) => ({ name: basename(path), text }));
  return { files: files.sort((a, b) => Number(b.name === 'runtime.mjs') - Number(a.name === 'runtime.mjs')), start };
}

const compressed = (files: Bundle['files']): number =>
  files.reduce((sum, { text }) => sum + gzipSync(text, { level: 9 }).length, 0);

describe('the bundle for browsers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gossamer-bundle-'));
  let files: Bundle['files'];
  let start: Bundle['start'];
  beforeAll(async () => {
    ({ files, start } = await bundle());
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('starts with at most 60 kB of compressed script and has 120 kB of WebAssembly in both builds', () => {
    const first = compressed(files.filter(f => start.has(f.name)));
    const sizes = BUILDS.map(name => statSync(wasm(name)).size);
    console.log(
      `runtime: ${first} bytes of gzip at the start, ${compressed(files) - first} on demand; ${BUILDS.join(', ')}: ${sizes.join(', ')}`,
    );
    expect(first).toBeLessThanOrEqual(60_000);
    expect(sizes.reduce((a, b) => a + b)).toBeLessThanOrEqual(120_000);
  });

  it('loads nothing of Node at the start', () => {
    for (const { text } of files) expect(text).not.toMatch(/\b(?:import|export)(?!\()[^;()]*["']node:|\brequire\(/);
  });

  it.each([1, 2])('runs a model, %i threads', async threads => {
    const weights = new Float32Array(64 * 64);
    for (let i = 0; i < 64; i++) weights[i * 64 + ((i * 7) % 64)] = i + 1;
    const model = onnxModel({
      name: 'permuted',
      inputs: [onnxValue('x', 'float32', [8, 64])],
      outputs: [onnxValue('y', 'float32', [8, 64])],
      initializers: new Map([['w', { dtype: 'float32', shape: [64, 64], data: weights }]]),
      nodes: [onnxNode('MatMul', ['x', 'w'], ['h']), onnxNode('Relu', ['h'], ['y'])],
    });
    const path = join(folder, 'model.onnx');
    writeFileSync(path, encodeOnnx(model));
    for (const { name, text } of files) writeFileSync(join(folder, name), text);
    for (const name of BUILDS) copyFileSync(wasm(name), join(folder, `${name}.wasm`));
    const program = `
      import { InferenceSession, Tensor } from './runtime.mjs';
      const session = await InferenceSession.create(${JSON.stringify(path)}, { threads: ${threads} });
      const x = new Tensor(Float32Array.from({ length: 512 }, (_, i) => (i % 64) - 32), [8, 64]);
      const { y } = await session.run({ x });
      const report = session.report();
      console.log(JSON.stringify({ y: [...y.data], threads: report.threads, build: report.build }));
      await session.release();`;
    writeFileSync(join(folder, 'program.mjs'), program);
    const printed = execFileSync(process.execPath, ['--no-experimental-strip-types', 'program.mjs'], {
      cwd: folder,
      encoding: 'utf8',
    });
    const found = JSON.parse(printed);
    expect(found).toMatchObject({ threads, build: 'relaxed' });
    const wanted = Array.from({ length: 512 }, (_, i) => {
      // Column j holds one weight, at the row i with 7·i ≡ j (mod 64).
      const row = ((i % 64) * 55) % 64;
      return Math.max(0, (row - 32) * (row + 1));
    });
    expect(found.y).toEqual(wanted);
  });
});

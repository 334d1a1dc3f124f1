import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gossamer-build-'));
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '@gossamer'), { recursive: true });
  execFileSync(process.execPath, [join(root, 'scripts/build.ts'), join(folder, 'dist')]);
  renameSync(join(folder, 'dist/gossamer'), join(modules, 'gossamer'));
  for (const name of ['tensor', 'runtime']) renameSync(join(folder, 'dist', name), join(modules, '@gossamer', name));
  // All other packages are those of the repository.
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!['gossamer', '@gossamer', '.bin'].includes(name))
      symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('the published packages work where Node strips no types', () => {
  const program = `
    import { gradients, tensor } from '@gossamer/tensor';
    import { models, optim, sparsity } from 'gossamer';
    import { method } from 'gossamer/methods/pruning/global-mp';
    const x = tensor([3]);
    const [g] = gradients(x.mul(x).sum(), [x]);
    const model = new models.LeNet300({ hidden: [8, 4] });
    const { layers } = await sparsity.modelLayers(model, [{ dtype: 'float32', shape: [1, 784] }]);
    console.log((await g.data())[0], layers.length, typeof optim.SGD, method.slug);`;
  const file = join(folder, 'program.mjs');
  writeFileSync(file, program);
  expect(execFileSync(process.execPath, [file], { encoding: 'utf8' })).toBe('6 3 function global-mp\n');
  const cli = join(folder, 'node_modules/gossamer/dist/cli/main.js');
  const methods = JSON.parse(execFileSync(process.execPath, [cli, 'methods', '--json'], { encoding: 'utf8' }));
  expect(JSON.stringify(methods)).toContain('gradual-magnitude-pruning');
});

it('the published runtime runs a sparse model, where it has its kernels beside it', () => {
  const program = `
    import { encodeOnnx, onnxModel, onnxNode, onnxValue } from '@gossamer/tensor/onnx';
    import { InferenceSession, Tensor } from '@gossamer/runtime';
    const w = new Float32Array(32 * 32);
    for (let i = 0; i < 32; i++) w[i * 33] = i;
    const bytes = encodeOnnx(onnxModel({
      name: 'scaled',
      inputs: [onnxValue('x', 'float32', [1, 32])],
      outputs: [onnxValue('y', 'float32', [1, 32])],
      initializers: new Map([['w', { dtype: 'float32', shape: [32, 32], data: w }]]),
      nodes: [onnxNode('MatMul', ['x', 'w'], ['y'])],
    }), { sparse: 1 / 3 });
    for (const threads of [1, 2]) {
      const session = await InferenceSession.create(bytes, { threads });
      const { y } = await session.run({ x: new Tensor(new Float32Array(32).fill(2), [1, 32]) });
      const { build, nodes } = session.report();
      console.log(y.data.every((v, i) => v === 2 * i), build, nodes[0].density);
      await session.release();
    }`;
  const file = join(folder, 'runtime.mjs');
  writeFileSync(file, program);
  const printed = execFileSync(process.execPath, [file], { encoding: 'utf8' });
  expect(printed).toBe('true relaxed 0.0302734375\n'.repeat(2));
});

it.each(['gossamer', '@gossamer/runtime'])(
  '%s bundles for browsers, where nothing of Node is loaded at the start',
  async name => {
    const { build } = await import('esbuild');
    const { outputFiles } = await build({
      entryPoints: [join(folder, 'node_modules', name, 'dist/index.js')],
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      external: ['node:*'],
      logLevel: 'silent',
    });
    expect(outputFiles[0].text).not.toMatch(/^import .* from "node:/m);
  },
);

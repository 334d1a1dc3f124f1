import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random, writeSafetensors } from '@gossamer/tensor';
import { onnxModel, onnxNode, onnxValue, writeOnnx } from '@gossamer/tensor/onnx';
import { beforeAll, describe, expect, it } from 'vitest';
import { gossamer, testFolder, writeMLP } from '../testing.ts';

const folder = testFolder();
const mlp = join(folder, 'mlp.onnx');

describe('gossamer inspect', () => {
  beforeAll(() => writeMLP(mlp));

  it('shows layers, totals, inputs and operators', async () => {
    const { code, stdout, stderr } = await gossamer('inspect', mlp);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(/mlp\.onnx {2}ONNX, operator set 21, \d.*B, by gossamer$/);
    expect(lines[1]).toBe('inputs   x  float32 [batch, 8]');
    expect(lines[3]).toMatch(/^nodes {4}3: 2 Gemm, 1 Relu$/);
    expect(stdout).toMatch(/^layers\.0\.weight {2}linear {3}16×8 {9}128 {7}128 {2}100\.0 % {2}█{20} {4}256 {5}256$/m);
    expect(stdout).toMatch(/^total .* 192 +192 +100\.0 % +█{20} +384 +384$/m);
    expect(stdout).toContain('and 20 parameters of other kinds');
  });

  it('prints JSON only, with the same numbers', async () => {
    const { stdout, stderr } = await gossamer('inspect', mlp, '--json');
    expect(stderr).toBe('');
    const found = JSON.parse(stdout);
    expect(found).toMatchObject({
      format: 'onnx',
      opsets: { '': 21 },
      inputs: [{ name: 'x', dtype: 'float32', shape: ['batch', 8] }],
      operators: { Gemm: 2, Relu: 1 },
      otherParameters: 20,
      total: { parameters: 192, nonzeros: 192, density: 1, flopsDense: 384, flopsSparse: 384 },
    });
    expect(found.layers.map((l: { name: string; kind: string }) => [l.name, l.kind])).toEqual([
      ['layers.0.weight', 'linear'],
      ['layers.1.weight', 'linear'],
    ]);
    expect(found.bytes).toBe(readFileSync(mlp).length);
  });

  it('draws a picture', async () => {
    const svg = join(folder, 'mlp.svg');
    expect((await gossamer('inspect', mlp, '--svg', svg)).code).toBe(0);
    expect(readFileSync(svg, 'utf8')).toMatch(/^<svg[\s\S]*layers\.0\.weight[\s\S]*<\/svg>\n$/);
  });

  it('finds the weights of a model that it cannot follow, and says so', async () => {
    const path = join(folder, 'strange.onnx');
    const weight = { dtype: 'float32', shape: [4, 3], data: new Random(0).normal(12) } as const;
    const graph = {
      name: 'strange',
      inputs: [onnxValue('x', 'float32', ['n', 4])],
      outputs: [onnxValue('y', 'float32', ['n', 3])],
      initializers: new Map([['w', weight]]),
      nodes: [onnxNode('MatMul', ['x', 'w'], ['h']), onnxNode('Det', ['h'], ['y'])],
    };
    await writeOnnx(path, onnxModel(graph));
    const { code, stdout } = await gossamer('inspect', path);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^w +linear +4×3 +12 +12 +100\.0 % +█{20}$/m);
    expect(stdout).toMatch(/FLOPs are not known: .*Det/);
    expect(JSON.parse((await gossamer('inspect', path, '--json')).stdout).total).not.toHaveProperty('flopsDense');
  });

  it('asks for sizes that the file leaves free, and takes them', async () => {
    const path = join(folder, 'free.onnx');
    const graph = {
      name: 'free',
      inputs: [onnxValue('x', 'float32', ['n', 'tokens', 4])],
      outputs: [onnxValue('y', 'float32', ['n', 'tokens', 3])],
      initializers: new Map([['w', { dtype: 'float32', shape: [4, 3], data: new Float32Array(12).fill(1) } as const]]),
      nodes: [onnxNode('MatMul', ['x', 'w'], ['y'])],
    };
    await writeOnnx(path, onnxModel(graph));
    const free = await gossamer('inspect', path);
    const given = await gossamer('inspect', path, '--json', '--shape', 'x=1,7,4');
    const wrong = await gossamer('inspect', path, '--shape', 'x=1,7,5');
    expect(free.stdout).toContain('input x [n, tokens, 4] has a free size (axis 1): give it with --shape x=…');
    expect(JSON.parse(given.stdout).total.flopsDense).toBe(2 * 12 * 7);
    expect([wrong.code, wrong.stderr]).toEqual([1, `error: --shape x=1,7,5: ${path} wants [n, tokens, 4]\n`]);
  });

  it('reads safetensors', async () => {
    const path = join(folder, 'model.safetensors');
    const weight = { dtype: 'float32', shape: [2, 4], data: Float32Array.of(0, 1, 0, 2, 0, 0, 0, -0) } as const;
    const ids = { dtype: 'int64', shape: [1], data: BigInt64Array.of(3n) } as const;
    await writeSafetensors(path, { weight, bias: { dtype: 'float32', shape: [3], data: new Float32Array(3) }, ids });
    const { code, stdout, stderr } = await gossamer('inspect', path, '-q');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^weight +linear +2×4 +8 +2 +25\.0 % +█{5}·{15}$/m);
    expect(stdout).toContain('and 3 parameters in vectors');
    expect(stdout).not.toContain('FLOPs');
  });

  it('names a file that is missing or damaged, in one line', async () => {
    const whole = readFileSync(mlp);
    const torn = join(folder, 'torn.onnx');
    writeFileSync(torn, whole.subarray(0, whole.length / 2));
    const text = join(folder, 'text.safetensors');
    writeFileSync(text, 'no safetensors at all');
    const none = join(folder, 'none.onnx');
    for (const path of [torn, text, none, folder]) {
      const { code, stdout, stderr } = await gossamer('inspect', path, '--json');
      expect({ path, code, stdout }).toEqual({ path, code: 1, stdout: '' });
      expect(stderr).toMatch(/^error: [^\n]+\n$/);
      expect(stderr).toContain(path);
    }
    expect((await gossamer('inspect', torn, '--debug')).stderr).toMatch(/\n\s+at /);
  });
});

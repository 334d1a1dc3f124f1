import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { gossamer, testFolder, writeMLP } from '../testing.ts';

const folder = testFolder();
const mlp = join(folder, 'mlp.onnx');
const other = join(folder, 'other.onnx');

describe('gossamer bench', () => {
  beforeAll(async () => {
    await writeMLP(mlp);
    await writeMLP(other);
  });

  it('times two models in turns on every runtime', async () => {
    const args = ['bench', mlp, '--vs', other, '--runs', '3', '--threads', '1', '--shape', 'x=2,8', '--json', '-q'];
    const { code, stdout, stderr } = await gossamer(...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { rows, versions, inputs, runs } = JSON.parse(stdout);
    expect({ inputs, runs }).toEqual({ inputs: { x: [2, 8] }, runs: 3 });
    expect(versions).toMatchObject({ node: process.versions.node, 'onnxruntime-node': expect.stringMatching(/^1\./) });
    const runtimes = ['gossamer', 'gossamer, dense', 'onnxruntime-node', 'onnxruntime-web'];
    expect(rows.map((r: { file: string; runtime: string }) => [r.file, r.runtime])).toEqual(
      runtimes.flatMap(runtime => [mlp, other].map(file => [file, runtime])),
    );
    for (const row of rows) {
      expect(row.p10 <= row.median && row.median <= row.p90).toBe(true);
      // 2 samples of 2 · 192 operations.
      expect(row.gflops).toBeCloseTo(768 / row.median / 1e6, 10);
      if (row.runtime === 'onnxruntime-node') expect(row.difference).toBeNull();
      else expect(row.difference).toBeLessThan(1e-5);
    }
    expect(rows[1].speedup).toBe(1);
    expect(rows[0].speedup).toBeCloseTo(rows[1].median / rows[0].median, 10);
  });

  it('prints a table with machine and versions', async () => {
    const { code, stdout } = await gossamer('bench', mlp, '--runs', '3', '--threads', '1', '-q');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^runtime +threads +model +median ms +p10 … p90 +runs\/s +GFLOP\/s +ratio +differs by$/m);
    expect(stdout).toMatch(/^onnxruntime-node +1 +mlp\.onnx .* 1\.00× +–$/m);
    expect(stdout).toMatch(/^gossamer, dense +1 +mlp\.onnx /m);
    expect(stdout).toContain(`node ${process.versions.node}, gossamer 0.`);
  });

  it("shows how this project's runtime runs every node", async () => {
    const sparse = join(folder, 'sparse.onnx');
    await gossamer('compress', mlp, '--sparsity', '0.9', '-o', sparse, '-q');
    const args = ['bench', sparse, '--runs', '3', '--threads', '1', '--shape', 'x=8,8', '--nodes', '-q'];
    const { nodes } = JSON.parse((await gossamer(...args, '--json')).stdout);
    expect(nodes.map((n: { file: string }) => n.file)).toEqual([sparse]);
    const [first, second] = nodes[0].rows.filter((r: { op: string }) => r.op === 'Gemm');
    // 13 of 128 weights and 6 of 64.
    expect([first.density, second.density]).toEqual([13 / 128, 6 / 64]);
    expect([first.outputs, second.outputs]).toEqual([[[8, 16]], [[8, 4]]]);
    for (const row of nodes[0].rows) expect(row.ms).toBeGreaterThanOrEqual(0);
    const { stdout } = await gossamer(...args);
    expect(stdout).toMatch(/^node +operator +kernel +output +density +ms +share$/m);
    expect(stdout).toMatch(/^Gemm_0 +Gemm .* 8×16 +10\.2 % /m);
  });
});

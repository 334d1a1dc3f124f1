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
    expect(rows.map((r: { file: string; runtime: string }) => [r.file, r.runtime])).toEqual([
      [mlp, 'onnxruntime-node'],
      [other, 'onnxruntime-node'],
      [mlp, 'onnxruntime-web'],
      [other, 'onnxruntime-web'],
    ]);
    for (const row of rows) {
      expect(row.p10 <= row.median && row.median <= row.p90).toBe(true);
      // 2 samples of 2 · 192 operations.
      expect(row.gflops).toBeCloseTo(768 / row.median / 1e6, 10);
    }
    expect(rows[1].speedup).toBe(1);
    expect(rows[0].speedup).toBeCloseTo(rows[1].median / rows[0].median, 10);
  });

  it('prints a table with machine and versions', async () => {
    const { code, stdout } = await gossamer('bench', mlp, '--runs', '3', '--threads', '1', '-q');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^runtime +threads +model +median ms +p10 … p90 +runs\/s +GFLOP\/s +ratio$/m);
    expect(stdout).toMatch(/^onnxruntime-node +1 +mlp\.onnx .* 1\.00×$/m);
    expect(stdout).toContain(`node ${process.versions.node}, onnxruntime-node 1.`);
  });
});

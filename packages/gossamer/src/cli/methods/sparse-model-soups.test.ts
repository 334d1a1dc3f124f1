import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const base = ['run', 'sparse-model-soups', '--model', 'lenet-300-100', '--data', 'digits', '--width', '0.05'];
const small = [...base, '--batch', '400', '--pretrain-epochs', '3', '--epochs', '1', '--copies', '2'];

describe('gossamer run sparse-model-soups', () => {
  it('writes the model of every phase and goes on after one with the same result', async () => {
    const out = join(folder, 'soup');
    const args = [...small, '--sparsity', '0.75', '--phases', '2', '--soup', 'greedy', '--out', out, '-q', '--json'];
    const { code, stdout, stderr } = await gossamer(...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { phases } = JSON.parse(stdout);
    expect(phases.map((p: { sparsity: number }) => p.sparsity.toFixed(2))).toEqual(['0.00', '0.50', '0.75']);
    expect(phases[2].candidates).toHaveLength(2);
    expect(phases[2].soup).toBeGreaterThan(0.5);
    // No barrier between copies.
    const [a, b] = phases[2].candidates;
    expect(phases[2].halfway).toBeGreaterThan((a + b) / 2 - 0.05);
    const weight = async () =>
      (await readOnnx(join(out, 'phase-2', 'model.onnx'))).graph.initializers.get('fc1.weight');
    expect(await weight()).toMatchObject({ sparse: true });
    const before = await weight();

    await rm(join(out, 'step-000000002.safetensors'));
    const again = await gossamer(...args, '--resume');
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout).phases).toEqual(phases);
    expect(await weight()).toEqual(before);
  });

  it('says what is missing or makes no sense', async () => {
    const expected: [string[], string][] = [
      [['--sparsity', '0.9', '--recalibrate', '2'], 'a share of the training data'],
      [['--sparsity', '0.9', '--resume'], 'give it'],
    ];
    for (const [args, message] of expected) {
      const found = await gossamer(...base, ...args);
      expect([found.code, found.stderr]).toEqual([2, expect.stringContaining(message)]);
    }
  });
});

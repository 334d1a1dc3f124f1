import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const run = (...args: string[]) => gossamer('run', 'sparse-ift', ...args);

describe('gossamer run sparse-ift', () => {
  it('prints the audit of a model without data', async () => {
    const { code, stdout } = await run('--model', 'resnet8', '--sparsity', '0.75', '--json');
    expect(code).toBe(0);
    const { ratio, rows } = JSON.parse(stdout);
    expect(Math.abs(ratio - 1)).toBeLessThan(0.005);
    expect(rows[0].parts[0]).toMatchObject({ name: 'conv1.weight', masked: false });
    expect(rows[1].parts[0]).toMatchObject({ shape: [32, 32, 3, 3], masked: true });
  });

  it('trains, and writes the model and its audit', async () => {
    const out = join(folder, 'wide');
    const args = ['--model', 'lenet-300-100', '--width', '0.1', '--sparsity', '0.5', '--balance', 'layer'];
    const { code, stdout, stderr } = await run(...args, '--data', 'digits', '--epochs', '1', '-o', out, '-q', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { accuracy, files, ratio } = JSON.parse(stdout);
    expect(accuracy).toBeGreaterThan(0.5);
    expect(files.map((f: string) => existsSync(f))).toEqual([true, true, true]);
    expect(JSON.parse(readFileSync(join(out, 'audit.json'), 'utf8')).ratio).toBe(ratio);
    const onnx = await readOnnx(join(out, 'model.onnx'));
    expect(onnx.graph.outputs[0].shape?.at(-1)).toBe(10);
  });

  it('refuses what cannot work before any work', async () => {
    const lenet = ['--model', 'lenet-300-100', '--sparsity', '0.75'];
    const cases: [string[], number, string][] = [
      [[...lenet, '-o', join(folder, 'x')], 2, 'give --data'],
      [[...lenet, '--until', '2'], 2, '--until is a share'],
      [lenet, 1, "with balance 'layer'"],
      [['--model', 'squeezenet', '--sparsity', '0.5'], 2, 'its width cannot be chosen'],
      [['--model', 'gpt2', '--sparsity', '0.5', '--data', 'digits'], 2, 'is no image classifier'],
      [[...lenet, '--family', 'parallel', '--sparsity', '0.6'], 1, 'parallel branches'],
    ];
    for (const [args, wanted, message] of cases) {
      const { code, stderr } = await run(...args);
      expect(stderr).toContain(message);
      expect(code).toBe(wanted);
    }
  });
});

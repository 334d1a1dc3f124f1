import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '@gossamer/tensor';
import { readOnnx } from '@gossamer/tensor/onnx';
import { describe, expect, it } from 'vitest';
import { ConvNet } from '../../experiments/small-models.ts';
import { gossamer, testFolder, writeModel } from '../testing.ts';

const folder = testFolder();
const [dense, ticket] = ['dense.onnx', 'ticket.onnx'].map(f => join(folder, f));
const spec = { dtype: 'float32' as const, shape: [1, 1, 14, 14] };

async function writeModels() {
  const model = new ConvNet(1, [4, 8], new Random(1));
  await writeModel(dense, model, spec);
  const weight = await model.head.weight.data();
  model.head.weight.set(weight.map((w, i) => (i % 2 ? w : 0)));
  await writeModel(ticket, model, spec);
}

describe('gossamer run reprogram-lottery-tickets', () => {
  it('compares networks on a target and writes the report and prompted models', async () => {
    await writeModels();
    const out = join(folder, 'audit');
    const args = ['run', 'reprogram-lottery-tickets', dense, ticket, '--data', 'digits', '--samples', '300'];
    const short = [...args, '--shots', '2,all', '--epochs', '2', '--seeds', '2', '--mean', '0.13', '--std', '0.31'];
    const { code, stdout, stderr } = await gossamer(...short, '--out', out, '-q', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { rows, files } = JSON.parse(stdout);
    // Two regimes, two numbers of shots, two networks.
    expect(rows).toHaveLength(8);
    expect(rows[0]).toMatchObject({
      target: 'digits',
      regime: 'linear-probe',
      shots: 2,
      sparsity: 0,
      gap: { mean: 0 },
    });
    expect(rows[1].sparsity).toBeGreaterThan(0);
    expect(files).toHaveLength(4);
    expect(JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')).rows).toEqual(rows);
    const { graph } = await readOnnx(files[0]);
    expect(graph.inputs).toMatchObject([{ name: 'image', shape: ['batch', 1, 8, 8] }]);

    const text = await gossamer(...args, '--regime', 'raw-pixels', '--epochs', '1', '--seeds', '1', '-q');
    expect(text.stdout).toMatch(/target +regime +shots/);
  });

  it('tells which networks are as good as the first where they come from', async () => {
    await writeModels();
    const args = ['run', 'reprogram-lottery-tickets', dense, dense, ticket, '--data', 'digits', '--samples', '200'];
    const short = [...args, '--upstream', 'digits', '--regime', 'raw-pixels', '--epochs', '1', '--seeds', '1', '-q'];
    const { upstream } = JSON.parse((await gossamer(...short, '--json')).stdout);
    expect(upstream.map((u: { gap: number }) => u.gap)).toEqual([0, 0, upstream[0].accuracy - upstream[2].accuracy]);
    for (const { gap, isSimilar } of upstream) expect(isSimilar).toBe(Math.abs(gap) <= 0.005);
    expect(upstream[2].sparsity).toBeGreaterThan(0);
    expect((await gossamer(...short)).stdout).toMatch(/upstream: digits +sparsity +accuracy/);
  });

  it('says what does not fit', async () => {
    await writeModels();
    const base = ['run', 'reprogram-lottery-tickets', dense];
    const expected: [string[], number, string][] = [
      [['--data', 'cifar-none'], 1, 'neither a file or folder nor a set'],
      [['--data', 'digits', '--std', '0'], 2, 'above 0'],
      [['--data', 'digits', '--upstream', 'cifar-none'], 1, 'neither a file or folder nor a set'],
      [['--data', 'digits', '--samples', '20', '--shots', '9'], 1, '9 of each were asked for'],
    ];
    for (const [args, code, message] of expected) {
      const found = await gossamer(...base, ...args, '-q');
      expect([found.code, found.stderr]).toEqual([code, expect.stringContaining(message)]);
    }
  });
});

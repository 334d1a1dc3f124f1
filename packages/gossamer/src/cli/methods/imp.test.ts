import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openSafetensors } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { gossamer, testFolder } from '../testing.ts';

const folder = testFolder();
const base = [
  'run',
  'imp',
  '--model',
  'lenet-300-100',
  '--data',
  'digits',
  '--width',
  '0.05',
  '--batch',
  '250',
  '--lr',
  '0.1',
];

const weights = async (out: string, round: number): Promise<Float32Array> => {
  await using file = await openSafetensors(join(out, `round-0${round}`, 'model.safetensors'));
  return (await file.read('fc1.weight')).data as Float32Array;
};

describe('gossamer run imp', () => {
  it('writes a ticket of every round, and goes on after a round with the same result', async () => {
    const out = join(folder, 'tickets');
    const args = [...base, '--epochs', '3', '--sparsity', '0.8', '--rounds', '2', '--rewind-to', '2', '-q', '--json'];
    const { code, stdout, stderr } = await gossamer(...args, '--out', out);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { rounds, files } = JSON.parse(stdout);
    expect(rounds.map((r: { sparsity: number }) => r.sparsity.toFixed(2))).toEqual(['0.00', '0.55', '0.80']);
    expect(rounds[2].metrics.accuracy).toBeGreaterThan(0.8);
    expect(files.every((f: string) => existsSync(f))).toBe(true);
    const [first, last] = [await weights(out, 1), await weights(out, 2)];
    expect(last.every((w, i) => w === 0 || first[i] !== 0)).toBe(true);

    // As if it had been killed in the last round.
    await rm(join(out, 'step-000000002.safetensors'));
    await rename(join(out, 'round-02'), join(folder, 'lost'));
    const again = await gossamer(...args, '--out', out, '--resume');
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout).rounds).toEqual(rounds);
    expect(await weights(out, 2)).toEqual(last);
    const over = await gossamer(...args, '--out', out);
    expect([over.code, over.stderr]).toEqual([1, expect.stringContaining('holds a run already')]);
  });

  it('says what is missing or makes no sense', async () => {
    const expected: [string[], number, string][] = [
      [[], 2, 'give --sparsity or --rounds'],
      [['--sparsity', '0.9', '--rounds', '3', '--rate', '0.2'], 2, 'two of them decide the third'],
      [['--sparsity', '0.9', '--resume'], 2, 'give it'],
      [['--sparsity', '0.9', '--rewind-to', '10000'], 2, 'the training has'],
    ];
    for (const [args, code, message] of expected) {
      const found = await gossamer(...base, ...args);
      expect([found.code, found.stderr]).toEqual([code, expect.stringContaining(message)]);
    }
  });
});

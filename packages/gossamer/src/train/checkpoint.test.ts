import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type NDArray, writeSafetensors } from '@gossamer/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { latestCheckpoint, loadCheckpoint, saveCheckpoint } from './checkpoint.ts';

const root = mkdtempSync(join(tmpdir(), 'gossamer-checkpoint-'));
afterAll(() => rmSync(root, { recursive: true }));

const weight: NDArray = { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, -0, Number.NaN, 1e-40) };
const at = (step: number) => ({
  arrays: { 'model/weight': weight },
  json: { step, history: [{ loss: 0.1 }], none: null },
});

async function run(name: string, steps: number[]): Promise<string> {
  const folder = join(root, name);
  for (const step of steps) await saveCheckpoint(folder, step, at(step));
  return folder;
}

describe('checkpoints', () => {
  it('give back what was saved, bit by bit', async () => {
    const path = await saveCheckpoint(join(root, 'bits'), 7, at(7));
    const { arrays, json } = await loadCheckpoint(path);
    expect(json).toEqual(at(7).json);
    expect(Object.keys(arrays)).toEqual(['model/weight']);
    expect(arrays['model/weight'].shape).toEqual([2, 2]);
    const bits = (a: NDArray) => [...new Uint32Array(a.data.buffer, a.data.byteOffset, 4)];
    expect(bits(arrays['model/weight'])).toEqual(bits(weight));
  });

  it('keep the last two, or as many as asked for', async () => {
    const folder = await run('keep', [5, 10, 100]);
    expect(readdirSync(folder)).toEqual(['step-000000010.safetensors', 'step-000000100.safetensors']);
    await saveCheckpoint(folder, 200, at(200), { keep: 1 });
    expect(readdirSync(folder)).toEqual(['step-000000200.safetensors']);
    await expect(saveCheckpoint(folder, 300, at(300), { keep: 0 })).rejects.toThrow('keep 0');
  });

  it('find the latest by its step and ignore what a killed run left half written', async () => {
    const folder = await run('torn', [9, 10]);
    const torn = join(folder, 'step-000000011.safetensors.0a1b2c3d.tmp');
    writeFileSync(torn, readFileSync(join(folder, 'step-000000010.safetensors')).subarray(0, 50));
    expect(await latestCheckpoint(folder)).toBe(join(folder, 'step-000000010.safetensors'));
    await saveCheckpoint(folder, 11, at(11));
    expect(readdirSync(folder)).toEqual(['step-000000010.safetensors', 'step-000000011.safetensors']);
  });

  it('pass over a damaged file, whatever its length', async () => {
    const folder = await run('damaged', [1, 2]);
    const [older, newer] = ['step-000000001.safetensors', 'step-000000002.safetensors'].map(n => join(folder, n));
    const whole = readFileSync(newer);
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(newer, whole.subarray(0, length));
      expect(await latestCheckpoint(folder)).toBe(older);
    }
    writeFileSync(newer, whole);
    expect(await latestCheckpoint(folder)).toBe(newer);
  });

  it('are missing where there are none, and an error where all are damaged', async () => {
    expect(await latestCheckpoint(join(root, 'nothing'))).toBeUndefined();
    const folder = await run('all', [1]);
    await writeSafetensors(join(folder, 'step-000000001.safetensors'), { weight });
    await expect(latestCheckpoint(folder)).rejects.toThrow('no checkpoint of a training run');
    writeFileSync(join(root, 'file'), '');
    await expect(saveCheckpoint(join(root, 'file', 'run'), 1, at(1))).rejects.toThrow('cannot be made');
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type NDArray, Random, tensor, writeSafetensors } from '@gossamer/tensor';
import { describe, expect, it } from 'vitest';
import { onesOf } from '../nn/init.ts';
import { Linear } from '../nn/linear.ts';
import { fromHWIO, fromInOut, initialize, loadPretrained, storedShapes } from './weights.ts';

async function withFile(arrays: Record<string, NDArray>, test: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'weights-'));
  try {
    const path = join(folder, 'a.safetensors');
    await writeSafetensors(path, new Map(Object.entries(arrays)));
    await test(path);
  } finally {
    await rm(folder, { recursive: true });
  }
}
const array = (shape: number[], data: number[]): NDArray => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(data),
});

describe('loadPretrained', () => {
  const stored = (name: string) => (name === 'weight' ? { name: 'dense/kernel', convert: fromInOut } : `dense/${name}`);

  it('renames, converts layouts and switches to evaluation', () =>
    withFile({ 'dense/kernel': array([2, 3], [1, 2, 3, 4, 5, 6]), 'dense/bias': array([3], [7, 8, 9]) }, async path => {
      const layer = await loadPretrained(new Linear(2, 3), path, { stored });
      expect(await layer.weight.tolist()).toEqual([
        [1, 4],
        [2, 5],
        [3, 6],
      ]);
      expect(await layer.bias!.tolist()).toEqual([7, 8, 9]);
      expect(layer.training).toBe(false);
      expect(await storedShapes(path)).toEqual(
        new Map([
          ['dense/kernel', [2, 3]],
          ['dense/bias', [3]],
        ]),
      );
    }));

  it('lists what is missing and what is too much, as the file calls it', () =>
    withFile({ 'dense/kernel': array([2, 3], [1, 2, 3, 4, 5, 6]), step: array([], [1]) }, async path => {
      await expect(loadPretrained(new Linear(2, 3), path, { stored })).rejects.toThrow(
        'missing dense/bias; not in Linear: step',
      );
      const ignore = (name: string) => name === 'step';
      const layer = await loadPretrained(new Linear(2, 3, { bias: false }), path, { stored, ignore });
      expect(layer.weight.shape).toEqual([3, 2]);
    }));

  it('names a tensor of another shape or layout', () =>
    withFile({ 'dense/kernel': array([6], [1, 2, 3, 4, 5, 6]), 'dense/bias': array([3], [7, 8, 9]) }, async path => {
      await expect(loadPretrained(new Linear(2, 3), path, { stored })).rejects.toThrow(/dense\/kernel \[6\].*layout/);
      const plain = (name: string) => `dense/${name === 'weight' ? 'kernel' : name}`;
      await expect(loadPretrained(new Linear(2, 3), path, { stored: plain })).rejects.toThrow(
        'weight is [6], expected [3, 2]',
      );
    }));
});

describe('layouts', () => {
  it('puts a kernel [h, w, in, out] in our order', async () => {
    const hwio = tensor(
      Float32Array.from({ length: 2 * 3 * 4 * 5 }, (_, i) => i),
      [2, 3, 4, 5],
    );
    const oihw = fromHWIO(hwio);
    expect(oihw.shape).toEqual([5, 4, 2, 3]);
    const [a, b] = [await hwio.data(), await oihw.data()];
    const [h, w, i, o] = [1, 2, 3, 4];
    expect(b[((o * 4 + i) * 2 + h) * 3 + w]).toBe(a[((h * 3 + w) * 4 + i) * 5 + o]);
  });
});

describe('initialize', () => {
  it('draws what the rule names and leaves the rest', async () => {
    const layer = new Linear(2, 3);
    const bias = (await layer.bias!.data()).slice();
    initialize(layer, new Random(0), (name, shape) => (name === 'weight' ? onesOf(shape) : undefined));
    expect(await layer.weight.data()).toEqual(new Float32Array(6).fill(1));
    expect(await layer.bias!.data()).toEqual(bias);
  });
});
